"""The commands of the command line: what each takes, and the one function that it calls."""

import argparse
import asyncio
import json
import logging
import re
import signal
import sys
import time
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from spanledger_exporter.config import SETTINGS, Config, Setting, load
from spanledger_exporter.filters import REPORT_DIMENSIONS, Filter

_TAIL_POLL_S = 0.5
_UNITS_S = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}


class Commands(Protocol):
    """What `ArgumentParser.add_subparsers` returns, as far as adding a command to it goes."""

    def add_parser(self, name: str, *, help: str, description: str = ...) -> argparse.ArgumentParser:  # noqa: A002 -- argparse's
        """Add one command."""
        ...


def add_commands(commands: Commands) -> None:
    """Add the exporter's commands to a command line."""
    _add_serve(commands)
    _add_report(commands)
    _add_entries(commands)
    _add_tail(commands)
    _add_explain(commands)


def _add_serve(commands: Commands) -> None:
    text = "receive spans, price them, keep them in the ledger, expose metrics"
    serve = commands.add_parser("serve", help=text, description=_sentence(text))
    serve.add_argument("--config", metavar="FILE", help="TOML file with settings (else SPANLEDGER_CONFIG names one)")
    for setting in SETTINGS:
        if setting.flag is not None:
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


def _reading(commands: Commands, name: str, text: str) -> argparse.ArgumentParser:
    command = commands.add_parser(name, help=text, description=_sentence(text))
    ledger = next(setting for setting in SETTINGS if setting.field == "ledger_url")
    command.add_argument("--config", metavar="FILE", help="TOML file with settings (else SPANLEDGER_CONFIG names one)")
    command.add_argument("--ledger", dest="ledger_url", metavar="URL", help=_help(ledger))
    return command


def _help(setting: Setting) -> str:
    try:
        default = setting.default()
    except ImportError:  # the base install can show its help, though it cannot run the command
        default = "in the platform's data folder"
    return f"{setting.meaning} (default {default})".replace("%", "%%")


def _add_filters(command: argparse.ArgumentParser, *, times: bool = True) -> None:
    if times:
        command.add_argument(
            "--since", type=_moment, metavar="TIME", help="2026-11-22, 2026-11-22T08:00Z, or an age: 90m, 7d"
        )
        command.add_argument("--until", type=_moment, metavar="TIME", help="likewise; itself excluded")
    for name in ("service", "provider", "model"):
        command.add_argument(
            f"--{name}", metavar="NAME", help=f"only calls of this {name}; * stands for any characters"
        )
    command.add_argument("--outcome", choices=("ok", "error"), help="only calls that ended so")


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."


def _moment(text: str) -> datetime:
    age = re.fullmatch(r"(\d{1,6})([smhdw])", text)
    if age is not None:
        try:
            return datetime.now(tz=UTC) - timedelta(seconds=int(age[1]) * _UNITS_S[age[2]])
        except OverflowError as exc:
            raise argparse.ArgumentTypeError(f"{text!r} is before the calendar begins") from exc
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as exc:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no time; write 2026-11-22, 2026-11-22T08:00Z (UTC unless it says) or an age such as 90m or 7d"
        ) from exc
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)


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


def _config(arguments: argparse.Namespace) -> Config:
    flags = {setting.field: getattr(arguments, setting.field, None) for setting in SETTINGS}
    return load(file=arguments.config, flags=flags)


def _filter(arguments: argparse.Namespace) -> Filter:
    named = vars(arguments)
    return Filter(**{name: named.get(name) for name in ("since", "until", "service", "provider", "model", "outcome")})


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
    said = " ".join(f"{name}={value}" for name, value in addresses._asdict().items())
    sys.stdout.write(f"ready {said}\n")
    sys.stdout.flush()
    await stop.wait()
    await app.stop()
    return 0


def _report(arguments: argparse.Namespace) -> int:
    from spanledger_exporter import tables
    from spanledger_exporter.reader import Reader

    with Reader(_config(arguments).ledger_url) as reader:
        lines = reader.report(arguments.by, _filter(arguments))
    if arguments.json:
        _print_json(tables.report_document(arguments.by, lines))
    else:
        tables.print_report(arguments.by, lines)
    return 0


def _entries(arguments: argparse.Namespace) -> int:
    from spanledger_exporter import tables
    from spanledger_exporter.reader import Reader

    with Reader(_config(arguments).ledger_url) as reader:
        if arguments.json:
            for entry in reader.entries(_filter(arguments), limit=arguments.limit):
                _print_json(entry)
        else:
            tables.print_entries(reader.entries(_filter(arguments), limit=arguments.limit or tables.ENTRIES_SHOWN))
    return 0


def _tail(arguments: argparse.Namespace) -> int:
    from spanledger_exporter.reader import Reader

    wanted = _filter(arguments)
    with Reader(_config(arguments).ledger_url) as reader:
        last = reader.last_entry_id()
        while True:
            entries = list(reader.entries_after(last, wanted))
            _print_entries(entries, as_json=arguments.json)
            last = max([last, *(entry["entry_id"] for entry in entries)])
            time.sleep(_TAIL_POLL_S)


def _print_entries(entries: Iterable[dict[str, Any]], *, as_json: bool) -> None:
    from spanledger_exporter.tables import entry_line

    for entry in entries:
        if as_json:
            _print_json(entry)
        else:
            sys.stdout.write(entry_line(entry) + "\n")
    sys.stdout.flush()


def _explain(arguments: argparse.Namespace) -> int:
    from spanledger_exporter import tables
    from spanledger_exporter.explanation import explain
    from spanledger_exporter.reader import Reader

    with Reader(_config(arguments).ledger_url) as reader:
        explanation = explain(*reader.entry(arguments.entry))
    if arguments.json:
        _print_json(explanation)
    else:
        tables.print_explanation(explanation)
    return 0


def _print_json(document: object) -> None:
    sys.stdout.write(json.dumps(document, ensure_ascii=False) + "\n")
