"""The ledger's budgets, looked at every few seconds by one thread -> how they stand, for whoever wants to know.

Metrics read what it has in memory, and listeners are told after each look: neither waits for the database. A look that
fails is logged, counted and tried again; what was known before stays, with the time at which it was true.
"""

import logging
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from spanledger_exporter.budgets.budget import StoredBudget
from spanledger_exporter.budgets.past import Past
from spanledger_exporter.budgets.rebuilding import drift
from spanledger_exporter.budgets.shelf import load_budgets
from spanledger_exporter.budgets.states import BudgetState, read_group_counts, read_states
from spanledger_exporter.errors import UnavailableError
from spanledger_exporter.ledger.database import Database

_logger = logging.getLogger(__name__)
_NS_PER_S: Final = 10**9
_REST_PARTS: Final = 9
_DRIFT_INTERVAL_NS: Final = 3600 * _NS_PER_S
Listener = Callable[[list[BudgetState]], None]


class Evaluation(NamedTuple):
    """What one look found.

    Shape: `groups` has of each budget's number how many groups have reached each threshold, 0 among them; `drift` has
    of each budget's name by how much its counters differed from the entries when they were last counted again.
    Units: `at_s` Unix seconds, 0 before the first look; `duration_s` seconds; `drift` pico-USD.
    """

    at_s: float = 0.0
    duration_s: float = 0.0
    stored: Sequence[StoredBudget] = ()
    states: Sequence[BudgetState] = ()
    groups: Mapping[int, Mapping[int, int]] = {}
    drift: Mapping[str, int] = {}


class Evaluator:
    """Evaluates all budgets of a ledger every `interval_s` seconds, the first time at once; 0 is never.

    A listener that fails is logged, and keeps no other from being told. Once an hour the entries of the last days are
    counted again, to see whether the counters are right.
    """

    def __init__(
        self,
        database: Database,
        *,
        interval_s: float,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._database = database
        self._interval_s = interval_s
        self._clock_ns = clock_ns
        self._listeners: list[Listener] = []
        self._evaluation = Evaluation()
        self._names: frozenset[str] | None = None
        self._past = Past()
        self._failures = 0
        self._drift: Mapping[str, int] = {}
        self._drift_ns: int | None = None
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="spanledger-budgets", daemon=True)

    @property
    def evaluation(self) -> Evaluation:
        """What the last look that succeeded found."""
        return self._evaluation

    @property
    def states(self) -> list[BudgetState]:
        """How budgets stood at the last look."""
        return list(self._evaluation.states)

    @property
    def names(self) -> frozenset[str] | None:
        """The budgets that there were at the last look, `None` before the first."""
        return self._names

    @property
    def failures(self) -> int:
        """How many looks failed since the start."""
        return self._failures

    def listen(self, on_states: Listener) -> None:
        """Tell somebody of each look from now on; call this before `start`."""
        self._listeners.append(on_states)

    def start(self) -> None:
        """Start the thread, unless there is nothing for it to do."""
        if self._interval_s:
            self._thread.start()

    def close(self, timeout_s: float) -> None:
        """Stop after the look that is being taken."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def run_once(self) -> bool:
        """Look once, and tell whether that succeeded."""
        looked = self._attempt("budgets could not be evaluated; what was known before stays", self._look)
        if looked:
            for listener in self._listeners:
                try:
                    listener(list(self._evaluation.states))
                except Exception:  # the fence around whoever listens
                    _logger.exception("how budgets stand could not be passed on")
        return looked

    def look_for_drift(self) -> bool:
        """Count the entries again, and tell whether that succeeded."""
        self._drift_ns = self._clock_ns()
        return self._attempt("the counters of budgets could not be compared with the entries", self._look_for_drift)

    def _attempt(self, failed: str, look: Callable[[], None]) -> bool:
        """Look, and count it and say why if that fails; of a database that does not answer a line is enough."""
        try:
            look()
        except UnavailableError as exc:
            _logger.error("%s, and it is tried again: %s", failed, exc)
        except Exception:  # the fence of the evaluating thread: it must outlive any trouble
            _logger.exception("%s, and it is tried again", failed)
        else:
            return True
        self._failures += 1
        return False

    def _look(self) -> None:
        began, now_ns = time.monotonic(), self._clock_ns()
        with self._database.view() as connection:
            stored = load_budgets(connection)
            states = read_states(connection, stored, now_ns, past=self._past)
            groups = read_group_counts(connection, stored, now_ns)
        duration_s = time.monotonic() - began
        self._names = frozenset(each.budget.name for each in stored)
        self._drift = {name: found for name, found in self._drift.items() if name in self._names}
        self._evaluation = Evaluation(now_ns / _NS_PER_S, duration_s, stored, states, groups, self._drift)

    def _look_for_drift(self) -> None:
        with self._database.view() as connection:
            found = drift(connection, load_budgets(connection), self._clock_ns())
        self._drift = {name: sums.cost_pusd for name, sums in found.items()}
        self._evaluation = self._evaluation._replace(drift=self._drift)
        for name, sums in found.items():
            if any(sums):
                _logger.error(
                    "the counters of the budget %s differ from the entries; see `spanledger ledger check`", name
                )

    def _run(self) -> None:
        while True:
            self.run_once()
            if self._drift_ns is None or self._clock_ns() - self._drift_ns >= _DRIFT_INTERVAL_NS:
                self.look_for_drift()
            # However many budgets there are, other threads have the interpreter for most of the time.
            if self._closing.wait(max(self._interval_s, _REST_PARTS * self._evaluation.duration_s)):
                return
