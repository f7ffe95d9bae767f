"""An anomalous day of a budget -> the model, service and project whose spending grew most, from the sums by the hour.

The sums have no users, sessions, keys and organizations: of a budget that is about those, what grew is looked for among
all calls that its other dimensions name.
"""

from collections.abc import Mapping
from typing import Final

from sqlalchemy import ColumnElement, Connection, case, func, select

from spanledger_exporter.budgets.anomalies import DIMENSIONS, Growth, growths
from spanledger_exporter.budgets.budget import Budget, Unit, matches
from spanledger_exporter.budgets.forecast import TRAILING
from spanledger_exporter.budgets.sums import rows
from spanledger_exporter.ledger.schema import DIMENSIONS as CELL_DIMENSIONS
from spanledger_exporter.ledger.schema import cells, rollup_hours

_HOUR_S: Final = 3600
_DAY_S: Final = 86_400


def causes(
    connection: Connection, budget: Budget, group: Mapping[str, str | None], day_s: int, now_s: int
) -> tuple[Growth, ...]:
    """Return what grew most on the day that began then, against the seven days before it.

    Shape: `group` has the values of a budget's group by dimension, `{}` for a budget without groups.
    """
    first_s = day_s // _HOUR_S * _HOUR_S
    names = sorted({*DIMENSIONS, *(set(CELL_DIMENSIONS) & {*budget.scope, *group})})
    amount, hour_s = amount_column(budget.unit), rollup_hours.c.hour_s
    today = func.sum(case((hour_s >= first_s, amount), else_=0))
    before = func.sum(case((hour_s < first_s, amount), else_=0))
    columns = [cells.c[name] for name in names]
    query = select(*columns, today, before).join_from(rollup_hours, cells).group_by(*columns)
    wanted = query.where(hour_s >= first_s - TRAILING * _DAY_S, hour_s <= now_s)
    day: dict[tuple[str, ...], int] = {}
    week: dict[tuple[str, ...], int] = {}
    for *values, of_day, of_week in rows(connection, wanted):
        dimensions = dict(zip(names, values, strict=True))
        if belongs(dimensions, budget, group):
            key = tuple(dimensions[name] for name in DIMENSIONS)
            day[key] = day.get(key, 0) + int(of_day)
            week[key] = week.get(key, 0) + int(of_week)
    return growths(day, week)


def belongs(values: Mapping[str, str], budget: Budget, group: Mapping[str, str | None]) -> bool:
    """Tell whether calls with these values are a budget's and a group's, as far as the values say."""
    named = all(matches(patterns, values[name]) for name, patterns in budget.scope.items() if name in values)
    return named and all(values[name] == (value or "") for name, value in group.items() if name in values)


def amount_column(unit: Unit) -> ColumnElement[int]:
    """Return what the sums of an hour count towards a budget of a unit, in whole micro-USD, tokens or calls."""
    here = rollup_hours.c
    if unit == "usd":
        return here.cost_micro_usd
    return here.input_tokens + here.output_tokens if unit == "tokens" else here.calls
