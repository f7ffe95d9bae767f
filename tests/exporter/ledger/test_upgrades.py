"""A ledger of every released schema is brought up to date with all that is in it, or stays as it was."""

import time
from collections.abc import Iterator
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, text
from sqlalchemy.exc import DBAPIError

from spanledger_exporter.errors import UnavailableError
from spanledger_exporter.ledger.checking import check
from spanledger_exporter.ledger.database import Database, open_database, parse_url
from spanledger_exporter.ledger.filters import Filter
from spanledger_exporter.ledger.ledger import Ledger
from spanledger_exporter.ledger.reader import Reader
from spanledger_exporter.ledger.retention import expire
from spanledger_exporter.prices.explanation import explain
from spanledger_exporter.prices.price_book import PriceBook
from spanledger_exporter.records import Split
from tests.exporter import older_ledgers
from tests.exporter.calls import USAGE_PUSD, priced
from tests.exporter.ledgers import DAY_NS, count, rows, total, writer
from tests.exporter.otlp_requests import END_NS

CALLS = 2000
RELEASED = ("0001", "0002", "0003", "0004", "0005", "0006")
SUMS_BEFORE = f"SELECT {', '.join(f'sum({name})' for name in older_ledgers.SUMS)} FROM rollup_hours"
HOURS_BEFORE = (
    f"SELECT hour_s, {', '.join(older_ledgers.DIMENSIONS)}, {', '.join(older_ledgers.SUMS)} "
    "FROM rollup_hours JOIN cells USING (cell_id)"
)


@pytest.fixture(params=RELEASED)
def older(request: pytest.FixtureRequest, ledger_url: str, book: PriceBook) -> str:
    """The schema of a ledger of an earlier release, which is at `ledger_url`."""
    older_ledgers.make(ledger_url, request.param, book, CALLS)
    return request.param


@pytest.fixture
def raw(ledger_url: str) -> Iterator[Engine]:
    """The database itself, whatever its schema."""
    engine = create_engine(parse_url(ledger_url))
    yield engine
    engine.dispose()


def asked(engine: Engine, statement: str) -> list[dict[str, Any]]:
    with engine.connect() as connection:
        return [dict(row) for row in connection.execute(text(statement)).mappings()]


