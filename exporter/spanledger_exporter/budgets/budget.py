"""What a budget is: whose calls it holds, to what limit, and what happens as they come near it.

A budget is a value; budget_file.py reads it from TOML, shelf.py keeps it in the ledger, charges.py counts calls
under it. One that is `per` a dimension is one budget for each of its values.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, get_args

from spanledger_exporter.budgets.periods import Period

Unit = Literal["usd", "tokens", "calls"]
Mode = Literal["soft", "hard"]
OnUnpriced = Literal["alert", "refuse", "rate"]
OnUnreachable = Literal["open", "safe", "closed"]
Source = Literal["file", "command"]
UNITS: tuple[str, ...] = get_args(Unit)
UNIT_NAMES: Final[Mapping[str, str]] = {"usd": "USD", "tokens": "tokens", "calls": "calls"}
"""What people read behind an amount."""
MODES: tuple[str, ...] = get_args(Mode)
ON_UNPRICED: tuple[str, ...] = get_args(OnUnpriced)
ON_UNREACHABLE: tuple[str, ...] = get_args(OnUnreachable)

# A dimension of a budget -> where a call has it: a field of its profile, or of the call itself.
PROFILE_DIMENSIONS: Final[Mapping[str, str]] = {
    "service": "service",
    "environment": "environment",
    "tenant": "tenant",
    "team": "team",
    "project": "project",
    "feature": "feature",
    "provider": "provider",
    "model": "model",  # the model that answered, or the one that was asked for: either may match
    "api_key": "api_key_hash",
    "organization": "organization",
}
CALL_DIMENSIONS: Final[Mapping[str, str]] = {"user": "user_id", "session": "session_id"}
DIMENSIONS: Final = (*PROFILE_DIMENSIONS, *CALL_DIMENSIONS)
PRIVATE_DIMENSIONS: Final = frozenset({"user", "session", "api_key"})
"""Of many values, or nobody's business: they are never labels of metrics."""
NAME: Final = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}")
THRESHOLDS: Final = (75, 90, 100)
MICRO_USD_PER_USD: Final = 10**6
BUDGETS_MAX: Final = 20_000
"""Of one ledger."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Budget:
    """A limit on what calls of one scope may come to in a period.

    Units: `limit` micro-USD, tokens or calls, by `unit`; `thresholds` percent of the limit; `rollover_max` as `limit`;
    `safe_allowance` as `limit`, for each process and period; rates pico-USD for one token, of calls without a price.

    `scope` gives for a dimension the names of which one must match, in which `*` stands for any characters, and then
    case does not count. `rollover` adds what the last period left to this one's limit. `hard` refuses calls where
    services enforce budgets; `soft` only says so. Of a hard budget, `on_unpriced` tells what becomes of a call whose
    price is not known: it passes and is counted apart, is refused, or counts at the default rates; `on_unreachable`
    what a service does that cannot reach the exporter: let calls pass, let them pass up to the safe allowance, or
    refuse them.
    """

    name: str
    limit: int
    unit: Unit = "usd"
    scope: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    per: tuple[str, ...] = ()
    period: Period = field(default_factory=Period)
    rollover: bool = False
    rollover_max: int | None = None
    mode: Mode = "soft"
    thresholds: tuple[int, ...] = THRESHOLDS
    on_unpriced: OnUnpriced = "alert"
    input_rate_pusd: int = 0
    output_rate_pusd: int = 0
    on_unreachable: OnUnreachable = "open"
    safe_allowance: int = 0
    description: str = ""

    @property
    def private(self) -> bool:
        """Whether its groups are never shown as labels of metrics."""
        return not PRIVATE_DIMENSIONS.isdisjoint(self.per)


class StoredBudget(NamedTuple):
    """A budget that a ledger keeps.

    Units: `counted_from_s` Unix seconds: calls that were made since then are counted, whole periods where entries
    reach back so far. `source` says who declares it.
    """

    budget_id: int
    budget: Budget
    source: Source
    counted_from_s: int


def effective_limit(budget: Budget, spent_before: int | None) -> int:
    """Return a period's limit, with what the period before left where the budget rolls that over.

    `spent_before` is `None` where that period was not counted: what is not known leaves nothing. What leases of it hold
    is among it, for it may be spent yet, in that period.
    """
    if not budget.rollover or spent_before is None:
        return budget.limit
    most = budget.limit if budget.rollover_max is None else budget.rollover_max
    return budget.limit + min(max(0, budget.limit - spent_before), most)


def unheeded(budget: Budget) -> list[str]:
    """Return what a budget says that nothing ever asks it for, and why."""
    refuses = ['on_unpriced = "refuse"'] if budget.on_unpriced == "refuse" else []
    if budget.mode == "hard":
        return [f"{each} is for a limit in USD; calls of any price pass" for each in refuses if budget.unit != "usd"]
    unreachable = f'on_unreachable = "{budget.on_unreachable}"'
    if budget.on_unreachable == "safe":
        unreachable += f" with safe_{budget.unit}"
    said = [*([unreachable] if budget.on_unreachable != "open" else []), *refuses]
    return [f'{each} is for mode = "hard"; a soft budget lets every call pass' for each in said]


def matches(patterns: tuple[str, ...], *values: str | None) -> bool:
    """Tell whether one of the values is one of the names; a value that was not reported is the empty text."""
    return any(_matches(pattern, value or "") for pattern in patterns for value in values)


def _matches(pattern: str, value: str) -> bool:
    """Compare by hand: a regular expression of many `*` can take for ever on a text that was made for it."""
    if "*" not in pattern:
        return pattern == value
    first, *middle, last = pattern.lower().split("*")
    text = value.lower()
    if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
        return False
    at, end = len(first), len(text) - len(last)
    for part in middle:
        at = text.find(part, at, end)
        if at < 0:
            return False
        at += len(part)
    return True
