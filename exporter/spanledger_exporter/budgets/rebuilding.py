"""The counters of budgets, and what the entries say that they should be -> by how much they differ.

What retention has deleted cannot be compared any more. So days are compared from the first on that lies behind the
floor as a whole, and periods that began behind it; a period across the floor must be what its days add up to.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection

from spanledger_exporter.budgets import counters
from spanledger_exporter.budgets.budget import StoredBudget
from spanledger_exporter.budgets.charges import NOTHING, Place, Sum
from spanledger_exporter.budgets.counters import Row, rows_of
from spanledger_exporter.budgets.groups import GROUPS_MAX, into_other, room
from spanledger_exporter.budgets.periods import Bounds, Period
from spanledger_exporter.budgets.recounting import counted, floor_s
from spanledger_exporter.budgets.scopes import other_key
from spanledger_exporter.ledger.budget_schema import budget_counters as counters_table
from spanledger_exporter.ledger.budget_schema import budget_days
from spanledger_exporter.ledger.state import floor_ns

_NS_PER_S: Final = 10**9
_DRIFT_S: Final = 2 * 86_400


class Differences(NamedTuple):
    """By how much rows are less than what they should be; those that are right are not among them."""

    counters: Mapping[Row, Sum]
    days: Mapping[Row, Sum]


class _Stretch(NamedTuple):
    """What of a budget is compared: its calls made since a time, its days and its periods from times on.

    `across` where the first of these periods began before its calls are compared.
    """

    stored: StoredBudget
    since_s: int
    day_s: int
    period_s: int
    across: bool


def differences(
    connection: Connection, stored: Sequence[StoredBudget], floor: int, *, groups_max: int = GROUPS_MAX
) -> Differences:
    """Return by how much the counters and days of budgets are less than what the entries say.

    Units: `floor` Unix nanoseconds, the time before which entries may be gone.
    """
    stretches = [_stretch(each, floor_s(floor)) for each in stored]
    moves = counted(connection, [each.stored._replace(counted_from_s=each.since_s) for each in stretches])
    kept_counters: dict[Row, Sum] = {}
    kept_days: dict[Row, Sum] = {}
    for each in stretches:
        kept_counters |= counters.read(connection, counters_table, each.stored.budget_id, each.period_s)
        kept_days |= counters.read(connection, budget_days, each.stored.budget_id, each.day_s)
    moves = _with_room(moves, kept_counters, {each.budget_id: each for each in stored}, groups_max)
    counted_rows, counted_days = rows_of(moves)
    for each in stretches:
        number = each.stored.budget_id
        if each.across:
            for group_key, earlier in counters.sum_days(connection, number, each.period_s, each.day_s).items():
                row = Row(number, each.period_s, group_key)
                counted_rows[row] = counted_rows.get(row, NOTHING).plus(earlier)
    return Differences(_less(kept_counters, counted_rows), _less(kept_days, counted_days))


def at_one_instant(connection: Connection) -> None:
    """Let all that a new connection reads be of one state of the database, as on SQLite it is anyway."""
    if connection.dialect.name == "postgresql":
        connection.execution_options(isolation_level="REPEATABLE READ")


def rebuild(connection: Connection, stored: Sequence[StoredBudget], floor: int, *, groups_max: int = GROUPS_MAX) -> int:
    """Make the counters and days of budgets what the entries say; return how many rows were not."""
    found = differences(connection, stored, floor, groups_max=groups_max)
    counters.add(connection, counters_table, found.counters)
    counters.add(connection, budget_days, found.days)
    return len(found.counters) + len(found.days)


def drift(connection: Connection, stored: Sequence[StoredBudget], now_ns: int) -> dict[str, Sum]:
    """Return by how much the counters of current periods are off, by the name of the budget: all differences together.

    The entries of the last two days are counted again, the days before them are taken as they are: it costs the same
    however long the periods are.
    """
    floor = max(floor_ns(connection), now_ns - _DRIFT_S * _NS_PER_S)
    names = {each.budget_id: each.budget.name for each in stored}
    found = dict.fromkeys(names.values(), NOTHING)
    for rows in differences(connection, stored, floor):
        for row, sums in rows.items():
            name = names[row.budget_id]
            found[name] = found[name].plus(Sum(*map(abs, sums)))
    return found


def _stretch(stored: StoredBudget, floor: int) -> _Stretch:
    period, since_s = stored.budget.period, stored.counted_from_s
    is_whole = since_s >= floor
    if not is_whole:
        since_s = _first_day(period.timezone, floor)
    bounds = period.bounds(since_s)
    period_s = since_s if bounds is None else bounds.start_s
    return _Stretch(stored, since_s, period.day_of(since_s), period_s, not is_whole and period_s < since_s)


def _first_day(timezone: str, floor: int) -> int:
    """Return the beginning of the first day that lies behind a time as a whole."""
    period = Period(kind="day", timezone=timezone)
    start_s = period.day_of(floor)
    if start_s == floor:
        return start_s
    day: Bounds = next(iter(period.days_of(Bounds(floor, floor + 1))))
    return day.end_s


def _with_room(
    moves: Mapping[Place, Sum], kept: Iterable[Row], stored: Mapping[int, StoredBudget], groups_max: int
) -> Mapping[Place, Sum]:
    """Sum up under `__other__` what is beyond the limit of values: of those without a row, the last in their order."""
    there: dict[tuple[int, int], set[str]] = {}
    for budget_id, start_s, group_key in kept:
        there.setdefault((budget_id, start_s), set()).add(group_key)
    new: dict[tuple[int, int], set[str]] = {}
    for place in moves:
        period = place[:2]
        if place.group_key and place.group_key not in there.get(period, ()):
            new.setdefault(period, set()).add(place.group_key)
    folded: set[tuple[int, int, str]] = set()
    for period, keys in new.items():
        rows, other = there.get(period, ()), other_key(stored[period[0]])
        beyond = sorted(keys - {other})[room(len(rows), folding=other in rows, groups_max=groups_max) :]
        folded.update((*period, group_key) for group_key in beyond)
    return moves if not folded else into_other(moves, folded, stored)


def _less(kept: Mapping[Row, Sum], right: Mapping[Row, Sum]) -> dict[Row, Sum]:
    found = {row: right.get(row, NOTHING).minus(kept.get(row, NOTHING)) for row in kept.keys() | right.keys()}
    return {row: difference for row, difference in sorted(found.items()) if difference != NOTHING}
