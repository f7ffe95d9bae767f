"""What budgets have counted -> how each of them stands now, and where it is going.

Read from the ledger alone, so that it is the same for every exporter on it and for a command without any. Of a budget
with groups those that used the most of their limit come first, and at most so many.

Units: `limit`, `spent`, `leased`, `unaccounted`, `remaining`, `spent_total`, `daily_average` are micro-USD, tokens or
calls, by the budget's unit; times Unix seconds.
"""

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection, func, select

from spanledger_exporter.budgets.anomalies import HISTORY_DAYS, Anomaly, judge
from spanledger_exporter.budgets.anomaly_causes import causes
from spanledger_exporter.budgets.budget import MICRO_USD_PER_USD, Budget, StoredBudget, effective_limit
from spanledger_exporter.budgets.calls_left import CallsLeft, calls_left
from spanledger_exporter.budgets.charges import Sum
from spanledger_exporter.budgets.days import ahead_of, days_before, periods_before, stretches, today_of
from spanledger_exporter.budgets.document import group_values
from spanledger_exporter.budgets.forecast import (
    TRAILING,
    Expectation,
    Forecast,
    Stretch,
    expect,
    expect_hour,
    forecast,
    run_out_s,
)
from spanledger_exporter.budgets.past import Past
from spanledger_exporter.budgets.periods import Bounds
from spanledger_exporter.budgets.recent_calls import recent_amounts
from spanledger_exporter.budgets.sums import (
    Batch,
    Counter,
    Key,
    amount_of,
    batches,
    group_counts,
    read_counters,
    read_periods,
    read_unaccounted,
    used_groups,
)
from spanledger_exporter.ledger.schema import rollup_hours
from spanledger_exporter.money import PUSD_PER_MICRO_USD

GROUPS_MAX: Final = 1000
STATES_MAX: Final = 10_000
_GROUPS_LEAST: Final = 20
_DAY_S: Final = 86_400
_HOUR_S: Final = 3600
_NS_PER_S: Final = 10**9
ANOMALY_FLOOR_USD: Final = 1
_FLOOR_PARTS: Final = 100
_EXPLAINED_MAX: Final = 20
_NO_CALLS: Final = Counter(Sum(), 0)
_NO_CALLS_LEFT: Final = CallsLeft(0, 0, 0, "high", 0)


class BudgetState(NamedTuple):
    """How one budget, or one group of one, stands.

    Units: `spent` is rounded down to whole micro-USD, `cost_pusd` is what the calls cost to the pico-USD, whatever the
    budget's unit; `leased` what services may still spend without asking again, `unaccounted` the part of it that
    processes hold which are gone; `remaining` what is neither spent nor leased, negative where too much was;
    `daily_average` the mean of the last seven days; `days_left` days of 24 hours; `run_out_s` when nothing of the limit
    is left if all goes as expected, `None` if the period ends before. What is to be expected is not known, and `None`,
    before the first day of spending is over, or the first hour of a budget by the hour.
    """

    stored: StoredBudget
    group_key: str
    bounds: Bounds
    at_s: int
    limit: int
    spent: int
    leased: int
    unaccounted: int
    remaining: int
    cost_pusd: int
    calls: int
    tokens: int
    unpriced_calls: int
    spent_total: int
    daily_average: float | None
    forecast: Forecast | None
    run_out_s: float | None
    days_left: float
    calls_left: CallsLeft | None
    anomaly: Anomaly | None

    @property
    def used_ratio(self) -> float:
        """Which part of the limit is spent; infinite where there is none to spend."""
        if not self.limit:
            return float("inf") if self.spent else 0.0
        return self.spent / self.limit

    @property
    def running(self) -> bool:
        """Whether its period has begun and is not over: a fixed range may lie before or behind."""
        return self.bounds.start_s <= self.at_s < self.bounds.end_s

    @property
    def too_early(self) -> bool:
        """Whether it is being spent, and not long enough for anybody to say where that goes."""
        return self.running and self.spent > 0 and self.forecast is None

    def reached(self, threshold: int) -> bool:
        """Tell, exactly, whether so many percent of the limit are spent."""
        return self.spent * 100 >= self.limit * threshold


class Periods(NamedTuple):
    """The period of a budget that is meant now, and the one before it, if there was one."""

    current: Bounds
    before: Bounds | None


