"""SQLAlchemy URL -> a database that is opened, locked and migrated the way the ledger needs it.

SQLite: write-ahead log with `synchronous=FULL`, so that an acknowledged commit survives a power cut, and one writer
at a time across processes by a lock file beside the database. The lock is more than politeness: SQLite before
3.51.3 can corrupt a write-ahead log when two connections write or checkpoint at the same instant
(sqlite.org/wal.html, "WAL-reset bug"), and the SQLite of most Python builds is older. PostgreSQL needs none of
this.
"""

import contextlib
import logging
import re
import threading
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
from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    NoSuchModuleError,
    OperationalError,
    ProgrammingError,
    SQLAlchemyError,
)
from sqlalchemy.pool import NullPool, QueuePool

from spanledger_exporter.errors import ConfigError, ForbiddenError, LedgerError, UnavailableError

_logger = logging.getLogger(__name__)
_FORBIDDEN = "42501"  # PostgreSQL's insufficient_privilege
_LOCK_TIMEOUT_S = 30
_CONNECT_TIMEOUT_S = 10
_STATEMENT_TIMEOUT_MS = 60_000
# What a write-ahead log is cut back to once a reader that kept it from being emptied has gone; it works with 4 MiB.
WAL_BYTES_KEPT = 16 * 1024 * 1024
_WRITING = "spanledger_writing"
_POSTGRESQL_DRIVER = "postgresql+psycopg"
# Any constant that no other application is likely to lock in the same PostgreSQL database: "spanledg" as an integer.
_MIGRATION_LOCK = 0x7370616E6C656467


class Database:
    """One database, for one writer or for readers.

    Raises: `UnavailableError` from `write` and `read` when the database is locked, full or gone; try again later.
    """

    def __init__(self, engine: Engine, lock: FileLock | None, name: str) -> None:
        self.engine = engine
        self.name = name
        self._writing = engine.execution_options(**{_WRITING: True})
        self._lock = lock
        self._turn = threading.Lock()

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is SQLite; else it is PostgreSQL."""
        return self.engine.dialect.name == "sqlite"

    @contextlib.contextmanager
    def write(self) -> Generator[Connection]:
        """Open one write transaction; it commits when the block ends without an error.

        Raises: `UnavailableError` for what may pass, such as a full disk or, on PostgreSQL, a table that was taken
        away; SQLAlchemy's own for what cannot be kept.
        """
        with (
            _unavailable(self.name, OperationalError, ProgrammingError),
            self._locked(),
            self._writing.begin() as connection,
        ):
            yield connection

    @contextlib.contextmanager
    def read(self) -> Generator[Connection]:
        """Open one transaction for reading; on PostgreSQL each of its statements sees what is committed by then."""
        with _unavailable(self.name, DBAPIError), self.engine.connect() as connection:
            yield connection

    @contextlib.contextmanager
    def view(self) -> Generator[Connection]:
        """Open a view of one moment, however many statements read it."""
        with self.read() as connection:
            if not self.is_sqlite:
                connection.exec_driver_sql("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            yield connection

    def wal_bytes(self) -> int:
        """Return the size of the write-ahead log beside a SQLite file, 0 where there is none."""
        if self._lock is None:
            return 0
        try:
            return Path(self._lock.lock_file.removesuffix(".lock") + "-wal").stat().st_size
        except OSError:
            return 0

    def close(self) -> None:
        """Close every connection."""
        self.engine.dispose()

    @contextlib.contextmanager
    def _locked(self) -> Generator[None]:
        """Hold the lock file of a SQLite database, as one thread of this process at a time."""
        if self._lock is None:
            yield
            return
        # Threads wait for each other here, where the next is woken at once; at the file they would ask now and then.
        if not self._turn.acquire(timeout=_LOCK_TIMEOUT_S):
            raise Timeout(self._lock.lock_file)
        try:
            with self._lock:
                yield
        finally:
            self._turn.release()


@contextlib.contextmanager
def _unavailable(name: str, *kinds: type[DBAPIError]) -> Generator[None]:
    try:
        yield
    except Timeout as exc:
        raise UnavailableError(
            f"another writer has held the ledger's lock {exc.lock_file} for {_LOCK_TIMEOUT_S} s"
        ) from exc
    except OSError as exc:
        raise UnavailableError(f"the ledger {name} cannot be used now: {exc.strerror}: {exc.filename}") from exc
    except DBAPIError as exc:
        if not isinstance(exc, kinds) and not exc.connection_invalidated:
            raise
        if getattr(exc.orig, "sqlstate", None) == _FORBIDDEN:
            raise ForbiddenError(f"the ledger {name} may not be used so: {_first_line(exc.orig)}") from exc
        raise UnavailableError(f"the ledger {name} cannot be used now: {_first_line(exc.orig)}") from exc


def _first_line(error: BaseException | None) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def parse_url(url: str) -> URL:
    """Return a ledger's URL, its PostgreSQL driver filled in.

    Raises:
        ConfigError: it is no SQLAlchemy URL, or not of a database that can hold a ledger.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as exc:
        masked = re.sub(r"^.*@", "***@", url)  # what stands before the host may be a password
        raise ConfigError([f"ledger URL {masked!r} is not a SQLAlchemy URL such as {_EXAMPLES}"]) from exc
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
    """Return a URL as it may be printed: without its password, and without the driver that we chose."""
    return url.set(drivername=url.get_backend_name()).render_as_string(hide_password=True)


