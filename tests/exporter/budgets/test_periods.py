"""Periods against a second calendar, which reads the time zones by itself and has rules of its own for its days."""

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
import whenever
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from spanledger_exporter.budgets.periods import QUARTER_S, Bounds, Kind, Period, known_timezone, utc_text

# Where clocks go forward or back at midnight, by half an hour, at odd offsets, across the date line, or not at all.
ODD_ZONES = (
    *("Africa/Cairo", "America/Santiago", "Asia/Beirut", "America/Asuncion", "America/Havana", "Atlantic/Azores"),
    *("Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Chatham", "Asia/Kolkata", "America/St_Johns"),
    *("Pacific/Apia", "Pacific/Kiritimati", "Africa/Casablanca", "America/Nuuk", "Europe/Lisbon", "Asia/Tehran"),
    *("America/Sao_Paulo", "America/New_York", "Europe/Berlin", "UTC", "Etc/GMT+12", "Antarctica/Troll"),
)
ZONES = tuple(sorted(zone for zone in whenever.available_timezones() if known_timezone(zone)))
FIRST_S = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp())
SINCE_2017_S = int(datetime(2017, 1, 1, tzinfo=UTC).timestamp())
LAST_S = int(datetime(2040, 1, 1, tzinfo=UTC).timestamp())
DAY_S = 86_400

zones = st.sampled_from(ODD_ZONES) | st.sampled_from(ZONES)
moments = st.integers(FIRST_S, LAST_S)


@st.composite
def changes(draw: st.DrawFn) -> tuple[str, int]:
    """A zone, and a moment within a day of one at which its clocks change, where they do."""
    zone, moment_s = draw(zones), draw(moments)
    change = shown(moment_s, zone).next_transition()
    if change is not None and change.timestamp() < LAST_S:
        moment_s = change.timestamp() + draw(st.integers(-DAY_S, DAY_S) | st.integers(-3, 3))
    return zone, moment_s


places = changes() | st.tuples(zones, moments)


def shown(moment_s: int, zone: str) -> whenever.ZonedDateTime:
    return whenever.Instant.from_timestamp(moment_s).to_tz(zone)


def start_of(day: date, zone: str) -> int:
    """The first instant of a day, as the second calendar has it."""
    noon = whenever.PlainDateTime(day.year, day.month, day.day, 12).assume_tz(zone, disambiguation="compatible")
    # A day that was left out ends where it begins, which is where the next one does.
    return noon.start_of("day").timestamp()


def day_of(moment_s: int, zone: str) -> date:
    """The day that a moment belongs to: the one whose first instant came last."""
    day = shown(moment_s, zone).date().to_stdlib()
    return max(each for each in (day, day + timedelta(days=1)) if each == day or start_of(each, zone) <= moment_s)


@given(places)
@example(("Africa/Cairo", 1_777_000_000))
@settings(max_examples=150, deadline=None)
def test_a_day_is_that_of_the_other_calendar(place: tuple[str, int]) -> None:
    zone, moment_s = place
    period = Period(kind="day", timezone=zone)
    today = day_of(moment_s, zone)
    expected = Bounds(start_of(today, zone), start_of(today + timedelta(days=1), zone))
    assert period.bounds(moment_s) == expected
    assert period.day_of(moment_s) == shown(moment_s, zone).start_of("day").timestamp() == expected.start_s
    assert list(period.days_of(expected)) == [expected]


@given(places)
@settings(max_examples=150, deadline=None)
def test_an_hour_is_that_of_the_other_calendar(place: tuple[str, int]) -> None:
    """Until 2016 some clocks were changed a minute after midnight, which is within a quarter of an hour."""
    zone, moment_s = place
    assume(moment_s >= SINCE_2017_S)
    bounds = Period(kind="hour", timezone=zone).bounds(moment_s)
    assert bounds is not None
    assert bounds.start_s == shown(moment_s, zone).start_of("hour").timestamp()
    assert bounds.end_s == shown(bounds.end_s, zone).start_of("hour").timestamp()
    assert bounds.start_s == shown(bounds.end_s - 1, zone).start_of("hour").timestamp()


