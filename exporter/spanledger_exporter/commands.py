"""The commands of the command line: what each takes, and the one function that it calls."""

import argparse
import asyncio
import gc
import logging
import signal
import sys
import time
from collections.abc import Iterable
from typing import Any

from spanledger_exporter.alerts import alerts_commands
from spanledger_exporter.alerts.rules_commands import add_rules_commands
from spanledger_exporter.budgets.budget_commands import add_budget_commands
from spanledger_exporter.command_line import Commands
from spanledger_exporter.command_line import add_filters as _add_filters
from spanledger_exporter.command_line import config_of as _config
from spanledger_exporter.command_line import filter_of as _filter
from spanledger_exporter.command_line import help_of as _help
from spanledger_exporter.command_line import moment as _moment
from spanledger_exporter.command_line import print_json as _print_json
from spanledger_exporter.command_line import reading as _reading
from spanledger_exporter.command_line import sentence as _sentence
from spanledger_exporter.config import Config
from spanledger_exporter.dashboards.dashboard_commands import add_dashboard_commands
from spanledger_exporter.ledger import ledger_commands
from spanledger_exporter.ledger.filters import REPORT_DIMENSIONS
from spanledger_exporter.prices.prices_commands import add_price_commands
from spanledger_exporter.receiving import dead_letter_commands, token_commands
from spanledger_exporter.settings import SETTINGS
from spanledger_exporter.top.top_commands import add_top_command

_TAIL_POLL_S = 0.5


def add_commands(commands: Commands) -> None:
    """Add the exporter's commands to a command line."""
    _add_serve(commands)
    _add_report(commands)
    _add_entries(commands)
    _add_tail(commands)
    _add_explain(commands)
    add_top_command(commands)
    add_price_commands(commands)
    add_budget_commands(commands)
    add_rules_commands(commands)
    add_dashboard_commands(commands)
    _add_alerts(commands)
    _add_dead_letters(commands)
    _add_tokens(commands)
    _add_ledger(commands)


def _add_serve(commands: Commands) -> None:
    text = "receive spans, price them, keep them in the ledger, expose metrics"
    serve = commands.add_parser("serve", help=text, description=_sentence(text))
    serve.add_argument("--config", metavar="FILE", help="TOML file with settings (else SPANLEDGER_CONFIG names one)")
    for setting in SETTINGS:
        if setting.field == "insecure":
            serve.add_argument("--insecure", action="store_const", const="true", help=setting.meaning)
        elif setting.flag is not None:
            metavar = "URL" if setting.field == "ledger_url" else "ADDR"
            serve.add_argument(setting.flag, dest=setting.field, metavar=metavar, help=_help(setting))
    serve.set_defaults(run=_serve)


def _add_report(commands: Commands) -> None:
    text = "what was spent, by model, service, day or other dimensions; times are taken at the start of their hour"
    report = _reading(commands, "report", text)
    _add_filters(report)
    report.add_argument(
        "--by",
        default="model",
        metavar="NAMES",
        type=_dimensions,
        help=f"comma-separated, of {', '.join(REPORT_DIMENSIONS)} (default model)",
    )
    report.add_argument("--json", action="store_true", help="one JSON object with exact figures")
    report.set_defaults(run=_report)


def _add_entries(commands: Commands) -> None:
    listing = _reading(commands, "entries", "the calls in the ledger, the newest first")
    _add_filters(listing)
    listing.add_argument(
        "--limit", type=_count, metavar="N", help="at most so many (default 50 in a table, all in JSON)"
    )
    listing.add_argument("--json", action="store_true", help="one JSON object a line, with every stored field")
    listing.set_defaults(run=_entries)


def _add_tail(commands: Commands) -> None:
    tail = _reading(commands, "tail", "the calls as they arrive, until interrupted")
    _add_filters(tail, times=False)
    tail.add_argument("--json", action="store_true", help="one JSON object a line, with every stored field")
    tail.set_defaults(run=_tail)


def _add_explain(commands: Commands) -> None:
    explaining = _reading(commands, "explain", "why a call costs what it costs: every factor, and its source")
    explaining.add_argument("entry", metavar="ENTRY", help="an entry's number, span id or response id")
    explaining.add_argument("--json", action="store_true", help="one JSON object")
    explaining.set_defaults(run=_explain)


def _add_alerts(commands: Commands) -> None:
    text = "messages about budgets: what was sent and what waits, what would be sent now, and whether channels work"
    alerts_commands.declare(_reading(commands, "alerts", text), _config)


