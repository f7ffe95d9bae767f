"""The ledger -> what in it contradicts itself: sums that are not those of the entries, and rows without their others.

Entries and sums are compared in one statement for each day, which sees one state of the database, so that the check
is right while others write. What is before the retention floor is on its way out, and is not looked at.
"""

import functools
import operator
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, Table, case, exists, func, literal, or_, select, union_all

from spanledger_exporter.budgets.document import group_text
from spanledger_exporter.budgets.rebuilding import at_one_instant, differences, rebuild
from spanledger_exporter.budgets.shelf import load_budgets
from spanledger_exporter.errors import LedgerError
from spanledger_exporter.ledger.database import Database
from spanledger_exporter.ledger.insert import insert_or_add
from spanledger_exporter.ledger.repeats import closed_hour, repeats
from spanledger_exporter.ledger.schema import (
    COUNTS,
    MONEY,
    ROLLUP_SUMS,
    STORED_SPLIT,
    adjustments,
    ledger_entries,
    profiles,
    reports,
    rollup_hours,
    rollup_minutes,
    rollup_totals,
)
from spanledger_exporter.ledger.state import count_commit, floor_ns, raise_budgets_revision
from spanledger_exporter.money import PUSD_PER_MICRO_USD

_NS_PER_S: Final = 10**9
_DAY_S: Final = 86_400
_MINUTES_CHECKED_S: Final = 47 * 3600
"""They are kept for 48 hours; what is older may be gone already."""
_SHOWN_MAX: Final = 20


class Finding(NamedTuple):
    """One thing that is wrong; `kind` is of a closed set, `detail` says which and how."""

    kind: str
    detail: str


class _Grain(NamedTuple):
    table: Table
    time: str
    seconds: int


_HOURS: Final = _Grain(rollup_hours, "hour_s", 3600)
_MINUTES: Final = _Grain(rollup_minutes, "minute_s", 60)


