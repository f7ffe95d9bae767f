"""PostgreSQL slow, deaf, cut off, gone and crashed: senders are told to wait, and every call is counted once."""

import random
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import pytest
from sqlalchemy.engine import make_url

from tests.faults.books import assert_balanced
from tests.faults.proxy import Proxy
from tests.faults.test_disk_full import readiness
from tests.faults.traffic import Sender, Traffic, traffic
from tests.servers import postgresql
from tests.servers.exporter import Exporter
from tests.servers.process import poll

# As psycopg sends them, from the first statement of a ledger's transaction to the last.
STATEMENTS = (b"UPDATE ledger_state", b"COPY staged_entries", b"INSERT INTO ledger_entries", b"COMMIT\0")


@pytest.fixture
def proxy(postgresql_url: str) -> Iterator[Proxy]:
    port = make_url(postgresql_url).port
    assert port is not None
    with Proxy(port) as made:
        yield made


@pytest.fixture
def exporter(proxy: Proxy, postgresql_url: str, tmp_path: Path) -> Iterator[Exporter]:
    """An exporter that has its ledger behind the proxy."""
    url = make_url(postgresql_url).set(port=proxy.port).render_as_string()
    made = Exporter(url, tmp_path)
    with made.server:
        yield made


def start(exporter: Exporter, sent: Traffic) -> Sender:
    sender = Sender([exporter.grpc], sent.reports, batch_max=8)
    sender.start()
    return sender


def test_a_statement_whose_answer_is_lost_counts_once_also_where_it_is_the_commit(
    proxy: Proxy, exporter: Exporter, postgresql_url: str
) -> None:
    sent = traffic(random.Random(1), 200)
    cuts = [statement for statement in STATEMENTS for _ in range(2)]
    times = iter(range(10**6))
    proxy.cut_when = lambda chunk: proxy.cuts < len(cuts) and cuts[proxy.cuts] in chunk and next(times) % 2 == 1
    sender = start(exporter, sent)
    sender.finish()
    assert proxy.cuts == len(cuts)
    assert sender.answers == {grpc.StatusCode.UNAVAILABLE}
    assert "could not be committed" not in exporter.server.log_text()
    assert_balanced(postgresql_url, sent.tally, exporter)


def test_a_connection_that_is_cut_anywhere_costs_a_retry_and_no_more(
    proxy: Proxy, exporter: Exporter, postgresql_url: str
) -> None:
    dice = random.Random(2)
    sent = traffic(dice, 120)
    proxy.cut_when = cut_after(dice, proxy, cuts=6)
    sender = start(exporter, sent)
    sender.finish()
    assert proxy.cuts == 6
    assert sender.answers == {grpc.StatusCode.UNAVAILABLE}
    assert_balanced(postgresql_url, sent.tally, exporter)


def cut_after(dice: random.Random, proxy: Proxy, *, cuts: int) -> Callable[[bytes], bool]:
    """Cut each time after so many bytes that the next is somewhere in one of the next transactions."""
    left = dice.randint(500, 8_000)

    def cut(chunk: bytes) -> bool:
        nonlocal left
        left -= len(chunk)
        if left > 0 or proxy.cuts >= cuts:
            return False
        left = dice.randint(500, 8_000)
        return True

    return cut


def test_a_slow_database_is_waited_for_and_one_that_hangs_holds_the_answer_back(
    proxy: Proxy, exporter: Exporter, postgresql_url: str
) -> None:
    sent = traffic(random.Random(3), 60)
    sender = start(exporter, sent)
    poll(lambda: len(sender.acknowledged) > 10, what="some calls to be acknowledged")
    proxy.delay_s = 0.01
    poll(lambda: len(sender.acknowledged) > 30, what="more of them, slowly")
    proxy.stall()
    assert sender.is_alive()
    before = len(sender.acknowledged)
    sender.join(1)
    assert len(sender.acknowledged) - before <= 8  # the batch that was committed as the stall began
    proxy.delay_s = 0
    proxy.flow()
    sender.finish()
    assert sender.retries == 0
    assert_balanced(postgresql_url, sent.tally, exporter)


def test_a_database_that_is_gone_is_named_and_found_again_without_a_restart(
    proxy: Proxy, exporter: Exporter, postgresql_url: str
) -> None:
    sent = traffic(random.Random(4), 120)
    sender = start(exporter, sent)
    poll(lambda: len(sender.acknowledged) > 20, what="some calls to be acknowledged")
    proxy.shut()
    poll(lambda: sender.retries >= 3, what="the sender to be told to wait")
    status, reason = readiness(exporter)
    assert status == 503
    assert "cannot be used now" in reason
    proxy.open()
    sender.finish()
    assert readiness(exporter)[0] == 200
    assert sender.answers == {grpc.StatusCode.UNAVAILABLE}
    assert_balanced(postgresql_url, sent.tally, exporter)


def test_a_postgresql_that_crashes_under_load_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    sent = traffic(random.Random(5), 150)
    with postgresql.running() as cluster, cluster.database() as url:
        exporter = Exporter(url, tmp_path)
        with exporter.server:
            sender = start(exporter, sent)
            for acknowledged in (30, 90):
                poll(lambda enough=acknowledged: len(sender.acknowledged) > enough, what="calls to be acknowledged")
                cluster.crash()
            sender.finish()
            assert sender.answers <= {grpc.StatusCode.UNAVAILABLE}
            assert_balanced(url, sent.tally, exporter)
