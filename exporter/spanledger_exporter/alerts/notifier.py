"""How budgets stand -> messages to people, for those who have no Alertmanager.

It runs in a thread of its own: the evaluator only leaves what it saw, and never waits for a mail server. Each message
is claimed in the ledger before it is sent, so that replicas and restarts make no second one (claims.py), and is tried
again until every channel has it (outbox.py). Whatever fails is logged and counted.
"""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import Final, Protocol

from sqlalchemy import Connection

from spanledger_exporter.alerts import claims, outbox
from spanledger_exporter.alerts.notices import Notice, texts
from spanledger_exporter.alerts.notifications import SECOND_NS, Key, Rules, Verdict, crossed, judge, key_of
from spanledger_exporter.alerts.sending import Channel, Mail, send_all
from spanledger_exporter.budgets.states import BudgetState
from spanledger_exporter.config import Config
from spanledger_exporter.errors import UnavailableError
from spanledger_exporter.failpoints import AFTER_SENDING, BEFORE_SENDING, NONE, Failpoints
from spanledger_exporter.ledger.database import Database

POLL_S: Final = 15
SEND_TIMEOUT_S: Final = 60
GRAVE_PERCENT: Final = 100
_FOR_EVER_NS: Final = 2**63
_PARCELS_MAX: Final = 20
_HOUR_NS: Final = 3600 * SECOND_NS
_logger = logging.getLogger(__name__)


class Watcher(Protocol):
    """Who counts what became of messages."""

    def notified(self, result: str, count: int = 1) -> None:
        """Count messages: `delivered` to a channel, `failed` at one, `abandoned` because they are too late."""
        ...