def open_database(url: str, *, pooled: bool = True) -> Database:
    """Open a ledger's database for writing, create it where it is missing, and bring its schema up to date.

    Without a pool no connection is open between transactions, so that the process may fork there.

    Raises:
        ConfigError: the URL cannot be used, or the ledger is newer than this program.
        UnavailableError: the database does not answer.
    """
    parsed = parse_url(url)
    lock = None
    if parsed.get_backend_name() == "sqlite":
        path = sqlite_path(parsed)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as exc:
            raise ConfigError([f"the ledger's folder {path.parent} cannot be made: {exc.strerror}"]) from exc
        lock = FileLock(f"{path}.lock", timeout=_LOCK_TIMEOUT_S)
    database = Database(_engine(parsed, readonly=False, pooled=pooled), lock, shown(parsed))
    with _closed_on_failure(database):
        migrate(database)
    return database


def open_existing(url: str) -> Database:
    """Open a ledger that is there for writing: none is made by this, and none is brought up to date.

    Raises:
        LedgerError: there is no ledger, or it is not of this program's version.
        UnavailableError: the database does not answer.
    """
    open_readonly(url).close()
    return open_database(url)


def open_readonly(url: str) -> Database:
    """Open an existing ledger's database for reading only, while another process may be writing to it.

    Raises:
        LedgerError: there is no ledger, or it is not of this program's version.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() == "sqlite" and not _is_file(sqlite_path(parsed)):
        raise LedgerError(
            f"there is no ledger at {sqlite_path(parsed)}; `spanledger serve` makes one, --ledger URL names another"
        )
    database = Database(_engine(parsed, readonly=True), None, shown(parsed))
    with _closed_on_failure(database):
        _require_head(database)
    return database


def _require_head(database: Database) -> None:
    with database.read() as connection:
        revision = MigrationContext.configure(connection).get_current_revision()
    if revision is None:
        raise LedgerError(
            f"there is no ledger in {database.name}; `spanledger serve` makes one, --ledger URL names another"
        )
    head = _scripts().get_current_head()
    if revision != head:
        raise LedgerError(
            f"the ledger at {database.name} has schema {revision}, this program reads {head}; "
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
        if revision is None:
            _logger.info("making a new ledger in %s", database.name)
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


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError as exc:
        raise LedgerError(f"the ledger {path} cannot be reached: {exc.strerror}") from exc


def sqlite_path(url: URL) -> Path:
    """Return the file of a SQLite URL."""
    assert url.database is not None, "parse_url refuses a SQLite URL without a file"
    return Path(url.database)


def _engine(url: URL, *, readonly: bool, pooled: bool = True) -> Engine:
    try:
        if url.get_backend_name() == "sqlite":
            return _sqlite_engine(url, readonly=readonly, pooled=pooled)
        return _postgresql_engine(url, readonly=readonly, pooled=pooled)
    except SQLAlchemyError as exc:
        raise ConfigError([f"ledger URL {shown(url)!r} cannot be used: {_first_line(exc)}"]) from exc


def _postgresql_engine(url: URL, *, readonly: bool, pooled: bool) -> Engine:
    # A server that hangs must look like one that is gone: what waits for it is told to retry.
    mode = "on" if readonly else "off"
    arguments = {
        "options": f"-c statement_timeout={_STATEMENT_TIMEOUT_MS} -c default_transaction_read_only={mode}",
        "connect_timeout": _CONNECT_TIMEOUT_S,
        "tcp_user_timeout": _STATEMENT_TIMEOUT_MS,
    }
    try:
        if pooled:
            return create_engine(url, connect_args=arguments, pool_pre_ping=True, hide_parameters=True)
        return create_engine(url, connect_args=arguments, poolclass=NullPool, hide_parameters=True)
    except (ModuleNotFoundError, NoSuchModuleError) as exc:
        raise ConfigError([f"{exc}: for a ledger on PostgreSQL, pip install 'spanledger[postgres]'"]) from exc


def _sqlite_engine(url: URL, *, readonly: bool, pooled: bool) -> Engine:
    path = sqlite_path(url).absolute()
    target = url.set(database=f"{path.as_uri()}", query={"mode": "ro" if readonly else "rwc", "uri": "true"})
    arguments = {"timeout": _LOCK_TIMEOUT_S, "check_same_thread": False}
    pool = QueuePool if pooled else NullPool
    engine = create_engine(target, connect_args=arguments, poolclass=pool, hide_parameters=True)

    def on_connect(connection: Any, _record: object) -> None:  # the DBAPI connection has no common static type
        connection.isolation_level = None  # transactions are opened by on_begin, not guessed by the driver
        if readonly:
            connection.execute("PRAGMA query_only=ON")
        else:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=FULL")
            connection.execute("PRAGMA foreign_keys=ON")
            connection.execute(f"PRAGMA journal_size_limit={WAL_BYTES_KEPT}")

    def on_begin(connection: Connection) -> None:
        # IMMEDIATE: a writer waits for its turn here, not half-way through, where SQLite could only refuse it.
        connection.exec_driver_sql("BEGIN IMMEDIATE" if connection.get_execution_options().get(_WRITING) else "BEGIN")

    event.listen(engine, "connect", on_connect)
    event.listen(engine, "begin", on_begin)
    return engine
