"""SQLAlchemy URL -> a database that is opened, locked and migrated the way the ledger needs it.

SQLite: write-ahead log with `synchronous=FULL`, so that an acknowledged commit survives a power cut, and one writer
at a time across processes by a lock file beside the database. The lock is more than politeness: SQLite before
3.51.3 can corrupt a write-ahead log when two connections write or checkpoint at the same instant
(sqlite.org/wal.html, "WAL-reset bug"), and the SQLite of most Python builds is older. PostgreSQL needs none of
this.
"""

import contextlib
from collections.abc import Generator
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config as AlembicConfig
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from filelock import FileLock, Timeout
from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from spanledger_exporter.errors import ConfigError, LedgerError, UnavailableError

_LOCK_TIMEOUT_S = 30
_WRITING = "spanledger_writing"
_POSTGRESQL_DRIVER = "postgresql+psycopg"
# Any constant that no other application is likely to lock in the same PostgreSQL database: "spanledg" as an integer.
_MIGRATION_LOCK = 0x7370616E6C656467


class Database:
    """One database, for one writer or for readers.

    Raises: `UnavailableError` from `write` and `read` when the database is locked, full or gone; try again later.
    """

    def __init__(self, engine: Engine, lock: FileLock | None) -> None:
        self.engine = engine
        self._writing = engine.execution_options(**{_WRITING: True})
        self._lock = lock

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is SQLite; else it is PostgreSQL."""
        return self.engine.dialect.name == "sqlite"

    @contextlib.contextmanager
    def write(self) -> Generator[Connection]:
        """Open one write transaction; it commits when the block ends without an error."""
        with _unavailable(), self._locked(), self._writing.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def read(self) -> Generator[Connection]:
        """Open one consistent view for reading."""
        with _unavailable(), self.engine.connect() as connection:
            yield connection

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    def _locked(self) -> contextlib.AbstractContextManager[Any]:
        return contextlib.nullcontext() if self._lock is None else self._lock


@contextlib.contextmanager
def _unavailable() -> Generator[None]:
    try:
        yield
    except DBAPIError as exc:
        raise UnavailableError(f"the ledger's database did not answer: {_first_line(exc.orig)}") from exc
    except Timeout as exc:
        raise UnavailableError(
            f"another process has held the ledger's lock {exc.lock_file} for {_LOCK_TIMEOUT_S} s"
        ) from exc


def _first_line(error: BaseException | None) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def parse_url(url: str) -> URL:
    """Return a ledger's URL, its PostgreSQL driver filled in.

    Raises:
        ConfigError: it is no SQLAlchemy URL, or not of a database that can hold a ledger.
    """
    try:
        parsed = make_url(url)
    except ArgumentError as exc:
        raise ConfigError([f"ledger URL {url!r} is not a SQLAlchemy URL such as {_EXAMPLES}"]) from exc
    backend = parsed.get_backend_name()
    if backend == "sqlite" and parsed.database not in {None, "", ":memory:"}:
        return parsed
    if backend == "sqlite":
        raise ConfigError(
            ["a ledger in memory would be lost at exit: name a file, such as sqlite:////var/lib/ledger.db"]
        )
    if backend == "postgresql":
        return parsed.set(drivername=_POSTGRESQL_DRIVER) if parsed.drivername == "postgresql" else parsed
    raise ConfigError([f"ledger URL {shown(parsed)!r} names {backend!r}; a ledger lives in {_EXAMPLES}"])


_EXAMPLES = "sqlite:////path/to/ledger.db or postgresql://user@host/database"


def shown(url: URL) -> str:
    """Return a URL as it may be printed: without its password."""
    return url.render_as_string(hide_password=True)


def open_database(url: str) -> Database:
    """Open a ledger's database for writing, create it where it is missing, and bring its schema up to date.

    Raises:
        ConfigError: the URL cannot be used, or the ledger is newer than this program.
        UnavailableError: the database does not answer.
    """
    parsed = parse_url(url)
    lock = None
    if parsed.get_backend_name() == "sqlite":
        path = _sqlite_path(parsed)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise ConfigError([f"the ledger's folder {path.parent} cannot be made: {exc.strerror}"]) from exc
        lock = FileLock(f"{path}.lock", timeout=_LOCK_TIMEOUT_S)
    database = Database(_engine(parsed, readonly=False), lock)
    with _closed_on_failure(database):
        migrate(database)
    return database


def open_readonly(url: str) -> Database:
    """Open an existing ledger's database for reading only, while another process may be writing to it.

    Raises:
        LedgerError: there is no ledger, or it is not of this program's version.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite" and not _sqlite_path(parsed).exists():
        raise LedgerError(
            f"there is no ledger at {_sqlite_path(parsed)}; `spanledger serve` makes one, --ledger URL names another"
        )
    database = Database(_engine(parsed, readonly=True), None)
    with _closed_on_failure(database):
        _require_head(database, shown(parsed))
    return database


