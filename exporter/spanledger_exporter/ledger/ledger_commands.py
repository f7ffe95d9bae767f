"""`spanledger ledger`: check, expire, back up, and let others read."""

import argparse
import json
import sys
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from spanledger_exporter.config import Config
from spanledger_exporter.errors import LedgerError

if TYPE_CHECKING:
    from spanledger_exporter.ledger.retention import Expired

_DAY_NS = 86_400 * 10**9
Declare = Callable[[str, str], argparse.ArgumentParser]
ConfigOf = Callable[[argparse.Namespace], Config]


def declare(command: Declare, config_of: ConfigOf, moment: Callable[[str], datetime]) -> None:
    """Add the commands; `command` makes one that names a ledger, `moment` reads a time."""
    _declare_check(command, config_of)
    _declare_expire(command, config_of, moment)
    _declare_backup(command, config_of)
    _declare_grant(command, config_of)


def _declare_check(command: Declare, config_of: ConfigOf) -> None:
    check = command("check", "compare the ledger with itself: sums, reports, profiles, the file; exit 1 if they differ")
    check.add_argument("--repair", action="store_true", help="then make the sums those of the entries")
    check.add_argument("--json", action="store_true", help="one JSON object a line for each thing that is wrong")

    def run(arguments: argparse.Namespace) -> int:
        return _check(config_of(arguments), repairing=arguments.repair, as_json=arguments.json)

    check.set_defaults(run=run)


def _declare_expire(command: Declare, config_of: ConfigOf, moment: Callable[[str], datetime]) -> None:
    expiring = command("expire", "delete entries that are older than they are to be kept; sums stay")
    expiring.add_argument(
        "--before",
        type=moment,
        metavar="TIME",
        help="what ended before the hour of this time, such as 2026-11-22 or 90d (default ledger.retention_days)",
    )
    expiring.add_argument("--dry-run", action="store_true", help="only count what would be deleted")

    def run(arguments: argparse.Namespace) -> int:
        config = config_of(arguments)
        return _expire(config.ledger_url, _before_ns(arguments.before, config), dry_run=arguments.dry_run)

    expiring.set_defaults(run=run)


def _declare_backup(command: Declare, config_of: ConfigOf) -> None:
    backup = command("backup", "copy a ledger on SQLite to a new file, while it is in use")
    backup.add_argument("file", type=Path, metavar="FILE", help="the copy; it must not be there yet")

    def run(arguments: argparse.Namespace) -> int:
        from spanledger_exporter.ledger.backup import back_up

        size = back_up(config_of(arguments).ledger_url, arguments.file)
        _say(f"{arguments.file}: {size} bytes")
        return 0

    backup.set_defaults(run=run)


def _declare_grant(command: Declare, config_of: ConfigOf) -> None:
    granting = command("grant", "let a role of PostgreSQL read the ledger's views, and nothing else")
    granting.add_argument("role", metavar="ROLE", help="a role that exists")

    def run(arguments: argparse.Namespace) -> int:
        from spanledger_exporter.ledger.database import open_existing
        from spanledger_exporter.ledger.granting import VIEWS, grant

        with closing(open_existing(config_of(arguments).ledger_url)) as database:
            grant(database, arguments.role)
        _say(f"{arguments.role} may read {', '.join(VIEWS)}")
        return 0

    granting.set_defaults(run=run)


def _check(config: Config, *, repairing: bool, as_json: bool) -> int:
    from spanledger_exporter.ledger.checking import check, repair
    from spanledger_exporter.ledger.database import open_existing, open_readonly

    with closing(open_readonly(config.ledger_url)) as database:
        findings = check(database, time.time_ns())
    for finding in findings:
        _say(json.dumps(finding._asdict()) if as_json else f"{finding.kind}: {finding.detail}")
    if repairing:
        with closing(open_existing(config.ledger_url)) as database:
            changed = repair(database)
        sys.stderr.write(f"spanledger: {changed} sums were made those of the entries\n")
        with closing(open_readonly(config.ledger_url)) as database:
            findings = check(database, time.time_ns())
    elif not findings and not as_json:
        _say("nothing is wrong")
    return 1 if findings else 0


def _before_ns(before: datetime | None, config: Config) -> int:
    if before is not None:
        return int(before.timestamp()) * 10**9
    if not config.retention_days:
        raise LedgerError("entries are kept for ever: set ledger.retention_days, or say --before TIME")
    return time.time_ns() - config.retention_days * _DAY_NS


def _expire(url: str, before_ns: int, *, dry_run: bool) -> int:
    from spanledger_exporter.ledger.database import open_existing, open_readonly
    from spanledger_exporter.ledger.retention import expire, would_expire

    if before_ns > time.time_ns():
        raise LedgerError("--before lies in the future: every call until then would be refused")
    if dry_run:
        with closing(open_readonly(url)) as database:
            _say(_expired_text("would be", would_expire(database, before_ns)))
        return 0
    with closing(open_existing(url)) as database:
        _say(_expired_text("were", expire(database, before_ns)))
    return 0


def _expired_text(verb: str, done: "Expired") -> str:
    refused = "is" if verb == "were" else verb
    floor = f"{datetime.fromtimestamp(done.floor_ns // 10**9, tz=UTC):%Y-%m-%dT%H:%M:%SZ}"
    return (
        f"{done.entries} entries, {done.reports} reports and {done.adjustments} adjustments {verb} deleted, "
        f"{done.partitions} months {verb} dropped; what ends before {floor} {refused} refused"
    )


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
