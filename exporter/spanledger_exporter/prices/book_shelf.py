"""The price books that a ledger keeps, and which of them prices calls now."""

import json
import time
import zlib
from collections.abc import Callable, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from spanledger_exporter.errors import LedgerError
from spanledger_exporter.ledger.database import Database
from spanledger_exporter.ledger.insert import insert_ignore
from spanledger_exporter.ledger.schema import active_price_books, price_books
from spanledger_exporter.prices.price_book import PriceBook

_PREFIX_CHARS_MIN = 4


class KeptBook(NamedTuple):
    """A price book of the ledger, without its content. Units: `learnt_ns` Unix time in nanoseconds."""

    book_id: str
    source: str
    learnt_ns: int
    active: bool


class BookShelf:
    """The price books of one ledger.

    Raises: `UnavailableError` when the database does not answer, or cannot be written now.
    """

    def __init__(self, database: Database, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._database = database
        self._clock_ns = clock_ns

    def activate(self, book: PriceBook) -> None:
        """Keep a price book, and let it price calls from now on."""
        now_ns = self._clock_ns()
        row = {
            "book_id": book.book_id,
            "source": book.source,
            "learnt_ns": now_ns,
            "content": zlib.compress(book.content),
        }
        with self._database.write() as connection:
            insert_ignore(connection, price_books, ("book_id",), [row])
            same = price_books.c.book_id == book.book_id
            number = connection.execute(select(price_books.c.price_book_id).where(same)).scalar_one()
            connection.execute(active_price_books.insert().values(price_book_id=number, activated_ns=now_ns))

    def active_id(self) -> str | None:
        """Return the id of the price book that was activated last."""
        with self._database.read() as connection:
            return _active_id(connection)

    def active(self) -> PriceBook | None:
        """Return the price book that was activated last."""
        book_id = self.active_id()
        return None if book_id is None else self.book(book_id)

    def books(self) -> list[KeptBook]:
        """Return every price book of the ledger, the newest first."""
        columns = (price_books.c.book_id, price_books.c.source, price_books.c.learnt_ns)
        query = select(*columns).order_by(price_books.c.learnt_ns.desc(), price_books.c.price_book_id.desc())
        with self._database.read() as connection:
            active = _active_id(connection)
            return [KeptBook(*row, active=row.book_id == active) for row in connection.execute(query)]

    def learnt_ns(self, source: str, book_id: str | None) -> int | None:
        """Return when the ledger learnt of a price list: of this book, else of the first that is named so.

        Units: Unix time in nanoseconds; `None` if there is none.
        """
        same = price_books.c.source == source if book_id is None else price_books.c.book_id == book_id
        with self._database.read() as connection:
            return connection.execute(select(func.min(price_books.c.learnt_ns)).where(same)).scalar_one()

    def book(self, prefix: str) -> PriceBook:
        """Return the price book whose id begins so.

        Raises:
            LedgerError: there is none, or more than one.
        """
        query = select(price_books.c.content).where(price_books.c.book_id.startswith(prefix, autoescape=True)).limit(2)
        contents: Sequence[bytes] = ()
        if len(prefix) >= _PREFIX_CHARS_MIN:
            with self._database.read() as connection:
                contents = connection.execute(query).scalars().all()
        if len(contents) != 1:
            many = "more than one price book" if contents else "no price book"
            raise LedgerError(
                f"the ledger has {many} whose id begins with {prefix!r}; `spanledger prices books` lists them"
            )
        return PriceBook(json.loads(zlib.decompress(contents[0])))


def _active_id(connection: Connection) -> str | None:
    query = (
        select(price_books.c.book_id)
        .join_from(active_price_books, price_books)
        .order_by(active_price_books.c.activation_id.desc())
        .limit(1)
    )
    return connection.execute(query).scalar_one_or_none()
