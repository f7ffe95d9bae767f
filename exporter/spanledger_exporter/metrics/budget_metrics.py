"""How budgets stand -> what Prometheus sees of them: read from memory, never from the database.

Every exporter on a ledger shows the same figures, for all of them come from the ledger: expressions take the maximum by
budget and group, not the sum. Of a budget that is per user, session or key no group is ever a label; of others the most
used ones are, and in all at most so many.

Units: USD, tokens, calls, Unix seconds, parts of a limit.
"""

import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Final, get_args

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from spanledger_exporter.budgets import spend_counters
from spanledger_exporter.budgets.budget import MICRO_USD_PER_USD, UNITS
from spanledger_exporter.budgets.document import group_text
from spanledger_exporter.budgets.evaluator import Evaluation
from spanledger_exporter.budgets.states import BudgetState
from spanledger_exporter.leases.messages import Decided, Decision
from spanledger_exporter.ledger.held_counters import Key, Marks
from spanledger_exporter.metrics.newborn import Newborn
from spanledger_exporter.records import OTHER

GROUPS_SHOWN_MAX: Final = 100
STATES_SHOWN_MAX: Final = 2000
BUDGETS_DECIDED_MAX: Final = 1000
_COUNTERS: Final = frozenset(spend_counters.COUNTERS.values())
_LABELS: Final = ("budget", "group")
_QUANTILES: Final = (("0.1", "low"), ("0.5", "middle"), ("0.9", "high"))


def _unaccounted(state: BudgetState) -> float | None:
    return state.unaccounted / state.limit if state.limit else None


def _score(state: BudgetState) -> float | None:
    return None if state.anomaly is None else state.anomaly.score


_GAUGES: Final[Mapping[str, tuple[str, Callable[[BudgetState], float | None]]]] = {
    "used_ratio": ("Part of the limit that is spent.", lambda state: state.used_ratio),
    "period_start_timestamp_seconds": ("When the period began.", lambda state: state.bounds.start_s),
    "period_end_timestamp_seconds": ("When the period ends.", lambda state: state.bounds.end_s),
    "run_out_timestamp_seconds": (
        "When the limit is reached if all goes as expected; absent where the period ends before.",
        lambda state: state.run_out_s,
    ),
    "unpriced_calls": ("Calls of the period whose price is not known.", lambda state: state.unpriced_calls),
    "unaccounted_ratio": ("Part of the limit that is held by leases of processes that are gone.", _unaccounted),
    "anomaly_score": ("How unlike its weekday today is; 1 and more is anomalous.", _score),
}
# By the unit of the budget, and so each of them under three names.
_AMOUNTS: Final[Mapping[str, tuple[str, Callable[[BudgetState], int]]]] = {
    "limit": ("What may be spent in the period, with what was rolled over.", lambda state: state.limit),
    "spent": ("What was spent in the period.", lambda state: state.spent),
    "leased": ("What services may spend without asking again.", lambda state: state.leased),
    "remaining": ("What is neither spent nor leased; negative where too much was.", lambda state: state.remaining),
}


