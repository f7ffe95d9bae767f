"""What groups of budgets spent day by day, and in all, read so that it costs little to ask again and again.

Days that are over hardly change: only late spans and corrections move them. So those that are more than two days old
are kept in memory for an hour or so, and with each question the last days alone are read.

Units: Unix seconds; amounts in the budget's unit.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection

from spanledger_exporter.budgets.anomalies import HISTORY_DAYS
from spanledger_exporter.budgets.budget import StoredBudget, Unit
from spanledger_exporter.budgets.charges import NOTHING, Sum
from spanledger_exporter.budgets.days import days_before, today_of
from spanledger_exporter.budgets.sums import Batch, Key, amount_of, batches, read_days, read_earlier

_DAY_S: Final = 86_400
_KEPT_S: Final = 3600
_FRESH_DAYS: Final = 2


class Days(NamedTuple):
    """What a group spent: by the beginning of the day, as far back as forecasts look, and over all that is counted."""

    amounts: dict[int, int]
    total: Sum

    def plus(self, day_s: int, counted: Sum, unit: Unit) -> "Days":
        """Add a day: to the amounts as they are, and to another total."""
        self.amounts[day_s] = amount_of(counted, unit)
        return self._replace(total=self.total.plus(counted))


class _Kept(NamedTuple):
    """What is known of the days of a group before `until_s`."""

    read_s: int
    until_s: int
    days: Days


class Past:
    """Remembers the days of the groups that were asked for last."""

    def __init__(self) -> None:
        self._kept: dict[Key, _Kept] = {}

    def read(
        self, connection: Connection, stored: Iterable[StoredBudget], groups: Mapping[int, Sequence[str]], now_s: int
    ) -> dict[Key, Days]:
        """Return the days of groups of budgets; those without calls have none."""
        budgets = {each.budget_id: each for each in stored}
        keys = [(number, group) for number, some in groups.items() for group in some]
        self._kept = {key: self._kept[key] for key in keys if key in self._kept}
        self._renew(connection, budgets, keys, now_s)
        found: dict[Key, Days] = {}
        for batch in batches(groups):
            until_s = min(self._kept[key].until_s for key in batch.each())
            for number, group, day_s, counted in read_days(connection, batch, _days(batch, budgets, now_s, until_s)):
                key = (number, group)
                if day_s >= self._kept[key].until_s:
                    before = found.get(key) or _copy(self._kept[key].days)
                    found[key] = before.plus(day_s, counted, budgets[number].budget.unit)
        return {key: found.get(key) or self._kept[key].days for key in keys}

    def _renew(
        self, connection: Connection, budgets: Mapping[int, StoredBudget], keys: Iterable[Key], now_s: int
    ) -> None:
        """Read what is not known yet, or was read too long ago: not all at the same time, if that can be."""
        today_s = now_s // _DAY_S * _DAY_S
        from_s, until_s = today_s - (HISTORY_DAYS + 3) * _DAY_S, today_s - _FRESH_DAYS * _DAY_S
        old: dict[int, list[str]] = {}
        for number, group in keys:
            kept = self._kept.get((number, group))
            if kept is None or not 0 <= now_s - kept.read_s < _KEPT_S + number % _KEPT_S:
                old.setdefault(number, []).append(group)
        for batch in batches(old):
            earlier = read_earlier(connection, batch, from_s)
            days = {key: Days({}, earlier.get(key, NOTHING)) for key in batch.each()}
            for number, group, day_s, counted in read_days(connection, batch, _days(batch, budgets, now_s, from_s)):
                if day_s < until_s:
                    key = (number, group)
                    days[key] = days[key].plus(day_s, counted, budgets[number].budget.unit)
            self._kept |= {key: _Kept(now_s, until_s, each) for key, each in days.items()}


def _copy(days: Days) -> Days:
    return Days(dict(days.amounts), days.total)


def _days(batch: Batch, budgets: Mapping[int, StoredBudget], now_s: int, since_s: int) -> list[int]:
    """Return when days began since then, in the time zones of some budgets; also those of calls from the future."""
    found: set[int] = set()
    for zone in {budgets[number].budget.period.timezone for number in batch.numbers}:
        day = today_of(zone, now_s + _DAY_S)
        count = (day.start_s - since_s) // _DAY_S + 2
        found.update(each.start_s for each in (*days_before(zone, day.start_s, count), day))
    return sorted(start_s for start_s in found if start_s >= since_s)
