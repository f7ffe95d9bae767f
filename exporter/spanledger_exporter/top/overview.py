"""What `spanledger top` shows, as one value: sums of a window, of today and of the month, budgets, and recent calls.

Units: `*_s` Unix seconds, `*_pusd` pico-USD. Amounts of a budget are whole numbers of its unit.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal, get_args

Window = Literal["15m", "1h", "24h", "month"]
WINDOWS: Final[tuple[Window, ...]] = get_args(Window)
WINDOW: Final[Window] = "1h"
MINUTES: Final = 60
"""Minutes of history, the current one among them."""
LINES_MAX: Final = 500
BUDGETS_MAX: Final = 50
CALLS_MAX: Final = 100
TEXT_CHARS_MAX: Final = 200
"""Longer names are cut: they are shown in a terminal, and an answer has to end somewhere."""
BudgetUnit = Literal["micro_usd", "tokens", "calls"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """What some calls add up to; tokens are `None` where no call reported any, the cost where none has a known one.

    A cost with `unpriced_calls` beside it is the least that the calls cost.
    """

    calls: int = 0
    errors: int = 0
    unpriced_calls: int = 0
    unreported_calls: int = 0
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_pusd: int | None = None

    @property
    def tokens(self) -> int | None:
        """Input and output together."""
        return _sum(self.input_tokens, self.output_tokens)

    def plus(self, other: "Figures") -> "Figures":
        """Return the sum of both."""
        return Figures(
            calls=self.calls + other.calls,
            errors=self.errors + other.errors,
            unpriced_calls=self.unpriced_calls + other.unpriced_calls,
            unreported_calls=self.unreported_calls + other.unreported_calls,
            input_tokens=_sum(self.input_tokens, other.input_tokens),
            output_tokens=_sum(self.output_tokens, other.output_tokens),
            cost_pusd=_sum(self.cost_pusd, other.cost_pusd),
        )


def total(figures: Iterable[Figures]) -> Figures:
    """Return the sum of all."""
    found = Figures()
    for each in figures:
        found = found.plus(each)
    return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """The calls of one service to one model of one provider; an empty name was not reported."""

    service: str
    provider: str
    model: str
    figures: Figures


@dataclass(frozen=True, slots=True, kw_only=True)
class Minute:
    """One minute of the history."""

    start_s: int
    calls: int
    unpriced_calls: int
    cost_pusd: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlook:
    """What the month is likely to come to: in one case of ten less than `low`, in one of ten more than `high`."""

    low_pusd: int
    middle_pusd: int
    high_pusd: int


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetLine:
    """How a budget stands, or one of its groups; `group` is empty for a budget without groups.

    `thresholds` are those that are reached. `unpriced_calls` are in no part of what was spent, which is more then.
    `expected` is what the period is likely to come to, `run_out_s` when nothing is left of the limit, if that is before
    the period's end.
    """

    name: str
    group: str
    unit: BudgetUnit
    mode: Literal["soft", "hard"]
    limit: int
    spent: int
    expected: int | None
    thresholds: tuple[int, ...]
    unpriced_calls: int
    start_s: int
    end_s: int
    run_out_s: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetGroups:
    """A budget with groups: how many there are, and how many of them are over."""

    name: str
    per: tuple[str, ...]
    groups: int
    over: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One call. `cost_pusd` is `None` where the cost is unknown, for `price_reason`, or there was nothing to pay."""

    entry_id: int
    end_s: int
    duration_ms: int
    service: str
    provider: str
    model: str
    operation: str
    outcome: str
    error_type: str | None
    input_tokens: int | None
    output_tokens: int | None
    usage_status: str
    price_status: str
    price_reason: str | None
    cost_pusd: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Overview:
    """One look at a ledger.

    `total` is of the calls that ended in the window; `lines` divide it, the costliest first, and `left_out` is the sum
    of those that had no room. `minutes` are the last sixty, the oldest first. `budgets` have the most used first.
    """

    at_s: int
    window: Window
    since_s: int
    total: Figures
    today: Figures
    month: Figures
    outlook: Outlook | None
    minutes: tuple[Minute, ...]
    lines: tuple[Line, ...]
    lines_left_out: int
    left_out: Figures
    budgets: tuple[BudgetLine, ...]
    budgets_left_out: int
    groups: tuple[BudgetGroups, ...]
    calls: tuple[Call, ...]


def _sum(one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return other if one is None else one
    return one + other