def plain(found: list[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """Values that compare: PostgreSQL gives sums as decimals."""
    return sorted(tuple(str(value) for value in row.values()) for row in found)


def test_every_entry_and_sum_is_there_after_the_upgrade(
    older: str, raw: Engine, ledger_url: str, book: PriceBook
) -> None:
    entries = asked(raw, "SELECT * FROM entries ORDER BY entry_id")
    sums, hours = asked(raw, SUMS_BEFORE), asked(raw, HOURS_BEFORE)
    assert len(entries) == CALLS
    database = open_database(ledger_url)
    names = ", ".join(entries[0])
    assert asked(raw, f"SELECT {names} FROM entries ORDER BY entry_id") == entries
    assert plain(asked(raw, SUMS_BEFORE)) == plain(sums)
    assert plain(asked(raw, HOURS_BEFORE.replace("rollup_hours JOIN cells USING (cell_id)", "spend_hours"))) == plain(
        hours
    )
    assert plain(asked(raw, SUMS_BEFORE.replace("rollup_hours", "spend_days"))) == plain(sums)
    assert check(database, time.time_ns()) == []
    database.close()


def test_the_upgraded_ledger_goes_on(older: str, raw: Engine, ledger_url: str, book: PriceBook) -> None:
    """Calls that it has are not counted again, new ones are; numbers go on; retention and folding work."""
    before = asked(raw, "SELECT end_ns, span_id, trace_id FROM entries ORDER BY entry_id")
    database = open_database(ledger_url)
    ledger = writer(database, book)
    was = total(ledger)
    known = [priced(book, **row) for row in before[::100]]
    fresh = priced(book, end_ns=END_NS + 1)
    assert ledger.append([*known, fresh]).new == [fresh]
    assert total(ledger).calls == CALLS + 1
    assert total(ledger).cost_pusd > was.cost_pusd > 9.3 * 10**18
    assert rows(database, f"SELECT count(*) FROM entries WHERE entry_id > {CALLS}") == [(1,)]
    done = expire(database, END_NS - 100 * DAY_NS, between=lambda _spent_s: None)
    assert done.entries + count(database, "entries") == CALLS + 1
    assert done.entries == sum(row["end_ns"] < done.floor_ns for row in before)
    assert total(ledger).calls == CALLS + 1
    assert check(database, time.time_ns()) == []
    database.close()


def test_old_entries_are_explained_as_ever(older: str, ledger_url: str, book: PriceBook) -> None:
    database = open_database(ledger_url)
    database.close()
    statuses: set[str] = set()
    with Reader(ledger_url) as reader:
        for number in range(1, CALLS, 97):
            explanation = explain(*reader.entry(str(number)))
            assert explanation["agrees"], explanation
            statuses.add(explanation["price"]["status"])
        assert sum(line.sums.calls for line in reader.report(["model"], Filter())) == CALLS
    assert statuses >= {"priced", "unpriced", "none"}


def test_the_minutes_of_the_last_two_days_are_there(ledger_url: str, book: PriceBook) -> None:
    older_ledgers.make(ledger_url, "0002", book, 300, latest_ns=time.time_ns() - 60 * 10**9)
    database = open_database(ledger_url)
    assert count(database, "rollup_minutes") > 0
    assert check(database, time.time_ns()) == []
    database.close()


def test_an_upgrade_that_fails_half_way_leaves_the_older_ledger(
    older: str, raw: Engine, ledger_url: str, book: PriceBook
) -> None:
    """What stands in its way is met at its very end: a table that has the name of the last view."""
    everything = {name: asked(raw, f"SELECT * FROM {name}") for name in ("entries", "cells", "rollup_hours")}
    with raw.begin() as connection:
        connection.execute(text("CREATE TABLE budget_spend (in_the_way INTEGER)"))
    with pytest.raises((UnavailableError, DBAPIError), match="budget_spend"):
        open_database(ledger_url)
    assert asked(raw, "SELECT version_num FROM alembic_version") == [{"version_num": older}]
    for name, was in everything.items():
        assert asked(raw, f"SELECT * FROM {name}") == was
    with raw.begin() as connection:
        connection.execute(text("DROP TABLE budget_spend"))
    database = open_database(ledger_url)
    assert (count(database, "entries"), _calls(database, book)) == (CALLS, CALLS)
    database.close()


def test_what_old_costs_were_made_of_is_not_known(older: str, raw: Engine, ledger_url: str, book: PriceBook) -> None:
    database = open_database(ledger_url)
    ledger = writer(database, book)
    before = total(ledger)
    assert before.cost_pusd > 0 == sum(getattr(before, name) for name in Split._fields)
    parts = ", ".join(f"count({name}) AS {name}" for name in Split._fields)
    assert plain(asked(raw, f"SELECT {parts} FROM entries")) == [("0",) * len(Split._fields)]
    ledger.append([priced(book, end_ns=END_NS + 1)])
    known = total(ledger).minus(before)
    assert known.cost_pusd == USAGE_PUSD == sum(getattr(known, name) for name in Split._fields[:5])
    database.close()


def test_errors_and_retries_of_before_are_told_apart_where_a_cell_has_only_one_kind(
    older: str, raw: Engine, ledger_url: str, book: PriceBook
) -> None:
    open_database(ledger_url).close()
    found = asked(raw, "SELECT DISTINCT provider, outcome, error_type, attempt FROM cells WHERE service = 'shop'")
    assert {(row["provider"], row["outcome"], row["error_type"], row["attempt"]) for row in found} == {
        ("openai", "ok", "", "first"),
        ("anthropic", "ok", "", "retry"),
        ("mistral_ai", "error", "rate_limit_exceeded", "first"),
        ("openai", "error", "", ""),
    }


def test_calls_go_on_in_the_cells_of_before_unless_those_were_mixed(
    older: str, raw: Engine, ledger_url: str, book: PriceBook
) -> None:
    database = open_database(ledger_url)
    ledger = writer(database, book)
    cells = {cell: sums.calls for cell, sums in ledger.totals().items()}
    failed = older_ledgers.FAILED | {"error_type": "overloaded", "resend_count": 1}
    ledger.append([priced(book, end_ns=END_NS + 1), priced(book, end_ns=END_NS + 1, **failed)])
    moved = {cell: sums.calls - cells.get(cell, 0) for cell, sums in ledger.totals().items()}
    assert {cell[-2:]: cell in cells for cell, calls in moved.items() if calls} == {
        ("", "first"): True,
        ("overloaded", "retry"): False,
    }
    assert check(database, time.time_ns()) == []
    database.close()


def _calls(database: Database, book: PriceBook) -> int:
    ledger: Ledger = writer(database, book)
    return total(ledger).calls
