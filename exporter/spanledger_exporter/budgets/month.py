"""The calendar month in UTC, over all spend together -> what it is likely to come to, by the methods of budgets.

Units: pico-USD, Unix seconds.
"""

from collections.abc import Mapping
from typing import Final

from spanledger_exporter.budgets.days import ahead_of, days_before, stretches, today_of
from spanledger_exporter.budgets.forecast import Forecast, Stretch, expect, forecast
from spanledger_exporter.budgets.periods import Bounds, Period

OUTLOOK_DAYS: Final = 42
"""So many days before today say what is ahead; also, no month began earlier."""
_ZONE: Final = "UTC"
_MONTH: Final = Period(kind="month", timezone=_ZONE)


def month_of(now_s: int) -> Bounds:
    """Return the month of a moment."""
    found = _MONTH.bounds(now_s)
    assert found is not None, "every moment lies in a month"
    return found


def outlook(days: Mapping[int, int], now_s: int) -> Forecast | None:
    """Return what the month is likely to come to; `None` before the first day of spending is over.

    `days` gives what was spent on each day, by its beginning; one that is not there was a day without spend.
    """
    day, month = today_of(_ZONE, now_s), month_of(now_s)
    spent = sum(amount for day_s, amount in days.items() if month.start_s <= day_s < month.end_s)
    history = stretches(days_before(_ZONE, day.start_s, OUTLOOK_DAYS), days)
    expected = expect(history, Stretch(day.start_s, now_s, days.get(day.start_s, 0), day.weekday))
    if not (expected.is_known and (spent or expected.level)):
        return None
    return forecast(spent, expected, ahead_of(_MONTH, month, now_s))
