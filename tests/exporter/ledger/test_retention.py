"""Retention: what has expired is gone, its sums stay, and a late replay of it is never counted again."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from sqlalchemy import text

from spanledger_exporter.ledger.checking import check
from spanledger_exporter.ledger.database import Database, open_database
from spanledger_exporter.ledger.ledger import Ledger
from spanledger_exporter.ledger.retention import expire, floor_of, would_expire
from spanledger_exporter.prices.price_book import PriceBook
from spanledger_exporter.prices.pricing import price
from spanledger_exporter.records import Adjustment, PricedRecord, Usage
from tests.exporter.calls import priced
from tests.exporter.ledgers import DAY_NS, HOUR_NS, NOW_NS, count, daily, rows, total, writer
from tests.exporter.otlp_requests import END_NS

ID = "chatcmpl-B1x2y3z4w5v6u7"


class StoppedError(Exception):
    """Stands for whatever ends a process between two slices."""


def at_once(_duration_s: float) -> None:
    """Do not wait between slices."""


def stop(_duration_s: float) -> None:
    raise StoppedError


@pytest.fixture
def kept(database: Database, book: PriceBook) -> Ledger:
    return writer(database, book)


def report(book: PriceBook, number: int, end_ns: int) -> PricedRecord:
    """Reports of one call, by several instrumentations."""
    return priced(
        book, scope=f"scope-{number}", response_id=ID, end_ns=end_ns, start_ns=min(end_ns, END_NS - 2 * DAY_NS)
    )


def test_what_has_expired_is_gone_and_its_sums_stay(kept: Ledger, database: Database, book: PriceBook) -> None:
    kept.append(daily(book, range(100)))
    before = kept.totals()
    done = expire(database, END_NS - 30 * DAY_NS, slice_rows=7, between=at_once)
    assert done.entries == 69
    assert count(database, "entries") == 31
    assert kept.totals() == before
    assert check(database, NOW_NS) == []


def test_a_late_replay_of_what_has_expired_is_refused(kept: Ledger, database: Database, book: PriceBook) -> None:
    calls = daily(book, range(100))
    kept.append(calls)
    before = total(kept)
    expire(database, END_NS - 30 * DAY_NS, between=at_once)
    again = kept.append(calls)
    assert (again.new, again.sums, {refused.reason for refused in again.refused}) == ([], {}, {"too_old"})
    assert len(again.refused) == 69
    assert total(kept) == before
    reopened = writer(database, book)
    assert len(reopened.append(calls).refused) == 69
    assert total(reopened) == before


def test_a_call_that_ends_at_the_floor_is_kept_and_accepted(kept: Ledger, database: Database, book: PriceBook) -> None:
    floor = floor_of(END_NS)
    at, before = priced(book, end_ns=floor), priced(book, end_ns=floor - 1)
    kept.append([at, before])
    assert expire(database, END_NS, between=at_once)[:2] == (floor, 1)
    assert kept.append([at, before]).refused[0].priced == before
    assert len(kept.append([priced(book, end_ns=floor)]).new) == 1


def test_the_floor_never_moves_back(kept: Ledger, database: Database, book: PriceBook) -> None:
    kept.append(daily(book, range(100)))
    floor = expire(database, END_NS - 30 * DAY_NS, between=at_once).floor_ns
    assert expire(database, END_NS - 60 * DAY_NS, between=at_once) == (floor, 0, 0, 0, 0)
    assert len(kept.append(daily(book, [40])).refused) == 1


@pytest.mark.parametrize("slices", [0, 1, 3])
def test_an_interrupted_retention_leaves_a_right_ledger_and_goes_on(
    kept: Ledger, database: Database, book: PriceBook, slices: int
) -> None:
    calls = daily(book, range(60))
    kept.append(calls)
    before = total(kept)
    steps = iter([at_once] * slices)

    def crash_later(duration_s: float) -> None:
        next(steps, stop)(duration_s)

    with pytest.raises(StoppedError):
        expire(database, END_NS - 20 * DAY_NS, slice_rows=5, between=crash_later)
    assert len(kept.append(calls).refused) == 39
    assert total(kept) == before
    assert check(database, NOW_NS) == []
    expire(database, END_NS - 20 * DAY_NS, between=at_once)
    assert (count(database, "entries"), total(kept)) == (21, before)


def test_a_crash_right_after_the_floor_was_moved_counts_nothing_again(
    kept: Ledger, database: Database, book: PriceBook
) -> None:
    calls = daily(book, range(60))
    kept.append(calls)
    before = total(kept)
    with database.write() as connection:  # the first transaction of `expire`, and no other
        connection.execute(text("UPDATE ledger_state SET value = value + 1 WHERE name = 'revision'"))
        floor = {"floor": floor_of(END_NS - 20 * DAY_NS)}
        connection.execute(text("UPDATE ledger_state SET value = :floor WHERE name = 'floor_ns'"), floor)
    assert len(kept.append(calls).refused) == 39
    assert (count(database, "entries"), total(kept)) == (60, before)
    assert check(database, NOW_NS) == []


def test_another_writer_hears_of_the_floor_before_it_writes(
    kept: Ledger, database: Database, ledger_url: str, book: PriceBook
) -> None:
    other_database = open_database(ledger_url)
    other = writer(other_database, book)
    calls = daily(book, range(100))
    kept.append(calls[:50])
    other.append(calls[50:])
    before = total(other)
    expire(database, END_NS - 30 * DAY_NS, between=at_once)
    for ledger in (kept, other):
        assert len(ledger.append(calls).refused) == 69
    assert total(other) == before
    other_database.close()


def test_writers_go_on_while_entries_are_deleted(ledger_url: str, book: PriceBook) -> None:
    """Two writers send the same calls again and again while retention takes the old ones away."""
    calls = daily(book, range(120))
    fresh = [priced(book, end_ns=END_NS + number) for number in range(200)]
    start = threading.Barrier(3)

    def send(order: int) -> None:
        database = open_database(ledger_url)
        ledger = writer(database, book)
        start.wait()
        for place in range(0, 200, 10):
            ledger.append([*calls[::order], *fresh[place : place + 10]])
        database.close()

    database = open_database(ledger_url)
    ledger = writer(database, book)
    ledger.append(calls)
    with ThreadPoolExecutor(2) as pool:
        sending = [pool.submit(send, order) for order in (1, -1)]
        start.wait()
        expire(database, END_NS - 30 * DAY_NS, slice_rows=3, between=at_once)
        for each in sending:
            each.result()
    assert (count(database, "entries"), total(ledger).calls) == (31 + 200, 120 + 200)
    assert check(database, NOW_NS) == []
    database.close()


def test_an_entry_stays_until_its_last_report_has_expired(kept: Ledger, database: Database, book: PriceBook) -> None:
    """Else a replay of the later report would find nothing that it belongs to, and be another call."""
    floor = floor_of(END_NS - DAY_NS)
    calls = [report(book, 1, floor - 10**9), report(book, 2, floor + 10**9)]
    kept.append(calls)
    assert (count(database, "entries"), count(database, "reports"), total(kept).calls) == (1, 2, 1)
    assert expire(database, floor, between=at_once).entries == 0
    assert len(kept.append(calls).refused) == 1
    assert (count(database, "entries"), count(database, "reports"), total(kept).calls) == (1, 2, 1)
    assert check(database, NOW_NS) == []
    assert expire(database, floor + HOUR_NS, between=at_once)[1:3] == (1, 2)
    assert len(kept.append(calls).refused) == 2
    assert (count(database, "reports"), total(kept).calls) == (0, 1)


def test_adjustments_go_with_their_entries(kept: Ledger, database: Database, book: PriceBook) -> None:
    old, new = daily(book, [90, 1])
    kept.append([old, new])
    other = price(old.record._replace(usage=Usage(7, 7)), book)
    numbers = [number for (number,) in rows(database, "SELECT entry_id FROM entries")]
    assert kept.adjust([Adjustment(number, other, book.book_id, "a better price") for number in numbers]).changed == 2
    before = total(kept)
    assert expire(database, END_NS - 30 * DAY_NS, between=at_once)[1:4] == (1, 0, 1)
    assert (count(database, "adjustments"), total(kept)) == (1, before)
    assert check(database, NOW_NS) == []


def test_a_dry_run_counts_what_would_be_deleted_and_deletes_nothing(
    kept: Ledger, database: Database, book: PriceBook
) -> None:
    kept.append([*daily(book, range(100)), *(report(book, number, END_NS - 40 * DAY_NS) for number in (1, 2))])
    told = would_expire(database, END_NS - 30 * DAY_NS)
    assert (count(database, "entries"), len(kept.append(daily(book, [40])).refused)) == (101, 0)
    done = expire(database, END_NS - 30 * DAY_NS, between=at_once)
    assert (done.entries, done.reports) == (told.entries + 1, told.reports)


# -- PostgreSQL's partitions -----------------------------------------------------------------------------------


@contextmanager
def postgresql(url: str) -> Iterator[Database]:
    database = open_database(url)
    yield database
    database.close()


PARTITIONS = "SELECT relname FROM pg_class WHERE relname LIKE 'ledger_entries_y%' AND relkind = 'r' ORDER BY relname"


def test_months_before_the_floor_are_dropped_whole(postgresql_url: str, book: PriceBook) -> None:
    with postgresql(postgresql_url) as database:
        kept = writer(database, book)
        calls = daily(book, range(150))
        kept.append(calls)
        before = total(kept)
        assert would_expire(database, END_NS - 60 * DAY_NS).partitions == 3
        done = expire(database, END_NS - 60 * DAY_NS, between=at_once)
        assert (done.entries, done.partitions) == (89, 3)  # June, July and August; September in part
        months = [name for (name,) in rows(database, PARTITIONS)]
        assert months == [f"ledger_entries_y{month}" for month in (
            "2026m09", "2026m10", "2026m11", "2026m12", "2027m01")]  # fmt: skip
        assert len(kept.append(calls).refused) == 89
        assert [name for (name,) in rows(database, PARTITIONS)] == months  # a late replay brings no month back
        assert (count(database, "entries"), total(kept)) == (61, before)
        assert check(database, NOW_NS) == []


def test_a_month_that_is_being_read_is_deleted_in_slices_instead(postgresql_url: str, book: PriceBook) -> None:
    with postgresql(postgresql_url) as database:
        kept = writer(database, book)
        kept.append(daily(book, range(150)))
        with database.read() as reading:
            assert reading.execute(text("SELECT count(*) FROM entries")).scalar() == 150
            done = expire(database, END_NS - 60 * DAY_NS, between=at_once)
        assert (done.entries, done.partitions, count(database, "entries")) == (89, 0, 61)
        assert expire(database, END_NS - 60 * DAY_NS, between=at_once).partitions == 3


def test_a_month_whose_call_was_reported_later_too_is_not_dropped(postgresql_url: str, book: PriceBook) -> None:
    november = 1_793_491_200 * 10**9  # 2026-11-01T00:00Z
    calls = [report(book, number, november + shift) for number, shift in ((1, -1), (2, 10**9))]
    calls = [each._replace(record=each.record._replace(start_ns=november - 10**9)) for each in calls]
    with postgresql(postgresql_url) as database:
        kept = writer(database, book)
        kept.append(calls)
        assert expire(database, november, between=at_once) == (november, 0, 0, 0, 0)
        assert (len(kept.append(calls).refused), count(database, "entries")) == (1, 1)
        assert expire(database, november + HOUR_NS, between=at_once)[1:] == (1, 2, 0, 1)
