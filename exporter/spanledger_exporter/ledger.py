"""PricedRecords -> committed ledger entries: each call once, its rollups in the same transaction.

The insert itself decides which entries are new, and only those move the rollups: a batch that is delivered twice,
or by two senders at once, counts once. When `append` returns, the entries are on disk.
"""

import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from sqlalchemy import select

from spanledger_exporter.database import Database
from spanledger_exporter.insert import insert_ignore, insert_new
from spanledger_exporter.prices import PriceBook
from spanledger_exporter.records import PricedRecord
from spanledger_exporter.rollups import Cell, Rollups, Sums, read_totals
from spanledger_exporter.schema import entries, price_books
from spanledger_exporter.usage_columns import columns_of

_KEY = ("end_ns", "span_id", "trace_id")


class Appended(NamedTuple):
    """What one commit added: the entries that were new, the cell of each, and what they add up to by cell."""

    new: Sequence[PricedRecord]
    cells: Sequence[Cell]
    sums: Mapping[Cell, Sums]


class Ledger:
    """The entries and rollups of one database, for one writing thread.

    Raises: `UnavailableError` when the database is locked, full or gone; nothing was written then.
    """

    def __init__(self, database: Database, *, cells_max: int, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._database = database
        self._rollups = Rollups(cells_max)
        self._clock_ns = clock_ns
        self._book_numbers: dict[str, int] = {}

    @property
    def folded(self) -> int:
        """How many entries were folded into `__other__` because the limit of cells was reached."""
        return self._rollups.folded

    def keep_book(self, book: PriceBook) -> None:
        """Keep a price book for good, so that the entries that it prices can be explained and replayed."""
        row = {
            "book_id": book.book_id,
            "source": book.source,
            "learnt_ns": self._clock_ns(),
            "content": zlib.compress(book.content),
        }
        with self._database.write() as connection:
            insert_ignore(connection, price_books, ("book_id",), [row])
            same = price_books.c.book_id == book.book_id
            number = connection.execute(select(price_books.c.price_book_id).where(same)).scalar_one()
        self._book_numbers[book.book_id] = number

    def append(self, records: Sequence[PricedRecord]) -> Appended:
        """Commit the records that are not in the ledger yet, with their rollups, in one transaction."""
        by_key = {(r.record.end_ns, r.record.span_id, r.record.trace_id): r for r in reversed(records)}
        received_ns = self._clock_ns()
        # In key order: two replicas that insert the same entries in different orders would deadlock.
        rows = [self._row(by_key[key], received_ns) for key in sorted(by_key)]
        with self._database.write() as connection:
            new = [by_key[tuple(key)] for key in insert_new(connection, entries, _KEY, rows)]
            cells, sums = self._rollups.add(connection, new)
        self._rollups.committed()
        return Appended(new, cells, sums)

    def totals(self) -> dict[Cell, Sums]:
        """Return what each cell adds up to since the ledger began."""
        with self._database.read() as connection:
            return read_totals(connection)

    def ping(self) -> None:
        """Raise `UnavailableError` if the database does not answer."""
        with self._database.read() as connection:
            connection.execute(select(1))

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _row(self, priced: PricedRecord, received_ns: int) -> dict[str, Any]:
        row = priced.record._asdict()
        row.update(columns_of(row.pop("usage")))
        price = priced.price
        row.update(
            received_ns=received_ns,
            price_status=price.status,
            cost_pusd=price.cost_pusd,
            price_reason=price.reason,
            price_detail=price.detail,
            price_model=price.model,
            price_match=price.match,
            price_context=price.context,
            price_book_id=self._book_numbers[priced.book_id],
        )
        return row
