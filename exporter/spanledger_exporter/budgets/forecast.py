"""What was spent until now -> what a period is likely to come to at its end, and when its limit is reached.

What is ahead is taken to be as the last seven days were; after four whole weeks each weekday has its own share of a
week. Both were measured against each other and against what peers do (bench/forecast.py, docs/forecast.md). A period
that is shorter than a day is forecast from the periods before it, by the same functions.

Units: amounts are micro-USD, tokens or calls, whichever the budget counts; times are Unix seconds.
"""

import math
from collections.abc import Iterable, Sequence
from itertools import dropwhile, pairwise
from statistics import fmean, stdev
from typing import Final, Literal, NamedTuple

TRAILING: Final = 7
PROFILE_DAYS: Final = 28
_LAST_HOUR: Final = 0.25
_DAY_S: Final = 86_400
_SPREAD_DAYS_MIN: Final = 3
_TENTH: Final = 1.2816
"""How many standard deviations the tenth and the ninetieth hundredth of a normal distribution lie from its middle."""

Method = Literal["weekdays", "days", "hours", "so_far"]


class Stretch(NamedTuple):
    """A day or an hour that has passed, and what was spent in it.

    Shape: `weekday` is 1 for Monday to 7, and 0 where weekdays make no difference.
    """

    start_s: int
    end_s: int
    amount: int
    weekday: int = 0


class Ahead(NamedTuple):
    """What is still to come of a day, or of an hour, within the budget's period.

    Units: `share` is the part of the whole day or hour that it is.
    """

    start_s: int
    end_s: int
    share: float
    weekday: int = 0


class Expectation(NamedTuple):
    """What a day, or an hour, is likely to come to.

    Units: `level` an amount a day or an hour; `spread` the standard deviation of one day as a part of it, `None` where
    there were too few days to say; `drift` by what part of it the level moved a day; `days` how many whole days it
    rests on; `shares` how a weekday differs from the mean of a week, by weekday.
    """

    level: float
    spread: float | None
    days: int
    method: Method
    shares: tuple[float, ...] = (1.0,) * 8
    drift: float = 0.0

    @property
    def is_known(self) -> bool:
        """Whether it rests on a day, or hour, that is over: of a beginning alone nobody knows whether that goes on."""
        return self.days > 0

    def of(self, ahead: Ahead) -> float:
        """Return what is likely to be spent in a time ahead."""
        return self.level * self.shares[ahead.weekday] * ahead.share


class Forecast(NamedTuple):
    """What a period is likely to come to: in one case of ten less than `low`, in one of ten more than `high`."""

    low: int
    middle: int
    high: int
    method: Method
    days: int


def expect(history: Sequence[Stretch], today: Stretch) -> Expectation:
    """Return what a day is likely to come to, from the whole days until now, the oldest first, and today's beginning.

    Days before the first on which anything was spent say nothing, and that one began in its middle: it counts only
    where there is no other. `today.end_s` is now.
    """
    days = list(dropwhile(lambda day: not day.amount, history))
    if len(days) > 1:
        del days[0]
    if not days:
        return _so_far(today, _DAY_S)
    level = fmean([day.amount for day in days[-TRAILING:]])
    recent = days[-PROFILE_DAYS:]
    mean = fmean([day.amount for day in recent])
    if len(days) < PROFILE_DAYS:
        ratios = [day.amount / mean for day in days if mean]
        return Expectation(level, stdev(ratios) if len(ratios) >= _SPREAD_DAYS_MIN else None, len(days), "days")
    shares = _shares(recent)
    spread, drift = _spread_and_drift([day.amount / (mean * (shares[day.weekday] or 1.0)) for day in recent if mean])
    return Expectation(level, spread, len(days), "weekdays", shares, drift)


