"""A call that waits until the exporter has answered, or until it has waited long enough."""

import threading
from collections.abc import Callable

from spanledger_instrumentation.bound import Size
from spanledger_instrumentation.wallet import Denial, Reservation, Scope

__all__ = ["Ticket"]


class Ticket:
    """One call that waits for an answer. Decided once: by an answer, or by whoever waited long enough."""

    __slots__ = ("_lock", "_wake", "answer", "decided", "rounds", "scope", "size")

    def __init__(self, scope: Scope, size: Size) -> None:
        self._lock = threading.RLock()
        self._wake: Callable[[], object] | None = None
        self.scope = scope
        self.size = size
        self.rounds = 0
        self.decided = False
        self.answer: Reservation | Denial | None = None

    def decide(self, find: Callable[[], Reservation | Denial | None], *, finally_: bool = False) -> bool:
        """Decide it by what is found, if that is anything or nothing more is to come; tell whether it is decided."""
        with self._lock:
            if self.decided:
                return True
            self.answer = find()
            self.decided = finally_ or self.answer is not None
            wake = self._wake if self.decided else None
        if wake is not None:
            wake()
        return self.decided

    def when_decided(self, wake: Callable[[], object]) -> None:
        """Call this from another thread when it is decided; at once if it is."""
        with self._lock:
            self._wake = wake
            decided = self.decided
        if decided:
            wake()
