"""What the ledger has counted under budgets, read: by group, period and day, and what leases hold.

Many budgets are read with few statements: those without groups together, those with groups one by one, the most used
groups first, so that what is read has a limit however many users there are.

Units: `amount` and what leases hold are micro-USD, tokens or calls, by the budget's unit; times Unix seconds.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Connection,
    FromClause,
    Numeric,
    Select,
    Table,
    and_,
    case,
    cast,
    func,
    literal,
    select,
)

from spanledger_exporter.budgets.budget import StoredBudget, Unit
from spanledger_exporter.budgets.charges import Sum
from spanledger_exporter.budgets.counters import sum_of
from spanledger_exporter.budgets.periods import Bounds
from spanledger_exporter.leases.sweep import unaccounted
from spanledger_exporter.ledger.budget_schema import BUDGET_SUMS, budget_counters, budget_days, budget_leases
from spanledger_exporter.money import PUSD_PER_MICRO_USD

_TOGETHER_MAX: Final = 500
_Piece = TypeVar("_Piece")
Key = tuple[int, str]
"""A budget's number, and the group."""


class Counter(NamedTuple):
    """A group's counter in one period; `leased` is in the budget's unit."""

    counted: Sum
    leased: int


def amount_of(counted: Sum, unit: Unit) -> int:
    """Return what counts towards a limit; less than a micro-USD does not."""
    if unit == "usd":
        return counted.cost_pusd // PUSD_PER_MICRO_USD
    return counted.tokens if unit == "tokens" else counted.calls


class Batch(NamedTuple):
    """Groups of budgets that one statement can ask for: one group of many budgets, or many groups of one budget."""

    numbers: tuple[int, ...]
    groups: tuple[str, ...]

    def each(self) -> list[Key]:
        """Return the groups one by one."""
        return [(number, group) for number in self.numbers for group in self.groups]

    def of(self, table: Table) -> ColumnElement[bool]:
        """Return the condition under which a row belongs to it."""
        return and_(table.c.budget_id.in_(self.numbers), table.c.group_key.in_(self.groups))


def batches(groups: Mapping[int, Sequence[str]]) -> Iterator[Batch]:
    """Return the batches of some groups of some budgets."""
    plain = [number for number, keys in groups.items() if tuple(keys) == ("",)]
    for numbers in _pieces(plain):
        yield Batch(tuple(numbers), ("",))
    for number, keys in groups.items():
        if tuple(keys) != ("",):
            for piece in _pieces(keys):
                yield Batch((number,), tuple(piece))


def _pieces(of: Sequence[_Piece]) -> Iterator[Sequence[_Piece]]:
    for place in range(0, len(of), _TOGETHER_MAX):
        yield of[place : place + _TOGETHER_MAX]


def used_groups(
    connection: Connection, stored: StoredBudget, current: Bounds, before: Bounds | None, groups_max: int
) -> list[str]:
    """Return the groups of a budget in its period, at most so many, those that used the most of their limit first."""
    amount, limit, source = _of_groups(stored, before)
    here = budget_counters.c.group_key
    query = select(here).select_from(source).order_by((amount * 1.0 / limit).desc(), here).limit(groups_max)
    return list(connection.execute(query.where(*_in_period(stored, current))).scalars())


def group_counts(
    connection: Connection, stored: StoredBudget, current: Bounds, before: Bounds | None, thresholds: Iterable[int]
) -> dict[int, int]:
    """Return how many groups of a budget have used so many percent of their limit or more."""
    wanted = tuple(thresholds)
    amount, limit, source = _of_groups(stored, before)
    # Decimals: a limit in percent may be beyond 64 bits.
    spent, most = cast(amount, Numeric) * 100, cast(limit, Numeric)
    reached = (func.sum(case((spent >= most * each, 1), else_=0)) for each in wanted)
    row = connection.execute(select(*reached).select_from(source).where(*_in_period(stored, current))).one()
    return {each: int(found or 0) for each, found in zip(wanted, row, strict=True)}


def _in_period(stored: StoredBudget, current: Bounds) -> tuple[ColumnElement[bool], ...]:
    here = budget_counters.c
    return here.budget_id == stored.budget_id, here.period_start_s == current.start_s


