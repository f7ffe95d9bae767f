"""What recent calls came to -> how many more of their kind a budget has room for, and how sure that is.

Units: amounts are micro-USD, tokens or calls, whichever the budget counts.
"""

from collections.abc import Sequence
from statistics import fmean, quantiles, stdev
from typing import Final, Literal, NamedTuple

Confidence = Literal["low", "medium", "high"]
_MANY: Final = 100
_SOME: Final = 20
_ALIKE: Final = 0.5
_VARIED: Final = 1.5


class CallsLeft(NamedTuple):
    """How many calls are left: `middle` of the mean cost, `low` of costly ones, `high` of cheap ones.

    Units: `calls` is how many recent ones it rests on; `high` is `None` where a quarter of them cost nothing.
    """

    low: int
    middle: int
    high: int | None
    confidence: Confidence
    calls: int


def calls_left(remaining: int, amounts: Sequence[int]) -> CallsLeft | None:
    """Return how many calls there is room for, by what recent calls came to; `None` where none came to anything.

    `low` takes three calls in four to cost less, `high` one in four, as long as the mean lies between. The confidence
    is high from 100 calls on that deviate from their mean by less than half of it, medium from 20 that deviate by less
    than one and a half times, and else low.
    """
    mean = fmean(amounts) if amounts else 0.0
    if not mean:
        return None
    remaining = max(0, remaining)
    quarter, _, three_quarters = quantiles(amounts, n=4, method="inclusive") if len(amounts) > 1 else [mean] * 3
    cheap = min(quarter, mean)
    return CallsLeft(
        int(remaining / max(three_quarters, mean)),
        int(remaining / mean),
        int(remaining / cheap) if cheap > 0 else None,
        _confidence(amounts, mean),
        len(amounts),
    )


def _confidence(amounts: Sequence[int], mean: float) -> Confidence:
    varied = stdev(amounts) / mean if len(amounts) > 1 else _VARIED
    if len(amounts) >= _MANY and varied < _ALIKE:
        return "high"
    return "medium" if len(amounts) >= _SOME and varied < _VARIED else "low"
