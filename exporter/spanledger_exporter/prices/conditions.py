"""When a price holds: dates, hours of the day and days of the week, all in UTC and all at once.

genai-prices' constraints are a start date or hours of the day; DeepSeek's prices need both and the day of the week,
and a negotiated price ends.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple

# Shape: `{"from": "2026-08-17", "until": "2026-08-23", "start": "01:00:00", "end": "04:00:00", "weekdays": [1, 5]}`;
# each member may be absent. `until` and `end` are excluded, hours may pass midnight, weekdays are ISO's, 1 is Monday.
When = Mapping[str, Any]

_NS_PER_S = 10**9
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MIDNIGHT = time()


class Span(NamedTuple):
    """A stretch of time; units: Unix time in nanoseconds, the end excluded."""

    from_ns: int
    until_ns: int


ALWAYS = Span(-(2**63), 2**63)


def holds(when: When | None, at: datetime) -> bool:
    """Tell whether a price holds at a time."""
    if not when:
        return True
    day = at.date().isoformat()
    if not when.get("from", "") <= day or ("until" in when and day >= when["until"]):
        return False
    if "weekdays" in when and at.isoweekday() not in when["weekdays"]:
        return False
    return "start" not in when or _within(when, at.time())


def _within(when: When, now: time) -> bool:
    start, end = time.fromisoformat(when["start"]), time.fromisoformat(when["end"])
    return (now >= start or now < end) if end < start else start <= now < end


def span_of(whens: Iterable[When | None], at: datetime) -> Span:
    """Return the longest stretch around a time in which none of these conditions begins or ceases to hold."""
    from_ns, until_ns = ALWAYS
    at_ns = _unix_ns(at)
    for when in whens:
        for moment in _changes(when or {}, at):
            change_ns = _unix_ns(moment)
            if change_ns <= at_ns:
                from_ns = max(from_ns, change_ns)
            else:
                until_ns = min(until_ns, change_ns)
    return Span(from_ns, until_ns)


def _changes(when: When, at: datetime) -> Iterable[datetime]:
    """Return the times next to `at`, before it and after it, at which a condition may change."""
    for name in ("from", "until"):
        if name in when:
            yield datetime.combine(date.fromisoformat(when[name]), _MIDNIGHT, UTC)
    hours = [time.fromisoformat(when[name]) for name in ("start", "end") if name in when]
    if "weekdays" in when:
        hours.append(_MIDNIGHT)
    for hour in hours:
        today = datetime.combine(at.date(), hour, UTC)
        yield today
        yield today + timedelta(days=1 if today <= at else -1)


def _unix_ns(moment: datetime) -> int:
    since = moment - _EPOCH
    return ((since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds) * 1000
