"""Group commit: one thread that gathers what has been accepted and commits it together.

Concurrent requests share one transaction and one fsync, so the ledger is as fast with a hundred small requests as
with one large one. A request's future is done only after its commit: that is what lets the receiver say OK.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import NamedTuple

from spanledger_exporter.errors import UnavailableError
from spanledger_exporter.ledger import Appended, Ledger
from spanledger_exporter.records import PricedRecord

_logger = logging.getLogger(__name__)


_FAILING_S = 30
_NO_FAILURE = (0.0, None)


class _Work(NamedTuple):
    records: Sequence[PricedRecord]
    done: Future[int]


class Committer:
    """Commits records in the order in which they were submitted, as many requests at a time as fit.

    `on_commit` is called in the committing thread after each commit, before the requests hear of it, with what was
    added and the seconds that it took.
    """

    def __init__(self, ledger: Ledger, *, rows_max: int, on_commit: Callable[[Appended, float], None]) -> None:
        self._ledger = ledger
        self._rows_max = rows_max
        self._on_commit = on_commit
        self._failure: tuple[float, UnavailableError | None] = _NO_FAILURE
        self._queue: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="spanledger-committer", daemon=True)
        self._thread.start()

    def submit(self, records: Sequence[PricedRecord]) -> Future[int]:
        """Return a future of the number of records that were new, done when they are on disk.

        Raises: the future carries `UnavailableError` when the ledger could not be written; nothing of the request
        was, then.
        """
        done: Future[int] = Future()
        done.set_running_or_notify_cancel()  # from here on it is committed, whether or not anybody still waits
        self._queue.put(_Work(records, done))
        return done

    def close(self, timeout_s: float) -> None:
        """Commit all that was submitted, then stop; give up after a time on a database that does not answer."""
        self._queue.put(None)
        self._thread.join(timeout_s)
        if self._thread.is_alive():
            _logger.error("the ledger did not answer within %s s: what waited for it is not acknowledged", timeout_s)

    def check(self) -> None:
        """Raise `UnavailableError` if the last commit failed, and that only just now.

        Not for longer: whoever watches this may send nothing until it passes, and then no commit could ever succeed.
        """
        failed_s, error = self._failure
        if error is not None and time.monotonic() - failed_s < _FAILING_S:
            raise error

    def _run(self) -> None:
        while (work := self._queue.get()) is not None:
            group, closing = self._gather(work)
            self._commit(group)
            if closing:
                return

    def _gather(self, first: _Work) -> tuple[list[_Work], bool]:
        group, rows = [first], len(first.records)
        while rows < self._rows_max:
            try:
                work = self._queue.get_nowait()
            except queue.Empty:
                break
            if work is None:
                return group, True
            group.append(work)
            rows += len(work.records)
        return group, False

    def _commit(self, group: list[_Work]) -> None:
        try:
            started_s = time.perf_counter()
            appended = self._ledger.append([record for work in group for record in work.records])
        except UnavailableError as exc:
            self._failure = (time.monotonic(), exc)
            _fail(group, exc)
        except Exception as exc:  # noqa: BLE001 -- the fence of the committing thread: it must outlive any defect
            self._isolate(group, exc)
        else:
            self._failure = _NO_FAILURE
            self._tell(appended, time.perf_counter() - started_s)
            _answer(group, appended)

    def _tell(self, appended: Appended, duration_s: float) -> None:
        try:
            self._on_commit(appended, duration_s)
        except Exception:  # the same fence: what is committed is committed, whatever becomes of its metrics
            _logger.exception("metrics could not follow a commit of %d entries", len(appended.new))

    def _isolate(self, group: list[_Work], error: Exception) -> None:
        """Commit one by one what could not be committed together, so that one bad request fails alone."""
        if len(group) > 1:
            for work in group:
                self._commit([work])
            return
        _logger.error("a request of %d records could not be committed", len(group[0].records), exc_info=error)
        _fail(group, UnavailableError(f"the ledger could not take this request: {type(error).__name__}"))


def _answer(group: list[_Work], appended: Appended) -> None:
    """Tell each request how many of its records were new; a record that two of them carried is new to the first."""
    new = {id(record) for record in appended.new}
    for work in group:
        work.done.set_result(sum(id(record) in new for record in work.records))


def _fail(group: list[_Work], error: UnavailableError) -> None:
    for work in group:
        work.done.set_exception(error)
