"""Ledgers with budgets for tests: calls of a known size on known days, and how budgets then stand."""

from collections.abc import Iterable
from typing import Any

from spanledger_exporter.budgets.document import from_document
from spanledger_exporter.budgets.shelf import BudgetShelf, load_budgets
from spanledger_exporter.budgets.states import BudgetState, read_states
from spanledger_exporter.ledger.database import Database
from spanledger_exporter.ledger.ledger import Ledger
from spanledger_exporter.prices.price_book import PriceBook
from spanledger_exporter.records import PricedRecord, Usage
from tests.exporter.calls import priced
from tests.exporter.otlp_requests import END_NS

DAY_NS = 86_400 * 10**9
HOUR_NS = 3600 * 10**9
# gpt-4o-mini's output costs 0.6 USD for a million tokens.
USD_TOKENS = 10**12 // 600_000 // 10**6 * 10**6 + 666_667


def declare(database: Database, *documents: dict[str, Any], now_ns: int = END_NS) -> None:
    shelf = BudgetShelf(database, clock_ns=lambda: now_ns)
    for document in documents:
        shelf.set(from_document(document), "test")


def call(book: PriceBook, at_ns: int, *, tokens: int = 1_000_000, **changes: Any) -> PricedRecord:
    """A call that began and ended then; a million tokens of its answer cost 0.6 USD."""
    return priced(book, start_ns=at_ns - 10**6, end_ns=at_ns, usage=Usage(0, tokens), **changes)


def daily(book: PriceBook, now_ns: int, tokens: Iterable[int], **changes: Any) -> list[PricedRecord]:
    """A call on each of the days before now, the last of them yesterday, of so many tokens."""
    amounts = list(tokens)
    return [
        call(book, now_ns - (len(amounts) - place) * DAY_NS, tokens=amount, **changes)
        for place, amount in enumerate(amounts)
    ]


def ledger_of(database: Database, book: PriceBook, calls: Iterable[PricedRecord], *, now_ns: int) -> Ledger:
    made = Ledger(database, cells_max=100, clock_ns=lambda: now_ns)
    made.keep_book(book)
    made.append(list(calls))
    return made


def states_of(database: Database, now_ns: int, **options: Any) -> list[BudgetState]:
    with database.read() as connection:
        return read_states(connection, load_budgets(connection), now_ns, **options)