class BudgetMetrics(Collector):
    """The metrics of all budgets, of the evaluation that was made last.

    `marks` is by how much counters stand above what the ledger has counted, as it was at the last stop, `hold` keeps
    what they are raised by: a correction lowers what was spent, and a counter that fell would look as if all of it had
    been spent anew. A group that a budget has not had before is shown as 0 first, `hold_s` as `Newborn` has it.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        evaluation: Callable[[], Evaluation],
        failures: Callable[[], int],
        *,
        marks: Marks | None = None,
        hold: Callable[[Marks], None] = lambda _marks: None,
        hold_s: float = 0,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._evaluation = evaluation
        self._failures = failures
        self._hold = hold
        self._lock = threading.Lock()
        self._raised: dict[Key, int] = {key: value for key, value in (marks or {}).items() if key[0] in _COUNTERS}
        self._unkept: dict[Key, int] = {}
        # Of groups that are not looked at now, too: one that comes back must be where it was.
        self._totals: dict[Key, int] = {}
        self._names = frozenset[str]()
        self._newborn = Newborn[Key](hold_s, clock_s)
        registry.register(self)

    def on_states(self, states: Sequence[BudgetState]) -> None:
        """Move the counters to where the totals are now; one whose total fell stands still, and goes on from there."""
        ours = {_key(state): state for state in states if not state.stored.budget.private}
        names = frozenset(stored.budget.name for stored in self._evaluation().stored)
        with self._lock:
            for key, state in ours.items():
                before = self._totals.get(key)
                if before is not None and state.spent_total < before:
                    self._unkept[key] = self._raised[key] = self._raised.get(key, 0) + before - state.spent_total
                # Else the budget is new and counts what was spent long before, or the group is back in a new period.
                elif before is None and key[1][0] in self._names and state.spent == state.spent_total:
                    self._newborn.add(key)
                self._totals[key] = state.spent_total
            self._totals = {key: total for key, total in self._totals.items() if key[1][0] in names}
            self._names = names
        if self._unkept:
            self._hold(self._unkept)  # what could not be kept is tried again with the next look
            self._unkept = {}

    def collect(self) -> Iterable[Metric]:
        """Return the metrics as the last evaluation found them."""
        evaluation = self._evaluation()
        current = [state for state in evaluation.states if state.running]
        shown = shown_states(current)
        yield from _state_families(shown)
        yield from self._spend(shown)
        yield from _budget_families(evaluation, unshown=len(current) - len(shown))
        yield from _evaluation_families(evaluation, self._failures())

    def describe(self) -> Iterable[Metric]:
        """Return the metrics without samples."""
        yield from _state_families(())
        yield from self._spend(())
        yield from _budget_families(Evaluation(), unshown=0)
        yield from _evaluation_families(Evaluation(), 0)

    def _spend(self, states: Sequence[BudgetState]) -> Iterator[Metric]:
        with self._lock:
            zeros = self._newborn.at_zero()
            values = {key: total + self._raised.get(key, 0) for key, total in self._totals.items()}
            values |= dict.fromkeys(zeros & values.keys(), 0)
        for unit, name in spend_counters.COUNTERS.items():
            family = CounterMetricFamily(
                name, f"What was spent under budgets in {unit}, over all periods that are counted.", labels=_LABELS
            )
            for state in states:
                if state.stored.budget.unit == unit and (key := _key(state)) in values:
                    family.add_metric(_labels(state), _shown(values[key], unit))
            yield family


class EnforcementMetrics(Collector):
    """What services decided about calls, and what their requests for leases were answered.

    Each budget's decisions are shown as 0 from when it is known: `increase()` would not see the first refusal of one
    that appears with it.

    `names` returns the budgets that there are, `None` while nobody has looked: what services say of any other is
    counted as `__other__`, as are budgets beyond the limit. One that is gone is shown no more, and its place is
    another's.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        names: Callable[[], Collection[str] | None] = lambda: None,
        *,
        budgets_max: int = BUDGETS_DECIDED_MAX,
    ) -> None:
        self._names = names
        self._budgets_max = budgets_max
        self._budgets: set[str] = set()
        self._lock = threading.Lock()
        self._decisions = Counter(
            "genai_budget_decisions",
            "Calls by what services decided under a budget.",
            ("budget", "decision"),
            registry=None,
        )
        registry.register(self)
        self._requests = Counter(
            "spanledger_lease_requests", "Requests for leases, by answer.", ("answer",), registry=registry
        )
        for answer in ("ok", "rejected", "denied", "unavailable"):
            self._requests.labels(answer)

    def decided(self, decisions: Iterable[Decided]) -> None:
        """Count calls that were admitted, refused or let pass."""
        names = self._names()
        with self._lock:
            for decided in decisions:
                budget = decided.budget if self._has_room(decided.budget, names) else OTHER
                self._show(budget)
                self._decisions.labels(budget, decided.decision).inc(decided.count)

    def collect(self) -> Iterable[Metric]:
        """Return the decisions as they stand now."""
        names = self._names()
        with self._lock:
            if names is not None:
                self._forget(self._budgets.difference(names, {OTHER}))
            for budget in sorted(names or ()):
                if self._has_room(budget, names):
                    self._show(budget)
        return self._decisions.collect()

    def describe(self) -> Iterable[Metric]:
        """Return the decisions without samples."""
        return self._decisions.describe()

    def _forget(self, budgets: Collection[str]) -> None:
        for budget in budgets:
            self._budgets.discard(budget)
            for each in get_args(Decision):
                self._decisions.remove(budget, each)

    def _show(self, budget: str) -> None:
        if budget not in self._budgets:
            self._budgets.add(budget)
            for each in get_args(Decision):
                self._decisions.labels(budget, each)

    def _has_room(self, budget: str, names: Collection[str] | None) -> bool:
        if budget in self._budgets:
            return True
        return (names is None or budget in names) and len(self._budgets) < self._budgets_max

    def answered(self, answer: str) -> None:
        """Count one request for leases."""
        self._requests.labels(answer).inc()


