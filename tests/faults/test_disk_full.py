"""No room for another page: senders wait, what was acknowledged is there, and room is all that is needed."""

import random
import resource
import urllib.error
import urllib.request
from collections.abc import Sequence
from pathlib import Path

import grpc
import pytest
from google.rpc.code_pb2 import UNAVAILABLE
from google.rpc.error_details_pb2 import RetryInfo
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from sqlalchemy import Connection, event

from spanledger_exporter.errors import UnavailableError
from spanledger_exporter.ledger.database import Database, open_database
from spanledger_exporter.ledger.ledger import Ledger
from spanledger_exporter.prices.price_book import PriceBook
from tests.exporter.calls import priced
from tests.exporter.otlp_requests import END_NS
from tests.exporter.rebuilt import assert_sums_are_those_of_the_entries
from tests.faults.books import assert_balanced
from tests.faults.traffic import Report, Sender, request, traffic
from tests.servers.exporter import Exporter, entries
from tests.servers.process import poll

NO_ROOM_BYTES = 64 * 1024


def test_an_exporter_on_a_full_disk_says_wait_and_goes_on_when_there_is_room(sqlite_url: str, tmp_path: Path) -> None:
    dice = random.Random(3)
    sent, more = traffic(dice, 300, folded=False), traffic(dice, 1, folded=False)
    exporter = Exporter(sqlite_url, tmp_path)
    with exporter.server as server:
        sender = Sender([exporter.grpc], sent.reports, again=False)
        sender.start()
        poll(lambda: len(sender.acknowledged) >= 100, what="some calls to be acknowledged")
        # No file may grow beyond that: to the process, the disk is full.
        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (NO_ROOM_BYTES, resource.RLIM_INFINITY))
        poll(lambda: sender.retries >= 3, what="the sender to be told to wait")

        answer = refusal(exporter, more.reports)
        assert (answer.code(), status_of(answer).code) == (grpc.StatusCode.UNAVAILABLE, UNAVAILABLE)
        assert status_of(answer).details[0].Is(RetryInfo.DESCRIPTOR)
        assert "google.rpc.retryinfo-bin" in dict(answer.trailing_metadata())
        assert readiness(exporter)[0] == 503
        assert "cannot be used now" in readiness(exporter)[1]
        acknowledged = {report.span.span_id.hex() for report in list(sender.acknowledged)}
        assert acknowledged == {entry["span_id"] for entry in entries(sqlite_url)}
        assert len(acknowledged) < 300

        resource.prlimit(server.process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        sender.finish()
        assert readiness(exporter)[0] == 200
        assert sender.answers == {grpc.StatusCode.UNAVAILABLE}
        assert_balanced(sqlite_url, sent.tally, exporter)


def refusal(exporter: Exporter, reports: Sequence[Report]) -> grpc.RpcError:
    with grpc.insecure_channel(exporter.grpc) as channel, pytest.raises(grpc.RpcError) as caught:
        TraceServiceStub(channel).Export(request(reports), timeout=60)
    return caught.value


def status_of(answer: grpc.RpcError) -> Status:
    return Status.FromString(dict(answer.trailing_metadata())["grpc-status-details-bin"])


def readiness(exporter: Exporter) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://{exporter.metrics}/readyz", timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, exc.read().decode()


def test_a_ledger_without_a_free_page_keeps_what_it_has_and_takes_more_when_it_may_grow(
    sqlite_url: str, book: PriceBook
) -> None:
    """SQLite's own limit, which fails at the same page each time, as ENOSPC does."""
    database = open_database(sqlite_url)
    pages = [2**31]
    event.listen(database.engine, "begin", lambda connection: _limit(connection, pages))
    ledger = Ledger(database, cells_max=100)
    ledger.keep_book(book)
    pages[0] = _pages(database) + 20
    kept = 0
    with pytest.raises(UnavailableError, match="database or disk is full"):  # noqa: PT012 -- at which is not known
        while kept < 10_000:
            ledger.append([priced(book, end_ns=END_NS + kept + number) for number in range(50)])
            kept += 50
    assert assert_sums_are_those_of_the_entries(database).calls == kept > 0
    pages[0] *= 2
    ledger.append([priced(book, end_ns=END_NS + kept + number) for number in range(50)])
    assert assert_sums_are_those_of_the_entries(database).calls == kept + 50
    database.close()


def _limit(connection: Connection, pages: list[int]) -> None:
    connection.exec_driver_sql(f"PRAGMA max_page_count={pages[0]}")


def _pages(database: Database) -> int:
    with database.read() as connection:
        return connection.exec_driver_sql("PRAGMA page_count").scalar_one()
