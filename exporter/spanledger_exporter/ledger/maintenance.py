"""What a ledger needs once an hour: room for what comes, no more of what has expired, and a look at what is there.

It runs in a thread of its own, beside the one that commits and never in an event loop. Whatever fails is logged and
counted, and tried again an hour later.
"""

import logging
import threading
import time
from collections.abc import Callable
from typing import Final, Protocol

from spanledger_exporter.budgets.keeping import KEEP_DAYS, keep
from spanledger_exporter.ledger.database import Database
from spanledger_exporter.ledger.postgresql_entries import PostgresqlEntries
from spanledger_exporter.ledger.repeats import closed_hour, repeats_of_hour
from spanledger_exporter.ledger.retention import expire
from spanledger_exporter.ledger.rollups import forget_minutes
from spanledger_exporter.ledger.state import count_commit

_logger = logging.getLogger(__name__)
INTERVAL_S: Final = 3600
_DAY_NS: Final = 86_400 * 10**9
_HOURS_CAUGHT_UP_MAX: Final = 24
_PAUSE_S_MAX: Final = 5.0
TASKS: Final = ("prepare", "minutes", "expire", "budgets", "repeats")


class Watcher(Protocol):
    """Who counts what maintenance did."""

    def ran(self, task: str, *, failed: bool) -> None:
        """Count one run of a task."""
        ...

    def expired(self, entries: int) -> None:
        """Count entries that were deleted."""
        ...

    def repeated(self, spans: int) -> None:
        """Count spans that are several entries."""
        ...


class Maintenance:
    """Keeps one ledger in order, every hour until it is closed; the first time at once.

    Units: `retention_days` days, 0 to keep entries for ever; `keep_days` days that what budgets counted is kept.
    """

    def __init__(
        self,
        database: Database,
        watcher: Watcher,
        *,
        retention_days: int,
        keep_days: int = KEEP_DAYS,
        interval_s: float = INTERVAL_S,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._database = database
        self._watcher = watcher
        self._retention_days = retention_days
        self._keep_days = keep_days
        self._interval_s = interval_s
        self._clock_ns = clock_ns
        self._checked_hour: int | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="spanledger-maintenance", daemon=True)

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self, timeout_s: float) -> None:
        """Stop after the slice that is being deleted."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def run_once(self) -> None:
        """Do every task once; one that fails keeps no other from its turn."""
        tasks = (self._prepare, self._minutes, self._expire, self._budgets, self._repeats)
        for name, task in zip(TASKS, tasks, strict=True):
            if self._closing.is_set():
                return
            try:
                task()
            except _ClosingError:
                return
            except Exception:  # the fence of the maintenance thread: it must outlive any trouble of the database
                _logger.exception("the ledger's hourly task %r failed; it is tried again in an hour", name)
                self._watcher.ran(name, failed=True)
            else:
                self._watcher.ran(name, failed=False)

    def _run(self) -> None:
        self.run_once()
        while not self._closing.wait(self._interval_s):
            self.run_once()

    def _prepare(self) -> None:
        if not self._database.is_sqlite:
            PostgresqlEntries(self._database).prepare_ahead(self._clock_ns())

    def _minutes(self) -> None:
        with self._database.write() as connection:
            count_commit(connection)
            forget_minutes(connection, self._clock_ns())

    def _expire(self) -> None:
        if self._retention_days:
            before_ns = self._clock_ns() - self._retention_days * _DAY_NS
            done = expire(self._database, before_ns, between=self._pause)
            self._watcher.expired(done.entries)

    def _budgets(self) -> None:
        keep(self._database, self._clock_ns(), self._keep_days, between=self._pause)

    def _pause(self, duration_s: float) -> None:
        if self._closing.wait(min(duration_s, _PAUSE_S_MAX)):
            raise _ClosingError

    def _repeats(self) -> None:
        """Look at each hour once, when it is closed; after a start, at the last one."""
        last = closed_hour(self._clock_ns())
        first = last if self._checked_hour is None else max(self._checked_hour + 1, last - _HOURS_CAUGHT_UP_MAX + 1)
        for hour in range(first, last + 1):
            with self._database.read() as connection:
                found = repeats_of_hour(connection, hour)
            if found:
                _logger.warning(
                    "%d spans that ended in the hour from %d are several entries: something on their way cuts times; "
                    "see `spanledger ledger check`",
                    found,
                    hour * 3600,
                )
            self._watcher.repeated(found)
            self._checked_hour = hour


class _ClosingError(Exception):
    """The exporter is shutting down."""
