"""Group commit: one thread that gathers what has been accepted and commits it together.

Concurrent requests share one transaction and one fsync, so the ledger is as fast with a hundred small requests as
with one large one. A request's future is done only after its commit: that is what lets the receiver say OK.
"""

import logging
import math
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import NamedTuple

from spanledger_exporter.errors import UnavailableError
from spanledger_exporter.ledger.ledger import Appended, Ledger, Refused
from spanledger_exporter.receiving.dead_letters import DeadLetter, bounded
from spanledger_exporter.records import Key, PricedRecord

_logger = logging.getLogger(__name__)


_FAILING_S = 30
_NO_FAILURE = (0.0, None)


SetAside = Callable[[PricedRecord, Exception], DeadLetter]
Append = Callable[[Sequence[PricedRecord], Sequence[DeadLetter]], Appended]


class Committed(NamedTuple):
    """What became of the records of a request, beside those that were delivered before.

    `new` are entries, `folded` went into the entry of a call that somebody else had reported, `set_aside` could not be
    committed, `refused` cannot be kept.
    """

    new: int
    folded: int = 0
    set_aside: int = 0
    refused: Sequence[Refused] = ()


class _Work(NamedTuple):
    records: Sequence[PricedRecord]
    letters: Sequence[DeadLetter]
    set_aside: SetAside | None
    done: Future[Committed]


class Committer:
    """Commits records in the order in which they were submitted, as many requests at a time as fit.

    `on_commit` is called in the committing thread after each commit, before the requests hear of it, with what was
    added and the seconds that it took; `on_doubt` after it where a commit before had failed. That one may have been
    made all the same, and only its answer lost: what is sent again is then in the ledger, and nothing new. `follow` is
    called in the committing thread every `follow_s` seconds, or a little later, so that no commit comes in between.
    """

    def __init__(
        self,
        ledger: Ledger,
        *,
        rows_max: int,
        on_commit: Callable[[Appended, float], None],
        on_doubt: Callable[[], object] = lambda: None,
        follow: Callable[[], object] = lambda: None,
        follow_s: float = math.inf,
    ) -> None:
        self._ledger = ledger
        self._rows_max = rows_max
        self._on_commit = on_commit
        self._on_doubt = on_doubt
        self._follow = follow
        self._follow_s = follow_s
        self._followed_s = time.monotonic()
        self._in_doubt = False
        self._failure: tuple[float, UnavailableError | None] = _NO_FAILURE
        self._failure_logged_s = -math.inf
        self._failure_is_logged = False
        self._queue: queue.SimpleQueue[_Work | None] = queue.SimpleQueue()
        self._in_commit = 0
        self._thread = threading.Thread(target=self._run, name="spanledger-committer", daemon=True)
        self._thread.start()

    def submit(
        self, records: Sequence[PricedRecord], letters: Sequence[DeadLetter] = (), set_aside: SetAside | None = None
    ) -> Future[Committed]:
        """Return a future of what was committed, done when it is on disk.

        With `set_aside`, which makes a record's dead letter, a record that cannot be committed does not keep the
        others from it.

        Raises: the future carries `UnavailableError` when the ledger could not be written, and any other error when
        the request cannot be; without `set_aside` nothing of it was, then.
        """
        done: Future[Committed] = Future()
        done.set_running_or_notify_cancel()  # from here on it is committed, whether or not anybody still waits
        self._queue.put(_Work(records, letters, set_aside, done))
        return done

    @property
    def waiting(self) -> int:
        """How many requests were submitted and are not committed yet."""
        return self._queue.qsize() + self._in_commit

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
        while (work := self._next()) is not None:
            group, closing = self._gather(work)
            self._in_commit = len(group)
            self._commit(group)
            self._in_commit = 0
            if closing:
                return

    def _next(self) -> _Work | None:
        """Wait for work, and look now and then at what others did."""
        while True:
            rest_s = self._followed_s + self._follow_s - time.monotonic()
            if rest_s > 0:
                try:
                    return self._queue.get(timeout=None if rest_s == math.inf else rest_s)
                except queue.Empty:
                    pass
            try:
                self._follow()
            except UnavailableError as exc:
                _logger.debug("what others committed could not be read, and is asked for again: %s", exc)
            except Exception:  # the fence of the committing thread
                _logger.exception("metrics could not follow what others committed")
            self._followed_s = time.monotonic()

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
            records = [record for work in group for record in work.records]
            appended = self._ledger.append(records, [letter for work in group for letter in work.letters])
        except UnavailableError as exc:
            self._in_doubt = True
            self._failure = (time.monotonic(), exc)
            self._log_failure(self._failure[0], exc)
            _fail(group, exc)
        except Exception as exc:  # noqa: BLE001 -- the fence of the committing thread: it must outlive any defect
            self._in_doubt = True
            self._isolate(group, exc)
        else:
            self._failure = _NO_FAILURE
            if self._failure_is_logged:
                self._failure_is_logged = False
                _logger.info("the ledger takes commits again")
            self._tell(appended, time.perf_counter() - started_s)
            _answer(group, appended)

    def _log_failure(self, failed_s: float, error: UnavailableError) -> None:
        """Log it now and then: senders come again each second, and a disk that is nearly full takes some commits."""
        if failed_s - self._failure_logged_s >= _FAILING_S:
            self._failure_logged_s = failed_s
            self._failure_is_logged = True
            _logger.error("%s; senders are told to retry, and nothing that they keep is lost", error)

    def _tell(self, appended: Appended, duration_s: float) -> None:
        try:
            self._on_commit(appended, duration_s)
            if self._in_doubt:
                self._on_doubt()
                self._in_doubt = False
        except Exception:  # the same fence: what is committed is committed, whatever becomes of its metrics
            _logger.exception("metrics could not follow a commit of %d entries", len(appended.new))

    def _isolate(self, group: list[_Work], error: Exception) -> None:
        """Commit one by one what could not be committed together, so that one bad request fails alone."""
        if len(group) > 1:
            for work in group:
                self._commit([work])
            return
        work = group[0]
        _logger.error("a request of %d records could not be committed: %s", len(work.records), type(error).__name__)
        if work.set_aside is None:
            work.done.set_exception(error)
            return
        try:
            work.done.set_result(append_apart(self._append, work.records, work.letters, work.set_aside))
        except Exception as exc:  # noqa: BLE001 -- the same fence
            work.done.set_exception(exc)

    def _append(self, records: Sequence[PricedRecord], letters: Sequence[DeadLetter]) -> Appended:
        started_s = time.perf_counter()
        appended = self._ledger.append(records, letters)
        self._tell(appended, time.perf_counter() - started_s)
        return appended


