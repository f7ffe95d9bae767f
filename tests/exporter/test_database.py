"""Opening a ledger: from nothing, again, by several, by a newer program, and with URLs that cannot work."""

from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import text

from spanledger_exporter.database import Database, open_database, open_readonly, parse_url, shown
from spanledger_exporter.errors import ConfigError, LedgerError, UnavailableError
from spanledger_exporter.schema import metadata


def test_the_migrations_make_the_schema_that_the_code_declares(database: Database) -> None:
    with database.read() as connection:
        assert compare_metadata(MigrationContext.configure(connection), metadata) == []


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
