"""A budget's period -> with which models and services most of it was spent, from the sums by the hour.

The sums have no users, sessions, keys and organizations: of a budget that is about those nothing can be said. They are
by the hour in which calls ended, so the first hour of a period is counted whole.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from sqlalchemy import Connection, func, select

from spanledger_exporter.budgets.anomaly_causes import amount_column, belongs
from spanledger_exporter.budgets.budget import Budget
from spanledger_exporter.budgets.periods import Bounds
from spanledger_exporter.budgets.sums import rows
from spanledger_exporter.ledger.schema import DIMENSIONS as CELL_DIMENSIONS
from spanledger_exporter.ledger.schema import cells, rollup_hours

PARTS_MAX: Final = 3
"""Of each dimension."""
_DIMENSIONS: Final = ("model", "service")
_HOUR_S: Final = 3600


class Part(NamedTuple):
    """How many percent of what was spent one value of a dimension has, rounded down."""

    dimension: str
    value: str
    percent: int


def parts(connection: Connection, budget: Budget, group: Mapping[str, str | None], period: Bounds) -> tuple[Part, ...]:
    """Return the largest parts of what was spent in a period, by dimension, the largest first.

    Shape: `group` has the values of a budget's group by dimension, `{}` for a budget without groups.
    """
    asked = {*budget.scope, *group}
    if not asked <= {*CELL_DIMENSIONS}:
        return ()
    names = sorted({*_DIMENSIONS, *asked})
    columns = [cells.c[name] for name in names]
    query = select(*columns, func.sum(amount_column(budget.unit))).join_from(rollup_hours, cells).group_by(*columns)
    hour_s = rollup_hours.c.hour_s
    found: dict[str, dict[str, int]] = {name: {} for name in _DIMENSIONS}
    for *values, amount in rows(
        connection, query.where(hour_s >= period.start_s // _HOUR_S * _HOUR_S, hour_s < period.end_s)
    ):
        dimensions = dict(zip(names, values, strict=True))
        if belongs(dimensions, budget, group):
            for name, sums in found.items():
                sums[dimensions[name]] = sums.get(dimensions[name], 0) + int(amount)
    return tuple(part for name, sums in found.items() for part in _largest(name, sums))


def _largest(dimension: str, sums: Mapping[str, int]) -> list[Part]:
    whole = sum(sums.values())
    ordered = sorted(sums.items(), key=lambda item: (-item[1], item[0]))[:PARTS_MAX]
    return [Part(dimension, value, amount * 100 // whole) for value, amount in ordered if amount > 0]
