"""Anything that can happen to a ledger with budgets, in any order: counters are what a plain dictionary says.

The rules are those of the ledger's own state machine: two writers, batches sent again, cut and merged, transactions
that fail, retention, other prices. Here calls have teams, users and starts, and budgets come, change and go.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule, run_state_machine_as_test

from spanledger_exporter.budgets.budget import StoredBudget
from spanledger_exporter.budgets.shelf import BudgetShelf
from spanledger_exporter.ledger.checking import check
from tests.exporter.budgets.counted import NOTHING, Counted, Counters, declared, expected, stored
from tests.exporter.calls import changed
from tests.exporter.ledger.test_state_machine import EXAMPLES, NOW_NS, SLOTS, STEPS, LedgerMachine, Side, slot_ns
from tests.exporter.reported_calls import KINDS, Truth, reported_call

HOUR_NS = 3600 * 10**9
TIMES = ("period_start_s", "day_s")
# What a budget may be: scopes, values, periods whose bounds lie among the slots of the machine.
SCOPES: tuple[dict[str, Any], ...] = (
    {},
    {"team": "search"},
    {"team": ["a*", ""]},
    {"user": "u1"},
    {"model": "GPT-4o*"},
)
PERS: tuple[list[str], ...] = ([], ["team"], ["user", "team"], ["session"])
PERIODS: tuple[dict[str, Any], ...] = (
    {"period": "hour", "timezone": "Asia/Kathmandu"},
    {"period": "day", "timezone": "America/Havana"},
    {"period": "day", "timezone": "Australia/Lord_Howe"},
    {"period": "week", "weekday": "wed"},
    {"period": "month", "timezone": "Africa/Cairo", "day": 18},
    {"period": "days", "days": 2, "since": "2026-11-17", "rollover": True},
    {"period": "range", "since": "2026-11-17", "until": "2026-11-18"},
)
RATES: tuple[dict[str, Any], ...] = (
    {},
    {"on_unpriced": "rate", "default_rate": {"input_mtok": 3, "output_mtok": "0.5"}},
)


class BudgetMachine(LedgerMachine):
    """The rules with budgets."""

    shelves: Mapping[int, BudgetShelf]

    def __init__(self) -> None:
        super().__init__()
        # What budgets keep of entries that are gone, by the side's place, the column of the time, and the counter.
        self.kept: dict[tuple[int, str], dict[tuple[str, str, int], Counted]] = {}

    @initialize()
    def start(self) -> None:
        super().start()
        self.shelves = {
            place: BudgetShelf(side.database, clock_ns=lambda: NOW_NS) for place, side in enumerate(self.sides)
        }
        self.kept = {(place, time): {} for place in self.shelves for time in TIMES}

    @rule(
        kind=st.sampled_from(KINDS),
        slot=st.integers(0, SLOTS - 1),
        figures=st.tuples(st.integers(1, 10**6), st.integers(0, 10**5), st.integers(0, 100)),
        whose=st.tuples(st.sampled_from(["search", "ads", None]), st.sampled_from(["u1", "u2", None])),
        earlier_ns=st.sampled_from([0, 1, 40 * 60 * 10**9, 5 * HOUR_NS, 30 * HOUR_NS]),
    )
    def call(
        self,
        kind: str,
        slot: int,
        figures: tuple[int, int, int],
        whose: tuple[str | None, str | None] = (None, None),
        earlier_ns: int = 0,
    ) -> None:
        """A call of somebody, which may have begun long before; of several reports the last alone says whose."""
        input_tokens, output_tokens, cached_percent = figures
        number = len(self.calls)
        made = reported_call(
            kind,
            number + 1,
            slot_ns(slot) + number,
            Truth(input_tokens, output_tokens, input_tokens * cached_percent // 100),
        )
        team, user = whose
        reports = list(made.reports)
        reports[0] = changed(reports[0], start_ns=reports[0].start_ns - earlier_ns)
        reports[-1] = changed(reports[-1], team=team, user_id=user, session_id=user and f"{user}-s")
        self.calls.append(replace(made, reports=tuple(reports)))
        self.slots.append(slot)
        self.fresh += [(number, place) for place in range(len(reports))]

    # -- what operators do

    @rule(
        name=st.sampled_from(["one", "two", "three"]),
        scope=st.sampled_from(SCOPES),
        per=st.sampled_from(PERS),
        period=st.sampled_from(PERIODS),
        rates=st.sampled_from(RATES),
        limit=st.integers(1, 3),
    )
    def budget(self, name: str, scope: dict[str, Any], per: list[str], period: dict[str, Any], rates: dict[str, Any],
               limit: int) -> None:  # fmt: skip
        """A budget is made, or becomes another one, which knows nothing of entries that are gone."""
        made = declared(name, scope=scope, per=per, limit_usd=limit, **period, **rates)
        for place, shelf in self.shelves.items():
            before = shelf.get(name)
            if self.floor and before is not None and _rates(before) != (made.input_rate_pusd, made.output_rate_pusd):
                return  # what becomes of sums at other rates, of which a part is gone, has a test of its own
            shelf.set(made, "test")
            after = shelf.get(name)
            assert after is not None
            if before is None or before.budget_id != after.budget_id:
                self.forget(place, name)

    @rule(name=st.sampled_from(["one", "two", "three"]))
    def remove(self, name: str) -> None:
        for place, shelf in self.shelves.items():
            if shelf.get(name) is not None:
                shelf.remove(name, "test")
                self.forget(place, name)

    def forget(self, place: int, name: str) -> None:
        for time in TIMES:
            kept = self.kept[place, time]
            self.kept[place, time] = {key: sums for key, sums in kept.items() if key[0] != name}

    @rule(slot=st.integers(1, SLOTS - 1))
    def retain(self, slot: int) -> None:
        if slot <= self.floor:
            return
        before = {key: self.of_entries(*key) for key in self.kept}
        super().retain(slot)
        for key, kept in self.kept.items():
            after = self.of_entries(*key)
            for counter, sums in before[key].items():
                gone = sums.minus(after.get(counter, NOTHING))
                kept[counter] = kept.get(counter, NOTHING).plus(gone)

    # -- what must hold

    @invariant()
    def the_counters_are_the_dictionarys(self) -> None:
        for (place, time), kept in self.kept.items():
            sums = dict(self.of_entries(place, time))
            for counter, each in kept.items():
                sums[counter] = sums.get(counter, NOTHING).plus(each)
            with self.sides[place].database.read() as connection:
                assert stored(connection, time) == {counter: each for counter, each in sums.items() if any(each)}

    @precondition(lambda self: self.fresh == [])
    @rule()
    def check(self) -> None:
        """Nothing is wrong with the counters, whatever is gone: what the check cannot compare it passes over."""
        for side in self.sides:
            assert [each for each in check(side.database, NOW_NS) if "budget" in each.kind] == []

    def of_entries(self, place: int, time: str) -> Counters:
        with self.sides[place].database.read() as connection:
            return expected(connection, self.shelves[place].all(), time)


def _rates(kept: StoredBudget) -> tuple[int, int]:
    return kept.budget.input_rate_pusd, kept.budget.output_rate_pusd


def run(urls: Sequence[str], *, examples: int) -> None:
    sides = [Side(url) for url in urls]
    machine = type("Machine", (BudgetMachine,), {"sides": sides})
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    chosen = settings(
        max_examples=examples, stateful_step_count=STEPS, deadline=None, suppress_health_check=checks, print_blob=True
    )
    try:
        run_state_machine_as_test(machine, settings=chosen)
    finally:
        for side in sides:
            side.close()


def test_whatever_happens_counters_are_what_the_entries_add_up_to(sqlite_url: str) -> None:
    run([sqlite_url], examples=EXAMPLES)


def test_whatever_happens_both_databases_count_the_same(sqlite_url: str, postgresql_url: str) -> None:
    run([sqlite_url, postgresql_url], examples=max(3, EXAMPLES // 4))
