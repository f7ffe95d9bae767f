"""How providers say when a limit resets, or when to come back -> seconds since 1970, or from now."""

import math
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta, timezone
from email.utils import parsedate_to_datetime
from functools import lru_cache
from typing import Final

__all__ = ["duration_s", "number", "pacific_midnight_s", "reset_at_s", "retry_after_s"]

_DURATION: Final = re.compile(
    r"(?=.)(?:(\d{1,6})h)?(?:(\d{1,6})m(?!s))?(?:(\d{1,9}(?:\.\d{0,12})?)s)?|(\d{1,12}(?:\.\d{0,12})?)(ms|us|µs|ns)"
)
_SUBSECONDS: Final = {"ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_CHARS_MAX: Final = 40
_EPOCH_S: Final = 1e9
_EPOCH_MS: Final = 1e12
_DAY_S: Final = 86_400.0
_FAR_S: Final = 400 * _DAY_S
"""Nothing resets later than this; what says so is no time."""


def number(value: str) -> float | None:
    """Read a decimal number that is not negative; `inf`, `nan` and words are none."""
    if len(value) > _CHARS_MAX or not value.isascii() or "_" in value:  # which Python would take for digits
        return None
    try:
        found = float(value)
    except ValueError:
        return None
    return found if found >= 0 and math.isfinite(found) else None


@lru_cache(maxsize=256)
def duration_s(value: str) -> float | None:
    """Read a duration as Go prints it. A bare number is none.

    Shape: 12ms, 0s, 17.399999999s, 2m59.56s, 6m0s, 1h2m3s
    """
    found = _DURATION.fullmatch(value) if len(value) <= _CHARS_MAX else None
    if found is None:
        return None
    hours, minutes, seconds, small, unit = found.groups()
    if small is not None:
        return float(small) * _SUBSECONDS[unit]
    return int(hours or 0) * 3600 + int(minutes or 0) * 60 + float(seconds or 0)


def reset_at_s(value: str, now_s: float, unit_s: float | None) -> float | None:
    """Read when a limit resets, in whatever form; never before now.

    1. A duration with its unit. 2. RFC 3339. 3. A bare number that can only be a time of these days, in seconds or in
    milliseconds. 4. Any other bare number counts only where the unit is known; else it may mean anything.
    """
    last = value[-1:]
    if last in ("s", "m"):
        seconds = duration_s(value)
        at = None if seconds is None else now_s + seconds
    elif last == "Z" or value.count("-") > 1:
        at = _of_rfc3339(value)
    else:
        bare = number(value)
        at = None if bare is None else _of_number(bare, now_s, unit_s)
    if at is None or not now_s - _DAY_S < at < now_s + _FAR_S:
        return None
    return at if at > now_s else now_s  # three times as fast as `max`, twelve times in an answer


def retry_after_s(head: Mapping[str, str], now_s: float) -> float | None:
    """Read when to come back, from now: the header in milliseconds wins, as in the SDKs.

    Source: openai 3.54 and anthropic 2.12 _base_client.py, `_parse_retry_after_header` (November 2026).
    """
    if (exact := head.get("retry-after-ms")) is not None and (found := number(exact)) is not None:
        return _near(found / 1000)
    value = head.get("retry-after", "")
    if (found := number(value)) is not None:
        return _near(found)
    try:
        at = parsedate_to_datetime(value[:_CHARS_MAX])
    except (ValueError, IndexError, TypeError):
        return None
    return _near(max(at.replace(tzinfo=at.tzinfo or UTC).timestamp() - now_s, 0.0))


def pacific_midnight_s(now_s: float) -> float:
    """Find the next midnight in California, when Google's daily quotas reset.

    By the rule of the Energy Policy Act of 2005 and not by a time zone database, which a container may lack.
    """
    today = datetime.fromtimestamp(now_s, UTC).date()
    midnights = (_pacific_midnight(today + timedelta(days=days)) for days in (0, 1, 2))
    return next(at for at in midnights if at > now_s)


def _pacific_midnight(day: date) -> float:
    behind = timedelta(hours=7 if _is_summer(day) else 8)
    return datetime.combine(day, time(), timezone(-behind)).timestamp()


def _is_summer(day: date) -> bool:
    """Tell whether a day begins in summer time, which begins and ends at two in the morning."""
    march, november = date(day.year, 3, 8), date(day.year, 11, 1)
    begins = march + timedelta(days=(6 - march.weekday()) % 7)
    ends = november + timedelta(days=(6 - november.weekday()) % 7)
    return begins < day <= ends


def _of_number(bare: float, now_s: float, unit_s: float | None) -> float | None:
    if bare >= _EPOCH_MS:
        return bare / 1000
    if bare >= _EPOCH_S:
        return bare
    return None if unit_s is None else now_s + bare * unit_s


@lru_cache(maxsize=64)  # all limits of one answer reset at much the same second
def _of_rfc3339(value: str) -> float | None:
    try:
        at = datetime.fromisoformat(value[:_CHARS_MAX])
    except ValueError:
        return None
    return None if at.tzinfo is None else at.timestamp()


def _near(seconds: float) -> float | None:
    return round(seconds, 3) if seconds < _FAR_S else None
