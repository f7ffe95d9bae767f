"""`spanledger ledger check`: nothing to say of a right ledger, and the right thing of each kind of wrong one."""

from typing import Any

import pytest
from sqlalchemy import text

from spanledger_exporter.ledger.checking import check, repair
from spanledger_exporter.ledger.database import Database, open_database, open_readonly
from spanledger_exporter.ledger.ledger import Ledger
from spanledger_exporter.ledger.repeats import closed_hour, repeats_of_hour
from spanledger_exporter.prices.price_book import PriceBook
from spanledger_exporter.records import Usage
from tests.exporter.calls import priced
from tests.exporter.ledgers import DAY_NS, HOUR_NS, NOW_NS, count, daily, damage, total, writer
from tests.exporter.otlp_requests import END_NS

ID = "chatcmpl-B1x2y3z4w5v6u7"


@pytest.fixture
def mixed(database: Database, book: PriceBook) -> Ledger:
    """A ledger of every kind of call: contradicting figures, costs beyond 64 bits, none at all, several reports."""
    made = writer(database, book)
    dear = Usage(40 * 10**12 + 1, 0)
    made.append(daily(book, range(5)))
    made.append([priced(book, end_ns=END_NS + number, usage=dear) for number in range(5)])
    made.append(
        [
            priced(book, usage=Usage(10, 5, cache_read_tokens=50, cache_write_tokens=7, reasoning_tokens=9)),
            priced(book, usage=Usage(100, 20, cache_read_tokens=40, cache_write_tokens=90)),
            priced(book, usage=Usage(), usage_status="unreported"),
            priced(book, usage=Usage(0, 0), response_model="mystery", request_model=None),
        ]
    )
    made.append([priced(book, scope=f"scope-{number}", response_id=ID) for number in range(3)])
    assert (count(database, "entries"), count(database, "reports")) == (15, 3)
    return made


def spoil(database: Database, *statements: str) -> None:
    with database.write() as connection:
        if database.is_sqlite:
            connection.exec_driver_sql("PRAGMA defer_foreign_keys=ON")
        for statement in statements:
            connection.execute(text(statement))


def test_a_right_ledger_has_nothing_wrong(mixed: Ledger, database: Database) -> None:
    assert check(database, NOW_NS) == []
    assert repair(database) == 0


DELETED = "DELETE FROM ledger_entries WHERE entry_id = 1"