def _add_dead_letters(commands: Commands) -> None:
    text = "spans that could not become entries: list them, show them, send them through again"
    dead_letter_commands.declare(_reading(commands, "dead-letters", text), _config)


def _add_tokens(commands: Commands) -> None:
    text = "make a token for those who send to the exporter, or read its metrics"
    token_commands.declare(commands.add_parser("tokens", help=text, description=_sentence(text)))


def _add_ledger(commands: Commands) -> None:
    text = "look after the ledger: check it, delete what has expired, back it up, let others read"
    ledger = commands.add_parser("ledger", help=text, description=_sentence(text))
    actions = ledger.add_subparsers(title="commands", metavar="COMMAND", required=True)
    ledger_commands.declare(lambda name, said: _reading(actions, name, said), _config, _moment)


def _dimensions(text: str) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(","))
    unknown = [name for name in names if name not in REPORT_DIMENSIONS]
    if unknown:
        raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}; known are {', '.join(REPORT_DIMENSIONS)}")
    return names


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 2**31):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of entries; write a whole number from 1")
    return int(text)


def _serve(arguments: argparse.Namespace) -> int:
    config = _config(arguments)
    logging.getLogger("spanledger_exporter").setLevel(config.log_level.upper())
    return asyncio.run(_run_until_told(config))


async def _run_until_told(config: Config) -> int:
    from spanledger_exporter.app import App  # the servers: only this command needs them

    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    app = App(config)
    addresses = await app.start()
    _tune()
    said = " ".join(f"{name}={value}" for name, value in addresses._asdict().items())
    sys.stdout.write(f"ready {said}\n")
    sys.stdout.flush()
    await stop.wait()
    await app.stop()
    return 0


def _tune() -> None:
    """Set the interpreter up for a process that makes millions of short-lived objects in two threads.

    What was made at the start stays, and is no business of the collector's; nearly all else goes by its reference
    count, so that looking for cycles every 700 objects is a twentieth of the time. And the thread that commits gets the
    interpreter back sooner from the one that decodes: a commit that waits keeps every sender waiting.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 50, 50)
    sys.setswitchinterval(0.0005)


def _report(arguments: argparse.Namespace) -> int:
    from spanledger_exporter.ledger import tables
    from spanledger_exporter.ledger.reader import Reader

    with Reader(_config(arguments).ledger_url) as reader:
        lines = reader.report(arguments.by, _filter(arguments))
    if arguments.json:
        _print_json(tables.report_document(arguments.by, lines))
    else:
        tables.print_report(arguments.by, lines)
    return 0


def _entries(arguments: argparse.Namespace) -> int:
    from spanledger_exporter.ledger import tables
    from spanledger_exporter.ledger.reader import Reader

    with Reader(_config(arguments).ledger_url) as reader:
        if arguments.json:
            for entry in reader.entries(_filter(arguments), limit=arguments.limit):
                _print_json(entry)
        else:
            tables.print_entries(reader.entries(_filter(arguments), limit=arguments.limit or tables.ENTRIES_SHOWN))
    return 0


def _tail(arguments: argparse.Namespace) -> int:
    from spanledger_exporter.ledger.reader import Reader

    wanted = _filter(arguments)
    with Reader(_config(arguments).ledger_url) as reader:
        last = reader.last_entry_id()
        while True:
            entries = list(reader.entries_after(last, wanted))
            _print_entries(entries, as_json=arguments.json)
            last = max([last, *(entry["entry_id"] for entry in entries)])
            time.sleep(_TAIL_POLL_S)


def _print_entries(entries: Iterable[dict[str, Any]], *, as_json: bool) -> None:
    from spanledger_exporter.ledger.tables import entry_line

    for entry in entries:
        if as_json:
            _print_json(entry)
        else:
            sys.stdout.write(entry_line(entry) + "\n")
    sys.stdout.flush()


def _explain(arguments: argparse.Namespace) -> int:
    from spanledger_exporter.ledger import tables
    from spanledger_exporter.ledger.reader import Reader
    from spanledger_exporter.prices.explanation import explain

    with Reader(_config(arguments).ledger_url) as reader:
        entry, record, book = reader.entry(arguments.entry)
        explanation = explain(entry, record, book, reader.history(entry["entry_id"]))
    if arguments.json:
        _print_json(explanation)
    else:
        tables.print_explanation(explanation)
    return 0
