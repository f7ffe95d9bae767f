"""Group commit: together when it can, alone when it must, and never an answer before the disk has it."""

from concurrent.futures import Future

import pytest

from spanledger_exporter.committer import Committer
from spanledger_exporter.database import Database
from spanledger_exporter.errors import UnavailableError
from spanledger_exporter.filters import Filter
from spanledger_exporter.ledger import Appended, Ledger
from spanledger_exporter.prices import PriceBook
from spanledger_exporter.reader import Reader
from tests.exporter.calls import priced


def test_a_request_is_answered_only_after_its_commit(ledger: Ledger, ledger_url: str, book: PriceBook) -> None:
    committer = Committer(ledger, rows_max=100, on_commit=lambda appended, duration_s: None)
    assert committer.submit([priced(book), priced(book)]).result(timeout=60) == 2
    with Reader(ledger_url) as reader:
        assert len(list(reader.entries(Filter()))) == 2
    committer.close(60)


def test_requests_that_wait_share_a_transaction(ledger: Ledger, database: Database, book: PriceBook) -> None:
    commits: list[Appended] = []
    committer = Committer(ledger, rows_max=100, on_commit=lambda appended, duration_s: commits.append(appended))
    with database.write():  # nobody else can commit meanwhile
        waiting = [committer.submit([priced(book)]) for _ in range(20)]
    assert [future.result(timeout=60) for future in waiting] == [1] * 20
    committer.close(60)
    assert len(commits) < 20


def test_a_call_in_two_waiting_requests_is_new_once(ledger: Ledger, database: Database, book: PriceBook) -> None:
    committer = Committer(ledger, rows_max=100, on_commit=lambda appended, duration_s: None)
    sent = priced(book)
    again = sent._replace()  # every delivery is decoded anew
    with database.write():
        waiting = [committer.submit([sent]), committer.submit([again, priced(book)])]
    committer.close(60)
    assert [future.result(timeout=60) for future in waiting] == [1, 1]


def test_a_request_that_cannot_be_committed_fails_alone(ledger: Ledger, database: Database, book: PriceBook) -> None:
    """A record of a price book that the ledger does not keep is a defect of ours; its neighbours must not suffer."""
    committer = Committer(ledger, rows_max=100, on_commit=lambda appended, duration_s: None)
    broken = priced(book)._replace(book_id="unknown")
    with database.write():
        futures: list[Future[int]] = [committer.submit([each]) for each in (priced(book), broken, priced(book))]
    committer.close(60)
    assert (futures[0].result(), futures[2].result()) == (1, 1)
    with pytest.raises(UnavailableError):
        futures[1].result()


def test_closing_commits_all_that_was_submitted(ledger: Ledger, book: PriceBook) -> None:
    committer = Committer(ledger, rows_max=3, on_commit=lambda appended, duration_s: None)
    futures = [committer.submit([priced(book)]) for _ in range(10)]
    committer.close(60)
    assert all(future.done() and future.result() == 1 for future in futures)
