"""A budget's time zone and a moment -> the days around it, each with its weekday.

What the calendar says of a stretch of time never changes, so it is worked out once.

Units: Unix seconds.
"""

from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo

from spanledger_exporter.budgets.forecast import Ahead, Stretch
from spanledger_exporter.budgets.periods import QUARTER_S, Bounds, Period


class Day(NamedTuple):
    """A day of a time zone; `weekday` is 1 for Monday to 7, and 0 for what is shorter than a day."""

    start_s: int
    end_s: int
    weekday: int

    def with_amount(self, amount: int) -> Stretch:
        """Return the day with what was spent on it."""
        return Stretch(self.start_s, self.end_s, amount, self.weekday)


@lru_cache(maxsize=4096)
def days_before(timezone: str, today_s: int, count: int) -> tuple[Day, ...]:
    """Return so many days before the one that begins then, the oldest first."""
    period, found, end_s = Period(timezone=timezone), list[Day](), today_s
    for _ in range(count):
        start_s = period.day_of(end_s - 1)
        found.append(Day(start_s, end_s, _weekday(timezone, start_s)))
        end_s = start_s
    return tuple(reversed(found))


@lru_cache(maxsize=4096)
def days_within(timezone: str, bounds: Bounds) -> tuple[Day, ...]:
    """Return the days that lie in a period, whole ones also at its ends."""
    days = Period(timezone=timezone).days_of(bounds)
    return tuple(Day(day.start_s, day.end_s, _weekday(timezone, day.start_s)) for day in days)


@lru_cache(maxsize=4096)
def periods_before(period: Period, start_s: int, count: int) -> tuple[Day, ...]:
    """Return so many periods before the one that begins then, the oldest first."""
    found: list[Day] = []
    for _ in range(count):
        bounds = period.bounds(start_s - 1)
        if bounds is None:
            break
        found.append(Day(bounds.start_s, bounds.end_s, 0))
        start_s = bounds.start_s
    return tuple(reversed(found))


def today_of(timezone: str, now_s: int) -> Day:
    """Return the day of a moment."""
    return _day_of(timezone, now_s // QUARTER_S * QUARTER_S)


@lru_cache(maxsize=4096)
def _day_of(timezone: str, now_s: int) -> Day:
    start_s = Period(timezone=timezone).day_of(now_s)
    (day, *_) = days_within(timezone, Bounds(start_s, start_s + 1))
    return day


def ahead_of(period: Period, bounds: Bounds, now_s: int) -> list[Ahead]:
    """Return what of a period is still to come, day by day; in one piece where it is shorter than a day."""
    whole = (Day(*bounds, 0),) if period.kind == "hour" else days_within(period.timezone, bounds)
    found: list[Ahead] = []
    for day in whole:
        start_s, end_s = max(day.start_s, bounds.start_s, now_s), min(day.end_s, bounds.end_s)
        if start_s < end_s:
            found.append(Ahead(start_s, end_s, (end_s - start_s) / (day.end_s - day.start_s), day.weekday))
    return found


def stretches(days: tuple[Day, ...], amounts: Mapping[int, int]) -> list[Stretch]:
    """Return days with what was spent on each; on one that has no sum nothing was."""
    return [day.with_amount(amounts.get(day.start_s, 0)) for day in days]


def _weekday(timezone: str, start_s: int) -> int:
    return datetime.fromtimestamp(start_s, tz=ZoneInfo(timezone)).isoweekday()
