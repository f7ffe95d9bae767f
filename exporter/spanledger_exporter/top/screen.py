"""A source and a terminal -> the live picture: keys, signals and overviews come in, one after the other.

Whatever ends it, the terminal is as it was before.
"""

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Generator
from queue import Empty, SimpleQueue
from typing import Final

from rich.console import Console, ConsoleDimensions
from rich.control import Control

from spanledger_exporter.top.feed import Feed, Fetched
from spanledger_exporter.top.frame import Canvas, Seen, frame
from spanledger_exporter.top.keys import listen, unbuffered
from spanledger_exporter.top.overview import Overview
from spanledger_exporter.top.sources import Source
from spanledger_exporter.top.view import HANGUP, View, press

_TICK_S: Final = 1.0
_SIGNALLED: Final = 128
_SIZE: Final = ConsoleDimensions(80, 24)
# DECAWM: a terminal that takes a character for wider than we do shall not push what follows into the next line.
_NO_WRAP, _WRAP = "\x1b[?7l", "\x1b[?7h"


def _number(name: str) -> int | None:
    """Return the number of a signal, which not every system has."""
    return getattr(signal, name, None)


_RESIZED: Final = _number("SIGWINCH")
_SUSPENDED: Final = _number("SIGTSTP")
_ENDS: Final = tuple(filter(None, map(_number, ("SIGINT", "SIGTERM", "SIGHUP", "SIGQUIT"))))
_Event = str | int | Fetched
"""A key, a signal's number, or an answer."""


class Screen:
    """The live picture of a source, beginning with an overview that is there already."""

    def __init__(self, source: Source, first: Overview, view: View, console: Console, *, interval_s: float) -> None:
        self._source = source.name
        self._view = view
        self._console = console
        self._interval_s = interval_s
        self._events = SimpleQueue[_Event]()  # a signal's handler may put something into it at any moment
        self._feed = Feed(source, self._events.put)
        self._overview = first
        self._problem: str | None = None
        self._fresh_s = time.monotonic()
        self._due_s = self._fresh_s + interval_s
        self._asking = False

    def run(self) -> int:
        """Show it until a key or a signal ends it; return the exit status.

        Raises:
            KeyboardInterrupt: Ctrl-C was pressed.
        """
        with _signals(self._events.put):
            if sys.stdin.isatty():
                threading.Thread(target=listen, args=(self._events.put,), name="spanledger-keys", daemon=True).start()
            while True:
                with _terminal(self._console):
                    status = self._show()
                if status is not None:
                    return status
                os.kill(os.getpid(), signal.SIGSTOP)  # until the shell says `fg`

    def _show(self) -> int | None:
        """Show it until something ends it; return the exit status, or `None` where it is to be suspended."""
        while True:
            self._ask()
            self._draw()
            event = self._next()
            if isinstance(event, Fetched):
                self._take_over(event)
            elif isinstance(event, str):
                if not self._press(event):
                    return 0
            elif event is not None and event != _RESIZED:
                return _ended(event)

    def _next(self) -> _Event | None:
        """Wait for an event, though no longer than until something is due."""
        patience_s = _TICK_S
        if not self._asking and not self._view.paused:
            patience_s = min(_TICK_S, max(0.0, self._due_s - time.monotonic()))
        try:
            return self._events.get(timeout=patience_s)
        except Empty:
            return None

    def _press(self, key: str) -> bool:
        """Act on a key; tell whether to go on."""
        view = press(self._view, key)
        if view is None:
            return False
        if view.window != self._view.window or (self._view.paused and not view.paused):
            self._due_s = time.monotonic()
        self._view = view
        return True

    def _ask(self) -> None:
        """Ask for the next overview if it is time; a pause is none where another window is wanted."""
        wanted = not self._view.paused or self._overview.window != self._view.window
        if wanted and not self._asking and time.monotonic() >= self._due_s:
            self._asking = True
            self._feed.ask(self._view.window)

    def _take_over(self, fetched: Fetched) -> None:
        now_s = time.monotonic()
        self._asking, self._problem = False, fetched.problem
        self._due_s = now_s + max(self._interval_s, fetched.rest_s)
        if fetched.overview is not None:
            self._overview, self._fresh_s = fetched.overview, now_s
        if fetched.window != self._view.window:
            self._due_s = now_s

    def _draw(self) -> None:
        self._console.size = size = _size(self._console)
        seen = Seen(source=self._source, age_s=time.monotonic() - self._fresh_s, problem=self._problem)
        ascii_only = not self._console.encoding.startswith("utf")
        canvas = Canvas(width=size.width, height=size.height, ascii_only=ascii_only)
        try:
            with self._console as out:  # one write, so that nobody sees half a picture
                out.control(Control.home())
                out.print(frame(self._overview, self._view, seen, canvas), end="")
        except OSError:  # the terminal is gone
            self._events.put(HANGUP)


def _ended(number: int) -> int | None:
    """Return the exit status of a signal; `None` for the one that only suspends."""
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    return None if number == _SUSPENDED else _SIGNALLED + number


def _size(console: Console) -> ConsoleDimensions:
    """Return how large the terminal is now: whatever COLUMNS said at the start."""
    try:
        width, height = os.get_terminal_size(console.file.fileno())
    except OSError:
        return _SIZE
    return ConsoleDimensions(width or _SIZE.width, height or _SIZE.height)


@contextlib.contextmanager
def _terminal(console: Console) -> Generator[None]:
    """Take the terminal over: keys one by one, another screen, no cursor, no wrapping."""
    with contextlib.ExitStack() as stack:
        if sys.stdin.isatty():
            stack.enter_context(unbuffered())
        stack.enter_context(contextlib.suppress(OSError))  # of a terminal that is gone nothing can be restored
        stack.enter_context(console.screen())
        stack.callback(_write, console, _WRAP)
        _write(console, _NO_WRAP)
        yield


def _write(console: Console, sequence: str) -> None:
    console.file.write(sequence)
    console.file.flush()


@contextlib.contextmanager
def _signals(told: Callable[[int], None]) -> Generator[None]:
    """Pass signals on as events, so that none of them comes while the terminal is being restored.

    What whoever started us wants to be ignored, as `nohup` does, is left so.
    """
    numbers = [number for number in (*_ENDS, _RESIZED, _SUSPENDED) if number is not None]
    before = {number: signal.getsignal(number) for number in numbers}
    taken = [number for number in numbers if before[number] is not signal.SIG_IGN]
    for number in taken:
        signal.signal(number, lambda number, _frame: told(number))
    try:
        yield
    finally:
        for number in taken:
            signal.signal(number, before[number])
