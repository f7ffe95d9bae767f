"""What a running exporter does with its ledger once an hour, and that no trouble there ends it."""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import text

from spanledger_exporter.budgets.shelf import BudgetShelf
from spanledger_exporter.ledger.database import Database, open_database
from spanledger_exporter.ledger.maintenance import TASKS, Maintenance
from spanledger_exporter.ledger.repeats import closed_hour
from spanledger_exporter.metrics.metrics import MaintenanceMetrics
from spanledger_exporter.prices.price_book import PriceBook
from tests.exporter.budgets.counted import declared
from tests.exporter.calls import priced
from tests.exporter.ledgers import DAY_NS, HOUR_NS, NOW_NS, count, daily, rows, total, writer
from tests.exporter.otlp_requests import END_NS
from tests.servers.exporter import Exporter, entries
from tests.servers.process import poll


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


class Clock:
    def __init__(self) -> None:
        self.now_ns = NOW_NS

    def __call__(self) -> int:
        return self.now_ns


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def maintenance(database: Database, registry: CollectorRegistry, clock: Clock) -> Iterator[Maintenance]:
    watcher = MaintenanceMetrics(registry, database.wal_bytes)
    made = Maintenance(database, watcher, retention_days=30, clock_ns=clock)
    yield made
    made.close(30)


def runs(registry: CollectorRegistry, result: str) -> dict[str, float | None]:
    name = "spanledger_maintenance_runs_total"
    return {task: registry.get_sample_value(name, {"task": task, "result": result}) for task in TASKS}


def test_old_entries_and_old_minutes_go_and_sums_stay(
    maintenance: Maintenance, registry: CollectorRegistry, database: Database, clock: Clock, book: PriceBook
) -> None:
    ledger = writer(database, book)
    ledger.append(daily(book, range(100)))
    before = total(ledger)
    assert count(database, "rollup_minutes") == 1  # of the last two days
    maintenance.run_once()
    assert runs(registry, "ok") == dict.fromkeys(TASKS, 1)
    assert (count(database, "entries"), total(ledger)) == (29 + 1, before)
    assert registry.get_sample_value("spanledger_expired_entries_total") == 70
    clock.now_ns += DAY_NS + HOUR_NS
    maintenance.run_once()
    assert (count(database, "entries"), count(database, "rollup_minutes"), total(ledger)) == (28, 0, before)


def test_what_budgets_counted_goes_after_its_own_time(
    database: Database, registry: CollectorRegistry, book: PriceBook
) -> None:
    BudgetShelf(database, clock_ns=lambda: NOW_NS - 100 * DAY_NS).set(declared(period="day"), "test")
    writer(database, book).append(daily(book, range(100)))
    watcher = MaintenanceMetrics(registry, lambda: 0)
    Maintenance(database, watcher, retention_days=0, keep_days=70, clock_ns=lambda: NOW_NS).run_once()
    assert runs(registry, "ok") == dict.fromkeys(TASKS, 1)
    assert (count(database, "entries"), count(database, "budget_counters")) == (100, 70)


def test_without_retention_nothing_is_deleted(database: Database, registry: CollectorRegistry, book: PriceBook) -> None:
    writer(database, book).append(daily(book, range(100)))
    made = Maintenance(database, MaintenanceMetrics(registry, lambda: 0), retention_days=0, clock_ns=lambda: NOW_NS)
    made.run_once()
    assert count(database, "entries") == 100


def test_repeated_spans_are_counted_once_their_hour_is_closed(
    maintenance: Maintenance, registry: CollectorRegistry, database: Database, clock: Clock, book: PriceBook
) -> None:
    ledger = writer(database, book)
    hour_ns = (closed_hour(NOW_NS) + 1) * HOUR_NS  # not closed yet
    ledger.append([priced(book, end_ns=hour_ns + cut, span_id=b"s" * 8, trace_id=b"t" * 16) for cut in (5, 5000)])
    for expected in (0, 1, 1):
        maintenance.run_once()
        assert registry.get_sample_value("spanledger_repeated_spans_total") == expected
        clock.now_ns += HOUR_NS


def test_a_task_that_fails_is_counted_and_keeps_no_other_from_its_turn(
    maintenance: Maintenance, registry: CollectorRegistry, database: Database, book: PriceBook
) -> None:
    writer(database, book).append(daily(book, range(100)))
    with database.write() as connection:
        connection.execute(text("ALTER TABLE rollup_minutes RENAME TO gone"))
    maintenance.run_once()
    assert runs(registry, "failed") == dict.fromkeys(TASKS, 0) | {"minutes": 1}
    assert count(database, "entries") == 30
    with database.write() as connection:
        connection.execute(text("ALTER TABLE gone RENAME TO rollup_minutes"))
    maintenance.run_once()
    assert runs(registry, "ok") == dict.fromkeys(TASKS, 2) | {"minutes": 1}


def test_closing_does_not_wait_for_what_is_left_to_delete(
    database: Database, registry: CollectorRegistry, book: PriceBook
) -> None:
    writer(database, book).append(daily(book, range(100)))
    started = threading.Event()

    class Watcher(MaintenanceMetrics):
        def ran(self, task: str, *, failed: bool) -> None:
            super().ran(task, failed=failed)
            started.set()

    made = Maintenance(database, Watcher(registry, lambda: 0), retention_days=30, interval_s=0, clock_ns=lambda: NOW_NS)
    made.start()
    assert started.wait(60)
    made.close(60)
    assert not made._thread.is_alive()
    assert runs(registry, "failed") == dict.fromkeys(TASKS, 0)


def test_partitions_are_made_ahead(postgresql_url: str, registry: CollectorRegistry) -> None:
    database = open_database(postgresql_url)
    watcher = MaintenanceMetrics(registry, database.wal_bytes)
    Maintenance(database, watcher, retention_days=0, clock_ns=lambda: END_NS).run_once()
    found = "SELECT relname FROM pg_class WHERE relname LIKE 'ledger_entries_y%' AND relkind = 'r' ORDER BY relname"
    months = [name.removeprefix("ledger_entries_y") for (name,) in rows(database, found)]
    assert months == ["2026m11", "2026m12", "2027m01"]
    database.close()


def test_a_running_exporter_deletes_what_has_expired(
    ledger_url: str, database: Database, book: PriceBook, tmp_path: Path
) -> None:
    now_ns = time.time_ns()
    calls = [priced(book, end_ns=now_ns - day * DAY_NS) for day in (1, 5, 50, 500)]
    writer(database, book, now_ns=now_ns).append(calls)
    database.close()
    exporter = Exporter(ledger_url, tmp_path, environ={"SPANLEDGER_LEDGER_RETENTION_DAYS": "30"})
    try:
        poll(lambda: len(entries(ledger_url)) == 2, what="retention")
    finally:
        exporter.server.stop()
    assert [entry["span_id"] for entry in entries(ledger_url)] == [call.record.span_id.hex() for call in calls[:2]]