@pytest.mark.parametrize(
    ("statement", "kinds", "said"),
    [
        ("UPDATE rollup_hours SET calls = calls + 2 WHERE hour_s = 1794999600 AND cell_id = 1",
         {"sums_of_an_hour", "sums_in_all"},
         "2026-11-18T11:00:00Z, cell 1: the sums differ from the entries by calls +2"),
        ("UPDATE rollup_hours SET cost_rest_pusd = cost_rest_pusd - 1 WHERE hour_s = 1794999600 AND cell_id = 1",
         {"sums_of_an_hour", "sums_in_all"}, "by cost_pusd -1"),
        ("UPDATE rollup_hours SET cache_saved_micro_usd = 9 WHERE hour_s = 1794999600 AND cell_id = 1",
         {"sums_of_an_hour", "sums_in_all"}, "by cache_saved_pusd +6000000"),
        ("UPDATE rollup_totals SET cost_output_rest_pusd = cost_output_rest_pusd + 3 WHERE cell_id = 1",
         {"sums_in_all"}, "cell 1: the sums differ from those of its hours by cost_output_pusd +3"),
        ("DELETE FROM rollup_totals WHERE cell_id = 1", {"sums_in_all"}, "by calls -1"),
        ("UPDATE ledger_entries SET cost_output_pusd = cost_output_pusd - 1 WHERE entry_id = 1",
         {"sums_of_an_hour"}, "by cost_input_uncached_pusd -1, cost_output_pusd +1"),
        ("UPDATE rollup_minutes SET output_tokens = 0 WHERE cell_id = 1 AND minute_s > 1794999600",
         {"sums_of_a_minute"}, "by output_tokens -"),
        ("DELETE FROM rollup_hours", {"sums_of_an_hour", "sums_in_all"}, "by calls -1"),
        (DELETED, {"sums_of_an_hour"}, "by calls +1, input_tokens +"),
        ("UPDATE ledger_entries SET profile_id = 999 WHERE entry_id = 1",
         {"profile_missing", "sums_of_an_hour"}, "1 entries of 2026-11-"),
        ("DELETE FROM reports WHERE report_id = 1", {"reports"}, "says that it has 3 reports, and 2 are there"),
        ("UPDATE ledger_entries SET reports = NULL", {"reports"}, "which has no reports or is not there"),
        ("INSERT INTO adjustments (entry_id, made_ns, reason, before, after) VALUES (999, 1, 'r', '{}', '{}')",
         {"adjustments"}, "is of entry 999, which is not there"),
    ],
    ids=["calls", "a pico-dollar", "a part", "totals", "a total", "a split", "minutes", "no sums", "an entry",
         "profile", "a report", "reports", "adjustments"],
)  # fmt: skip
def test_what_is_wrong_is_said(mixed: Ledger, database: Database, statement: str, kinds: set[str], said: str) -> None:
    spoil(database, statement)
    found = check(database, NOW_NS)
    assert {finding.kind for finding in found} == kinds
    assert any(said in finding.detail for finding in found), found


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE rollup_hours SET calls = calls + 2, cost_micro_usd = 7, reasoning_tokens = reasoning_tokens - 1",
        "DELETE FROM rollup_hours",
        "UPDATE rollup_totals SET calls = calls - 1, cache_saved_micro_usd = 5",
        "DELETE FROM rollup_totals",
        DELETED,
    ],
    ids=["other sums", "no sums", "other totals", "no totals", "an entry less"],
)
def test_sums_are_made_those_of_the_entries(mixed: Ledger, database: Database, book: PriceBook, statement: str) -> None:
    before = total(mixed)
    spoil(database, statement)
    assert repair(database) > 0
    assert check(database, NOW_NS) == []
    lost = 1 if statement == DELETED else 0
    assert total(mixed).calls == before.calls - lost
    assert lost or total(mixed) == before
    assert len(writer(database, book).append([priced(book)]).new) == 1
    assert check(database, NOW_NS) == []


def test_repairing_leaves_what_is_before_the_floor(mixed: Ledger, database: Database) -> None:
    before = total(mixed)
    floor = (END_NS - DAY_NS) // HOUR_NS * HOUR_NS
    spoil(
        database,
        f"UPDATE ledger_state SET value = {floor} WHERE name = 'floor_ns'",
        f"DELETE FROM ledger_entries WHERE end_ns < {floor}",
        f"UPDATE rollup_hours SET calls = calls + 1 WHERE hour_s >= {floor // 10**9}",
    )
    assert {finding.kind for finding in check(database, NOW_NS)} == {"sums_of_an_hour", "sums_in_all"}
    repair(database)
    assert check(database, NOW_NS) == []
    assert total(mixed) == before


def test_a_span_that_came_by_a_route_that_cuts_times_is_found(database: Database, book: PriceBook) -> None:
    cut: dict[str, Any] = {"span_id": b"s" * 8, "trace_id": b"t" * 16}
    ledger = writer(database, book)
    closed = closed_hour(NOW_NS)
    border_ns = (closed + 1) * HOUR_NS
    ledger.append([priced(book, end_ns=border_ns - 1, **cut), priced(book, end_ns=border_ns, **cut)])
    with database.read() as connection:
        found = [repeats_of_hour(connection, hour) for hour in (closed, closed + 1)]
    assert found == [1, 0]  # it is counted in its first hour alone
    assert check(database, NOW_NS)[0] == (
        "repeated_span", f"span {'73' * 8} of trace {'74' * 16} is 2 entries",
    )  # fmt: skip
    assert check(database, NOW_NS - HOUR_NS) == []  # an hour that is not closed is not looked at


def database_read(database: Database) -> Any:
    return database.engine.connect()


def test_a_damaged_file_is_found(sqlite_url: str, book: PriceBook) -> None:
    database = open_database(sqlite_url)
    writer(database, book).append(daily(book, range(300)))
    database.close()
    damage(sqlite_url)
    readonly = open_readonly(sqlite_url)
    assert "file" in {finding.kind for finding in check(readonly, NOW_NS)}
    readonly.close()
