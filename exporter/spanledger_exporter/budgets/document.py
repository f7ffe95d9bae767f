"""A budget <-> its document: the keys of docs/budgets.md, of which TOML and JSON say the same.

Shape: `{"name": "search", "limit_usd": "250", "scope": {"team": ["search"]}, "period": "month", "timezone": "UTC"}`.
What is written is canonical: amounts are decimal texts, names are lists, and what is as it is by default is left out.
"""

import json
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from typing import Any, Final, cast

from spanledger_exporter.budgets.budget import MICRO_USD_PER_USD, THRESHOLDS, Budget
from spanledger_exporter.budgets.budget_reader import (
    PUSD_PER_TOKEN,
    RATE_KEYS,
    WEEKDAYS,
    Document,
    Reader,
    shown,
)
from spanledger_exporter.budgets.periods import ANCHORS, Period
from spanledger_exporter.errors import ConfigError

_FIRST_BY_DEFAULT: Final = frozenset({"weekday", "day", "month"})


def from_document(document: Document) -> Budget:
    """Return the budget that a document declares.

    Raises:
        ConfigError: with every problem of the document.
    """
    reader = Reader(document)
    budget = reader.budget()
    if budget is None:
        raise ConfigError(reader.problems)
    return budget


def from_json(text: str) -> Budget:
    """Return the budget of a document in JSON.

    Raises:
        ConfigError: with every problem of the document.
    """
    try:
        document = json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError) as exc:  # a whole number of too many digits is a ValueError
        raise ConfigError([f"not JSON: {exc}"]) from exc
    if not isinstance(document, dict):
        raise ConfigError([f"a budget is an object of keys, not {shown(document)}"])
    return from_document(cast("dict[str, Any]", document))


def to_document(budget: Budget) -> dict[str, Any]:
    """Return the document that declares a budget: `from_document` gives the same budget back."""
    unit = budget.unit
    rates = zip(RATE_KEYS, (budget.input_rate_pusd, budget.output_rate_pusd), strict=True)
    keys: tuple[tuple[str, Any, bool], ...] = (  # what stands under each, and whether it has to be said
        ("description", budget.description, budget.description != ""),
        (f"limit_{unit}", _amount(budget, budget.limit), True),
        ("scope", {name: list(patterns) for name, patterns in sorted(budget.scope.items())}, bool(budget.scope)),
        ("per", list(budget.per), bool(budget.per)),
        ("period", budget.period.kind, True),
        ("timezone", budget.period.timezone, True),
        *((name, value, True) for name, value in _anchors(budget.period)),
        ("rollover", budget.rollover, budget.rollover),
        (f"rollover_max_{unit}", _amount(budget, budget.rollover_max), budget.rollover_max is not None),
        ("mode", budget.mode, True),
        ("thresholds", list(budget.thresholds), budget.thresholds != THRESHOLDS),
        ("on_unpriced", budget.on_unpriced, budget.on_unpriced != "alert"),
        ("default_rate", {key: _decimal_text(pusd, PUSD_PER_TOKEN) for key, pusd in rates},
         budget.on_unpriced == "rate"),
        ("on_unreachable", budget.on_unreachable, budget.on_unreachable != "open"),
        (f"safe_{unit}", _amount(budget, budget.safe_allowance), budget.safe_allowance > 0),
    )  # fmt: skip
    return {"name": budget.name} | {key: value for key, value, is_said in keys if is_said}


def _anchors(period: Period) -> Iterator[tuple[str, Any]]:
    """Return what begins a period, but for what it is by default."""
    for name in ANCHORS.get(period.kind, ()):
        value = getattr(period, name)
        if value is None or (value == 1 and name in _FIRST_BY_DEFAULT):
            continue
        if isinstance(value, date):
            yield name, value.isoformat()
        else:
            yield name, WEEKDAYS[value - 1] if name == "weekday" else value


def _amount(budget: Budget, amount: int | None) -> str | int | None:
    return _decimal_text(amount, MICRO_USD_PER_USD) if budget.unit == "usd" and amount is not None else amount


def to_json(budget: Budget) -> str:
    """Return the document of a budget as one line of JSON."""
    return json.dumps(to_document(budget), separators=(",", ":"), ensure_ascii=False)


def group_values(budget: Budget, group_key: str) -> dict[str, str | None]:
    """Return the values of a group by dimension, `{}` for a budget that is `per` nothing."""
    return dict(zip(budget.per, json.loads(group_key), strict=True)) if group_key else {}


def group_text(budget: Budget, group_key: str) -> str:
    """Return a group as it is shown: `team=search,model=gpt-5`, and nothing for a budget that is `per` nothing."""
    return ",".join(f"{name}={value or ''}" for name, value in group_values(budget, group_key).items())


def _decimal_text(value: int, scale: int) -> str:
    whole, rest = divmod(value, scale)
    decimals = f"{rest:0{len(str(scale)) - 1}d}".rstrip("0")
    return f"{whole}.{decimals}" if decimals else str(whole)
