"""How many decisions about leases a second one exporter makes, and how many of them share a transaction.

Each of so many processes asks for a lease of two budgets as soon as it has the answer before, and gives the last one
back with it: two reports, two grants. All of it is on disk when it is answered.
"""

import threading
import time
from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, Final

import msgspec
import stages

ASKERS: Final = (1, 16, 128)
_SCOPE: Final = {"team": "search", "provider": "openai", "model": "gpt-4o-mini"}


def measure(seconds: float, databases: Sequence[str]) -> list[dict[str, Any]]:
    """Return a row for each database and number of processes."""
    from spanledger_exporter.prices.genai_prices_book import packaged_book

    book = packaged_book()
    rows: list[dict[str, Any]] = []
    for askers in ASKERS:
        with ExitStack() as stack:
            for name, url in stages.urls(databases, stack).items():
                rows.append({"database": name, "askers": askers, **_run(url, book, askers, seconds)})
    return rows


def _run(url: str, book: Any, askers: int, seconds: float) -> dict[str, Any]:
    from spanledger_exporter.budgets.budget import Budget
    from spanledger_exporter.budgets.shelf import BudgetShelf
    from spanledger_exporter.leases.lease_rates import LeaseRates
    from spanledger_exporter.leases.lending import Lender
    from spanledger_exporter.leases.lessor import Lessor
    from spanledger_exporter.ledger.database import open_database

    database = open_database(url)
    shelf = BudgetShelf(database)
    shelf.set(Budget(name="company", limit=10**12, mode="hard"), "bench")
    shelf.set(Budget(name="search", limit=10**12, mode="hard", scope={"team": ("search",)}), "bench")
    lender = _Counted(Lender(LeaseRates(book).of, book.book_id))
    lessor = Lessor(database, lender)  # pyright: ignore[reportArgumentType] -- it has what is asked of it
    crowd = _Crowd(lessor, askers, seconds)
    answered, took_s = crowd.run()
    lessor.close(30)
    database.close()
    return {
        "requests_per_s": round(answered / took_s),
        "decisions_per_s": round(2 * answered / took_s),
        "requests_per_transaction": round(answered / max(lender.transactions, 1), 1),
    }


class _Counted:
    """A lender whose transactions are counted."""

    def __init__(self, lender: Any) -> None:
        self._lender = lender
        self.transactions = 0

    def serve(self, connection: Any, asks: Sequence[Any]) -> Any:
        self.transactions += 1
        return self._lender.serve(connection, asks)

    def forget(self) -> None:
        self._lender.forget()


class _Crowd:
    """Processes that ask again with each answer."""

    def __init__(self, lessor: Any, askers: int, seconds: float) -> None:
        self._lessor = lessor
        self._askers = askers
        self._seconds = seconds
        self._answered = 0
        self._left = askers
        self._done = threading.Event()

    def run(self) -> tuple[int, float]:
        began_s = time.perf_counter()
        self._ends_s = began_s + self._seconds
        for number in range(self._askers):
            self._ask(f"process-{number:06d}", [])
        self._done.wait()
        return self._answered, time.perf_counter() - began_s

    def _ask(self, process: str, held: list[str]) -> None:
        from spanledger_exporter.leases.lending import Ask
        from spanledger_exporter.leases.messages import LeaseRequest

        reports = [{"lease": lease, "sequence": 1, "used": 0, "calls": 0, "closed": True} for lease in held]
        want = [{"scope": _SCOPE, "usd_micro": 1000}]
        said = {"process": process, "service": "shop", "want": want, "reports": reports}
        asked = self._lessor.submit(Ask(msgspec.convert(said, LeaseRequest)))
        asked.add_done_callback(lambda answered: self._next(process, answered.result()))

    def _next(self, process: str, answer: Any) -> None:
        self._answered += 1
        if time.perf_counter() < self._ends_s:
            self._ask(process, [lease.lease for granted in answer.granted for lease in granted.leases])
            return
        self._left -= 1
        if not self._left:
            self._done.set()
