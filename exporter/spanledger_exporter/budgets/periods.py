"""A budget's period and a moment -> the stretch of time that is held to one limit.

Periods follow the calendar of a time zone. Consecutive ones adjoin, and each moment belongs to exactly one, whatever
clocks do: a day on which they go forward has 23 hours, one on which they go back has 25, and a day whose midnight does
not exist begins at its first instant.

Units: Unix seconds, UTC. Boundaries lie on quarters of an hour, as all offsets from UTC have since 1972.
"""

import calendar
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final, Literal, NamedTuple, get_args
from zoneinfo import ZoneInfo, available_timezones

Kind = Literal["hour", "day", "week", "month", "quarter", "year", "days", "range"]
KINDS: tuple[str, ...] = get_args(Kind)
# What begins a period, by its kind: names of the fields of `Period`.
ANCHORS: Final[Mapping[str, tuple[str, ...]]] = {
    "week": ("weekday",),
    "month": ("day",),
    "quarter": ("day", "month"),
    "year": ("day", "month"),
    "days": ("days", "since"),
    "range": ("since", "until"),
}
ALL_ANCHORS: Final = ("weekday", "day", "month", "days", "since", "until")
QUARTER_S: Final = 900
_EPOCH_DAY: Final = date(1970, 1, 1)
_MONTHS: Final[Mapping[str, int]] = {"month": 1, "quarter": 3, "year": 12}


class Bounds(NamedTuple):
    """One period: from its start to before its end."""

    start_s: int
    end_s: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Period:
    """How time is cut into periods.

    `timezone` is a name of the IANA database. What begins a period beside its kind: `weekday` of a week, 1 for Monday
    to 7; `day` of a month, a quarter or a year, 1 to 31, taken as the last one of a month that is shorter; `month` of a
    quarter's or year's beginning, 1 to 12. Of `days`, `days` is how many and `since` is the first day of some period;
    of a `range`, `since` is the first and `until` the first day that is not in it any more.
    """

    kind: Kind = "month"
    timezone: str = "UTC"
    weekday: int = 1
    day: int = 1
    month: int = 1
    days: int = 1
    since: date | None = None
    until: date | None = None

    def bounds(self, moment_s: int) -> Bounds | None:
        """Return the period that a moment belongs to; `None` outside a fixed range."""
        zone = _zone(self.timezone)
        if self.kind == "hour":
            return _hour(zone, moment_s)
        first, beyond = self._dates(_day(zone, moment_s))
        found = Bounds(_start_of_day(zone, first), _start_of_day(zone, beyond))
        return found if found.start_s <= moment_s < found.end_s else None

    def begins_s(self) -> int | None:
        """Return when a fixed range begins; `None` for any other kind, which never does."""
        return _start_of_day(_zone(self.timezone), self.since) if self.kind == "range" and self.since else None

    def before(self, bounds: Bounds) -> Bounds | None:
        """Return the period that ends where this one begins; `None` before a fixed range."""
        return self.bounds(bounds.start_s - 1)

    def day_of(self, moment_s: int) -> int:
        """Return when the day of a moment began, in the period's time zone."""
        zone = _zone(self.timezone)
        return _start_of_day(zone, _day(zone, moment_s))

    def days_of(self, bounds: Bounds) -> Iterator[Bounds]:
        """Return the days that lie in a period, or that it lies in, the first first."""
        zone = _zone(self.timezone)
        day = _day(zone, bounds.start_s)
        start_s = _start_of_day(zone, day)
        while start_s < bounds.end_s:
            day += timedelta(days=1)
            end_s = _start_of_day(zone, day)
            if end_s > start_s:  # else it is a day that was left out when clocks crossed the date line
                yield Bounds(start_s, end_s)
            start_s = end_s

    def _dates(self, today: date) -> tuple[date, date]:
        """Return the first day of the period that a day is in, and the first of the next one."""
        if self.kind == "range":
            return self.since or date.min, self.until or date.max
        if self.kind in _MONTHS:
            return self._months(today, _MONTHS[self.kind])
        length, phase = 1, 0
        if self.kind == "week":
            length, phase = 7, today.isoweekday() - self.weekday
        elif self.kind == "days":
            length, phase = self.days, (today - (self.since or _EPOCH_DAY)).days
        first = today - timedelta(days=phase % length)
        return first, first + timedelta(days=length)

    def _months(self, today: date, count: int) -> tuple[date, date]:
        number = today.year * 12 + today.month - 1
        offset = self.month - 1 if count > 1 else 0
        first = number - (number - offset) % count
        if _day_of_month(first, self.day) > today:
            first -= count
        return _day_of_month(first, self.day), _day_of_month(first + count, self.day)


def known_timezone(name: str) -> bool:
    """Tell whether the IANA database has a time zone of this name."""
    return name in _names()


@lru_cache(maxsize=1)
def _names() -> frozenset[str]:
    return frozenset(available_timezones())


@lru_cache(maxsize=1024)
def _zone(name: str) -> ZoneInfo:
    return ZoneInfo(name)


def _day(zone: ZoneInfo, moment_s: int) -> date:
    """Return the day that a moment belongs to: the one that began last.

    It is the one on the calendar but where clocks go back from just after midnight to the day before.
    """
    day = datetime.fromtimestamp(moment_s, tz=zone).date()
    following = day + timedelta(days=1)
    return following if _start_of_day(zone, following) <= moment_s else day


def _day_of_month(number: int, day: int) -> date:
    """Return a day of a month, which is counted from the year 0; its last one where it has no such day."""
    year, month = number // 12, number % 12 + 1
    return date(year, month, min(day, calendar.monthrange(year, month)[1]))


def _start_of_day(zone: ZoneInfo, day: date) -> int:
    """Return the first instant of a day."""
    midnight = datetime(day.year, day.month, day.day, tzinfo=zone)
    start_s = int(midnight.timestamp())
    if datetime.fromtimestamp(start_s, tz=zone).replace(tzinfo=None) == midnight.replace(tzinfo=None):
        return start_s
    # Clocks went forward over midnight: the day begins when they did, at the end of the hours that do not exist.
    first_s = int(midnight.replace(fold=1).timestamp()) // QUARTER_S * QUARTER_S
    while datetime.fromtimestamp(first_s, tz=zone).date() < day:
        first_s += QUARTER_S
    return first_s


def _hour(zone: ZoneInfo, moment_s: int) -> Bounds:
    """Return the hour of a moment: from when a clock on the wall shows it to when it shows the next."""
    start_s = moment_s // QUARTER_S * QUARTER_S
    while not _begins_hour(zone, start_s):
        start_s -= QUARTER_S
    end_s = moment_s // QUARTER_S * QUARTER_S + QUARTER_S
    while not _begins_hour(zone, end_s):
        end_s += QUARTER_S
    return Bounds(start_s, end_s)


def _begins_hour(zone: ZoneInfo, quarter_s: int) -> bool:
    """Tell whether a clock shows a full hour, or has just gone forward past one."""
    shown = datetime.fromtimestamp(quarter_s, tz=zone).replace(tzinfo=None)
    before = datetime.fromtimestamp(quarter_s - 1, tz=zone).replace(tzinfo=None)
    return shown.minute == 0 or (shown > before and shown.hour != before.hour)


def utc_text(unix_s: int) -> str:
    """Return a time as RFC 3339 in UTC."""
    return f"{datetime.fromtimestamp(unix_s, tz=UTC):%Y-%m-%dT%H:%M:%SZ}"
