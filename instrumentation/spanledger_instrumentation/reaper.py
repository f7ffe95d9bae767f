"""Calls that nobody ends -> ended calls: abandoned streams, and what is open when the program ends.

The garbage collector may run at any allocation, also while this very thread holds a lock of a span processor; ending a
span there could wait for that lock forever. So a finalizer only puts the call in a queue, whose `put` is reentrant, and
a short-lived thread, started without any Python-level lock, ends it.
"""

import _thread
import atexit
import os
from queue import Empty, SimpleQueue
from typing import Final, Protocol
from weakref import ref

from spanledger_instrumentation.fence import FAILURES, Fence

__all__ = ["abandon", "close_all", "follow", "forget", "process", "reap", "register"]

OPEN_MAX: Final = 10_000
"""Open calls that are known here. Of more, those that the program leaves open at its end are lost; they are counted."""


class Abandoned(Protocol):
    """What can be ended after its owner is gone."""

    def close(self) -> None:
        """End it; never raises."""
        ...


_ABANDON: Final = Fence("abandon")
_QUEUE: SimpleQueue[Abandoned] = SimpleQueue()
_OPEN: set[ref[Abandoned]] = set()
"""A reference leaves when what it refers to is gone. No `WeakSet`, which takes several times longer for each."""

process: object = object()
"""Another object in each process. A fork sees it without asking the operating system for the process's number."""


def follow(call: Abandoned) -> None:
    """Remember an open call, without keeping it alive."""
    if len(_OPEN) < OPEN_MAX:
        _OPEN.add(ref(call, _OPEN.discard))
    else:
        FAILURES["open_max"] += 1


def forget(call: Abandoned) -> None:
    """Forget a call that has ended."""
    _OPEN.discard(ref(call))  # two references to one object are equal


def abandon(call: Abandoned) -> None:
    """End this call soon, from a finalizer."""
    with _ABANDON:  # at the interpreter's end no thread starts any more; the exit hook is all there is then
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


def register() -> None:
    """End all calls at the program's end, before everything that was registered for it until now.

    A tracer provider registers its shutdown when it is made; hence once more for each provider that is met.
    """
    atexit.unregister(close_all)
    atexit.register(close_all)


def close_all() -> None:
    """End all calls that are open, as the program ends."""
    reap()
    for reference in _OPEN.copy():
        call = reference()
        if call is not None:
            call.close()


def _after_fork() -> None:
    global process  # noqa: PLW0603 - this is another one
    process = object()
    # The calls are the parent's, which ends them.
    while not _QUEUE.empty():
        _QUEUE.get()
    _OPEN.clear()


register()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
