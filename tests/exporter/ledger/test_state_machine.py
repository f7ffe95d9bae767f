"""Anything that can happen to a ledger, in any order, against a plain dictionary of calls.

Calls are reported by one, two or three instrumentations; batches are sent, sent again, cut and merged by two writers;
transactions fail before and after their commit; writers vanish and come back; retention deletes; prices change.
"""

import os
from collections import Counter
from collections.abc import Callable, Sequence

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from sqlalchemy import delete, update

from spanledger_exporter.errors import UnavailableError
from spanledger_exporter.failpoints import AFTER_COMMIT, BEFORE_COMMIT, BEFORE_INSERT, Failpoints
from spanledger_exporter.ledger.database import open_database
from spanledger_exporter.ledger.ledger import Ledger
from spanledger_exporter.ledger.retention import expire
from spanledger_exporter.ledger.rollups import Sums
from spanledger_exporter.ledger.schema import ledger_state, metadata
from spanledger_exporter.prices.price_book import PriceBook
from spanledger_exporter.records import Adjustment, Key, Price, PricedRecord, Split, UsageRecord
from tests.exporter.otlp_requests import END_NS
from tests.exporter.rebuilt import NOTHING, by_cell, rebuilt, rows_of, stored, stored_totals, total
from tests.exporter.reported_calls import KINDS, Figures, ReportedCall, Truth, cost_pusd, reported_call, split_pusd

HOUR_NS = 3600 * 10**9
NOW_NS = END_NS + HOUR_NS
SLOTS = 20  # of three hours each: the oldest are beyond the two days for which minutes are kept
WRITERS = 2
STEPS = 30
EXAMPLES = int(os.environ.get("STATE_MACHINE_EXAMPLES", "25"))
Place = tuple[int, int]  # a call and one of its reports
Group = tuple[int, frozenset[int]]  # a call and the reports that make an entry

BOOK = PriceBook({"source": "test", "providers": []})


def slot_ns(slot: int) -> int:
    return NOW_NS - (SLOTS - slot) * 3 * HOUR_NS


class Side:
    """A ledger in one database, and its writers."""

    def __init__(self, url: str) -> None:
        self.databases = [open_database(url) for _ in range(WRITERS + 1)]
        self.database = self.databases.pop()
        self.armed: dict[str, Callable[[], None]] = {}
        self.writers: list[Ledger] = []
        self.deleted: dict[tuple[int, int, int], Sums] = {}  # by grain, time and cell

    def begin(self) -> None:
        """Empty the ledger, and let new writers at it."""
        with self.database.write() as connection:
            for table in reversed(metadata.sorted_tables):
                if table is not ledger_state:
                    connection.execute(delete(table))
            connection.execute(update(ledger_state).values(value=0))
        self.deleted = {}
        self.writers = [self.writer(number) for number in range(WRITERS)]

    def writer(self, number: int) -> Ledger:
        """A writer that knows nothing of what was."""
        ledger = Ledger(
            self.databases[number], cells_max=100, price=_price, clock_ns=lambda: NOW_NS, points=Failpoints(self.armed)
        )
        ledger.keep_book(BOOK)
        return ledger

    def close(self) -> None:
        for each in (*self.databases, self.database):
            each.close()


def _price(record: UsageRecord, _book: PriceBook) -> Price:
    usage = record.usage
    if usage.input_tokens is None or usage.output_tokens is None:
        return Price("unpriced", None, "unreported_usage")
    truth = Truth(usage.input_tokens, usage.output_tokens, 0)
    read = usage.cache_read_tokens or 0
    return Price("priced", cost_pusd(truth, read), model="test/model", split=split_pusd(truth, read))