def periods_of(budget: Budget, now_s: int) -> Periods:
    """Return the period of now; of a fixed range that one, whether it is ahead, running or over."""
    period = budget.period
    found = period.bounds(now_s)
    if found is None:
        begins_s = period.begins_s()
        assert begins_s is not None, "only a fixed range has moments outside"
        found = period.bounds(begins_s)
        assert found is not None, "a range holds its beginning"
    return Periods(found, period.before(found))


def read_states(
    connection: Connection,
    stored: Iterable[StoredBudget],
    now_ns: int,
    *,
    past: Past | None = None,
    groups_max: int = GROUPS_MAX,
    states_max: int = STATES_MAX,
) -> list[BudgetState]:
    """Return how budgets stand: in the order given, and of one with groups the most used first.

    A budget without groups has one state, also where no call was counted yet; one with groups has none then. Where
    budgets with groups would have more than `states_max` together, each has fewer, though no fewer than twenty. Whoever
    asks again and again gives the same `past` each time.
    """
    states = list(_Reading(connection, list(stored), now_ns, past or Past(), groups_max, states_max).states())
    unusual = [place for place, state in enumerate(states) if state.anomaly is not None and state.anomaly.anomalous]
    for place in unusual[:_EXPLAINED_MAX]:
        states[place] = _explained(connection, states[place])
    return states


