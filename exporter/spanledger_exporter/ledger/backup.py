"""A SQLite ledger -> a copy of it in one file, while others write to it.

SQLite's own means is used, through a connection that cannot write: the copy is of one moment, and the ledger's writer
waits for nothing. PostgreSQL brings `pg_dump`.
"""

import contextlib
import os
import sqlite3
from pathlib import Path

from spanledger_exporter.errors import LedgerError
from spanledger_exporter.ledger.database import parse_url, sqlite_path


def back_up(url: str, target: Path) -> int:
    """Copy a ledger to a file that is not there yet; return its size in bytes once it is on disk and sound.

    Raises: `LedgerError` when that cannot be done; there is no file then.
    """
    parsed = parse_url(url)
    if parsed.get_backend_name() != "sqlite":
        raise LedgerError("a ledger on PostgreSQL is backed up by pg_dump, or by the server's own means")
    source = sqlite_path(parsed)
    if not source.is_file():
        raise LedgerError(f"there is no ledger at {source}")
    if target.exists():
        raise LedgerError(f"{target} is there already; name a new file")
    unfinished = target.with_name(f"{target.name}.unfinished")
    try:
        _copy(source, unfinished)
        _sync(unfinished)
        unfinished.rename(target)
        _sync(target.absolute().parent)
        return target.stat().st_size
    except (OSError, sqlite3.Error) as exc:
        raise LedgerError(f"the ledger {source} cannot be copied to {target}: {exc}") from exc
    finally:
        for suffix in ("", "-journal", "-wal", "-shm"):
            with contextlib.suppress(OSError):
                unfinished.with_name(unfinished.name + suffix).unlink(missing_ok=True)


def _copy(source: Path, target: Path) -> None:
    target.unlink(missing_ok=True)  # left by an attempt that was killed
    with (
        contextlib.closing(sqlite3.connect(f"{source.absolute().as_uri()}?mode=ro", uri=True)) as ledger,
        contextlib.closing(sqlite3.connect(target)) as copy,
    ):
        ledger.backup(copy)  # all pages in one step, so that no commit in between makes it begin again
        copy.execute("PRAGMA journal_mode=DELETE")  # one file, that a reader without rights to its folder can open
        said = [row[0] for row in copy.execute("PRAGMA integrity_check(3)")]
    if said != ["ok"]:
        raise LedgerError(f"the copy of {source} is damaged, and the ledger may be: {'; '.join(said)}")


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
