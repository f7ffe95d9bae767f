"""What tests of a whole ledger need: its entries and sums as they are, and calls over several months."""

from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import text

from spanledger_exporter.ledger.database import Database, parse_url, sqlite_path
from spanledger_exporter.ledger.ledger import Ledger
from spanledger_exporter.ledger.rollups import Sums
from spanledger_exporter.prices.price_book import PriceBook
from spanledger_exporter.records import PricedRecord, Usage
from tests.exporter.calls import priced
from tests.exporter.otlp_requests import END_NS

HOUR_NS = 3600 * 10**9
DAY_NS = 24 * HOUR_NS
NOW_NS = END_NS + DAY_NS


def writer(database: Database, book: PriceBook, *, now_ns: int = NOW_NS) -> Ledger:
    """Return a ledger whose clock stands a day after `END_NS`."""
    made = Ledger(database, cells_max=100, clock_ns=lambda: now_ns)
    made.keep_book(book)
    return made


def daily(book: PriceBook, days: Iterable[int], **changes: Any) -> list[PricedRecord]:
    """Return one call for each of so many days before `END_NS`, each of another size."""
    return [priced(book, end_ns=END_NS - day * DAY_NS, usage=Usage(100 + day, day), **changes) for day in days]


def total(ledger: Ledger) -> Sums:
    """Return what all calls add up to."""
    found = Sums()
    for sums in ledger.totals().values():
        found = found.plus(sums)
    return found


def rows(database: Database, statement: str) -> Sequence[tuple[Any, ...]]:
    with database.read() as connection:
        return [tuple(row) for row in connection.execute(text(statement))]


def count(database: Database, table: str) -> int:
    return rows(database, f"SELECT count(*) FROM {table}")[0][0]


def damage(url: str) -> None:
    """Let a leaf of an index in a closed SQLite file forget its last row."""
    path = sqlite_path(parse_url(url))
    content = bytearray(path.read_bytes())
    leaves = (place for place in range(4096, len(content), 4096) if content[place] == 0x0A)
    content[next(place for place in leaves if content[place + 4] > 1) + 4] -= 1
    path.write_bytes(content)