def read_group_counts(
    connection: Connection, stored: Iterable[StoredBudget], now_ns: int, *, at: Sequence[int] = ()
) -> dict[int, dict[int, int]]:
    """Return of each budget with groups how many have reached 0 percent, its thresholds, or those of `at`."""
    found: dict[int, dict[int, int]] = {}
    for each in stored:
        if each.budget.per:
            current, before = _known_periods(each, now_ns // _NS_PER_S)
            thresholds = tuple(at) or (0, *each.budget.thresholds)
            found[each.budget_id] = group_counts(connection, each, current, before, thresholds)
    return found


class _Reading:
    """One look at the counters of some budgets, all of the same moment."""

    def __init__(
        self,
        connection: Connection,
        stored: Sequence[StoredBudget],
        now_ns: int,
        past: Past,
        groups_max: int,
        states_max: int,
    ) -> None:
        self._connection = connection
        self._budgets = {each.budget_id: each for each in stored}
        self._now_ns = now_ns
        self._now_s = now_ns // _NS_PER_S
        self._periods = {each.budget_id: _known_periods(each, self._now_s) for each in stored}
        self._groups = self._most_used(groups_max, states_max)
        self._begun_s = ledger_begun_s(connection)
        self._counters: dict[tuple[int, str, int], Counter] = {}
        self._hours: dict[Key, dict[int, int]] = {}
        for batch in batches(self._groups):
            self._read(batch)
        self._days = past.read(connection, stored, self._groups, self._now_s)
        self._recent = recent_amounts(connection, stored)
        self._unaccounted = read_unaccounted(connection, now_ns)

    def states(self) -> Iterator[BudgetState]:
        """Return the states, in the order of the budgets."""
        for stored in self._budgets.values():
            for group in self._groups[stored.budget_id]:
                yield self._state(stored, group)

    def _most_used(self, groups_max: int, states_max: int) -> dict[int, Sequence[str]]:
        """Return the groups that are looked at: fewer of each budget where many budgets have groups."""
        divided = sum(1 for each in self._budgets.values() if each.budget.per)
        most = min(groups_max, max(_GROUPS_LEAST, states_max // max(1, divided)))
        return {
            each.budget_id: used_groups(self._connection, each, *self._periods[each.budget_id], most)
            if each.budget.per
            else ("",)
            for each in self._budgets.values()
        }

    def _read(self, batch: Batch) -> None:
        periods = [self._periods[number] for number in batch.numbers]
        starts_s = {bounds.start_s for pair in periods for bounds in pair if bounds is not None}
        for number, group, start_s, counter in read_counters(self._connection, batch, starts_s):
            self._counters[number, group, start_s] = counter
        hourly = tuple(number for number in batch.numbers if self._budgets[number].budget.period.kind == "hour")
        since_s = self._now_s - (TRAILING + 3) * _HOUR_S
        for number, group, start_s, counted in read_periods(self._connection, batch._replace(numbers=hourly), since_s):
            amount = amount_of(counted, self._budgets[number].budget.unit)
            self._hours.setdefault((number, group), {})[start_s] = amount

    def _state(self, stored: StoredBudget, group: str) -> BudgetState:
        budget, number = stored.budget, stored.budget_id
        current, before = self._periods[number]
        counter = self._counters.get((number, group, current.start_s), _NO_CALLS)
        past = None if before is None else self._counters.get((number, group, before.start_s), _NO_CALLS)
        limit = effective_limit(budget, None if past is None else amount_of(past.counted, budget.unit) + past.leased)
        spent = amount_of(counter.counted, budget.unit)
        zone = budget.period.timezone
        days, total = self._days[number, group]
        day = today_of(zone, self._now_s)
        today = Stretch(day.start_s, self._now_s, days.get(day.start_s, 0), day.weekday)
        history = stretches(days_before(zone, day.start_s, HISTORY_DAYS), days)
        daily = expect(history, today._replace(start_s=max(today.start_s, min(self._begun_s, self._now_s))))
        outlook = self._outlook(stored, group, limit - spent, spent, daily)
        return BudgetState(
            stored=stored,
            group_key=group,
            bounds=current,
            at_s=self._now_s,
            limit=limit,
            spent=spent,
            leased=counter.leased,
            unaccounted=self._unaccounted.get((number, group, current.start_s), 0),
            remaining=limit - spent - counter.leased,
            cost_pusd=counter.counted.cost_pusd,
            calls=counter.counted.calls,
            tokens=counter.counted.tokens,
            unpriced_calls=counter.counted.unpriced_calls,
            spent_total=amount_of(total, budget.unit),
            daily_average=daily.level if daily.is_known else None,
            forecast=outlook[0],
            run_out_s=outlook[1],
            days_left=max(0.0, (current.end_s - self._now_s) / _DAY_S),
            calls_left=self._calls_left(stored, group, limit - spent) if self._runs(current) else None,
            anomaly=judge(history, today, floor=_floor(budget)),
        )

    def _outlook(
        self, stored: StoredBudget, group: str, remaining: int, spent: int, daily: Expectation
    ) -> tuple[Forecast | None, float | None]:
        """Return the end of the period as it is to be expected, and when the limit is reached, as far as is known."""
        budget, (current, _) = stored.budget, self._periods[stored.budget_id]
        if not self._runs(current):
            return None, None
        expected = daily
        if budget.period.kind == "hour":
            earlier = periods_before(budget.period, current.start_s, TRAILING + 1)
            expected = expect_hour(
                stretches(earlier, self._hours.get((stored.budget_id, group), {})),
                Stretch(current.start_s, self._now_s, spent),
                whole_s=current.end_s - current.start_s,
            )
        reached = float(self._now_s) if remaining <= 0 else None
        if not (expected.is_known and (spent or expected.level)):
            return None, reached
        ahead = ahead_of(budget.period, current, self._now_s)
        return forecast(spent, expected, ahead), reached or run_out_s(remaining, expected, ahead)

    def _runs(self, bounds: Bounds) -> bool:
        return bounds.start_s <= self._now_s < bounds.end_s

    def _calls_left(self, stored: StoredBudget, group: str, remaining: int) -> CallsLeft | None:
        if stored.budget.unit == "calls":
            return CallsLeft(remaining, remaining, remaining, "high", 0) if remaining > 0 else _NO_CALLS_LEFT
        scale = PUSD_PER_MICRO_USD if stored.budget.unit == "usd" else 1
        return calls_left(remaining * scale, self._recent.get((stored.budget_id, group), ()))


def _explained(connection: Connection, state: BudgetState) -> BudgetState:
    """Return a state with what grew on its unusual day."""
    budget, anomaly = state.stored.budget, state.anomaly
    assert anomaly is not None, "asked only of days that were judged"
    grew = causes(connection, budget, group_values(budget, state.group_key), anomaly.day_s, state.at_s)
    return state._replace(anomaly=anomaly._replace(grew=grew))


def ledger_begun_s(connection: Connection) -> int:
    """Return the beginning of the first hour that the ledger knows of; 0 for one that has no entries yet."""
    return connection.execute(select(func.min(rollup_hours.c.hour_s))).scalar() or 0


def _floor(budget: Budget) -> int:
    """Return by how much a day must exceed what is usual before that is worth anybody's time."""
    if budget.unit == "usd":
        return ANOMALY_FLOOR_USD * MICRO_USD_PER_USD
    return budget.limit // _FLOOR_PARTS


def _known_periods(stored: StoredBudget, now_s: int) -> Periods:
    """Return the periods, without the one before where it was not counted: what is not known is not nothing."""
    current, before = periods_of(stored.budget, now_s)
    if before is not None and before.start_s < stored.counted_from_s:
        before = None
    return Periods(current, before)