@given(places, st.integers(1, 7))
@settings(max_examples=150, deadline=None)
def test_a_week_begins_on_its_weekday(place: tuple[str, int], weekday: int) -> None:
    zone, moment_s = place
    bounds = Period(kind="week", timezone=zone, weekday=weekday).bounds(moment_s)
    day = other(day_of(moment_s, zone))
    while day.day_of_week().value != weekday:
        day = day.subtract(days=1)
    assert bounds == Bounds(start_of(day.to_stdlib(), zone), start_of(day.add(days=7).to_stdlib(), zone))


def other(day: date) -> whenever.Date:
    return whenever.Date(day.year, day.month, day.day)


def months(first: whenever.Date, count: int, day: int) -> Iterator[date]:
    """The first days of periods of so many months, from one on."""
    for number in range(2):
        month = first.replace(day=1).add(months=count * number)
        yield month.replace(day=min(day, month.days_in_month())).to_stdlib()


@given(places, st.sampled_from([("month", 1), ("quarter", 3), ("year", 12)]), st.integers(1, 31), st.integers(1, 12))
@example(("Europe/Berlin", 1_709_164_800), ("month", 1), 30, 1)  # 2024-02-29
@example(("Asia/Kolkata", 1_709_164_800), ("year", 12), 29, 2)
@settings(max_examples=150, deadline=None)
def test_months_quarters_and_years_begin_on_their_day(
    place: tuple[str, int], kind: tuple[Kind, int], day: int, month: int
) -> None:
    zone, moment_s = place
    name, count = kind
    today = day_of(moment_s, zone)
    first = whenever.Date(today.year, today.month, 1).add(months=1)
    while True:  # go back month by month to the last one in which a period began that has begun by today
        of_kind = count == 1 or (first.month - month) % count == 0
        if of_kind and next(months(first, count, day)) <= today:
            break
        first = first.subtract(months=1)
    start, end = months(first, count, day)
    bounds = Period(kind=name, timezone=zone, day=day, month=month).bounds(moment_s)
    assert bounds == Bounds(start_of(start, zone), start_of(end, zone))


