"""Many processes that spend under one hard budget, on a made-up clock, with everything that can go wrong.

The exporter's own code grants, counts and settles, on a real ledger; the processes are wallets (wallets.py), and what
the provider would bill is summed beside, by the period in which each process's own clock says that a call was made.
The same seed gives the same run.
"""

import heapq
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from spanledger_exporter.budgets.budget import Budget
from spanledger_exporter.budgets.periods import Period
from spanledger_exporter.budgets.shelf import BudgetShelf
from spanledger_exporter.leases import leases
from spanledger_exporter.leases.lease_rates import LeaseRates
from spanledger_exporter.leases.lending import Ask, Lender
from spanledger_exporter.leases.messages import LeaseRequest
from spanledger_exporter.leases.sweep import sweep
from spanledger_exporter.ledger.database import Database
from spanledger_exporter.ledger.ledger import Ledger
from spanledger_exporter.prices.price_book import PriceBook
from spanledger_exporter.prices.pricing import price
from spanledger_exporter.records import PricedRecord, Usage
from tests.exporter.budgets.wallets import Size, Taken, Wallet
from tests.exporter.calls import record

PROCESSES: Final = 8
SLOTS: Final = 16
START_S: Final = 1_795_000_000 // 3600 * 3600 + 3000  # ten to, so that an hour ends on the way
_NS_PER_S: Final = 10**9
SIZES: Final = (Size(30_000, 8_000), Size(60_000, 12_000), Size(8_000, 16_384))


@dataclass(frozen=True, kw_only=True)
class Trouble:
    """What goes wrong. Units: chances of one; seconds since the start; micro-USD."""

    lost: float = 0.0  # requests that never arrive
    unanswered: float = 0.0  # requests of which the answer never arrives
    doubled: float = 0.0  # requests that arrive twice
    repeated: float = 0.0  # spans that are delivered twice
    crashes: int = 0
    freezes: int = 0
    restarts: int = 0
    skew_s: float = 0.0
    outage: tuple[float, float] | None = None
    on_unreachable: str = "closed"
    allowance: int = 0
    lowered: tuple[float, int] | None = None
    beyond: float = 0.0  # calls that cost more than any bound


@dataclass
class Found:
    """What a run came to. Units: micro-USD; of `billed`, by the beginning of the period."""

    limit: int
    billed: Counter[int] = field(default_factory=Counter[int])
    beyond: int = 0
    passed_open: int = 0
    allowed: int = 0
    calls: int = 0
    requests: int = 0
    denied: int = 0
    leased_when_lowered: int = 0
    spent_when_lowered: int = 0

    @property
    def worst(self) -> int:
        """The most that was billed in one period."""
        return max(self.billed.values(), default=0)


class _Process:
    def __init__(self, run: "Run", number: int, skew_s: float) -> None:
        self.run, self.number, self.skew_s = run, number, skew_s
        trouble = run.trouble
        self.wallet = Wallet(on_unreachable=trouble.on_unreachable, allowance=trouble.allowance)
        self.wallet.process = f"process-{number:04d}-{run.random.getrandbits(32):08x}"
        self.alive = True
        self.frozen_until_s = 0.0
        self.asking = False
        self.waiting: list[tuple[Size, Callable[[], None]]] = []
        self.spans: list[PricedRecord] = []

    @property
    def now_s(self) -> float:
        """What its own clock says."""
        return self.run.now_s + self.skew_s


