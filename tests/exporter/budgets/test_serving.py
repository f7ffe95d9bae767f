"""Budgets in running programs: a service that follows its file, and an app that keeps its own ledger."""

import os
import subprocess
import sys
import time
import urllib.request
from contextlib import closing
from pathlib import Path

import pytest
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor

from spanledger_exporter.budgets.shelf import BudgetShelf
from spanledger_exporter.config import load
from spanledger_exporter.embedded import LedgerSpanExporter
from spanledger_exporter.ledger.checking import check
from spanledger_exporter.ledger.database import migrate, open_database, parse_url
from spanledger_exporter.prices.price_book import PriceBook
from tests.exporter import older_ledgers
from tests.exporter.budgets.counted import assert_counted, counters, declared
from tests.exporter.ledgers import rows
from tests.exporter.otlp_requests import CHAT, body, span
from tests.servers.exporter import SPANLEDGER, Exporter
from tests.servers.process import poll

BOTH = (
    '[[budget]]\nname = "company"\nlimit_usd = 100\n\n[[budget]]\nname = "shop"\nlimit_calls = 5\nper = ["service"]\n'
)


def post(exporter: Exporter, calls: int) -> None:
    now_ns = time.time_ns()
    spans = [span(end_ns=now_ns + number) for number in range(calls)]
    request = urllib.request.Request(
        f"http://{exporter.http}/v1/traces", data=body(*spans), headers={"content-type": "application/x-protobuf"}
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert answer.status == 200


def calls(url: str) -> dict[str, int]:
    with closing(open_database(url)) as database:
        found: dict[str, int] = {}
        for (name, *_), counted in counters(database).items():
            found[name] = found.get(name, 0) + counted.calls
        return found


def test_a_service_follows_the_file_of_its_budgets(ledger_url: str, tmp_path: Path) -> None:
    """A budget that comes while it runs knows what was before, and counts what comes; what is wrong changes nothing."""
    file = tmp_path / "budgets.toml"
    company, shop = BOTH.split("\n\n")
    file.write_text(company)
    exporter = Exporter(ledger_url, tmp_path, environ={**os.environ, "SPANLEDGER_BUDGETS_FILE": str(file)})
    post(exporter, 3)
    assert calls(ledger_url) == {"company": 3}
    file.write_text(f"{company}\n\n{shop}")
    poll(lambda: calls(ledger_url).get("shop"), what="the second budget")
    post(exporter, 2)
    assert calls(ledger_url) == {"company": 5, "shop": 5}
    file.write_text("[[budget]]\nname = 1")
    poll(lambda: "the budgets stay as they were" in exporter.server.log_text() or None, what="the error")
    with urllib.request.urlopen(f"http://{exporter.metrics}/metrics", timeout=60) as answer:
        assert 'spanledger_reload_failures_total{files="budgets"} 1.0' in answer.read().decode()
    post(exporter, 1)
    assert calls(ledger_url) == {"company": 6, "shop": 6}
    file.write_text("")  # as an editor does for a moment
    poll(lambda: exporter.server.log_text().count("the budgets stay as they were") == 2 or None, what="the error")
    assert calls(ledger_url) == {"company": 6, "shop": 6}
    file.write_text("budget = []")
    poll(lambda: calls(ledger_url) == {} or None, what="no budgets")
    exporter.server.stop()


def test_a_file_that_cannot_be_used_stops_the_start_with_every_problem(sqlite_url: str, tmp_path: Path) -> None:
    file = tmp_path / "budgets.toml"
    file.write_text('[[budget]]\nname = "a"\nlimit_usd = 0\nmode = "x"\n')
    done = subprocess.run(
        [SPANLEDGER, "serve", "--grpc", ":0", "--http", ":0", "--metrics", ":0", "--ledger", sqlite_url],
        env={**os.environ, "SPANLEDGER_BUDGETS_FILE": str(file)},
        check=False,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert done.stderr.count(f"{file}: [[budget]] 1 (a): ") == 2


def test_embedded_mode_counts_the_budgets_of_its_ledger(sqlite_url: str) -> None:
    with closing(open_database(sqlite_url)) as database:
        BudgetShelf(database).set(declared(per=["service"]), "test")
        exporter = LedgerSpanExporter(load(environ={}, flags={"ledger_url": sqlite_url}))
        provider = TracerProvider(resource=Resource.create({"service.name": "shop"}))
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        for _ in range(2):
            with provider.get_tracer("spanledger").start_as_current_span("chat", attributes=CHAT):
                pass
        provider.shutdown()
        assert {group: each.calls for (_, group, _), each in counters(database).items()} == {'["shop"]': 2}
        assert_counted(database, BudgetShelf(database).all())


WRITER = """
import sys
from spanledger_exporter.ledger.database import open_database
from spanledger_exporter.prices.genai_prices_book import packaged_book
from tests.exporter.calls import priced
from tests.exporter.ledgers import writer
url, place = sys.argv[1], int(sys.argv[2])
book = packaged_book()
ledger = writer(open_database(url), book)
for number in range(20):
    batch = [priced(book, span_id=each.to_bytes(8), trace_id=each.to_bytes(16), user_id=f"u{each % 3}")
             for each in range(number * 5 + 1, number * 5 + 9)]
    ledger.append(batch)
"""


def test_several_processes_count_each_call_once(ledger_url: str, tmp_path: Path) -> None:
    """They send the same calls, and a budget is made and changed meanwhile."""
    program = tmp_path / "writer.py"
    program.write_text(WRITER)
    with closing(open_database(ledger_url)) as database:
        shelf = BudgetShelf(database)
        shelf.set(declared("first", period="year"), "test")
        environ = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
        started = [
            subprocess.Popen([sys.executable, program, ledger_url, str(place)], env=environ) for place in range(3)
        ]
        shelf.set(declared("second", per=["user"], period="year"), "test")
        shelf.set(declared("first", period="year", limit_usd=1), "test")
        assert [process.wait(timeout=240) for process in started] == [0, 0, 0]
        assert_counted(database, shelf.all())
        assert calls(ledger_url) == {"first": 103, "second": 103}
        assert check(database, time.time_ns()) == []


@pytest.mark.parametrize("revision", ["0001", "0002"])
def test_budgets_of_an_upgraded_ledger_know_its_entries(ledger_url: str, book: PriceBook, revision: str) -> None:
    older_ledgers.make(ledger_url, revision, book, 300, latest_ns=time.time_ns() - 60 * 10**9)
    with closing(open_database(ledger_url)) as database:
        shelf = BudgetShelf(database)
        shelf.set(declared("year", period="year", per=["model"]), "test")
        shelf.set(declared("day", period="day", timezone="Asia/Tehran", scope={"service": ["shop", ""]}), "test")
        assert counters(database)
        assert_counted(database, shelf.all())
        assert check(database, time.time_ns()) == []


def test_a_ledger_of_before_budgets_is_brought_up_to_date(ledger_url: str) -> None:
    """What it counts stays, and the number that tells of changes of budgets begins at none."""
    from sqlalchemy import create_engine

    engine = create_engine(parse_url(ledger_url))
    with engine.begin() as connection:
        older_ledgers.migrate_to(connection, "0005")
        connection.exec_driver_sql("UPDATE ledger_state SET value = 7 WHERE name = 'revision'")
    engine.dispose()
    with closing(open_database(ledger_url)) as database:
        assert sorted(rows(database, "SELECT name, value FROM ledger_state")) == [
            ("budgets_revision", 0), ("floor_ns", 0), ("revision", 7),
        ]  # fmt: skip
        migrate(database)
        assert BudgetShelf(database).all() == []