def forecast(spent: int, expectation: Expectation, ahead: Iterable[Ahead]) -> Forecast:
    """Return what a period is likely to come to, of which `ahead` is still to come.

    Three things are uncertain: each day to come, by the spread of the days; their level, by the spread of the mean of
    those that it was taken from; and where the level drifts until the middle of what is ahead. Many days even out the
    first alone.
    """
    parts = list(ahead)
    expected = [expectation.of(each) for each in parts]
    rest = math.fsum(expected)
    if rest <= 0:
        return Forecast(spent, spent, spent, expectation.method, expectation.days)
    if expectation.spread is None:
        low, high = 0.0, 2 * rest
    else:
        single = math.fsum(value * value for value in expected)
        level = rest * rest / min(expectation.days, TRAILING)
        drifted = rest * expectation.drift * (math.fsum(each.share for each in parts) + TRAILING) / 2
        low, high = _range(rest, math.hypot(expectation.spread * math.sqrt(single + level), drifted))
    return Forecast(spent + round(low), spent + round(rest), spent + round(high), expectation.method, expectation.days)


def run_out_s(remaining: int, expectation: Expectation, ahead: Iterable[Ahead]) -> float | None:
    """Return when nothing remains if all goes as expected; `None` where the period ends before.

    The time has the precision of a day at most: within a day spending is taken to be even.
    """
    left = float(remaining)
    for each in ahead:
        expected = expectation.of(each)
        if left <= 0:
            return float(each.start_s)
        if expected >= left:
            return each.start_s + (each.end_s - each.start_s) * left / expected
        left -= expected
    return None


def expect_hour(history: Sequence[Stretch], hour: Stretch, *, whole_s: int) -> Expectation:
    """Return what an hour comes to that has begun, from the hours before it, the oldest first.

    The last hour counts for as much as a quarter of an hour of this one. `hour.end_s` is now.

    Units: `whole_s` is how long the hour will have taken.
    """
    amounts = [each.amount for each in dropwhile(lambda each: not each.amount, history)]
    if not amounts:
        return _so_far(hour, whole_s)
    elapsed = (hour.end_s - hour.start_s) / whole_s
    level = (hour.amount + _LAST_HOUR * amounts[-1]) / (elapsed + _LAST_HOUR)
    steps = [2 * (after - before) / (after + before) for before, after in pairwise(amounts) if before + after]
    spread = math.sqrt(fmean([step * step for step in steps])) if len(steps) >= _SPREAD_DAYS_MIN else None
    return Expectation(level, spread, len(amounts), "hours")


def _so_far(begun: Stretch, whole_s: int) -> Expectation:
    """Return what a day or an hour comes to if it goes on as it began: at first nothing else is known."""
    elapsed_s = begun.end_s - begun.start_s
    return Expectation(begun.amount * whole_s / elapsed_s if elapsed_s > 0 else 0.0, None, 0, "so_far")


def _shares(days: Sequence[Stretch]) -> tuple[float, ...]:
    """Return what part of the mean day each weekday comes to; over whole weeks they add up to seven."""
    mean = fmean([day.amount for day in days])
    shares = [1.0] * 8
    for weekday in range(1, 8):
        same = [day.amount for day in days if day.weekday == weekday]
        if same and mean:
            shares[weekday] = fmean(same) / mean
    return tuple(shares)


def _spread_and_drift(ratios: Sequence[float]) -> tuple[float | None, float]:
    """Return how days scatter around a line through them, and how far that may be from level, a day.

    Shape: of each day what it came to as a part of what its weekday does. The drift is the line's slope and the
    slope's own standard error together.
    """
    count = len(ratios)
    if count < PROFILE_DAYS:
        return None, 0.0
    center, mean = (count - 1) / 2, fmean(ratios)
    squares = count * (count * count - 1) / 12
    slope = math.fsum((place - center) * ratio for place, ratio in enumerate(ratios)) / squares
    errors = (ratio - mean - slope * (place - center) for place, ratio in enumerate(ratios))
    spread = math.sqrt(math.fsum(error * error for error in errors) / (count - 2))
    return spread, math.hypot(slope, spread / math.sqrt(squares))


def _range(mean: float, deviation: float) -> tuple[float, float]:
    """Return the tenth and ninetieth hundredth of a log-normal distribution: nobody spends less than nothing."""
    sigma = math.sqrt(math.log1p((deviation / mean) ** 2))
    middle = math.log(mean) - sigma * sigma / 2
    return math.exp(middle - _TENTH * sigma), math.exp(middle + _TENTH * sigma)
