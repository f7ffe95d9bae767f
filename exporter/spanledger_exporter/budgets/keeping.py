"""What budgets counted long ago -> deleted, while what was spent in all stays.

Since when a budget is counted moves first, in a transaction of its own: from then on every writer, and every check,
leaves out what was made before. Then rows go in slices, between which others write. Whatever interrupts this, the next
time goes on.

The days of a group add up to what its counter for Prometheus shows. So those that go are added to a row of their own,
until the group has no other day any more. Groups that are no labels of metrics need none.
"""

import time
from collections.abc import Callable, Iterator
from typing import Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, Table, delete, exists, func, select, tuple_, update

from spanledger_exporter.budgets import counters
from spanledger_exporter.budgets.budget import Budget, StoredBudget
from spanledger_exporter.budgets.charges import NOTHING, Sum
from spanledger_exporter.budgets.counters import EARLIER_S, Row, time_of
from spanledger_exporter.budgets.shelf import load_budgets
from spanledger_exporter.ledger.budget_schema import BUDGET_SUMS, budget_counters, budget_days, budgets
from spanledger_exporter.ledger.database import Database
from spanledger_exporter.ledger.state import count_commit, raise_budgets_revision

KEEP_DAYS: Final = 400
KEEP_DAYS_MIN: Final = 70
"""As far back as forecasts and anomalies look, and some days more."""
SLICE_ROWS: Final = 5000
_DAY_S: Final = 86_400
_STEP_S: Final = 7 * _DAY_S
"""Where a budget begins is moved once a week at most: it is a change, after which services ask for leases anew."""
_NS_PER_S: Final = 10**9


