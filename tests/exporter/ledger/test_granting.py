"""A role that may read the views, and nothing else, on a real PostgreSQL."""

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.exc import ProgrammingError

from spanledger_exporter.budgets.shelf import BudgetShelf
from spanledger_exporter.errors import LedgerError
from spanledger_exporter.ledger.database import open_database, parse_url
from spanledger_exporter.ledger.granting import VIEWS, grant
from spanledger_exporter.prices.price_book import PriceBook
from tests.exporter.budgets.counted import declared
from tests.exporter.ledgers import daily, writer
from tests.servers import postgresql

ROLE = 'the "readers"'


@pytest.fixture
def readers_url(postgresql_cluster: postgresql.Cluster, postgresql_url: str, book: PriceBook) -> str:
    """The URL of a ledger of three calls, for a role that was granted the views twice."""
    quoted = '"the ""readers"""'
    postgresql_cluster.execute(f"DROP ROLE IF EXISTS {quoted}")
    postgresql_cluster.execute(f"CREATE ROLE {quoted} LOGIN")
    database = open_database(postgresql_url)
    BudgetShelf(database).set(declared(period="day"), "ann")
    writer(database, book).append(daily(book, range(3)))
    grant(database, ROLE)
    grant(database, ROLE)
    database.close()
    return parse_url(postgresql_url).set(username=ROLE).render_as_string(hide_password=False)


def run(url: str, statement: str) -> object:
    engine = create_engine(url)
    try:
        with engine.begin() as connection:
            return connection.execute(text(statement)).scalar()
    finally:
        engine.dispose()


def test_the_role_reads_every_view(readers_url: str) -> None:
    assert [run(readers_url, f"SELECT count(*) FROM {view}") for view in VIEWS] == [3, 3, 3, 3]


@pytest.mark.parametrize(
    "statement",
    [
        *(f"SELECT * FROM {table}" for table in (
            "ledger_entries", "profiles", "reports", "cells", "rollup_hours", "rollup_minutes", "adjustments",
            "price_books", "ledger_state", "rollup_totals", "budgets", "budget_counters")),
        "DELETE FROM entries",
        "UPDATE spend_hours SET calls = 0",
        "INSERT INTO ledger_state (name, value) VALUES ('mine', 1)",
        "TRUNCATE rollup_hours",
        "DROP VIEW spend_days",
        "CREATE OR REPLACE VIEW spend_days AS SELECT 1 AS one",
    ],
)  # fmt: skip
def test_the_role_neither_writes_nor_reads_what_is_beneath(readers_url: str, statement: str) -> None:
    # DROP and CREATE say "must be owner"; a view of several tables cannot be changed by anybody, whatever his rights.
    with pytest.raises(Exception, match=r"permission denied|must be owner|cannot (delete from|update) view"):
        run(readers_url, statement)


def test_a_role_that_does_not_exist_is_said(postgresql_url: str) -> None:
    database = open_database(postgresql_url)
    with pytest.raises(LedgerError, match="no role 'nobody-here'; CREATE ROLE makes one"):
        grant(database, "nobody-here")
    database.close()


def test_sqlite_has_no_roles(sqlite_url: str) -> None:
    database = open_database(sqlite_url)
    with pytest.raises(LedgerError, match="SQLite has no roles"):
        grant(database, "readers")
    database.close()


def test_the_role_cannot_grant_others(readers_url: str) -> None:
    with pytest.raises(ProgrammingError, match=r"permission denied|no privileges"):
        run(readers_url, "GRANT SELECT ON rollup_hours TO PUBLIC")