def _of_groups(
    stored: StoredBudget, before: Bounds | None
) -> tuple[ColumnElement[int], ColumnElement[int], Any]:  # Any: a table or a join of two, which have no common type
    """Return what a group has spent, its effective limit, and where both stand."""
    budget = stored.budget
    amount, limit = _amount(budget_counters, budget.unit), literal(budget.limit, BigInteger)
    if not budget.rollover or before is None:
        return amount, limit, budget_counters
    past, here = budget_counters.alias("past"), budget_counters.c
    same = and_(
        past.c.budget_id == here.budget_id, past.c.group_key == here.group_key, past.c.period_start_s == before.start_s
    )
    spent = func.coalesce(_amount(past, budget.unit) + past.c.leased, 0)
    most = budget.limit if budget.rollover_max is None else budget.rollover_max
    left = case((spent >= limit, 0), (limit - spent > most, most), else_=limit - spent)
    return amount, limit + left, budget_counters.outerjoin(past, same)


def _amount(table: FromClause, unit: Unit) -> ColumnElement[int]:
    if unit == "usd":
        return table.c.cost_micro_usd + table.c.cost_rest_pusd // PUSD_PER_MICRO_USD
    return table.c.tokens if unit == "tokens" else table.c.calls


def read_counters(
    connection: Connection, batch: Batch, starts_s: Iterable[int]
) -> Iterator[tuple[int, str, int, Counter]]:
    """Return the counters of the periods that begin then: budget, group, beginning, counter."""
    here = budget_counters.c
    query = select(here.budget_id, here.group_key, here.period_start_s, here.leased, *_columns(budget_counters))
    wanted = query.where(batch.of(budget_counters), here.period_start_s.in_(tuple(starts_s)))
    for number, group, start_s, leased, *sums in rows(connection, wanted):
        yield number, group, start_s, Counter(sum_of(sums), leased)


def read_periods(connection: Connection, batch: Batch, since_s: int) -> Iterator[tuple[int, str, int, Sum]]:
    """Return the sums of each period that began since: budget, group, beginning, sums."""
    here = budget_counters.c
    query = select(here.budget_id, here.group_key, here.period_start_s, *_columns(budget_counters))
    wanted = query.where(batch.of(budget_counters), here.period_start_s >= since_s)
    for number, group, start_s, *sums in rows(connection, wanted):
        yield number, group, start_s, sum_of(sums)


def read_days(connection: Connection, batch: Batch, days_s: Sequence[int]) -> Iterator[tuple[int, str, int, Sum]]:
    """Return the sums of the days that began then: budget, group, beginning, sums.

    Days are named one by one: the index has them before the group, and others of the same day are passed over.
    """
    here = budget_days.c
    query = select(here.budget_id, here.group_key, here.day_s, *_columns(budget_days))
    for number, group, day_s, *sums in rows(connection, query.where(batch.of(budget_days), here.day_s.in_(days_s))):
        yield number, group, day_s, sum_of(sums)


def read_earlier(connection: Connection, batch: Batch, before_s: int) -> dict[Key, Sum]:
    """Return what groups add up to over all days before a time."""
    here = budget_days.c
    query = select(here.budget_id, here.group_key, *(func.sum(column) for column in _columns(budget_days)))
    wanted = query.where(batch.of(budget_days), here.day_s < before_s).group_by(here.budget_id, here.group_key)
    return {(number, group): sum_of(sums) for number, group, *sums in rows(connection, wanted)}


def read_unaccounted(connection: Connection, now_ns: int) -> dict[tuple[int, str, int], int]:
    """Return what leases hold of which nobody has told what became of it, by budget, group and beginning of the period.

    Those are leases of processes that are gone, and those that were given back and of whose calls some never arrived.
    """
    here = budget_leases.c
    held = func.sum(here.granted - here.settled)
    query = select(here.budget_id, here.group_key, here.period_start_s, held).where(
        *unaccounted(now_ns), here.granted > here.settled
    )
    found = connection.execute(query.group_by(here.budget_id, here.group_key, here.period_start_s))
    return {(number, group, start_s): int(amount) for number, group, start_s, amount in found}


def rows(connection: Connection, query: Select[Any]) -> Iterator[tuple[Any, ...]]:
    """Return the rows of a query; Any: its columns are known when it is made, and not before."""
    for row in connection.execute(query):
        yield tuple(row)


def _columns(table: Table) -> tuple[ColumnElement[int], ...]:
    return tuple(table.c[name] for name in BUDGET_SUMS)
