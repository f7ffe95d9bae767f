"""Amounts, durations and states of budgets -> texts and documents.

Shape: a state's document has every figure exactly, money as decimal text in USD, under keys that end with the budget's
unit: `limit_usd`, `spent_usd`, ... or `limit_tokens`; what is not known is null.
"""

from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, cast
from zoneinfo import ZoneInfo

from spanledger_exporter.budgets.anomalies import Anomaly
from spanledger_exporter.budgets.budget import MICRO_USD_PER_USD, StoredBudget
from spanledger_exporter.budgets.document import group_text, group_values, to_document
from spanledger_exporter.budgets.periods import utc_text
from spanledger_exporter.budgets.states import BudgetState
from spanledger_exporter.money import PUSD_PER_MICRO_USD, usd_text

Document = dict[str, Any]
_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400


def exact(amount: int, unit: str) -> str | int:
    """Return an amount as JSON has it: USD as decimal text, tokens and calls as whole numbers."""
    return usd_text(amount * PUSD_PER_MICRO_USD) if unit == "usd" else amount


def amount_text(amount: float, unit: str) -> str:
    """Return an amount as people read it: whole cents from one USD on, rounded down, and all that there is below."""
    whole = round(amount)
    if unit != "usd":
        return f"{whole:,}"
    if abs(whole) < MICRO_USD_PER_USD:
        return usd_text(whole * PUSD_PER_MICRO_USD)
    sign, cents = "-" if whole < 0 else "", abs(whole) // (MICRO_USD_PER_USD // 100)
    return f"{sign}{cents // 100:,}.{cents % 100:02d}"


def duration_text(seconds: float) -> str:
    """Return about how long something takes: `12 d`, `1.5 d`, `7 h`, `20 min`."""
    if seconds >= _DAY_S:
        days = seconds / _DAY_S
        return f"{days:.0f} d" if days >= 10 else f"{days:.1f} d"
    return f"{seconds // _HOUR_S:.0f} h" if seconds >= _HOUR_S else f"{max(0, seconds) // _MINUTE_S:.0f} min"


def value_text(value: object) -> str:
    """Return what a key of a budget's document says, as people read it."""
    if isinstance(value, Mapping):
        return "; ".join(f"{name} {value_text(each)}" for name, each in cast("Mapping[str, object]", value).items())
    if isinstance(value, list):
        return ", ".join(map(str, cast("list[object]", value)))
    return "not set" if value is None else str(value)


def calls_text(count: int) -> str:
    """Return how many calls there are."""
    return "1 call" if count == 1 else f"{count:,} calls"


def groups_text(count: int) -> str:
    """Return how many groups there are."""
    return "no group" if not count else "1 group" if count == 1 else f"{count:,} groups"


def time_text(moment_s: float, timezone: str) -> str:
    """Return a time to the minute, in a time zone."""
    return f"{datetime.fromtimestamp(moment_s, tz=ZoneInfo(timezone)):%Y-%m-%d %H:%M}"


def percent_text(state: BudgetState) -> str:
    """Return how much of the limit is spent, rounded down: 99.99 percent are not 100."""
    return f"{state.spent * 100 // state.limit} %" if state.limit else ("-" if not state.spent else "over")


def name_text(state: BudgetState) -> str:
    """Return a budget's name, and which of its groups."""
    group = group_text(state.stored.budget, state.group_key)
    return f"{state.stored.budget.name} ({printable(group)})" if group else state.stored.budget.name


def printable(text: str) -> str:
    """Return a text that anybody may have made up as one line that does nothing to a terminal."""
    return "".join(char if char.isprintable() else "\ufffd" for char in text)


def state_document(state: BudgetState) -> Document:
    """Return a state as JSON has it."""
    budget = state.stored.budget
    unit, period = budget.unit, budget.period

    def figure(amount: int) -> str | int:
        return exact(amount, unit)

    return {
        "budget": budget.name,
        "group": group_values(budget, state.group_key),
        "mode": budget.mode,
        "unit": unit,
        "at": utc_text(state.at_s),
        "running": state.running,
        "period": {
            "kind": period.kind,
            "timezone": period.timezone,
            "start": utc_text(state.bounds.start_s),
            "end": utc_text(state.bounds.end_s),
        },
        f"limit_{unit}": figure(state.limit),
        f"spent_{unit}": figure(state.spent),
        f"leased_{unit}": figure(state.leased),
        f"unaccounted_{unit}": figure(state.unaccounted),
        f"remaining_{unit}": figure(state.remaining),
        "used_ratio": state.spent / state.limit if state.limit else None,
        "reached": [threshold for threshold in budget.thresholds if state.reached(threshold)],
        "cost_usd": usd_text(state.cost_pusd),
        "calls": state.calls,
        "tokens": state.tokens,
        "unpriced_calls": state.unpriced_calls,
        f"spent_total_{unit}": figure(state.spent_total),
        f"daily_average_{unit}": None if state.daily_average is None else figure(round(state.daily_average)),
        "forecast": _forecast(state, figure),
        "run_out": None if state.run_out_s is None else utc_text(int(state.run_out_s)),
        "days_left": round(state.days_left, 4),
        "calls_left": None if state.calls_left is None else state.calls_left._asdict(),
        "anomaly": None if state.anomaly is None else _anomaly(state.anomaly, unit, figure),
    }


def _forecast(state: BudgetState, figure: Callable[[int], str | int]) -> Document | None:
    ahead, unit = state.forecast, state.stored.budget.unit
    if ahead is None:
        return None
    amounts = {f"{name}_{unit}": figure(getattr(ahead, name)) for name in ("low", "middle", "high")}
    return {**amounts, "method": ahead.method, "days": ahead.days}


def _anomaly(anomaly: Anomaly, unit: str, figure: Callable[[int], str | int]) -> Document:
    grew = [
        {
            "dimension": growth.dimension,
            "value": growth.value,
            f"amount_{unit}": figure(growth.amount),
            f"usual_{unit}": figure(growth.usual),
        }
        for growth in anomaly.grew
    ]
    return {
        "anomalous": anomaly.anomalous,
        "score": anomaly.score,
        "rule": anomaly.rule,
        "day": utc_text(anomaly.day_s),
        f"amount_{unit}": figure(anomaly.amount),
        f"usual_{unit}": figure(anomaly.usual),
        "grew": grew,
    }


def budget_document(stored: StoredBudget, states: Sequence[BudgetState], groups: Mapping[int, int]) -> Document:
    """Return a budget as JSON has it: what it is, how its groups stand, and how many are at which threshold."""
    return {
        "budget": to_document(stored.budget),
        "source": stored.source,
        "counted_from": utc_text(stored.counted_from_s),
        "groups": {str(threshold): count for threshold, count in groups.items()} if stored.budget.per else None,
        "states": [state_document(state) for state in states],
    }
