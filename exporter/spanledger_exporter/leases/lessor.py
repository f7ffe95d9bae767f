"""Requests for leases -> answers, by one thread: those that wait together are served in one transaction.

So there are as many decisions for each fsync as there are processes that ask at the same time. The same thread looks
through old leases now and then (sweep.py).
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import Final, NamedTuple

from spanledger_exporter.errors import UnavailableError
from spanledger_exporter.leases.lending import Ask, Lender, RatesOf
from spanledger_exporter.leases.messages import LeaseAnswer
from spanledger_exporter.leases.sweep import sweep
from spanledger_exporter.ledger.database import Database

_logger = logging.getLogger(__name__)
ASKS_AT_ONCE_MAX: Final = 128
ASKS_WAITING_MAX: Final = 4096
SWEEP_S: Final = 60
_NS_PER_S: Final = 10**9


class _Work(NamedTuple):
    ask: Ask
    done: Future[LeaseAnswer]


class Lessor:
    """Serves requests for leases of one ledger, in the order in which they came."""

    def __init__(
        self,
        database: Database,
        lender: Lender,
        *,
        clock_ns: Callable[[], int] = time.time_ns,
        sweep_s: float = SWEEP_S,
    ) -> None:
        self._database = database
        self._lender = lender
        self._clock_ns = clock_ns
        self._sweep_s = sweep_s
        self._sweep_due_s = time.monotonic() + sweep_s
        self._failing = False
        self._queue: queue.Queue[_Work | None] = queue.Queue(ASKS_WAITING_MAX)
        self._thread = threading.Thread(target=self._run, name="spanledger-lessor", daemon=True)
        self._thread.start()

    def submit(self, ask: Ask) -> Future[LeaseAnswer]:
        """Return a future of the answer, done once what it grants is on disk.

        Raises: `UnavailableError`, at once where too many wait, else by the future, when the ledger does not answer.
        """
        done: Future[LeaseAnswer] = Future()
        done.set_running_or_notify_cancel()  # what is granted is granted, whether or not anybody still waits
        try:
            self._queue.put_nowait(_Work(ask, done))
        except queue.Full:
            raise UnavailableError(f"{ASKS_WAITING_MAX} requests for leases wait already; try again shortly") from None
        return done

    def price_with(self, rates_of: RatesOf, book_id: str) -> None:
        """Take rates of another price book from now on."""
        self._lender.price_with(rates_of, book_id)

    def close(self, timeout_s: float) -> None:
        """Answer all that has asked, then stop; give up after a time on a database that does not answer."""
        try:
            self._queue.put(None, timeout=timeout_s)
        except queue.Full:
            _logger.error("the ledger did not answer: requests for leases are left without one")
            return
        self._thread.join(timeout_s)

    def _run(self) -> None:
        while True:
            group, closing = self._gather()
            if group:
                self._serve(group)
            if closing:
                return
            if time.monotonic() >= self._sweep_due_s:
                self._sweep()

    def _gather(self) -> tuple[list[_Work], bool]:
        group: list[_Work] = []
        try:
            work = self._queue.get(timeout=max(self._sweep_due_s - time.monotonic(), 0.01))
            while work is not None:
                group.append(work)
                if len(group) >= ASKS_AT_ONCE_MAX:
                    return group, False
                work = self._queue.get_nowait()
        except queue.Empty:
            return group, False
        return group, True

    def _serve(self, group: Sequence[_Work]) -> None:
        try:
            with self._database.write() as connection:
                answers = self._lender.serve(connection, [work.ask for work in group])
        except UnavailableError as exc:
            self._lender.forget()
            self._log_failure(exc)
            for work in group:
                work.done.set_exception(exc)
        except Exception as exc:  # the fence of the thread: it must outlive any defect
            self._lender.forget()
            if len(group) > 1:  # so that one bad request fails alone
                for work in group:
                    self._serve([work])
                return
            _logger.exception("a request for leases failed")
            group[0].done.set_exception(exc)
        else:
            self._failing = False
            for work, answer in zip(group, answers, strict=True):
                work.done.set_result(answer)

    def _log_failure(self, error: UnavailableError) -> None:
        if not self._failing:  # once, until it answers again
            self._failing = True
            _logger.error("%s; services get no leases, and do what their budgets say of that", error)

    def _sweep(self) -> None:
        self._sweep_due_s = time.monotonic() + self._sweep_s
        try:
            while sweep(self._database, self._clock_ns()):
                if not self._queue.empty():
                    self._sweep_due_s = 0  # go on once those have their answers
                    return
        except UnavailableError as exc:
            self._log_failure(exc)
        except Exception:  # the same fence
            _logger.exception("old leases could not be looked through")