def append_apart(
    append: Append, records: Sequence[PricedRecord], letters: Sequence[DeadLetter], set_aside: SetAside
) -> Committed:
    """Append what can be appended, half by half, and set aside the records that cannot be.

    Raises:
        UnavailableError: the ledger could not be written; what was appended by then stays.
    """
    found, aside = Committed(0), list[DeadLetter]()
    waiting = [records]
    while waiting:
        part = waiting.pop()
        try:
            found = _joined(found, committed(part, append(part, ())))
        except UnavailableError:
            raise
        except Exception as exc:  # noqa: BLE001 -- whatever it is that a record has, its neighbours have not
            half = len(part) // 2
            if half:
                waiting += [part[half:], part[:half]]
            else:
                aside.extend(set_aside(record, exc) for record in part)
    append((), [*letters, *bounded(aside)])
    return found._replace(set_aside=len(aside))


def committed(records: Sequence[PricedRecord], appended: Appended) -> Committed:
    """Tell what became of the records of one request that was appended alone."""
    return _became([records], appended)[0]


def _joined(one: Committed, other: Committed) -> Committed:
    return Committed(one.new + other.new, one.folded + other.folded, 0, (*one.refused, *other.refused))


def _answer(group: list[_Work], appended: Appended) -> None:
    for work, committed in zip(group, _became([work.records for work in group], appended), strict=True):
        work.done.set_result(committed)


def _became(requests: Sequence[Sequence[PricedRecord]], appended: Appended) -> list[Committed]:
    """Tell what became of the records of each request; a record that two of them carried counts for the first."""
    if len(appended.new) == sum(map(len, requests)):
        return [Committed(len(records)) for records in requests]
    refused = {each.priced.record.key: each for each in appended.refused}
    seen: set[Key] = set()
    found: list[Committed] = []
    for records in requests:
        keys = [key for priced in records if (key := priced.record.key) not in seen]
        fresh = dict.fromkeys(keys)
        seen.update(fresh)
        became = [appended.other.get(key, "new") for key in fresh]
        kept_out = [refused[key] for key in fresh if key in refused]
        found.append(Committed(became.count("new"), became.count("folded"), 0, kept_out))
    return found


def _fail(group: list[_Work], error: UnavailableError) -> None:
    for work in group:
        work.done.set_exception(error)