def _agreed(cost: int) -> Price:
    """A price that somebody agreed upon, of which is known what it is made of, or not."""
    split = None if cost % 3 == 0 else Split(cost - cost // 3, 0, 0, 0, cost // 3, 7, cost % 3)
    return Price("priced", cost, model="test/model", split=split)


class LedgerMachine(RuleBasedStateMachine):
    """The rules; who runs it says which ledgers `sides` are."""

    sides: Sequence[Side]

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[ReportedCall] = []
        self.slots: list[int] = []
        self.fresh: list[Place] = []
        self.delivered: dict[int, list[int]] = {}
        self.batches: list[list[Place]] = []
        self.floor = 0
        self.expired: list[tuple[Figures, Split | None]] = []
        self.repriced: dict[Group, int] = {}

    @initialize()
    def start(self) -> None:
        for side in self.sides:
            side.begin()

    # -- what senders do

    @rule(
        kind=st.sampled_from(KINDS),
        slot=st.integers(0, SLOTS - 1),
        figures=st.tuples(st.integers(1, 10**6), st.integers(0, 10**5), st.integers(0, 100)),
    )
    def call(self, kind: str, slot: int, figures: tuple[int, int, int]) -> None:
        """A call is made, and waits to be reported; of an old slot it is late."""
        input_tokens, output_tokens, cached_percent = figures
        truth = Truth(input_tokens, output_tokens, input_tokens * cached_percent // 100)
        number = len(self.calls)
        self.calls.append(reported_call(kind, number + 1, slot_ns(slot) + number, truth))
        self.slots.append(slot)
        self.fresh += [(number, place) for place in range(len(self.calls[number].reports))]

    @precondition(lambda self: self.fresh)
    @rule(data=st.data(), writer=st.integers(0, WRITERS - 1))
    def send(self, data: st.DataObject, writer: int) -> None:
        """Some reports that nobody has sent before, in any order."""
        order = data.draw(st.permutations(self.fresh))
        count = data.draw(st.integers(1, len(order)))
        self.fresh = order[count:]
        self.batches.append(order[:count])
        self.deliver(order[:count], writer)

    @precondition(lambda self: self.batches)
    @rule(data=st.data(), writer=st.integers(0, WRITERS - 1))
    def resend(self, data: st.DataObject, writer: int) -> None:
        self.deliver(data.draw(st.sampled_from(self.batches)), writer)

    @precondition(lambda self: self.batches)
    @rule(data=st.data(), writer=st.integers(0, WRITERS - 1))
    def split(self, data: st.DataObject, writer: int) -> None:
        batch = data.draw(st.sampled_from(self.batches))
        cut = data.draw(st.integers(0, len(batch)))
        self.deliver(batch[cut:], writer)
        self.deliver(batch[:cut], 1 - writer)

    @precondition(lambda self: len(self.batches) > 1)
    @rule(data=st.data(), writer=st.integers(0, WRITERS - 1))
    def merge(self, data: st.DataObject, writer: int) -> None:
        first, second = data.draw(st.lists(st.sampled_from(self.batches), min_size=2, max_size=2))
        fresh, self.fresh = self.fresh[:1], self.fresh[1:]
        self.deliver([*first, *fresh, *second], writer)

    @rule(writer=st.integers(0, WRITERS - 1), ahead=st.booleans())
    def wrong_clock(self, writer: int, ahead: bool) -> None:
        end_ns = NOW_NS + 25 * HOUR_NS if ahead else HOUR_NS
        wrong = self.priced(reported_call("alone", 1, end_ns, Truth(1, 1, 0)).reports[0])
        for side in self.sides:
            appended = side.writers[writer].append([wrong])
            assert [each.reason for each in appended.refused] == ["future" if ahead else "too_old"]

    def deliver(self, batch: Sequence[Place], writer: int) -> None:
        before = len(self.groups())
        expired = [place for place in batch if self.slots[place[0]] < self.floor]
        self.count(batch)
        moved = len(self.groups()) - before
        for side in self.sides:
            appended = side.writers[writer].append([self.priced(self.report(place)) for place in batch])
            assert len(appended.refused) == len(set(expired))
            assert sum(sums.calls for sums in appended.sums.values()) == moved

    def count(self, batch: Sequence[Place]) -> None:
        """What a committed batch does to the model."""
        for number, place in batch:
            if self.slots[number] >= self.floor and place not in self.delivered.setdefault(number, []):
                self.delivered[number].append(place)
        standing = self.groups().keys()
        self.repriced = {group: cost for group, cost in self.repriced.items() if group in standing}

    # -- what goes wrong

    @precondition(lambda self: self.fresh)
    @rule(writer=st.integers(0, WRITERS - 1), point=st.sampled_from([BEFORE_INSERT, BEFORE_COMMIT, AFTER_COMMIT]))
    def fail(self, writer: int, point: str) -> None:
        """A transaction fails; its batch stays to be sent, whether it was committed or not."""
        batch = list(self.fresh)
        if point == AFTER_COMMIT:
            self.count(batch)
        for side in self.sides:
            side.armed[point] = _fail
            with pytest.raises(UnavailableError, match="on purpose"):
                side.writers[writer].append([self.priced(self.report(place)) for place in batch])
            side.armed.clear()

    @rule(writer=st.integers(0, WRITERS - 1))
    def crash(self, writer: int) -> None:
        for side in self.sides:
            side.writers[writer] = side.writer(writer)

    # -- what operators do

    @rule(slot=st.integers(1, SLOTS - 1))
    def retain(self, slot: int) -> None:
        """Entries before a time expire; their sums stay."""
        if slot <= self.floor:
            return
        self.floor = slot
        for side in self.sides:
            _expire(side, slot_ns(slot))
        for number in [number for number in self.delivered if self.slots[number] < slot]:
            groups = self.calls[number].entries(self.delivered.pop(number))
            for group, said in groups.items():
                figures = self.figures((number, group), said)
                self.expired.append((figures, self.split_of((number, group), figures)))

    @precondition(lambda self: self.groups())
    @rule(
        data=st.data(),
        writer=st.integers(0, WRITERS - 1),
        costs=st.lists(st.integers(0, 10**13), min_size=1, max_size=3),
    )
    def reprice(self, data: st.DataObject, writer: int, costs: list[int]) -> None:
        """Entries get other prices, one of them perhaps several in one go."""
        chosen = [data.draw(st.sampled_from(sorted(self.groups(), key=str))) for _ in costs]
        for side in self.sides:
            numbers = self.numbers(side)
            changes = [
                Adjustment(numbers[group], _agreed(cost), BOOK.book_id, "agreed")
                for group, cost in zip(chosen, costs, strict=True)
            ]
            side.writers[writer].adjust(changes)
        self.repriced |= dict(zip(chosen, costs, strict=True))

    # -- what must hold

    @invariant()
    def the_entries_are_the_models(self) -> None:
        groups = self.groups()
        for side in self.sides:
            rows = self.rows(side)
            assert {group: _figures(row) for group, row in rows.items()} == groups
            assert {group: _split(row) for group, row in rows.items()} == {
                group: self.split_of(group, figures) for group, figures in groups.items()
            }

    @invariant()
    def the_totals_are_the_models(self) -> None:
        standing = [(figures, self.split_of(group, figures)) for group, figures in self.groups().items()]
        said, splits = zip(*standing, *self.expired, strict=True) if standing or self.expired else ((), ())
        calls = len(said)
        tokens = [sum(each[place] or 0 for each in said) for place in range(3)]
        cost = sum(each.cost_pusd or 0 for each in said)
        parts = [sum(split[place] for split in splits if split is not None) for place in range(len(Split._fields))]
        for side in self.sides:
            for ledger in side.writers:
                totals = ledger.totals()
                assert total({(0, place): sums for place, sums in enumerate(totals.values())}) == Sums(
                    calls, tokens[0], tokens[1], tokens[2], 0, 0, cost, *parts
                )
                assert all(figure >= 0 for sums in totals.values() for figure in sums)

    @invariant()
    def the_sums_are_those_of_the_entries(self) -> None:
        oldest_s = NOW_NS // 10**9 - 48 * 3600
        for side in self.sides:
            with side.database.read() as connection:
                for grain_s, since_s in ((3600, 0), (60, oldest_s)):
                    expected = dict(rebuilt(connection, grain_s, since_s=since_s))
                    for (grain, time_s, cell_id), sums in side.deleted.items():
                        if grain == grain_s and time_s >= since_s:
                            expected[time_s, cell_id] = expected.get((time_s, cell_id), NOTHING).plus(sums)
                    assert stored(connection, grain_s, since_s=since_s) == expected
                    assert grain_s != 3600 or stored_totals(connection) == by_cell(expected)

    # -- the model

    def groups(self) -> dict[Group, Figures]:
        """The entries that there are, by the reports that they are made of."""
        return {
            (number, group): self.figures((number, group), said)
            for number, delivered in self.delivered.items()
            for group, said in self.calls[number].entries(delivered).items()
        }

    def figures(self, group: Group, said: Figures) -> Figures:
        return said._replace(cost_pusd=self.repriced.get(group, said.cost_pusd))

    def split_of(self, group: Group, figures: Figures) -> Split | None:
        """What the cost of an entry is made of."""
        if group in self.repriced:
            return _agreed(self.repriced[group]).split
        if figures.input_tokens is None or figures.output_tokens is None:
            return None
        return split_pusd(Truth(figures.input_tokens, figures.output_tokens, 0), figures.cache_read_tokens or 0)

    def report(self, place: Place) -> UsageRecord:
        return self.calls[place[0]].reports[place[1]]

    def priced(self, record: UsageRecord) -> PricedRecord:
        return PricedRecord(record, _price(record, BOOK), BOOK.book_id)

    def rows(self, side: Side) -> dict[Group, dict[str, object]]:
        """The entries that a database holds, by the model's name of the entry that has their key."""
        by_key: dict[Key, Group] = {
            self.report((number, place)).key: (number, group) for number, group in self.groups() for place in group
        }
        with side.database.read() as connection:
            found = [dict(row) for row in rows_of(connection)]
        names = [by_key[row["end_ns"], bytes(row["span_id"]), bytes(row["trace_id"])] for row in found]
        assert max(Counter(names).values(), default=1) == 1
        return dict(zip(names, found, strict=True))

    def numbers(self, side: Side) -> dict[Group, int]:
        return {group: int(str(row["entry_id"])) for group, row in self.rows(side).items()}


def _fail() -> None:
    raise UnavailableError("on purpose")


def _figures(row: dict[str, object]) -> Figures:
    return Figures(*(row[name] for name in Figures._fields))  # type: ignore[arg-type]


def _split(row: dict[str, object]) -> Split | None:
    parts = [row[name] for name in Split._fields]
    return None if parts.count(None) == len(parts) else Split(*parts)  # type: ignore[arg-type]


def _expire(side: Side, before_ns: int) -> None:
    """Let retention delete, in the smallest slices, and remember what sums it leaves without entries."""
    with side.database.read() as connection:
        kept = {grain: rebuilt(connection, grain) for grain in (3600, 60)}
    expire(side.database, before_ns, slice_rows=1, between=lambda _took_s: None)
    with side.database.read() as connection:
        for grain, before in kept.items():
            after = rebuilt(connection, grain)
            for (time_s, cell_id), sums in before.items():
                gone = sums.minus(after.get((time_s, cell_id), NOTHING))
                if gone != NOTHING:  # what stays may move to another cell yet
                    key = (grain, time_s, cell_id)
                    side.deleted[key] = side.deleted.get(key, NOTHING).plus(gone)


def run(urls: Sequence[str], *, examples: int) -> None:
    sides = [Side(url) for url in urls]
    machine = type("Machine", (LedgerMachine,), {"sides": sides})
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    chosen = settings(
        max_examples=examples, stateful_step_count=STEPS, deadline=None, suppress_health_check=checks, print_blob=True
    )
    try:
        run_state_machine_as_test(machine, settings=chosen)
    finally:
        for side in sides:
            side.close()


def test_whatever_happens_a_ledger_holds_each_call_once(sqlite_url: str) -> None:
    run([sqlite_url], examples=EXAMPLES)


def test_whatever_happens_both_databases_say_the_same(sqlite_url: str, postgresql_url: str) -> None:
    run([sqlite_url, postgresql_url], examples=max(3, EXAMPLES // 4))