@given(places, st.integers(1, 400), st.dates(date(1990, 1, 1), date(2050, 1, 1)))
@settings(max_examples=150, deadline=None)
def test_a_period_of_days_begins_so_many_days_after_the_last(place: tuple[str, int], days: int, since: date) -> None:
    zone, moment_s = place
    day, first = other(day_of(moment_s, zone)), other(since)
    between = (day.to_stdlib() - since).days
    first = first.add(days=between // days * days)
    bounds = Period(kind="days", timezone=zone, days=days, since=since).bounds(moment_s)
    assert bounds == Bounds(start_of(first.to_stdlib(), zone), start_of(first.add(days=days).to_stdlib(), zone))


@given(places, st.integers(-400, 400), st.integers(1, 400))
@settings(max_examples=150, deadline=None)
def test_a_range_holds_its_days_and_no_others(place: tuple[str, int], first: int, length: int) -> None:
    zone, moment_s = place
    today = day_of(moment_s, zone)
    since = today + timedelta(days=first)
    until = since + timedelta(days=length)
    period = Period(kind="range", timezone=zone, since=since, until=until)
    whole = Bounds(start_of(since, zone), start_of(until, zone))
    assert period.bounds(moment_s) == (whole if since <= today < until else None)
    assert period.begins_s() == whole.start_s
    assert period.bounds(whole.start_s - 1) is None
    assert period.bounds(whole.end_s) is None


periods = st.builds(
    Period,
    kind=st.sampled_from(["hour", "day", "week", "month", "quarter", "year", "days"]),
    timezone=zones,
    weekday=st.integers(1, 7),
    day=st.integers(1, 31),
    month=st.integers(1, 12),
    days=st.integers(1, 100),
    since=st.none() | st.dates(date(1990, 1, 1), date(2050, 1, 1)),
)


@given(periods, moments)
@settings(max_examples=150, deadline=None)
def test_periods_adjoin_and_each_moment_is_in_exactly_one(period: Period, moment_s: int) -> None:
    bounds = period.bounds(moment_s)
    assert bounds is not None
    assert bounds.start_s <= moment_s < bounds.end_s
    assert period.bounds(bounds.start_s) == period.bounds(bounds.end_s - 1) == bounds
    assert period.before(bounds) == period.bounds(bounds.start_s - 1)
    following = period.bounds(bounds.end_s)
    assert following is not None
    assert following.start_s == bounds.end_s
    assert bounds.start_s % QUARTER_S == bounds.end_s % QUARTER_S == 0


@given(periods.filter(lambda period: period.kind != "hour"), moments)
@settings(max_examples=150, deadline=None)
def test_the_days_of_a_period_fill_it(period: Period, moment_s: int) -> None:
    bounds = period.bounds(moment_s)
    assert bounds is not None
    days = list(period.days_of(bounds))
    assert (days[0].start_s, days[-1].end_s) == bounds
    assert all(one.end_s == other.start_s for one, other in pairwise(days))
    assert [period.day_of(day.start_s) for day in days] == [day.start_s for day in days]


def test_an_hour_lies_in_one_day() -> None:
    period = Period(kind="hour", timezone="Asia/Kolkata")
    bounds = period.bounds(1_794_999_900)
    assert bounds is not None
    (day,) = period.days_of(bounds)
    assert day.start_s <= bounds.start_s < bounds.end_s <= day.end_s


def length_h(zone: str, day: date) -> float:
    """Hours of a day."""
    start_s, end_s = Period(kind="day", timezone=zone).bounds(start_of(day, zone)) or Bounds(0, 0)
    return (end_s - start_s) / 3600


@pytest.mark.parametrize(
    ("zone", "day", "starts", "hours"),
    [
        ("Europe/Berlin", date(2026, 3, 29), "2026-03-28T23:00:00Z", 23),
        ("Europe/Berlin", date(2026, 10, 25), "2026-10-24T22:00:00Z", 25),
        ("Africa/Cairo", date(2026, 4, 24), "2026-04-23T22:00:00Z", 23),  # there is no midnight: it begins at one
        ("Africa/Cairo", date(2026, 10, 29), "2026-10-28T21:00:00Z", 25),  # at midnight it is eleven again
        ("America/Santiago", date(2026, 9, 6), "2026-09-06T04:00:00Z", 23),
        ("America/Santiago", date(2026, 4, 4), "2026-04-04T03:00:00Z", 25),
        ("Asia/Beirut", date(2026, 3, 29), "2026-03-28T22:00:00Z", 23),
        ("America/Havana", date(2026, 11, 1), "2026-11-01T04:00:00Z", 25),  # midnight comes twice: the first counts
        ("Australia/Lord_Howe", date(2026, 10, 4), "2026-10-03T13:30:00Z", 23.5),
        ("Australia/Lord_Howe", date(2026, 4, 5), "2026-04-04T13:00:00Z", 24.5),
        ("Asia/Kathmandu", date(2026, 1, 1), "2025-12-31T18:15:00Z", 24),
        ("Pacific/Apia", date(2011, 12, 29), "2011-12-29T10:00:00Z", 24),  # the day after it was left out
        ("America/St_Johns", date(2010, 11, 7), "2010-11-07T02:30:00Z", 25),  # a minute later it is the day before
    ],
)
def test_days_on_which_clocks_change(zone: str, day: date, starts: str, hours: float) -> None:
    assert utc_text(start_of(day, zone)) == starts
    assert length_h(zone, day) == hours


def test_the_last_day_of_a_shorter_month_begins_a_period() -> None:
    period = Period(kind="month", day=31)
    starts = [period.bounds(int(datetime(2024, month, 15, tzinfo=UTC).timestamp())) for month in range(1, 6)]
    assert [utc_text(each.start_s)[:10] for each in starts if each] == [
        *("2023-12-31", "2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30")
    ]


@pytest.mark.parametrize("name", ["Mars/Base", "", "../etc/passwd", "/etc/localtime", "Europe", "europe/berlin", "é"])
def test_what_is_no_time_zone_is_known_to_be_none(name: str) -> None:
    assert not known_timezone(name)