def keep(
    database: Database,
    now_ns: int,
    keep_days: int,
    *,
    slice_rows: int = SLICE_ROWS,
    between: Callable[[float], None] = time.sleep,
) -> int:
    """Delete what budgets counted in periods that ended so many days ago, and all of removed budgets.

    `between` is called after each slice with the seconds that it took. Return how many rows went.

    Raises: `UnavailableError` when the database does not answer; what was deleted by then stays deleted.
    """
    _move_beginnings(database, now_ns // _NS_PER_S, keep_days)
    deleted = 0
    for table in (budget_counters, budget_days):
        for old in _old(database, table):
            deleted += _delete(database, old, slice_rows, between)
            if old.stays_summed:
                deleted += _forget_groups(database, old.budget_id, slice_rows, between)
    return deleted


def begins_s(budget: Budget, now_s: int, keep_days: int) -> int | None:
    """Return since when a budget is to be counted still; `None` for a fixed range, of which all stays.

    It is the beginning of a period, never of one after any that is needed yet, and of a day: so a day is counted as a
    whole, as a period is. Units: Unix seconds.
    """
    period = budget.period
    current, earlier = period.bounds(now_s), period.bounds((now_s - keep_days * _DAY_S) // _STEP_S * _STEP_S)
    if period.kind == "range" or current is None or earlier is None:
        return None
    before = period.before(current) if budget.rollover else None
    return period.day_of(min(each.start_s for each in (current, earlier, before) if each is not None))


def _move_beginnings(database: Database, now_s: int, keep_days: int) -> None:
    with database.read() as connection:
        if not _later(connection, now_s, keep_days):
            return
    with database.write() as connection:
        count_commit(connection)
        for number, at_s in _later(connection, now_s, keep_days).items():
            connection.execute(update(budgets).where(budgets.c.budget_id == number).values(counted_from_s=at_s))
        raise_budgets_revision(connection)


def _later(connection: Connection, now_s: int, keep_days: int) -> dict[int, int]:
    """Return the budgets that are to begin later than they do, and when."""
    found: dict[int, int] = {}
    for each in load_budgets(connection):
        at_s = begins_s(each.budget, now_s, keep_days)
        if at_s is not None and at_s > each.counted_from_s:
            found[each.budget_id] = at_s
    return found


class _Old(NamedTuple):
    """The rows of a budget that may go: those before a time, or all of a budget that is gone."""

    table: Table
    budget_id: int
    before_s: int | None
    stays_summed: bool = False

    @property
    def which(self) -> list[ColumnElement[bool]]:
        """The condition under which a row is one of them."""
        of_budget = self.table.c.budget_id == self.budget_id
        if self.before_s is None:
            return [of_budget]
        time_s = time_of(self.table)
        return [of_budget, time_s > EARLIER_S, time_s < self.before_s]


def _old(database: Database, table: Table) -> list[_Old]:
    with database.read() as connection:
        numbers = list(_numbers(connection, table))  # before the budgets: one that is made meanwhile is none of them
        there = set(connection.execute(select(budgets.c.budget_id)).scalars())
        found = [_Old(table, number, None) for number in numbers if number not in there]
        of_numbers = set(numbers)
        for each in load_budgets(connection):
            if each.budget_id in of_numbers:
                before_s = _before_s(each, table)
                summed = table is budget_days and not each.budget.private
                if before_s is not None:
                    found.append(_Old(table, each.budget_id, before_s, summed))
        return [old for old in found if connection.execute(select(exists().where(*old.which))).scalar()]


def _numbers(connection: Connection, table: Table) -> Iterator[int]:
    """Return the budgets that have rows, each found by the index: there may be very many rows of one."""
    number: int | None = -1
    while True:
        number = connection.execute(select(func.min(table.c.budget_id)).where(table.c.budget_id > number)).scalar()
        if number is None:
            return
        yield number


def _before_s(stored: StoredBudget, table: Table) -> int | None:
    """Return before when the rows of a budget may go: before the first period of which anything is counted."""
    period = stored.budget.period
    first = None if period.kind == "range" else period.bounds(stored.counted_from_s)
    if first is None:
        return None
    return first.start_s if table is budget_counters else period.day_of(first.start_s)


def _delete(database: Database, old: _Old, slice_rows: int, between: Callable[[float], None]) -> int:
    deleted = 0
    while True:
        started_s = time.perf_counter()
        with database.write() as connection:
            count_commit(connection)
            rows = _delete_slice(connection, old, slice_rows)
        deleted += rows
        if rows < slice_rows:
            return deleted
        between(time.perf_counter() - started_s)


def _delete_slice(connection: Connection, old: _Old, slice_rows: int) -> int:
    here = old.table.c
    key = time_of(old.table), here.group_key
    some = select(*key).where(*old.which).order_by(*key).limit(slice_rows)
    gone = delete(old.table).where(here.budget_id == old.budget_id, tuple_(*key).in_(some))
    rows = connection.execute(gone.returning(here.group_key, *(here[name] for name in BUDGET_SUMS))).all()
    if old.stays_summed:
        sums: dict[Row, Sum] = {}
        for group_key, *figures in map(tuple, rows):
            row = Row(old.budget_id, EARLIER_S, group_key)
            sums[row] = sums.get(row, NOTHING).plus(counters.sum_of(figures))
        counters.add(connection, budget_days, sums)
    return len(rows)


def _forget_groups(database: Database, budget_id: int, slice_rows: int, between: Callable[[float], None]) -> int:
    """Delete what groups add up to that have no other day any more: nobody shows them."""
    here = budget_days.c
    of_budget = here.budget_id == budget_id
    current = select(here.group_key).where(of_budget, here.day_s > EARLIER_S)
    with database.read() as connection:
        gone = select(here.group_key).where(of_budget, here.day_s == EARLIER_S, here.group_key.not_in(current))
        groups = list(connection.execute(gone).scalars())
    for place in range(0, len(groups), slice_rows):
        started_s = time.perf_counter()
        with database.write() as connection:
            count_commit(connection)
            some = here.group_key.in_(groups[place : place + slice_rows])
            connection.execute(delete(budget_days).where(of_budget, here.day_s == EARLIER_S, some))
        between(time.perf_counter() - started_s)
    return len(groups)
