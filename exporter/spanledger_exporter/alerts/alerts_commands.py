"""`spanledger alerts`: what was said of budgets, what would be said now and why not, and whether channels work."""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from spanledger_exporter.command_line import print_json
from spanledger_exporter.config import Config
from spanledger_exporter.errors import ConfigError

if TYPE_CHECKING:
    from spanledger_exporter.alerts.notifications import Verdict
    from spanledger_exporter.alerts.sending import Channel

_ACTIONS: Final = ("list", "test")
_SHOWN: Final = 50
_TEST_TIMEOUT_S: Final = 60


def declare(command: argparse.ArgumentParser, config_of: Callable[[argparse.Namespace], Config]) -> None:
    """Say what the command takes, and what it calls."""
    command.add_argument("action", nargs="?", choices=_ACTIONS, default="list", help="what to do (default list)")
    command.add_argument("--dry-run", action="store_true", help="list: what would be said now, and why the rest is not")
    command.add_argument("--limit", type=_count, metavar="N", help=f"list: at most so many (default {_SHOWN})")
    command.add_argument(
        "--url", action="append", metavar="URL", help="test: this channel, not those configured; may be given again"
    )
    command.add_argument("--json", action="store_true", help="one JSON object a line")

    def run(arguments: argparse.Namespace) -> int:
        if arguments.action == "test" and (arguments.dry_run or arguments.limit is not None):
            command.error("test takes neither --dry-run nor --limit")
        if arguments.action == "list" and arguments.url:
            command.error("only test takes --url")
        config = config_of(arguments)
        if arguments.action == "test":
            return _test(config, arguments.url, as_json=arguments.json)
        if arguments.dry_run:
            _dry_run(config, as_json=arguments.json)
        else:
            _list(config, arguments.limit or _SHOWN, as_json=arguments.json)
        return 0

    command.set_defaults(run=run)


def _test(config: Config, urls: list[str] | None, *, as_json: bool) -> int:
    from spanledger_exporter.alerts.notices import trial_texts
    from spanledger_exporter.alerts.sending import Mail, send_all

    channels = _channels(config, urls)
    failed = 0
    for name, problem in send_all(channels, Mail((), trial_texts(), grave=False), _TEST_TIMEOUT_S):
        failed += problem is not None
        if as_json:
            print_json({"channel": name, "delivered": problem is None, "problem": problem})
        else:
            _print(f"{name}: {'delivered' if problem is None else f'failed: {problem}'}")
    return 1 if failed else 0


def _channels(config: Config, urls: list[str] | None) -> "list[Channel]":
    from spanledger_exporter.alerts.channels import Channels, open_channels

    if urls:
        return open_channels([(f"--url, channel {number}", url) for number, url in enumerate(urls, 1)])
    if not is_configured(config):
        raise ConfigError(["no channel is configured: set notify.urls or notify.urls_file, or give --url URL"])
    return Channels(config.notify_urls, config.notify_urls_file)()


def is_configured(config: Config) -> bool:
    """Tell whether messages go anywhere."""
    return bool(config.notify_urls or config.notify_urls_file)


def _dry_run(config: Config, *, as_json: bool) -> None:
    from spanledger_exporter.alerts.notices import plain
    from spanledger_exporter.alerts.notifier import judge_all, rules_of
    from spanledger_exporter.budgets.shelf import load_budgets
    from spanledger_exporter.budgets.states import read_states
    from spanledger_exporter.ledger.database import open_readonly

    to = [channel.name for channel in _channels(config, None)] if is_configured(config) else []
    now_ns = datetime.now(tz=UTC).timestamp() * 10**9
    with closing(open_readonly(config.ledger_url)) as database, database.read() as connection:
        states = read_states(connection, load_budgets(connection), int(now_ns))
        verdicts = judge_all(connection, states, rules_of(config), int(now_ns))
    for verdict in verdicts:
        document = verdict_document(verdict, to)
        if as_json:
            print_json(document)
        else:
            group = f" ({plain(document['group'])})" if document["group"] else ""
            _print(f"{document['budget']}{group}: {document['used']} spent; {document['because']}")
    if not verdicts and not as_json:
        _print("no budgets")


