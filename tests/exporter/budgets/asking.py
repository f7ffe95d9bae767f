"""What tests of leases share: budgets in a ledger, requests of processes, and what counters and leases then are."""

from typing import Any

import msgspec
from sqlalchemy import select

from spanledger_exporter.budgets.budget import Budget
from spanledger_exporter.budgets.shelf import BudgetShelf
from spanledger_exporter.leases import leases
from spanledger_exporter.leases.lease_rates import LeaseRates
from spanledger_exporter.leases.leases import Counter, CounterKey, Lease
from spanledger_exporter.leases.lending import Ask, Lender
from spanledger_exporter.leases.messages import GrantedLease, LeaseAnswer, LeaseRequest
from spanledger_exporter.ledger.budget_schema import budget_leases
from spanledger_exporter.ledger.database import Database
from spanledger_exporter.ledger.ledger import Ledger
from spanledger_exporter.prices.price_book import PriceBook
from spanledger_exporter.prices.pricing import price
from spanledger_exporter.records import PricedRecord
from tests.exporter.calls import record
from tests.exporter.otlp_requests import END_NS

NOW_S = END_NS // 10**9
USD = 10**6
PROCESS = "11111111-aaaa"


class Clock:
    """A clock that goes where it is put."""

    def __init__(self) -> None:
        self.now_s = NOW_S

    def __call__(self) -> int:
        return self.now_s * 10**9


class Desk:
    """An exporter's side of leases on one database, on a clock of its own."""

    def __init__(self, database: Database, book: PriceBook, **lender: Any) -> None:
        self.database, self.book, self.clock = database, book, Clock()
        self.shelf = BudgetShelf(database, clock_ns=self.clock)
        self.lender = Lender(LeaseRates(book).of, book.book_id, clock_ns=self.clock, **lender)
        self.ledger = Ledger(database, cells_max=100, clock_ns=self.clock)
        self.ledger.keep_book(book)

    def budget(self, name: str, limit: int, **said: Any) -> Budget:
        """Keep a budget, hard unless another thing is said."""
        made = Budget(name=name, limit=limit, **{"mode": "hard", **said})
        self.shelf.set(made, "test")
        return made

    def ask(self, *, tenant: str | None = None, **said: Any) -> LeaseAnswer:
        """Send a request, as a process would."""
        request = msgspec.convert({"process": PROCESS, "service": "shop", **said}, LeaseRequest)
        with self.database.write() as connection:
            return self.lender.serve(connection, [Ask(request, tenant)])[0]

    def want(
        self,
        usd_micro: int = 1000,
        *,
        process: str = PROCESS,
        tenant: str | None = None,
        now_s: float | None = None,
        tokens: int = 0,
        calls: int = 1,
        **scope: Any,
    ) -> LeaseAnswer:
        """Ask for one call of gpt-4o-mini, or of what the scope says."""
        named = {"provider": "openai", "model": "gpt-4o-mini", **scope}
        want = {"scope": named, "usd_micro": usd_micro, "tokens": tokens, "calls": calls}
        return self.ask(want=[want], process=process, tenant=tenant, now_s=now_s)

    def lease(self, usd_micro: int = 1000, **said: Any) -> GrantedLease:
        """Ask for one call, and return the only lease that is granted."""
        (granted,) = self.want(usd_micro, **said).granted
        (lease,) = granted.leases
        return lease

    def report(self, lease: str, sequence: int, used: int = 0, calls: int = 0, *, closed: bool = False,
               process: str = PROCESS, tenant: str | None = None) -> LeaseAnswer:  # fmt: skip
        """Tell of one lease."""
        told = {"lease": lease, "sequence": sequence, "used": used, "calls": calls, "closed": closed}
        return self.ask(reports=[told], process=process, tenant=tenant)

    def call(self, *lease_ids: str, **changes: Any) -> PricedRecord:
        """Return a call under leases, made now."""
        now_ns = self.clock()
        made = record(
            **{"start_ns": now_ns - 10**9, "end_ns": now_ns, "leases": lease_ids, "response_id": None, **changes}
        )
        return PricedRecord(made, price(made, self.book), self.book.book_id)

    def leases(self) -> list[Lease]:
        """Return every lease, the first granted first."""
        with self.database.read() as connection:
            query = select(budget_leases).order_by(budget_leases.c.granted_ns, budget_leases.c.lease_id)
            return [Lease(*row) for row in connection.execute(query)]

    def counter(self, name: str, group_key: str = "", *, at_s: int | None = None) -> Counter:
        """Return a counter of the period of a moment, now unless another is said."""
        stored = self.shelf.get(name)
        assert stored is not None
        bounds = stored.budget.period.bounds(self.clock.now_s if at_s is None else at_s)
        assert bounds is not None
        key = CounterKey(stored.budget_id, bounds.start_s, group_key)
        with self.database.read() as connection:
            return leases.counters(connection, [key], lock=False).get(key, Counter())