def _require_head(database: Database, name: str) -> None:
    with database.read() as connection:
        revision = MigrationContext.configure(connection).get_current_revision()
    head = _scripts().get_current_head()
    if revision != head:
        raise LedgerError(
            f"the ledger at {name} has schema {revision or 'none'}, this program reads {head}; "
            "`spanledger serve` brings an older ledger up to date"
        )


@contextlib.contextmanager
def _closed_on_failure(database: Database) -> Generator[None]:
    try:
        yield
    except BaseException:
        database.close()
        raise


def migrate(database: Database) -> None:
    """Bring the schema up to date; several processes may try at once.

    Raises:
        ConfigError: the ledger was written by a newer program.
    """
    config = AlembicConfig()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    with database.write() as connection:
        if not database.is_sqlite:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _MIGRATION_LOCK})
        revision = MigrationContext.configure(connection).get_current_revision()
        if revision == _scripts().get_current_head():
            return
        config.attributes["connection"] = connection
        try:
            command.upgrade(config, "head")
        except CommandError as exc:
            raise ConfigError(
                [f"the ledger has schema {revision}, which this program does not know; upgrade it"]
            ) from exc


_MIGRATIONS = Path(__file__).parent / "migrations"


def _scripts() -> ScriptDirectory:
    return ScriptDirectory(str(_MIGRATIONS))


def _sqlite_path(url: URL) -> Path:
    assert url.database is not None, "parse_url refuses a SQLite URL without a file"
    return Path(url.database)


def _engine(url: URL, *, readonly: bool) -> Engine:
    try:
        if url.get_backend_name() == "sqlite":
            return _sqlite_engine(url, readonly=readonly)
        options = {"options": "-c default_transaction_read_only=on"} if readonly else {}
        return create_engine(url, pool_pre_ping=True, connect_args=options)
    except (ModuleNotFoundError, NoSuchModuleError) as exc:
        raise ConfigError([f"{exc}: for a ledger on PostgreSQL, pip install 'spanledger[postgres]'"]) from exc
    except SQLAlchemyError as exc:
        raise ConfigError([f"ledger URL {shown(url)!r} cannot be used: {_first_line(exc)}"]) from exc


def _sqlite_engine(url: URL, *, readonly: bool) -> Engine:
    path = _sqlite_path(url).absolute()
    target = url.set(database=f"{path.as_uri()}", query={"mode": "ro" if readonly else "rwc", "uri": "true"})
    engine = create_engine(target, connect_args={"timeout": _LOCK_TIMEOUT_S, "check_same_thread": False})

    def on_connect(connection: Any, _record: object) -> None:  # the DBAPI connection has no common static type
        connection.isolation_level = None  # transactions are opened by on_begin, not guessed by the driver
        if readonly:
            connection.execute("PRAGMA query_only=ON")
        else:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA foreign_keys=ON")

    def on_begin(connection: Connection) -> None:
        # IMMEDIATE: a writer waits for its turn here, not half-way through, where SQLite could only refuse it.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get(_WRITING) else "BEGIN")

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", on_begin)
    return engine