class Notifier:
    """Tells people of the budgets of one ledger until it is closed; `channels` returns whom to tell now."""

    def __init__(
        self,
        database: Database,
        channels: Callable[[], Sequence[Channel]],
        rules: Rules,
        watcher: Watcher,
        *,
        poll_s: float = POLL_S,
        send_timeout_s: float = SEND_TIMEOUT_S,
        clock_ns: Callable[[], int] = time.time_ns,
        points: Failpoints = NONE,
    ) -> None:
        self._database = database
        self._channels = channels
        self._rules = rules
        self._watcher = watcher
        self._poll_s = poll_s
        self._send_timeout_s = send_timeout_s
        self._clock_ns = clock_ns
        self._points = points
        self._latest: deque[Sequence[BudgetState]] = deque(maxlen=1)
        self._asked: dict[Key, int] = {}
        self._unwritten: dict[int, set[str]] = {}
        self._forgot_ns = 0
        self._awake = threading.Event()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="spanledger-notifier", daemon=True)

    def on_states(self, states: Sequence[BudgetState]) -> None:
        """Take over how budgets stand; returns at once, and what was not looked at yet is replaced."""
        self._latest.append(states)
        self._awake.set()

    def start(self) -> None:
        """Start the thread."""
        self._thread.start()

    def close(self, timeout_s: float) -> None:
        """Stop after the message that is being sent."""
        self._closing.set()
        self._awake.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def run_once(self, states: Sequence[BudgetState] = ()) -> None:
        """Make the messages that are due, then send all that wait; trouble with one keeps none from the other."""
        for step in (lambda: self._make(states), self._send, self._forget):
            if self._closing.is_set():
                return
            try:
                step()
            except Exception:  # the fence of the notifier's thread: it must outlive any trouble of the database
                _logger.exception("messages about budgets could not be made or sent; it is tried again")
                self._watcher.notified("failed")

    def _run(self) -> None:
        while not self._closing.is_set():
            self._awake.wait(self._poll_s)
            self._awake.clear()
            self.run_once(self._latest.pop() if self._latest else ())

    def _make(self, states: Sequence[BudgetState]) -> None:
        """Make the messages that are due: asked without a lock first, for nearly always there are none."""
        now_ns = self._clock_ns()
        new = self._not_asked(states, now_ns)
        if not new:
            return
        with self._database.read() as connection:
            verdicts = judge_all(connection, new, self._rules, now_ns)
        due = [verdict.state for verdict in verdicts if verdict.answer == "due"]
        if due:
            with self._database.write() as connection:
                known = claims.lock(connection, {state.stored.budget_id for state in due})
                there = [state for state in due if state.stored.budget_id in known]
                again = judge_all(connection, there, self._rules, now_ns)
                claims.make(connection, [verdict for verdict in again if verdict.answer == "due"], now_ns)
        for verdict in verdicts:  # only now, when what was due is committed
            until_ns = verdict.until_ns if verdict.answer == "waiting" else _FOR_EVER_NS
            self._asked[key_of(verdict.state, verdict.threshold)] = until_ns

    def _not_asked(self, states: Sequence[BudgetState], now_ns: int) -> list[BudgetState]:
        """Return the states of which it is not known yet that nothing is to be said."""
        over = {key_of(state, threshold): state for state in states if (threshold := crossed(state))}
        self._asked = {key: until_ns for key, until_ns in self._asked.items() if key in over and until_ns > now_ns}
        return [state for key, state in over.items() if key not in self._asked]

    def _send(self) -> None:
        """Send what waits, one message after the other; after some of many, budgets are looked at first."""
        for _ in range(_PARCELS_MAX):
            if self._closing.is_set():
                return
            now_ns = self._clock_ns()
            with self._database.read() as connection:
                choice = outbox.choose(connection, now_ns)
            if not any(choice):
                return
            with self._database.write() as connection:
                parcel = outbox.take(connection, choice, now_ns)
            self._watcher.notified("abandoned", len(choice.abandoned))
            if parcel is not None:
                self._deliver(parcel)
        self._awake.set()

    def _deliver(self, parcel: outbox.Parcel) -> None:
        notices = parcel.notices()
        message = Mail(parcel.ids, texts(notices, link=self._rules.link), grave=_grave(notices))
        has = parcel.has.union(*(self._unwritten.get(alert_id, ()) for alert_id in parcel.ids))
        self._points.reach(BEFORE_SENDING)
        missing = [channel for channel in self._channels() if channel.name not in has]
        problems: dict[str, str] = {}
        for name, problem in send_all(missing, message, self._send_timeout_s):
            if problem is not None:
                _logger.warning("a message about the budget %s did not get to %s: %s", notices[0].budget, name, problem)
                self._watcher.notified("failed")
                problems[name] = problem
                continue
            self._points.reach(AFTER_SENDING)
            self._watcher.notified("delivered")
            parcel = self._kept(parcel, name)
        with self._database.write() as connection:
            outbox.settle(connection, parcel, problems, self._clock_ns())
        for alert_id in parcel.ids:
            self._unwritten.pop(alert_id, None)

    def _kept(self, parcel: outbox.Parcel, name: str) -> outbox.Parcel:
        """Write down that a channel has a message; while that cannot be, memory knows."""
        for alert_id in parcel.ids:
            self._unwritten.setdefault(alert_id, set()).add(name)
        try:
            with self._database.write() as connection:
                return outbox.keep(connection, parcel, name, self._clock_ns())
        except UnavailableError as exc:
            _logger.warning("that %s has a message could not be written down: %s", name, exc)
            return parcel

    def _forget(self) -> None:
        now_ns = self._clock_ns()
        if now_ns - self._forgot_ns > _HOUR_NS:
            with self._database.write() as connection:
                claims.forget(connection, now_ns)
            self._forgot_ns = now_ns


def rules_of(config: Config) -> Rules:
    """Return of which budgets a configuration wants messages, how seldom, and where they lead."""
    return Rules(config.notify_min_interval_h * _HOUR_NS, config.notify_budgets, config.notify_link)


def judge_all(connection: Connection, states: Iterable[BudgetState], rules: Rules, now_ns: int) -> list[Verdict]:
    """Return of each budget and group whether a message is due, by what was said of it before."""
    together: dict[tuple[int, int], list[BudgetState]] = {}
    for state in states:
        together.setdefault((state.stored.budget_id, state.bounds.start_s), []).append(state)
    verdicts: list[Verdict] = []
    since_ns = now_ns - rules.interval_ns
    for (budget_id, start_s), group in together.items():
        told = claims.told(connection, budget_id, start_s, [state.group_key for state in group], since_ns)
        verdicts += (judge(each, told.get(each.group_key, ()), rules, now_ns) for each in group)
    return verdicts


def _grave(notices: Iterable[Notice]) -> bool:
    return any(notice.threshold >= GRAVE_PERCENT for notice in notices)
