"""The days of a budget -> whether one of them is unlike its weekday, and by how much.

A day is set against the mean of the seven before it, as a logarithm, and that against the same weekday of earlier
weeks: neither a weekend nor slow growth is unusual then. It is anomalous where it lies more than four deviations from
their median, robustly measured, and is half as much again as it. Where there are too few such weekdays yet, three times
the mean of the last seven days is. Measured against simpler rules in bench/forecast.py (docs/forecast.md).

Units: amounts are micro-USD, tokens or calls, whichever the budget counts.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from itertools import dropwhile
from statistics import fmean, median
from typing import Final, Literal, NamedTuple

from spanledger_exporter.budgets.forecast import TRAILING, Stretch

HISTORY_DAYS: Final = 63
"""Eight of the same weekday, each with the seven days before it."""
_SAME_MIN: Final = 4
_SAME_MAX: Final = 8
_DEVIATIONS: Final = 4.0
_TIMES_MEDIAN: Final = 1.5
_TIMES_MEAN: Final = 3.0
_PER_DEVIATION: Final = 1.4826
"""A normal distribution's standard deviation as a multiple of its median absolute deviation."""
_MAD_MIN: Final = 0.05
"""A few equal days are no proof that the next one must be equal, too."""
_RATIO_MIN: Final = 0.01
"""A day without spending has no logarithm; it counts as a hundredth of the mean."""
SCORE_MAX: Final = 100.0
DIMENSIONS: Final = ("model", "service", "project")

Rule = Literal["weekday", "mean"]


class Growth(NamedTuple):
    """Of one dimension the value that grew most: what it came to that day, and what a day of it is otherwise."""

    dimension: str
    value: str
    amount: int
    usual: int


class Anomaly(NamedTuple):
    """How unlike others a day is.

    Units: `score` 1 and more is anomalous; `usual` is what such a day comes to; `day_s` when it began.
    """

    day_s: int
    amount: int
    usual: int
    score: float
    rule: Rule
    grew: tuple[Growth, ...] = ()

    @property
    def anomalous(self) -> bool:
        """Whether somebody should look."""
        return self.score >= 1


def judge(history: Sequence[Stretch], day: Stretch, *, floor: int) -> Anomaly | None:
    """Compare a day with the whole days before it, the oldest first; `None` where they are too few to say.

    A day that is not over yet is judged by what was spent until now: it may be unusual early, never by mistake. What
    is more than usual by less than `floor` is never anomalous.
    """
    days = list(dropwhile(lambda each: not each.amount, history))[1:]  # the first began in its middle
    if len(days) < TRAILING:
        return None
    mean = fmean([each.amount for each in days[-TRAILING:]])
    same = _same_weekday(days, day.weekday)
    if len(same) < _SAME_MIN or not mean:
        rule, usual, score = "mean", mean, _held(day.amount / mean / _TIMES_MEAN if mean else SCORE_MAX)
    else:
        rule, (usual, score) = "weekday", _against(same, day.amount / mean)
        usual *= mean
    if day.amount - usual < floor:
        score = min(score, 0.99) if day.amount > usual else 0.0
    return Anomaly(day.start_s, day.amount, round(usual), round(score, 2), rule)


def _same_weekday(days: Sequence[Stretch], weekday: int) -> list[float]:
    """Return the logarithms of earlier days of a weekday, each against the mean of the seven before it."""
    found: list[float] = []
    for place in range(TRAILING, len(days)):
        if days[place].weekday == weekday:
            mean = fmean([each.amount for each in days[place - TRAILING : place]])
            if mean:
                found.append(math.log(max(days[place].amount / mean, _RATIO_MIN)))
    return found[-_SAME_MAX:]


def _against(same: Sequence[float], ratio: float) -> tuple[float, float]:
    """Return what is usual, as a multiple of the mean, and the score of a day that comes to `ratio` of it."""
    middle = median(same)
    deviation = _PER_DEVIATION * max(median(abs(each - middle) for each in same), _MAD_MIN)
    above = math.log(max(ratio, _RATIO_MIN)) - middle
    return math.exp(middle), _held(min(above / deviation / _DEVIATIONS, above / math.log(_TIMES_MEDIAN)))


def _held(score: float) -> float:
    return max(0.0, min(score, SCORE_MAX))


def growths(
    day: Mapping[tuple[str, ...], int], week: Mapping[tuple[str, ...], int], dimensions: Sequence[str] = DIMENSIONS
) -> tuple[Growth, ...]:
    """Return of each dimension the value that grew most, from the sums of a day and of the seven days before it.

    Shape: both are `{(model, service, project): amount}`.
    """
    found = (_grown(name, _by(day, place), _by(week, place)) for place, name in enumerate(dimensions))
    return tuple(growth for growth in found if growth is not None)


def _by(sums: Mapping[tuple[str, ...], int], place: int) -> dict[str, int]:
    found: dict[str, int] = {}
    for values, amount in sums.items():
        found[values[place]] = found.get(values[place], 0) + amount
    return found


def _grown(dimension: str, day: Mapping[str, int], week: Mapping[str, int]) -> Growth | None:
    grown = (Growth(dimension, value, amount, week.get(value, 0) // TRAILING) for value, amount in day.items())
    return _most(growth for growth in grown if growth.amount > growth.usual)


def _most(found: Iterable[Growth]) -> Growth | None:
    return max(found, key=lambda growth: (growth.amount - growth.usual, growth.value), default=None)
