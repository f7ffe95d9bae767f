"""Opening a ledger: from nothing, again, by several, by a newer program, and with URLs that cannot work."""

from pathlib import Path

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from sqlalchemy import create_engine, text

import spanledger_exporter
from spanledger_exporter.errors import ConfigError, LedgerError, UnavailableError
from spanledger_exporter.ledger.database import Database, open_database, open_readonly, parse_url, shown
from spanledger_exporter.ledger.filters import Filter
from spanledger_exporter.ledger.ledger import Ledger
from spanledger_exporter.ledger.reader import Reader
from spanledger_exporter.ledger.schema import metadata
from spanledger_exporter.prices.price_book import PriceBook
from spanledger_exporter.records import Usage
from tests.exporter.calls import priced

# What the first release wrote for one call.
ENTRY_0001 = """
INSERT INTO entries (end_ns, span_id, trace_id, start_ns, received_ns, scope, dialect, provider, operation,
    response_model, stream, outcome, usage_status, input_tokens, output_tokens, price_status, cost_pusd, price_book_id)
VALUES (1795000000000000000, :span_id, :trace_id, 1794999999000000000, 1795000001000000000, 'spanledger', 'otel',
    'openai', 'chat', 'gpt-4o-mini', :stream, 'ok', 'reported', 9, 2, 'priced', 2550000, NULL)
"""


def make_ledger_of(revision: str, url: str) -> None:
    config = Config()
    config.set_main_option("script_location", f"{Path(spanledger_exporter.__file__).parent}/ledger/migrations")
    config.set_main_option("path_separator", "os")
    engine = create_engine(parse_url(url))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
        values = {"span_id": b"s" * 8, "trace_id": b"t" * 16, "stream": False}
        connection.execute(text(ENTRY_0001), values)
    engine.dispose()


def test_a_ledger_of_the_first_release_is_brought_up_to_date_with_its_entries(ledger_url: str, book: PriceBook) -> None:
    make_ledger_of("0001", ledger_url)
    with pytest.raises(LedgerError, match="`spanledger serve` brings an older ledger up to date"):
        open_readonly(ledger_url)
    database = open_database(ledger_url)
    ledger = Ledger(database, cells_max=10)
    ledger.keep_book(book)
    ledger.append([priced(book, usage=Usage(1, 1, pages=3), provider_cost_pusd=7)])
    database.close()
    with Reader(ledger_url) as reader:
        new, old = reader.entries(Filter())
    assert (old["input_tokens"], old["cost_usd"], old["other_usage"], old["provider_cost_usd"]) == (
        9, "0.00000255", {}, None
    )  # fmt: skip
    assert (new["other_usage"], new["provider_cost_usd"]) == ({"pages": 3}, "0.000000000007")


def test_the_migrations_make_the_schema_that_the_code_declares(database: Database) -> None:
    with database.read() as connection:
        context = MigrationContext.configure(connection, opts={"include_object": _everywhere})
        assert compare_metadata(context, metadata) == []


def _everywhere(item: object, name: str | None, kind: str, reflected: object, other: object) -> bool:
    """Tell what both databases have: PostgreSQL needs an index for the number, which is SQLite's primary key."""
    return (kind, name) != ("index", "entry_number") and not str(name).startswith("ledger_entries_y")


def test_opening_again_changes_nothing(ledger_url: str, database: Database) -> None:
    open_database(ledger_url).close()
    open_readonly(ledger_url).close()


def test_a_ledger_of_a_newer_program_is_refused(ledger_url: str, database: Database) -> None:
    with database.write() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(ConfigError, match="schema 9999"):
        open_database(ledger_url)
    with pytest.raises(LedgerError, match="schema 9999"):
        open_readonly(ledger_url)


def test_a_reader_cannot_write(ledger_url: str, database: Database) -> None:
    reader = open_readonly(ledger_url)
    with pytest.raises(UnavailableError), reader.read() as connection:
        connection.execute(text("DELETE FROM entries"))
    reader.close()


def test_reading_a_missing_ledger_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match=r"no ledger at .*nope\.db; `spanledger serve` makes one"):
        open_readonly(f"sqlite:///{tmp_path}/nope.db")
    assert list(tmp_path.iterdir()) == []


def test_a_sqlite_ledger_survives_a_power_cut_by_its_settings(sqlite_url: str) -> None:
    database = open_database(sqlite_url)
    with database.read() as connection:
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal"
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar() == 2
    database.close()


def test_a_sqlite_path_may_hold_any_characters(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/a folder/50% #1?.db"
    open_database(str(parse_url(url.replace("?", "%3F").replace("%", "%25", 1)))).close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("nonsense", "not a SQLAlchemy URL"),
        ("sqlite://", "lost at exit"),
        ("sqlite:///:memory:", "lost at exit"),
        ("mysql://u@h/d", "names 'mysql'"),
        ("notaurl:hunter2@h", r"'\*\*\*@h' is not"),
        ("postgresql://u:hunter2@h:zz/d", r"'\*\*\*@h:zz/d' is not"),
    ],
)
def test_a_url_that_cannot_hold_a_ledger_is_refused_with_an_example(url: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        parse_url(url)


def test_a_database_that_does_not_answer_is_a_temporary_trouble() -> None:
    with pytest.raises(UnavailableError, match="cannot be used now: connection failed"):
        open_database("postgresql://nobody@127.0.0.1:1/none")


def test_passwords_are_never_shown() -> None:
    assert "hunter2" not in shown(parse_url("postgresql://me:hunter2@127.0.0.1/spend"))


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="cannot be made"):
        open_database(f"sqlite:///{tmp_path}/file/ledger.db")
