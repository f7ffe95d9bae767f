"""Whoever reads the ledger keeps nobody from writing it, however long he takes."""

from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from sqlalchemy import Connection, text

from spanledger_exporter.ledger.database import WAL_BYTES_KEPT, Database, open_database, open_readonly
from spanledger_exporter.ledger.filters import Filter
from spanledger_exporter.ledger.ledger import Ledger
from spanledger_exporter.ledger.reader import Reader
from spanledger_exporter.ledger.retention import expire
from spanledger_exporter.prices.price_book import PriceBook
from tests.exporter.calls import priced
from tests.exporter.ledgers import DAY_NS, count, daily, writer
from tests.exporter.otlp_requests import END_NS

CALLS = 2500  # more than two pages of a reader
QUERIES = (
    "SELECT * FROM entries ORDER BY end_ns",
    "SELECT model, sum(calls) FROM spend_days GROUP BY model",
    "SELECT count(*) FROM entries a JOIN entries b ON a.profile_id = b.profile_id",
)


@pytest.fixture
def filled(database: Database, book: PriceBook) -> Ledger:
    made = writer(database, book)
    made.append([priced(book, end_ns=END_NS + number) for number in range(CALLS)])
    return made


@contextmanager
def reading(url: str, query: str) -> Iterator[Connection]:
    """Hold one state of the database, with a query under way."""
    with (
        closing(open_readonly(url)) as database,
        database.read() as connection,
        connection.execution_options(yield_per=1).execute(text(query)) as rows,
    ):
        assert next(rows)
        yield connection


@pytest.mark.parametrize("query", QUERIES, ids=["entries", "sums", "a join"])
def test_commits_go_on_while_a_query_is_held_open(
    filled: Ledger, database: Database, ledger_url: str, book: PriceBook, query: str
) -> None:
    with reading(ledger_url, query):
        for number in range(20):
            assert len(filled.append([priced(book, end_ns=END_NS - number)]).new) == 1
    assert count(database, "entries") == CALLS + 20


def test_a_new_month_does_not_wait_for_a_query(
    filled: Ledger, database: Database, ledger_url: str, book: PriceBook
) -> None:
    """PostgreSQL needs a partition for it, which is made while entries are read."""
    with reading(ledger_url, QUERIES[0]):
        assert len(filled.append(daily(book, range(0, 400, 25))).new) == 16
    assert count(database, "entries") == CALLS + 16


def test_retention_and_commits_go_on_while_a_query_is_held_open(
    filled: Ledger, database: Database, ledger_url: str, book: PriceBook
) -> None:
    filled.append(daily(book, range(1, 200)))
    with reading(ledger_url, QUERIES[0]):
        done = expire(database, END_NS - 10 * DAY_NS, slice_rows=50, between=lambda _spent_s: None)
        assert len(filled.append([priced(book, end_ns=END_NS - 1)]).new) == 1
    assert done.entries == 189


def test_a_slow_reader_of_entries_sees_each_of_them_once(filled: Ledger, ledger_url: str, book: PriceBook) -> None:
    with Reader(ledger_url) as reader:
        entries = reader.entries(Filter())
        seen = [next(entries)["entry_id"]]
        for number in range(20):  # newer and older ones than the reader's place
            filled.append([priced(book, end_ns=END_NS + CALLS + number), priced(book, end_ns=END_NS - 1 - number)])
        seen += [entry["entry_id"] for entry in entries]
        assert len(seen) == len(set(seen)) == CALLS + 20
        assert len(list(reader.entries(Filter(), limit=1500))) == 1500
        assert len(list(reader.entries(Filter(), limit=1000))) == 1000
        after = [entry["entry_id"] for entry in reader.entries_after(0, Filter())]
    assert (after, len(after)) == (sorted(after), CALLS + 40)


def test_many_entries_of_one_instant_are_read_each_once(ledger: Ledger, ledger_url: str, book: PriceBook) -> None:
    ledger.append([priced(book) for _ in range(CALLS)])
    with Reader(ledger_url) as reader:
        seen = [entry["entry_id"] for entry in reader.entries(Filter())]
    assert seen == sorted(set(seen), reverse=True)
    assert len(seen) == CALLS


# -- SQLite's write-ahead log ----------------------------------------------------------------------------------


def grow(ledger: Ledger, database: Database, book: PriceBook, wal_bytes: int) -> None:
    while database.wal_bytes() <= wal_bytes:
        ledger.append([priced(book, end_ns=END_NS - number) for number in range(1000)])


def test_the_log_is_emptied_while_somebody_reads_entries_slowly(
    sqlite_url: str, database_on_sqlite: Database, book: PriceBook
) -> None:
    ledger = writer(database_on_sqlite, book)
    ledger.append([priced(book, end_ns=END_NS + number) for number in range(CALLS)])
    with Reader(sqlite_url) as reader:
        entries = reader.entries(Filter())
        assert next(entries)
        for _ in range(60):
            ledger.append([priced(book, end_ns=END_NS - number) for number in range(1000)])
            assert database_on_sqlite.wal_bytes() < WAL_BYTES_KEPT
        assert next(entries)


def test_the_log_grows_while_a_transaction_is_held_open_and_is_cut_afterwards(
    sqlite_url: str, database_on_sqlite: Database, book: PriceBook
) -> None:
    ledger = writer(database_on_sqlite, book)
    ledger.append(daily(book, range(10)))
    with reading(sqlite_url, QUERIES[0]):
        grow(ledger, database_on_sqlite, book, WAL_BYTES_KEPT + 4 * 1024 * 1024)
    for number in range(3):  # one that copies the log, one that begins it anew, and cuts it
        ledger.append([priced(book, end_ns=END_NS + number)])
    assert database_on_sqlite.wal_bytes() <= WAL_BYTES_KEPT


@pytest.fixture
def database_on_sqlite(sqlite_url: str) -> Iterator[Database]:
    with closing(open_database(sqlite_url)) as opened:
        yield opened
