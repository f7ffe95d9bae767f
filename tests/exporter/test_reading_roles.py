"""Which roles of PostgreSQL the commands that read can do with, and what the others are told."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from spanledger_exporter import cli
from spanledger_exporter.budgets.shelf import BudgetShelf
from spanledger_exporter.ledger.database import open_database, parse_url
from spanledger_exporter.ledger.granting import grant
from spanledger_exporter.prices.price_book import PriceBook
from tests.exporter.budgets.counted import declared
from tests.exporter.ledgers import daily, writer
from tests.servers import postgresql

OPERATIONS = Path(__file__).parents[2] / "docs" / "operations.md"
READING = ("report", "entries", "explain 1", "budgets", "dead-letters", "alerts", "ledger check", "top --once --json")
ROLE = "people"
Run = Callable[[str], int]


@pytest.fixture
def run(postgresql_cluster: postgresql.Cluster, postgresql_url: str, book: PriceBook) -> Run:
    """Run a command as a role that may do nothing yet, on a ledger of three calls."""
    postgresql_cluster.execute(f"DROP ROLE IF EXISTS {ROLE}")
    postgresql_cluster.execute(f"CREATE ROLE {ROLE} LOGIN")
    database = open_database(postgresql_url)
    BudgetShelf(database).set(declared(period="day"), "ann")
    writer(database, book).append(daily(book, range(3)))
    database.close()
    url = parse_url(postgresql_url).set(username=ROLE).render_as_string(hide_password=False)
    return lambda words: cli.main([*words.split(), "--ledger", url])


def test_the_role_of_the_documents_runs_every_command_that_reads_and_none_that_writes(
    run: Run, postgresql_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    statements = re.findall(rf'^psql .*"((?:GRANT|ALTER DEFAULT) .* TO {ROLE})"$', OPERATIONS.read_text(), flags=re.M)
    assert len(statements) == 2
    owner = parse_url(postgresql_url).username
    database = open_database(postgresql_url)
    with database.write() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement.replace("FOR ROLE spanledger", f"FOR ROLE {owner}"))
    assert {words: run(words) for words in READING} == dict.fromkeys(READING, 0)
    capsys.readouterr()
    assert run("budgets set mine --limit-usd 5") == 1
    assert "permission denied" in capsys.readouterr().err
    with database.write() as connection:  # the role is of the whole cluster, and is dropped once it has nothing
        connection.exec_driver_sql(f"DROP OWNED BY {ROLE}")
    database.close()


@pytest.mark.parametrize("words", READING)
def test_a_role_that_may_read_the_views_alone_is_told_which_role_is_wanted(
    run: Run, words: str, postgresql_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    database = open_database(postgresql_url)
    grant(database, ROLE)
    database.close()
    assert run(words) == 1
    said = capsys.readouterr().err
    assert "may not be used so: permission denied for table" in said
    assert "a role that may read every table" in said