class Run:
    """One run of all processes against one exporter."""

    def __init__(
        self, database: Database, book: PriceBook, trouble: Trouble, seed: int, *, limit: int = 3_000_000,
        lasts_s: float = 1400,
    ) -> None:  # fmt: skip
        self.trouble, self.random = trouble, random.Random(seed)
        self.now_s = float(START_S)
        self._ends_s = START_S + lasts_s
        self._database, self._book = database, book
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._number = 0
        self._shelf = BudgetShelf(database, clock_ns=self._clock_ns)
        self._budget = Budget(name="all", limit=limit, mode="hard", period=Period(kind="hour"),
                              on_unreachable="closed")  # fmt: skip
        self._shelf.set(self._budget, "test")
        self._ledger = Ledger(database, cells_max=100, clock_ns=self._clock_ns)
        self._ledger.keep_book(book)
        self._rates = LeaseRates(book)
        self._lender = self._new_lender()
        self.found = Found(limit)
        self.processes: list[_Process] = []

    def _clock_ns(self) -> int:
        return int(self.now_s * _NS_PER_S)

    def _new_lender(self) -> Lender:
        return Lender(self._rates.of, self._book.book_id, clock_ns=self._clock_ns)

    def run(self) -> Found:
        """Let all of it happen, then let every span arrive and every living process end."""
        for number in range(PROCESSES):
            self._begin(number)
        self._plan_trouble()
        self._every(60, lambda: sweep(self._database, self._clock_ns()))
        while self._events:
            self.now_s, _, what = heapq.heappop(self._events)
            what()
        for process in self.processes:
            if process.alive:
                self._deliver(process, repeat=False)
                self._exchange(process, ends=True, safely=True)
        self.found.passed_open = sum(process.wallet.passed_open for process in self.processes)
        self.found.allowed = sum(sum(process.wallet.allowed.values()) for process in self.processes)
        return self.found

    def _plan_trouble(self) -> None:
        trouble, lasts_s = self.trouble, self._ends_s - START_S
        for count, what in ((trouble.crashes, self._crash), (trouble.freezes, self._freeze),
                            (trouble.restarts, self._restart)):  # fmt: skip
            for _ in range(count):
                self._at(START_S + self.random.uniform(0.05, 0.8) * lasts_s, what)
        if trouble.lowered is not None:
            self._at(START_S + trouble.lowered[0], self._lower)

    def _begin(self, number: int) -> None:
        skew_s = self.random.uniform(-1, 1) * self.trouble.skew_s
        process = _Process(self, number, skew_s)
        self.processes.append(process)
        for _ in range(SLOTS):
            self._after(self.random.uniform(0, 5), lambda: self._next_call(process))
        self._every(10, lambda: self._exchange(process), process)
        self._every(2.5, lambda: self._deliver(process), process)

    def _next_call(self, process: _Process) -> None:
        if not process.alive or self.now_s >= self._ends_s:
            return
        if self.now_s < process.frozen_until_s:
            self._at(process.frozen_until_s + self.random.random(), lambda: self._next_call(process))
            return
        self._try(process, self.random.choice(SIZES), asked=False)

    def _try(self, process: _Process, size: Size, *, asked: bool) -> None:
        taken = process.wallet.take(size, process.now_s)
        if taken == "ask" and not asked:
            process.waiting.append((size, lambda: self._try(process, size, asked=True)))
            if not process.asking:
                process.asking = True
                self._after(self.random.uniform(0.001, 0.5), lambda: self._ask(process))
            return
        if taken == "ask" and self._unreachable():
            taken = process.wallet.take_unasked(size, int(process.now_s) // 3600 * 3600)
        if isinstance(taken, Taken):
            self._call(process, size, taken)
        else:
            self.found.denied += 1
            self._after(self.random.uniform(5, 60), lambda: self._next_call(process))

    def _ask(self, process: _Process) -> None:
        process.asking = False
        waiting, process.waiting = process.waiting, []
        if not process.alive or not waiting:
            return
        self._exchange(process, max(size for size, _ in waiting))
        for _, again in waiting:
            again()

    def _call(self, process: _Process, size: Size, taken: Taken) -> None:
        used = Usage(self.random.randint(size.input_tokens // 8, size.input_tokens),
                     self.random.randint(0, size.output_tokens))  # fmt: skip
        if self.random.random() < self.trouble.beyond:
            used = Usage(size.input_tokens * 40, size.output_tokens)
        start_ns = int(process.now_s * _NS_PER_S)
        lasts_s = self.random.uniform(0.5, 60)
        end_ns = start_ns + int(lasts_s * _NS_PER_S)
        identity = self.random.randbytes(24)
        made = record(
            start_ns=start_ns, end_ns=end_ns, span_id=identity[:8], trace_id=identity[8:], usage=used,
            response_id=None, leases=() if taken.held is None else (taken.held.lease_id,),
        )  # fmt: skip
        priced = PricedRecord(made, price(made, self._book), self._book.book_id)
        cost = priced.price.cost_pusd or 0
        # What was sent is billed, whatever becomes of the process.
        self.found.billed[start_ns // (3600 * _NS_PER_S) * 3600] += -(-cost // 10**6)
        self.found.calls += 1
        if taken.held is not None:
            self.found.beyond += max(-(-cost // 10**6) - taken.bound, 0)
        self._after(lasts_s, lambda: self._end(process, taken, priced))

    def _end(self, process: _Process, taken: Taken, priced: PricedRecord) -> None:
        if process.alive:
            process.wallet.settle(taken, -(-(priced.price.cost_pusd or 0) // 10**6), process.now_s)
            process.spans.append(priced)
            self._after(self.random.uniform(0.1, 20), lambda: self._next_call(process))

    def _exchange(
        self, process: _Process, size: Size | None = None, *, ends: bool = False, safely: bool = False
    ) -> None:
        if not process.alive or self.now_s < process.frozen_until_s:
            return
        sent = process.wallet.request(process.now_s, size, ends=ends)
        chance = 1.0 if safely else self.random.random()
        if (self._unreachable() or chance < self.trouble.lost) and not safely:
            return
        answer = self._serve(sent)
        if not safely and self.random.random() < self.trouble.doubled:
            answer = self._serve(sent)
        if safely or self.random.random() >= self.trouble.unanswered:
            process.wallet.answered(sent, answer, process.now_s)

    def _serve(self, sent: dict[str, Any]) -> dict[str, Any]:
        self.found.requests += 1
        ask = Ask(msgspec.convert(sent, LeaseRequest))
        with self._database.write() as connection:
            (answer,) = self._lender.serve(connection, [ask])
        return msgspec.to_builtins(answer)

    def _deliver(self, process: _Process, *, repeat: bool = True) -> None:
        if self._unreachable() or not process.spans:
            return
        spans, process.spans = process.spans, []
        self._ledger.append(spans)
        if repeat and self.random.random() < self.trouble.repeated:
            self._ledger.append(spans)

    def _crash(self) -> None:
        process = self.random.choice([each for each in self.processes if each.alive])
        process.alive = False
        number = len(self.processes)
        self._after(5, lambda: self._begin(number))

    def _freeze(self) -> None:
        process = self.random.choice([each for each in self.processes if each.alive])
        process.frozen_until_s = self.now_s + leases.TTL_S + self.random.uniform(0, 200)

    def _restart(self) -> None:
        self._lender = self._new_lender()
        self._ledger = Ledger(self._database, cells_max=100, clock_ns=self._clock_ns)
        self._ledger.keep_book(self._book)

    def _lower(self) -> None:
        assert self.trouble.lowered is not None, "only then it is called"
        self.found.leased_when_lowered, self.found.spent_when_lowered = self.counter(int(self.now_s) // 3600 * 3600)
        lowered = Budget(name="all", limit=self.trouble.lowered[1], mode="hard", period=Period(kind="hour"),
                         on_unreachable="closed")  # fmt: skip
        self._shelf.set(lowered, "test")

    def counter(self, period_start_s: int) -> tuple[int, int]:
        """Return what is leased and what is spent in a period."""
        stored = self._shelf.get("all")
        assert stored is not None, "it is made at the start"
        key = leases.CounterKey(stored.budget_id, period_start_s, "")
        with self._database.read() as connection:
            found = leases.counters(connection, [key], lock=False).get(key, leases.Counter())
        return found.leased, found.spent("usd")

    def held(self) -> dict[leases.CounterKey, int]:
        """Return what all leases hold, by counter."""
        held: Counter[leases.CounterKey] = Counter()
        with self._database.read() as connection:
            for lease in leases.locked(connection):
                held[lease.key] += lease.held
        return dict(held)

    def _unreachable(self) -> bool:
        outage = self.trouble.outage
        return outage is not None and outage[0] <= self.now_s - START_S < outage[1]

    def _at(self, moment_s: float, what: Callable[[], object]) -> None:
        self._number += 1
        heapq.heappush(self._events, (moment_s, self._number, lambda: _ignore(what())))

    def _after(self, delay_s: float, what: Callable[[], object]) -> None:
        self._at(self.now_s + delay_s, what)

    def _every(self, period_s: float, what: Callable[[], object], process: _Process | None = None) -> None:
        """Do something again and again, until some time after the end, or until a process is dead."""

        def again() -> None:
            if self.now_s < self._ends_s + 120 and (process is None or process.alive):
                what()
                self._after(period_s, again)

        self._after(self.random.uniform(0, period_s), again)


def _ignore(_: object) -> None:
    return None


__all__ = ["PROCESSES", "SLOTS", "START_S", "Found", "Run", "Trouble"]