def shown_states(states: Iterable[BudgetState], *, states_max: int = STATES_SHOWN_MAX) -> list[BudgetState]:
    """Return the states that become series: none of private groups, the most used ones where they are too many."""
    groups: dict[int, int] = {}
    found: list[BudgetState] = []
    for state in states:
        number = state.stored.budget_id
        groups[number] = groups.get(number, 0) + 1
        if not state.stored.budget.private and groups[number] <= GROUPS_SHOWN_MAX:
            found.append(state)
    if len(found) > states_max:
        found = sorted(found, key=lambda state: -state.used_ratio)[:states_max]
    return found


def _state_families(states: Sequence[BudgetState]) -> Iterator[Metric]:
    for name, (text, value_of) in _GAUGES.items():
        family = GaugeMetricFamily(f"genai_budget_{name}", text, labels=_LABELS)
        for state in states:
            value = value_of(state)
            if value is not None:
                family.add_metric(_labels(state), value)
        yield family
    for kind, (text, amount_of) in _AMOUNTS.items():
        for unit in UNITS:
            family = GaugeMetricFamily(f"genai_budget_{kind}_{unit}", text, labels=_LABELS)
            for state in states:
                if state.stored.budget.unit == unit:
                    family.add_metric(_labels(state), _shown(amount_of(state), unit))
            yield family
    yield _forecast_family(states)


def _forecast_family(states: Sequence[BudgetState]) -> Metric:
    family = GaugeMetricFamily(
        "genai_budget_forecast_ratio",
        "Part of the limit that is likely to be spent at the end of the period.",
        labels=(*_LABELS, "quantile"),
    )
    for state in states:
        if state.forecast is not None and state.limit:
            for quantile, name in _QUANTILES:
                family.add_metric((*_labels(state), quantile), getattr(state.forecast, name) / state.limit)
    return family


def _budget_families(evaluation: Evaluation, *, unshown: int) -> Iterator[Metric]:
    groups = GaugeMetricFamily(
        "genai_budget_groups",
        "How many values of a budget have used so many percent of their limit or more.",
        labels=("budget", "at_least"),
    )
    modes = GaugeMetricFamily(
        "genai_budget_mode_info",
        "Always 1; the label says whether a budget is soft or hard.",
        labels=("budget", "mode"),
    )
    for stored in evaluation.stored[:STATES_SHOWN_MAX]:
        budget = stored.budget
        modes.add_metric((budget.name, budget.mode), 1)
        if budget.period.kind == "range" and budget.period.bounds(int(evaluation.at_s)) is None:
            continue  # what was over its limit when it ended is no news for ever
        for threshold, count in evaluation.groups.get(stored.budget_id, {}).items():
            groups.add_metric((budget.name, str(threshold)), count)
    yield groups
    yield modes
    drift = GaugeMetricFamily(
        "spanledger_budget_drift_usd",
        "By how much a budget's counters differ from its entries, at the last check.",
        labels=("budget",),
    )
    for name, drift_pusd in evaluation.drift.items():
        drift.add_metric((name,), drift_pusd / 1e12)
    yield drift
    yield GaugeMetricFamily(
        "spanledger_budget_unshown_states",
        "Groups of budgets that are evaluated and not shown here, because they are private or too many.",
        value=unshown,
    )


def _evaluation_families(evaluation: Evaluation, failures: int) -> Iterator[Metric]:
    yield GaugeMetricFamily(
        "spanledger_budget_last_evaluation_timestamp_seconds",
        "When budgets were last evaluated; 0 before the first time.",
        value=evaluation.at_s,
    )
    yield GaugeMetricFamily(
        "spanledger_budget_evaluation_duration_seconds",
        "How long the last evaluation of all budgets took.",
        value=evaluation.duration_s,
    )
    yield CounterMetricFamily(
        "spanledger_budget_evaluation_failures", "Evaluations that failed since the start.", value=failures
    )


def _labels(state: BudgetState) -> tuple[str, str]:
    return state.stored.budget.name, group_text(state.stored.budget, state.group_key)


def _key(state: BudgetState) -> Key:
    return spend_counters.key_of(state.stored.budget, state.group_key)


def _shown(amount: int, unit: str) -> float:
    return amount / MICRO_USD_PER_USD if unit == "usd" else float(amount)
