"""Questions about leases -> answers in the wallet, by one background thread; reports every ten seconds and at the end.

The thread is a daemon and starts with the first question. A fork has none of what its parent holds: it gets a name, a
wallet and a thread of its own. While the exporter cannot be reached, nothing waits for it: the thread tries again at
growing intervals, and what is asked meanwhile is decided without it.
"""

import json
import logging
import random
import sys
import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import islice
from typing import Any, Final

from spanledger_instrumentation import reaper
from spanledger_instrumentation.bound import Rates, Size
from spanledger_instrumentation.fence import Fence
from spanledger_instrumentation.lease_address import LeaseAddress
from spanledger_instrumentation.lease_connection import BusyError, LeaseConnection, RejectedError, UnreachableError
from spanledger_instrumentation.lease_messages import Reply, read_reply
from spanledger_instrumentation.lease_wants import CALLS_MAX, Want, by_need, wanted
from spanledger_instrumentation.ticket import Ticket
from spanledger_instrumentation.wallet import REPORTS_MAX, Denial, LeaseReport, Reservation, Scope, Wallet

__all__ = ["LeaseClient"]

_LOGGER = logging.getLogger(__name__)

REPORT_S: Final = 10
"""How often leases are reported, which also tells whether budgets have changed."""
BACKOFF_MAX_S: Final = 30
TICKETS_MAX: Final = 10_000
"""Calls that wait for an answer; of more, each is decided without one."""
SCOPES_MAX: Final = 4096
"""Scopes that are to be asked for in the background; of more, each is asked for when a call needs it."""
WANTS_MAX: Final = 64
WANT_BYTES_MAX: Final = 128 * 1024
"""Questions in one request, and the bytes of what they say of calls; more go into the next one."""
TOLD_MAX: Final = 1024
"""Budgets and decisions that one request tells the counts of. All that is in one takes less than the 1 MiB it may."""
QUESTION_REPORTS_MAX: Final = 256
"""Leases that are reported along with a question, which shall not wait for thousands."""
DECISIONS_MAX: Final = 256
"""Budgets and decisions that are counted; of more, the others are not."""
BUSY_MAX: Final = 3
"""How often one question is asked of an exporter that is busy: others may have been quicker."""
BUSY_S: Final = 0.05
ROUNDS_MAX: Final = 32
"""Answers that a call waits for; an exporter that grants less than it is asked for gives no useful answer."""
_RUN: Final = Fence("leases")


