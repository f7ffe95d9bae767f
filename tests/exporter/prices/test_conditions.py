"""A price holds by date, hour and weekday at once, and it is known until when."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanledger_exporter.prices.conditions import ALWAYS, holds, span_of


def at(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


NIGHT = {"start": "22:00:00", "end": "06:00:00"}


@pytest.mark.parametrize(
    ("when", "inside", "outside"),
    [
        ({"from": "2026-08-17"}, "2026-08-17T00:00", "2026-08-16T23:59"),
        ({"until": "2026-08-17"}, "2026-08-16T23:59", "2026-08-17T00:00"),
        ({"start": "01:00:00", "end": "04:00:00"}, "2026-08-17T01:00", "2026-08-17T04:00"),
        (NIGHT, "2026-08-17T22:00", "2026-08-17T06:00"),
        (NIGHT, "2026-08-17T05:59", "2026-08-17T21:59"),
        ({"weekdays": [1, 5]}, "2026-11-27T12:00", "2026-11-28T12:00"),
        ({"from": "2026-08-17", "weekdays": [6], **NIGHT}, "2026-11-28T23:00", "2026-11-27T23:00"),
        ({"from": "2026-08-17", "weekdays": [6], **NIGHT}, "2026-11-28T23:00", "2026-08-15T23:00"),
    ],
)
def test_all_that_a_condition_says_must_hold(when: dict[str, Any], inside: str, outside: str) -> None:
    assert holds(when, at(inside))
    assert not holds(when, at(outside))


def test_no_condition_always_holds() -> None:
    assert holds(None, at("2026-08-17"))
    assert span_of([None, {}], at("2026-08-17")) == ALWAYS


dates = st.dates(datetime(2026, 8, 1).date(), datetime(2026, 9, 1).date()).map(lambda day: day.isoformat())  # noqa: DTZ001
clock = st.integers(0, 23).map(lambda hour: f"{hour:02}:30:00")
whens = st.fixed_dictionaries(
    {}, optional={"from": dates, "until": dates, "weekdays": st.lists(st.integers(1, 7), max_size=3)}
) | st.builds(lambda start, end: {"start": start, "end": end}, clock, clock)


@given(conditions=st.lists(whens, max_size=3), minutes=st.integers(0, 40 * 1440), share=st.floats(0, 1))
def test_nothing_changes_within_a_span(conditions: list[dict[str, Any]], minutes: int, share: float) -> None:
    moment = at("2026-07-25") + timedelta(minutes=minutes)
    span = span_of(conditions, moment)
    moment_ns = int(moment.timestamp()) * 10**9
    assert span.from_ns <= moment_ns < span.until_ns
    low, high = max(span.from_ns, moment_ns - 10**15), min(span.until_ns - 1, moment_ns + 10**15)
    other = datetime.fromtimestamp((low + int((high - low) * share)) // 10**9, tz=UTC)
    for when in conditions:
        assert holds(when, other) == holds(when, moment)
