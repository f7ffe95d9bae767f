"""What budgets are moved by -> the rows of their counters and days, and back."""

from collections.abc import Iterable, Mapping
from typing import Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, Table, func, select

from spanledger_exporter.budgets.charges import Place, Sum
from spanledger_exporter.ledger.budget_schema import BUDGET_SUMS, budget_counters, budget_days
from spanledger_exporter.ledger.insert import add_sums
from spanledger_exporter.money import PUSD_PER_MICRO_USD

EARLIER_S: Final = 0
"""The day under which those are summed that are not kept any more (keeping.py)."""


class Row(NamedTuple):
    """The key of a row of a budget's counters or days. Units: Unix seconds."""

    budget_id: int
    time_s: int
    group_key: str


assert tuple(budget_counters.columns.keys())[3:] == (*BUDGET_SUMS, "leased"), "a row is made by position"
assert tuple(budget_days.columns.keys())[3:] == BUDGET_SUMS
_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "budget_counters": ("budget_id", "period_start_s", "group_key"),
    "budget_days": ("budget_id", "day_s", "group_key"),
}


def write(connection: Connection, moves: Mapping[Place, Sum]) -> None:
    """Move the counters and the days."""
    counters, days = rows_of(moves)
    add(connection, budget_counters, counters)
    add(connection, budget_days, days)


def rows_of(moves: Mapping[Place, Sum]) -> tuple[dict[Row, Sum], dict[Row, Sum]]:
    """Return the counters and the days of what budgets are moved by."""
    counters: dict[Row, Sum] = {}
    days: dict[Row, Sum] = {}
    for (budget_id, start_s, group_key, day_s), moved in moves.items():
        for rows, key in ((counters, Row(budget_id, start_s, group_key)), (days, Row(budget_id, day_s, group_key))):
            before = rows.get(key)
            rows[key] = moved if before is None else before.plus(moved)
    return counters, days


def add(connection: Connection, table: Table, moves: Mapping[Row, Sum]) -> None:
    """Add to the rows of a table, and make those that are missing; what is granted stays."""
    granted = (0,) if table is budget_counters else ()
    rows = [  # in one order everywhere, so that two writers can never wait for each other
        (*key, moved[0], moved[1], moved[2], *divmod(moved[3], PUSD_PER_MICRO_USD), *granted)
        for key, moved in sorted(moves.items())
    ]
    if rows:
        columns = dict(zip(table.columns.keys(), zip(*rows, strict=True), strict=True))
        add_sums(connection, table, _KEYS[table.name], columns)


def time_of(table: Table) -> ColumnElement[int]:
    """Return the column that says when a row begins."""
    return table.c[_KEYS[table.name][1]]


def read(connection: Connection, table: Table, budget_id: int, since_s: int) -> dict[Row, Sum]:
    """Return the rows of a budget's counters or days from a time on."""
    time_s = time_of(table)
    query = select(table.c.budget_id, time_s, table.c.group_key, *(table.c[name] for name in BUDGET_SUMS))
    rows = connection.execute(query.where(table.c.budget_id == budget_id, time_s >= since_s))
    return {Row(number, at_s, group_key): sum_of(sums) for number, at_s, group_key, *sums in map(tuple, rows)}


def sum_days(connection: Connection, budget_id: int, since_s: int, until_s: int) -> dict[str, Sum]:
    """Return what a budget's days from a time to before another add up to, by group."""
    here = budget_days.c
    query = (
        select(here.group_key, *(func.sum(here[name]) for name in BUDGET_SUMS))
        .where(here.budget_id == budget_id, here.day_s >= since_s, here.day_s < until_s)
        .group_by(here.group_key)
    )
    return {group_key: sum_of(sums) for group_key, *sums in connection.execute(query)}


def sum_of(row: Iterable[int]) -> Sum:
    """Return what the columns `BUDGET_SUMS` of a row say; PostgreSQL sums 64-bit integers into decimals, hence int."""
    calls, tokens, unpriced, micro_usd, rest_pusd = (int(value) for value in row)
    return Sum(calls, tokens, unpriced, micro_usd * PUSD_PER_MICRO_USD + rest_pusd)