def check(database: Database, now_ns: int) -> list[Finding]:
    """Return everything that is wrong with a ledger; nothing, where all is right."""
    with database.read() as connection:
        floor = floor_ns(connection)
        days = _days(connection, floor)
    found: list[Finding] = []
    for day_s in days:
        with database.read() as connection:
            _take_the_time(connection)
            found += _check_day(connection, max(day_s, floor // _NS_PER_S), day_s + _DAY_S, now_ns)
    with database.read() as connection:
        # Entries and counters are read one after the other: both as they are at one instant.
        at_one_instant(connection)
        found += _check_budgets(connection)
    with database.read() as connection:
        _take_the_time(connection)
        found += _check_totals(connection)
        found += _check_beside(connection, floor)
        if database.is_sqlite:
            found += _check_file(connection)
    return found


def repair(database: Database) -> int:
    """Make the sums above the floor those of the entries, in one transaction; return how many rows were wrong.

    Raises: `LedgerError` where entries have no profile, so that nobody can say where they belong.
    """
    changed = 0
    with database.write() as connection:
        count_commit(connection)
        _take_the_time(connection)
        floor = floor_ns(connection)
        for day_s in _days(connection, floor):
            for grain in (_HOURS, _MINUTES):
                since_s = max(day_s, floor // _NS_PER_S)
                if grain is _MINUTES:
                    since_s = max(since_s, _oldest_minute(connection, default=day_s + _DAY_S))
                rows = list(_differences(connection, grain, since_s, day_s + _DAY_S))
                insert_or_add(connection, grain.table, (grain.time, "cell_id"), rows)
                changed += len(rows)
        rows = list(_differences_of_totals(connection))
        insert_or_add(connection, rollup_totals, ("cell_id",), rows)
        changed += len(rows)
        off = rebuild(connection, load_budgets(connection), floor)
        if off:
            raise_budgets_revision(connection)
        changed += off
        if _without_profile(connection, floor, 2**63 - 1):
            raise LedgerError("entries without a profile cannot be summed; restore a backup")
    return changed


def _take_the_time(connection: Connection) -> None:
    """Let statements run as long as a large ledger needs."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("SET LOCAL statement_timeout = 0")


def _days(connection: Connection, floor: int) -> range:
    """Return the beginnings of all days that entries or sums are of."""
    here = ledger_entries.c.end_ns
    first_ns, last_ns = connection.execute(select(func.min(here), func.max(here)).where(here >= floor)).one()
    hour = rollup_hours.c.hour_s
    floor_s = floor // _NS_PER_S
    first_s, last_s = connection.execute(select(func.min(hour), func.max(hour)).where(hour >= floor_s)).one()
    times = [unix_ns // _NS_PER_S for unix_ns in (first_ns, last_ns) if unix_ns is not None]
    times += [unix_s for unix_s in (first_s, last_s) if unix_s is not None]
    if not times:
        return range(0)
    return range(min(times) // _DAY_S * _DAY_S, max(times) + 1, _DAY_S)


def _check_day(connection: Connection, since_s: int, until_s: int, now_ns: int) -> Iterator[Finding]:
    for row in _differences(connection, _HOURS, since_s, until_s):
        yield Finding("sums_of_an_hour", f"{_time(row['hour_s'])}, {_difference_text(row, 'the entries')}")
    minutes_s = max(since_s, now_ns // _NS_PER_S - _MINUTES_CHECKED_S)
    for row in _differences(connection, _MINUTES, minutes_s, until_s):
        yield Finding("sums_of_a_minute", f"{_time(row['minute_s'])}, {_difference_text(row, 'the entries')}")
    lost = _without_profile(connection, since_s * _NS_PER_S, until_s * _NS_PER_S)
    if lost:
        yield Finding("profile_missing", f"{lost} entries of {_time(since_s)[:10]} have no profile")
    closed_s = min(until_s, (closed_hour(now_ns) + 1) * 3600)
    for trace_id, span_id, entries in repeats(connection, since_s * _NS_PER_S, closed_s * _NS_PER_S, limit=_SHOWN_MAX):
        yield Finding("repeated_span", f"span {span_id.hex()} of trace {trace_id.hex()} is {entries} entries")


def _differences(connection: Connection, grain: _Grain, since_s: int, until_s: int) -> Iterator[dict[str, int]]:
    """Return by how much the sums are less than those of the entries, where they are not the same.

    Shape: rows of the grain's table.
    """
    if since_s >= until_s:
        return
    names = (grain.time, "cell_id")
    stored, time = grain.table.c, grain.table.c[grain.time]
    kept = select(time, stored.cell_id, *((-stored[name]).label(name) for name in ROLLUP_SUMS)).where(
        time >= since_s, time < until_s
    )
    yield from _unequal(connection, names, _rebuilt(grain, since_s, until_s), kept)


def _differences_of_totals(connection: Connection) -> Iterator[dict[str, int]]:
    """Return by how much the totals are less than their hours add up to, where they are not the same.

    Shape: rows of `rollup_totals`. The hours stay when entries go, so that all of them are there.
    """
    hours, totals = rollup_hours.c, rollup_totals.c
    added = select(hours.cell_id, *(func.sum(hours[name]).label(name) for name in ROLLUP_SUMS)).group_by(hours.cell_id)
    kept = select(totals.cell_id, *((-totals[name]).label(name) for name in ROLLUP_SUMS))
    yield from _unequal(connection, ("cell_id",), added, kept)


def _unequal(
    connection: Connection, names: tuple[str, ...], wanted: Select[Any], taken_away: Select[Any]
) -> Iterator[dict[str, int]]:  # Any: rows of columns that are named by the schema
    """Return the rows of which the sums of both, the second below nothing, are not nothing."""
    both = union_all(wanted, taken_away).subquery()
    sums = {name: func.sum(both.c[name]) for name in ROLLUP_SUMS}
    differ = [sums[name] != 0 for name in COUNTS]
    differ += [sums[f"{name}_micro_usd"] * PUSD_PER_MICRO_USD + sums[f"{name}_rest_pusd"] != 0 for name in MONEY]
    query = (
        select(*(both.c[name] for name in names), *sums.values())
        .group_by(*(both.c[name] for name in names))
        .having(or_(*differ))
        .order_by(*(both.c[name] for name in names))
    )
    for row in connection.execute(query):
        yield dict(zip((*names, *ROLLUP_SUMS), map(int, row), strict=True))


def _rebuilt(grain: _Grain, since_s: int, until_s: int) -> Select[Any]:
    """Return the sums of the entries, by the rules of `rollups.sums_of`."""
    here, seconds = ledger_entries.c, grain.seconds
    time = here.end_ns // (seconds * _NS_PER_S) * seconds
    input_, output = (func.coalesce(here[f"{name}_tokens"], 0) for name in ("input", "output"))
    read = _least(func.coalesce(here.cache_read_tokens, 0), input_)
    counts = (
        literal(1),
        input_,
        output,
        read,
        _least(func.coalesce(here.cache_write_tokens, 0), input_ - read),
        _least(func.coalesce(here.reasoning_tokens, 0), output),
    )
    halves = (half for pusd in _money() for half in (pusd // PUSD_PER_MICRO_USD, pusd % PUSD_PER_MICRO_USD))
    sums = (func.sum(figure).label(name) for name, figure in zip(ROLLUP_SUMS, (*counts, *halves), strict=True))
    return (
        select(time.label(grain.time), profiles.c.cell_id, *sums)
        .join_from(ledger_entries, profiles, profiles.c.profile_id == here.profile_id)
        .where(here.end_ns >= since_s * _NS_PER_S, here.end_ns < until_s * _NS_PER_S)
        .group_by(time, profiles.c.cell_id)
    )


def _money() -> tuple[ColumnElement[int], ...]:
    """Return an entry's cost and the split of it, in the order of `MONEY`; uncached input is what the others leave."""
    here = ledger_entries.c
    cost = func.coalesce(here.cost_pusd, 0)
    split = {name: func.coalesce(here[name], 0) for name in STORED_SPLIT}
    parts = [split[name] for name in STORED_SPLIT if name.startswith("cost_")]
    uncached = case((here.cost_output_pusd.is_not(None), functools.reduce(operator.sub, parts, cost)), else_=0)
    return cost, uncached, *(split[f"{name}_pusd"] for name in MONEY[2:])


def _least(one: ColumnElement[int], other: ColumnElement[int]) -> ColumnElement[int]:
    return case((one < other, one), else_=other)


def _oldest_minute(connection: Connection, *, default: int) -> int:
    oldest = connection.execute(select(func.min(rollup_minutes.c.minute_s))).scalar()
    return default if oldest is None else oldest


def _without_profile(connection: Connection, since_ns: int, until_ns: int) -> int:
    here = ledger_entries.c
    known = exists().where(profiles.c.profile_id == here.profile_id)
    query = select(func.count()).where(here.end_ns >= since_ns, here.end_ns < until_ns, ~known)
    return connection.execute(query).scalar_one()


def _check_totals(connection: Connection) -> Iterator[Finding]:
    for row in _differences_of_totals(connection):
        yield Finding("sums_in_all", _difference_text(row, "those of its hours"))


def _check_budgets(connection: Connection) -> Iterator[Finding]:
    """Compare what budgets have counted with the entries."""
    stored = load_budgets(connection)
    off = differences(connection, stored, floor_ns(connection))
    budgets = {each.budget_id: each.budget for each in stored}
    for kind, rows in (("sums_of_a_budget", off.counters), ("sums_of_a_budgets_day", off.days)):
        for row, sums in rows.items():
            budget = budgets[row.budget_id]
            named = " ".join(filter(None, (budget.name, group_text(budget, row.group_key))))
            said = ", ".join(f"{name} {-figure:+}" for name, figure in sums._asdict().items() if figure)
            yield Finding(kind, f"{named}, from {_time(row.time_s)}: the sums differ from the entries by {said}")


def _check_beside(connection: Connection, floor: int) -> Iterator[Finding]:
    """Compare the entries of several reports with the reports that are there, and adjustments with their entries."""
    here, kept = ledger_entries.c, reports.c
    counted = select(func.count()).where(kept.entry_id == here.entry_id).correlate(ledger_entries).scalar_subquery()
    wrong = select(here.entry_id, here.reports, counted).where(
        here.end_ns >= floor, here.reports.is_not(None), here.reports != counted
    )
    for entry_id, said, there in connection.execute(wrong.limit(_SHOWN_MAX)):
        yield Finding("reports", f"entry {entry_id} says that it has {said} reports, and {there} are there")
    single = exists().where(here.entry_id == kept.entry_id, here.reports.is_not(None))
    orphans = select(kept.report_id, kept.entry_id).where(kept.end_ns >= floor, ~single.correlate(reports))
    for report_id, entry_id in connection.execute(orphans.limit(_SHOWN_MAX)):
        yield Finding("reports", f"report {report_id} is of entry {entry_id}, which has no reports or is not there")
    there = exists().where(here.entry_id == adjustments.c.entry_id).correlate(adjustments)
    lost = select(adjustments.c.adjustment_id, adjustments.c.entry_id).where(~there)
    for adjustment_id, entry_id in connection.execute(lost.limit(_SHOWN_MAX)):
        yield Finding("adjustments", f"adjustment {adjustment_id} is of entry {entry_id}, which is not there")


def _check_file(connection: Connection) -> Iterator[Finding]:
    for (said,) in connection.exec_driver_sql("PRAGMA integrity_check"):
        if said != "ok":
            yield Finding("file", str(said))
    for row in connection.exec_driver_sql("PRAGMA foreign_key_check"):
        yield Finding("file", f"a row of {row[0]} names one of {row[2]} that is not there")


def _difference_text(row: Mapping[str, int], what: str) -> str:
    figures = {name: row[name] for name in COUNTS}
    for name in MONEY:
        figures[f"{name}_pusd"] = row[f"{name}_micro_usd"] * PUSD_PER_MICRO_USD + row[f"{name}_rest_pusd"]
    said = ", ".join(f"{name} {-figure:+}" for name, figure in figures.items() if figure)
    return f"cell {row['cell_id']}: the sums differ from {what} by {said}"


def _time(unix_s: int) -> str:
    return f"{datetime.fromtimestamp(unix_s, tz=UTC):%Y-%m-%dT%H:%M:%SZ}"