def verdict_document(verdict: "Verdict", to: list[str]) -> dict[str, Any]:
    """Return whether a message about a budget would be sent now, and why, as JSON types.

    Shape: `{"budget", "group", "used", "threshold", "answer", "because", "to": [channel]}`; `threshold` is null where
    none is crossed.
    """
    from spanledger_exporter.alerts.notices import Notice

    notice = Notice.of(verdict.state, verdict.threshold, verdict.state.at_s)
    return {
        "budget": notice.budget,
        "group": notice.group,
        "used": notice.used,
        "threshold": verdict.threshold or None,
        "answer": verdict.answer,
        "because": _because(verdict, to),
        "to": to if verdict.answer == "due" else [],
    }


def _because(verdict: "Verdict", to: list[str]) -> str:
    crossed = f"the threshold of {verdict.threshold} % is crossed"
    match verdict.answer:
        case "below":
            thresholds = verdict.state.stored.budget.thresholds
            return f"no message: below {min(thresholds)} %" if thresholds else "no message: it has no thresholds"
        case "told":
            return f"no message: {crossed}, and of it or a higher one there was one in this period, under this limit"
        case "waiting":
            return f"no message before {_time(verdict.until_ns)}: {crossed}, but the last one is too recent"
        case "unwanted":
            return f"no message: {crossed}, but notify.budgets names others"
        case "over":
            return f"no message: {crossed}, but the period is over"
        case "due":
            return f"would be sent to {', '.join(to)}: {crossed}" if to else f"{crossed}, but no channel is configured"


def _list(config: Config, limit: int, *, as_json: bool) -> None:
    from spanledger_exporter.alerts import claims
    from spanledger_exporter.ledger.database import open_readonly

    with closing(open_readonly(config.ledger_url)) as database, database.read() as connection:
        alerts = [_document(row) for row in claims.read(connection, limit=limit)]
    if as_json:
        for alert in alerts:
            print_json(alert)
    elif alerts:
        _print_table(alerts)
    else:
        _print("no messages about budgets")


def _document(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a message as JSON types.

    Shape: `{"alert", "budget", "group", "threshold", "limit", "period_start", "period_end", "made", "state",
    "attempts", "delivered", "channels": {name: time}, "problem", "notice": {...}}`
    """
    notice: dict[str, Any] = json.loads(row["message"])
    channels: dict[str, int] = json.loads(row["channels"])
    return {
        "alert": row["alert_id"],
        "budget": row["budget_name"],
        "group": notice["group"],
        "threshold": row["threshold"],
        "limit": row["limit_text"],
        "period_start": _time(row["period_start_s"] * 10**9),
        "period_end": _time(row["period_end_s"] * 10**9),
        "made": _time(row["made_ns"]),
        "state": row["state"],
        "attempts": row["attempts"],
        "delivered": None if row["delivered_ns"] is None else _time(row["delivered_ns"]),
        "channels": {name: _time(since_ns) for name, since_ns in channels.items()},
        "problem": row["problem"],
        "notice": notice,
    }


def _print_table(alerts: Iterable[Mapping[str, Any]]) -> None:
    from rich.table import Table

    from spanledger_exporter.alerts.notices import plain
    from spanledger_exporter.ledger.tables import console

    table = Table(box=None, header_style="bold", pad_edge=False)
    for name in ("alert", "made", "budget", "threshold", "state", "tried", "sent to", "problem"):
        table.add_column(name, justify="right" if name in {"alert", "threshold", "tried"} else "left")
    for alert in alerts:
        table.add_row(
            str(alert["alert"]),
            alert["made"],
            f"{alert['budget']} ({plain(alert['group'])})" if alert["group"] else alert["budget"],
            f"{alert['threshold']} %",
            alert["state"],
            f"{alert['attempts']}x",
            ", ".join(alert["channels"]),
            alert["problem"] or "",
        )
    console().print(table)


def _time(time_ns: int) -> str:
    found = datetime.fromtimestamp(time_ns // 10**9, tz=UTC)
    return found.isoformat(timespec="seconds").replace("+00:00", "Z")


def _count(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 2**31):
        raise argparse.ArgumentTypeError(f"{text!r} is no number of messages; write a whole number from 1")
    return int(text)


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
