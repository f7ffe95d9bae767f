"""A source that is asked in a thread of its own: the picture, and the keys, never wait for an answer."""

import threading
import time
from collections.abc import Callable
from queue import SimpleQueue
from typing import Final, NamedTuple

from spanledger_exporter.errors import SpanledgerError
from spanledger_exporter.top.overview import Overview, Window
from spanledger_exporter.top.sources import Source

_REST_PARTS: Final = 9


class Fetched(NamedTuple):
    """What came of asking: an overview, or why there is none. `took_s` is how long it took."""

    window: Window
    overview: Overview | None
    problem: str | None
    took_s: float

    @property
    def rest_s(self) -> float:
        """How long to leave the source alone at least, so that it has nine tenths of its time for others."""
        return _REST_PARTS * self.took_s


class Feed:
    """Asks a source when it is told to, one question at a time, and passes on what came of it."""

    def __init__(self, source: Source, fetched: Callable[[Fetched], None]) -> None:
        self._source = source
        self._fetched = fetched
        self._wanted = SimpleQueue[Window]()
        threading.Thread(target=self._run, name="spanledger-top", daemon=True).start()

    def ask(self, window: Window) -> None:
        """Ask for a window; ask again only when there was an answer."""
        self._wanted.put(window)

    def _run(self) -> None:
        while True:
            window = self._wanted.get()
            began_s = time.monotonic()
            overview = problem = None
            try:
                overview = self._source.read(window)
            except SpanledgerError as exc:
                # The head of the picture names the source, and a line has little room.
                problem = " ".join(str(exc).split()).replace(f"{self._source.name} ", "")
            except Exception as exc:  # noqa: BLE001 -- the fence: what is odd beyond what was foreseen is said, and passes
                problem = f"{type(exc).__name__}: {' '.join(str(exc).split())}"
            self._fetched(Fetched(window, overview, problem, time.monotonic() - began_s))
