"""Abandoned streams -> ended calls, away from the garbage collector.

The collector may run at any allocation, also while this very thread holds a lock of a span processor; ending a span
there could wait for that lock forever. So a finalizer only puts the call in a queue, whose `put` is reentrant, and a
short-lived thread, started without any Python-level lock, ends it.
"""

import _thread
import atexit
from queue import Empty, SimpleQueue
from typing import Final, Protocol

from spanledger_instrumentation.fence import Fence

__all__ = ["abandon", "reap"]


class Abandoned(Protocol):
    """What can be ended after its owner is gone."""

    def close(self) -> None:
        """End it; never raises."""
        ...


_ABANDON: Final = Fence("abandon")
_QUEUE: SimpleQueue[Abandoned] = SimpleQueue()


def abandon(call: Abandoned) -> None:
    """End this call soon, from a finalizer."""
    with _ABANDON:  # at the interpreter's end no thread starts any more; the hook below is all there is then
        _QUEUE.put(call)
        _thread.start_new_thread(reap, ())


def reap() -> None:
    """End all abandoned calls."""
    while True:
        try:
            call = _QUEUE.get_nowait()
        except Empty:
            return
        call.close()


atexit.register(reap)
