"""Writers of counters that meet on PostgreSQL: none waits for another for ever."""

import threading
import time
from collections.abc import Iterator

import pytest

from spanledger_exporter.budgets.periods import Period
from spanledger_exporter.leases import leases
from spanledger_exporter.leases.leases import CounterKey
from spanledger_exporter.ledger.database import Database, open_database
from spanledger_exporter.prices.price_book import PriceBook
from tests.exporter.budgets.asking import NOW_S, Desk
from tests.servers import postgresql

KEYS = [CounterKey(1, 0, f'["{name}"]') for name in ("B", "a", "É", "ö")]
"""In the order of code points, which is another one than that of a dictionary."""


@pytest.fixture
def of_a_language(postgresql_cluster: postgresql.Cluster) -> Iterator[Database]:
    """A ledger in a database that sorts texts as people do, as most do that people make."""
    name = "of_a_language"
    postgresql_cluster.execute(f"CREATE DATABASE {name} TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'")
    database = open_database(postgresql_cluster.url(name))
    yield database
    database.close()
    postgresql_cluster.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_counters_are_locked_in_the_order_in_which_they_are_moved(of_a_language: Database) -> None:
    with of_a_language.write() as connection:
        leases.begin_counters(connection, KEYS)
        assert list(leases.counters(connection, KEYS)) == KEYS


def test_a_counter_that_entries_begin_is_made_in_its_place_among_those_that_are_locked(
    postgresql_url: str, book: PriceBook
) -> None:
    """Else the entries would hold the second and wait for the first, and whoever grants leases the other way round."""
    database = open_database(postgresql_url)
    desk = Desk(database, book)
    desk.budget("hour", 1000, mode="soft", period=Period(kind="hour"))
    desk.budget("month", 1000)
    lease = desk.lease(100)
    (hour, month) = (desk.shelf.get(name) for name in ("hour", "month"))
    assert hour is not None
    assert month is not None
    first, second = CounterKey(hour.budget_id, NOW_S // 3600 * 3600, ""), desk.leases()[0].key
    assert first < second
    appending = threading.Thread(target=lambda: desk.ledger.append([desk.call(lease.lease, start_ns=NOW_S * 10**9)]))
    with database.write() as connection:
        leases.begin_counters(connection, [first])
        appending.start()
        time.sleep(0.5)  # until the entries wait for the first
        leases.counters(connection, [second])
    appending.join()
    assert (desk.counter("hour").calls, desk.counter("month").calls) == (1, 1)
    database.close()