class LeaseClient:
    """Ask the exporter on behalf of one process."""

    def __init__(
        self,
        address: LeaseAddress,
        whose: Callable[[], Mapping[str, str]],
        *,
        clock: Callable[[], float] = time.time,
        report_s: float = REPORT_S,
    ) -> None:
        # Leases and periods go by the clock of the world, which may be set; the thread's pauses do not.
        self._address = address
        self._whose = whose
        self._clock = clock
        self._report_s = report_s
        self.begin()

    def begin(self) -> None:
        """Begin as a new process, which holds nothing."""
        self.process = str(uuid.uuid4())
        self.wallet = Wallet()
        self.dimensions: frozenset[str] | None = None
        """Those that any budget looks at; `None`: all may matter."""
        self._lock = threading.RLock()  # a handler of a signal may make a call while this thread is inside
        self._wake: threading.Lock | None = None
        """Held while the thread is to rest."""
        self._tickets: list[Ticket] = []
        self._background: dict[Scope, Size] = {}
        self._calls: dict[Scope, int] = {}
        self._decisions: Counter[tuple[str, str]] = Counter()
        self._thread: threading.Thread | None = None
        self._stopped = False
        self._failures = 0
        self._retry_s = 0.0
        self._late = False
        self._warned = False

    @property
    def unreachable(self) -> bool:
        """Whether the last question went unanswered: the thread goes on to try, and nobody waits for it."""
        return self._failures > 0 or self._late

    def unanswered(self) -> None:
        """Take that a call has waited for its answer for as long as it may: the others need not find out, too.

        The thread may be held up by what has no deadline: the name of a host, or a head that never ends.
        """
        self._late = True
        self._warn("it does not answer in time")

    def ask(self, scope: Scope, size: Size) -> Ticket | None:
        """Ask for the lease that a call waits for; `None`: too many wait."""
        ticket = Ticket(scope, size)
        with self._lock:
            if len(self._tickets) >= TICKETS_MAX or self._stopped:
                return None
            self._tickets.append(ticket)
        self._start()
        self._wake_up()
        return ticket

    def prefetch(self, scope: Scope, size: Size) -> None:
        """Ask for a lease that will be needed soon."""
        with self._lock:
            if len(self._background) >= SCOPES_MAX and scope not in self._background:
                return
            self._background[scope] = size
        self._start()
        if not self._failures:
            self._wake_up()

    def count(self, budget: str, decision: str) -> None:
        """Count a decision, which the exporter is told of."""
        with self._lock:
            if len(self._decisions) < DECISIONS_MAX or (budget, decision) in self._decisions:
                self._decisions[budget, decision] += 1

    def stop(self) -> None:
        """Give all leases back, within two timeouts, and ask nothing any more. No open call may be left."""
        with _RUN:
            with self._lock:
                self._stopped = True
                thread = self._thread
            self._wake_up()
            for ticket in self._taken_tickets():
                ticket.decide(lambda: None, finally_=True)
            if thread is not None:  # it does that itself: what it waits for may have no deadline, but we have one
                thread.join(2 * self._address.timeout_s)

    def _give_back(self, connection: LeaseConnection) -> None:
        deadline_s = time.monotonic() + self._address.timeout_s
        try:
            while (reports := self.wallet.reports(self._clock(), ends=True)) or self._decisions:
                connection.post(self._document([], reports, self._taken_decisions()))
                self.wallet.reported(reports, (), self._clock())
                if time.monotonic() > deadline_s or not (self._decisions or any(report.closed for report in reports)):
                    break
        except UnreachableError as error:
            _LOGGER.debug("spanledger could not give its budgets' leases back: %s", error)
        except Exception as error:  # noqa: BLE001 - the fence; nobody sees what a thread raises
            _RUN.caught(error)

    def _start(self) -> None:
        with self._lock:
            if self._thread is not None or self._stopped or (self._failures and time.monotonic() < self._retry_s):
                return
            self._wake = wake = threading.Lock()  # made late: gevent may have replaced locks since we were loaded
            self._thread = thread = threading.Thread(
                target=self._run, args=(wake,), name="spanledger-leases", daemon=True
            )
        try:
            thread.start()
            with _RUN:
                _at_end_of_worker(self.stop)
        except RuntimeError as error:  # there are too many, or the program ends, or it may have none
            self._thread = None
            self._failed(error, (), Counter())

    def _wake_up(self) -> None:
        """Let the thread go on. One step that nothing can interrupt, and so may be taken in a handler of a signal."""
        with suppress(RuntimeError):  # it is to go on already
            if self._wake is not None:
                self._wake.release()

    def _run(self, wake: threading.Lock) -> None:
        connection = LeaseConnection(self._address)
        due_s = time.monotonic() + (0 if self._failures else self._report_s)
        while not self._stopped and self._wake is wake:
            wake.acquire(timeout=self._pause_s(due_s))
            is_due = time.monotonic() >= due_s
            if is_due or (self._is_asked() and not self._failures):
                try:
                    self._work(connection, is_due=is_due)
                except Exception as error:  # noqa: BLE001 - the fence; nobody shall wait for a mistake of ours
                    _RUN.caught(error)
                    self._failed(error, (), Counter())
                if self._failures:
                    due_s = self._retry_s
                elif is_due:
                    due_s = time.monotonic() + self._report_s
        if self._wake is wake and not self._failures:
            self._give_back(connection)
        connection.close()

    def _pause_s(self, due_s: float) -> float:
        if not self._failures:
            if self._is_asked():
                return 0
            if self.wallet.is_empty and not self._decisions:
                return -1  # until it is woken
        return max(due_s - time.monotonic(), 0)

    def _is_asked(self) -> bool:
        with self._lock:
            return bool(self._tickets or self._background)

    def _work(self, connection: LeaseConnection, *, is_due: bool) -> None:
        """Tell of all leases where that is due, in as many requests as it takes, and ask all that is to be asked."""
        for _ in range(self.wallet.requests if is_due else 0):
            self._exchange(connection, REPORTS_MAX)
            if self._failures or self._stopped:
                return
        while self._is_asked() and not (self._failures or self._stopped):
            self._exchange(connection, QUESTION_REPORTS_MAX)

    def _exchange(self, connection: LeaseConnection, reports_max: int) -> None:
        """Ask as much as one request holds."""
        tickets = self._taken_tickets()
        wants = self._wants(tickets)
        reports = self.wallet.reports(self._clock(), reports_max)
        decisions = self._taken_decisions()
        try:
            reply = read_reply(
                self._post(connection, self._document([want.document() for want in wants], reports, decisions))
            )
        except RejectedError as error:  # it would be again
            self._failed(error, tickets, Counter())
            return
        except (UnreachableError, ValueError) as error:
            self._failed(error, tickets, decisions)
            for want in wants:
                self.prefetch(want.scope, want.size)
            return
        self._failures = 0
        self._late = self._warned = False
        now_s = self._clock()
        self.wallet.reported(reports, reply.gone, now_s)
        if reply.dimensions is not None:
            self.dimensions = frozenset(reply.dimensions)
        self._apply(reply, wants, now_s)
        self._settle(tickets, {want.scope for want in wants}, now_s)

    def _post(self, connection: LeaseConnection, document: Any) -> Any:
        for _ in range(BUSY_MAX - 1):
            try:
                return connection.post(document)
            except BusyError:
                time.sleep(BUSY_S * random.uniform(0.5, 1.5))  # noqa: S311 - so that not all come at once
        return connection.post(document)

    def _wants(self, tickets: Sequence[Ticket]) -> list[Want]:
        """Make one question for each scope.

        Many calls that wait for one scope ask for all of them at once, and for half as many when that is denied.
        """
        sizes: dict[Scope, list[Size]] = {}
        room = WANT_BYTES_MAX
        for ticket in tickets:
            if ticket.scope not in sizes and len(sizes) < WANTS_MAX and room > 0:
                sizes[ticket.scope] = []
                room -= len(json.dumps(ticket.scope))
            if ticket.scope in sizes:
                sizes[ticket.scope].append(ticket.size)
        with self._lock:
            for scope in [scope for scope in self._background if scope not in sizes][: WANTS_MAX - len(sizes)]:
                room -= len(json.dumps(scope))
                if room > 0:
                    sizes[scope] = [self._background[scope]]
            for scope in sizes:
                self._background.pop(scope, None)
        found: list[Want] = []
        rates = self.wallet.rates(sizes)
        for scope, waiting in sizes.items():
            want = wanted(scope, waiting, rates.get(scope, Rates()), self._calls.get(scope, CALLS_MAX))
            self.wallet.asks(scope, want.size)
            found.append(want)
        return found

    def _document(
        self, wants: Sequence[Any], reports: Sequence[LeaseReport], decisions: Counter[tuple[str, str]]
    ) -> Any:
        return {
            "process": self.process,
            **self._whose(),
            "now_s": self._clock(),
            "want": wants,
            "reports": [
                {
                    "lease": report.lease.id,
                    "sequence": report.sequence,
                    "used": report.used,
                    "calls": report.calls,
                    "closed": report.closed,
                }
                for report in reports
            ],
            "decisions": [
                {"budget": budget, "decision": decision, "count": count}
                for (budget, decision), count in decisions.items()
            ],
        }

    def _apply(self, reply: Reply, wants: Sequence[Want], now_s: float) -> None:
        for position, want in enumerate(wants):
            if position in reply.denied and want.calls > 1:
                self._calls[want.scope] = want.calls // 2
        # What was denied to many calls is not denied to fewer.
        kept = {at: denied for at, denied in reply.denied.items() if at >= len(wants) or wants[at].calls == 1}
        asked = [(want.scope, want.size) for want in wants]
        self.wallet.apply(replace(reply, denied=kept), asked, now_s)

    def _settle(self, tickets: Sequence[Ticket], asked: Collection[Scope], now_s: float) -> None:
        """Decide what the answer decides; the others ask again, at once."""
        left: list[Ticket] = []
        for ticket in by_need(tickets, self.wallet.rates({ticket.scope for ticket in tickets})):
            ticket.rounds += ticket.scope in asked
            over = ticket.rounds >= ROUNDS_MAX

            def find(ticket: Ticket = ticket) -> Reservation | Denial | None:
                return self.wallet.take(ticket.scope, ticket.size, now_s)

            if not ticket.decide(find, finally_=over):
                left.append(ticket)
        waiting = {ticket.scope for ticket in left}
        for scope in [scope for scope in self._calls if scope not in waiting]:
            del self._calls[scope]
        with self._lock:
            self._tickets = left + self._tickets

    def _taken_tickets(self) -> list[Ticket]:
        with self._lock:
            tickets, self._tickets = self._tickets, []
            return tickets

    def _taken_decisions(self) -> Counter[tuple[str, str]]:
        with self._lock:
            self._decisions.update(self.wallet.taken_decisions())
            decisions = Counter(dict(islice(self._decisions.items(), TOLD_MAX)))
            self._decisions -= decisions
            return decisions

    def _failed(self, error: Exception, tickets: Sequence[Ticket], decisions: Counter[tuple[str, str]]) -> None:
        self._failures += 1
        pause_s = min(2.0 ** min(self._failures - 1, 10), BACKOFF_MAX_S)
        self._retry_s = time.monotonic() + pause_s * random.uniform(0.5, 1)  # noqa: S311 - so that not all come at once
        with self._lock:
            self._decisions.update(decisions)
        self._warn(error)
        for ticket in (*tickets, *self._taken_tickets()):
            ticket.decide(lambda: None, finally_=True)

    def _warn(self, why: object) -> None:
        if not self._warned:  # once, until it is reached again
            self._warned = True
            _LOGGER.warning("spanledger cannot reach the exporter that its budgets are leased from: %s", why)


def _at_end_of_worker(stop: Callable[[], None]) -> None:
    """Give leases back at the end of a process that `multiprocessing` has forked: such end without `atexit`."""
    process: Any = sys.modules.get("multiprocessing.process")  # no need to load it: only who uses it has such processes
    util: Any = sys.modules.get("multiprocessing.util")
    if process is not None and util is not None and process.parent_process() is not None:
        util.Finalize(None, _end, args=(stop,), exitpriority=0)


def _end(stop: Callable[[], None]) -> None:
    reaper.close_all()
    stop()
