"""Group commit: together when it can, alone when it must, and never an answer before the disk has it."""

import logging
from concurrent.futures import Future

import pytest
from prometheus_client import CollectorRegistry

from spanledger_exporter.errors import UnavailableError
from spanledger_exporter.failpoints import parse
from spanledger_exporter.ledger.database import Database
from spanledger_exporter.ledger.filters import Filter
from spanledger_exporter.ledger.ledger import Appended, Ledger
from spanledger_exporter.ledger.reader import Reader
from spanledger_exporter.metrics.metrics import LedgerMetrics
from spanledger_exporter.prices.price_book import PriceBook
from spanledger_exporter.receiving.committer import Committed, Committer
from tests.exporter.calls import priced


def test_a_request_is_answered_only_after_its_commit(ledger: Ledger, ledger_url: str, book: PriceBook) -> None:
    committer = Committer(ledger, rows_max=100, on_commit=lambda appended, duration_s: None)
    assert committer.submit([priced(book), priced(book)]).result(timeout=60).new == 2
    with Reader(ledger_url) as reader:
        assert len(list(reader.entries(Filter()))) == 2
    committer.close(60)


def test_a_commit_of_which_the_answer_was_lost_is_found_at_the_next(database: Database, book: PriceBook) -> None:
    ledger = Ledger(database, cells_max=100, points=parse("after_commit=raise"))
    ledger.keep_book(book)
    spend = LedgerMetrics(CollectorRegistry(), ledger.totals(), lambda: 0)
    doubts: list[int] = []
    committer = Committer(
        ledger,
        rows_max=100,
        on_commit=spend.committed,
        on_doubt=lambda: doubts.append(sum(moved.calls for moved in spend.catch_up(ledger.standings.read()).values())),
    )
    lost, next_ = priced(book), priced(book)
    with pytest.raises(UnavailableError):
        committer.submit([lost]).result(timeout=60)
    assert committer.submit([lost, next_]).result(timeout=60).new == 1
    committer.submit([lost]).result(timeout=60)
    committer.close(60)
    assert doubts == [1]


def test_a_ledger_that_fails_is_logged_once_and_so_is_its_return(
    database: Database, book: PriceBook, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "spanledger_exporter.receiving.committer")
    ledger = Ledger(database, cells_max=100, points=parse("before_commit=raise,after_commit=raise:2"))
    ledger.keep_book(book)
    committer = Committer(ledger, rows_max=100, on_commit=lambda appended, duration_s: None)
    failed = [committer.submit([priced(book)]).exception(timeout=60) is not None for _ in range(5)]
    committer.close(60)
    assert failed == [True, False, True, False, False]
    said = [(each.levelname, "told to retry" in each.message) for each in caplog.records]
    assert said == [("ERROR", True), ("INFO", False)]


def test_requests_that_wait_share_a_transaction(ledger: Ledger, database: Database, book: PriceBook) -> None:
    commits: list[Appended] = []
    committer = Committer(ledger, rows_max=100, on_commit=lambda appended, duration_s: commits.append(appended))
    with database.write():  # nobody else can commit meanwhile
        waiting = [committer.submit([priced(book)]) for _ in range(20)]
    assert [future.result(timeout=60).new for future in waiting] == [1] * 20
    committer.close(60)
    assert len(commits) < 20


def test_what_waits_for_its_commit_is_counted(ledger: Ledger, database: Database, book: PriceBook) -> None:
    committer = Committer(ledger, rows_max=2, on_commit=lambda appended, duration_s: None)
    with database.write():
        waiting = [committer.submit([priced(book)]) for _ in range(5)]
        assert committer.waiting == 5
    for each in waiting:
        each.result(timeout=60)
    committer.close(60)
    assert committer.waiting == 0


def test_a_call_in_two_waiting_requests_is_new_once(ledger: Ledger, database: Database, book: PriceBook) -> None:
    committer = Committer(ledger, rows_max=100, on_commit=lambda appended, duration_s: None)
    sent = priced(book)
    again = sent._replace()  # every delivery is decoded anew
    with database.write():
        waiting = [committer.submit([sent]), committer.submit([again, priced(book)])]
    committer.close(60)
    assert [future.result(timeout=60).new for future in waiting] == [1, 1]


def test_a_request_that_cannot_be_committed_fails_alone(ledger: Ledger, database: Database, book: PriceBook) -> None:
    """A record of a price book that the ledger does not keep is a defect of ours; its neighbours must not suffer."""
    committer = Committer(ledger, rows_max=100, on_commit=lambda appended, duration_s: None)
    broken = priced(book)._replace(book_id="unknown")
    with database.write():
        futures: list[Future[Committed]] = [committer.submit([each]) for each in (priced(book), broken, priced(book))]
    committer.close(60)
    assert (futures[0].result().new, futures[2].result().new) == (1, 1)
    with pytest.raises(KeyError, match="unknown"):
        futures[1].result()


def test_closing_commits_all_that_was_submitted(ledger: Ledger, book: PriceBook) -> None:
    committer = Committer(ledger, rows_max=3, on_commit=lambda appended, duration_s: None)
    futures = [committer.submit([priced(book)]) for _ in range(10)]
    committer.close(60)
    assert all(future.done() and future.result().new == 1 for future in futures)
