"""The ledger's active price list, else the packaged one, under the user's own prices: what prices calls now."""

import time
from collections.abc import Callable
from pathlib import Path

from spanledger_exporter.prices import price_file
from spanledger_exporter.prices.book_shelf import BookShelf
from spanledger_exporter.prices.genai_prices_book import published_ns
from spanledger_exporter.prices.price_book import PriceBook


class CurrentPrices:
    """Tells which price book applies, and when that changes.

    `packaged` gives the price list that applies while no other was imported; it is asked when it is needed.
    `dated_ns` is when the price list of the last answer was published, where that is known; else when it was learnt of.
    """

    def __init__(
        self,
        shelf: BookShelf | None,
        file: str,
        packaged: Callable[[], PriceBook],
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._shelf = shelf
        self._file = file
        self._packaged = packaged
        self._clock_ns = clock_ns
        self.dated_ns = 0
        self._seen: tuple[str | None, tuple[int, int] | None] | None = None

    def changed(self) -> PriceBook | None:
        """Return the book that applies now if it may be another than at the last call, and at the first call.

        Raises:
            ConfigError: the file of the user's own prices cannot be used; it is looked at again once it changes.
            UnavailableError: the ledger does not answer.
        """
        active_id = None if self._shelf is None else self._shelf.active_id()
        seen = (active_id, _version(self._file))
        if seen == self._seen:
            return None
        listed = self._packaged() if self._shelf is None or active_id is None else self._shelf.book(active_id)
        self.dated_ns = self._dated_ns(listed.source, active_id)
        self._seen = seen
        return listed.with_layers(price_file.read(self._file))

    def _dated_ns(self, source: str, active_id: str | None) -> int:
        dated_ns = published_ns(source) if active_id is None else None
        if dated_ns is None and self._shelf is not None:
            dated_ns = self._shelf.learnt_ns(source, active_id)
        return self._clock_ns() if dated_ns is None else dated_ns

    def again(self) -> None:
        """Let the next question have an answer, changed or not: the last one could not be used."""
        self._seen = None


def _version(path: str) -> tuple[int, int] | None:
    """Return what tells one state of a file from another; no file has none."""
    if not path:  # which would be the folder that the exporter runs in
        return None
    try:
        state = Path(path).stat()
    except OSError:
        return None
    return state.st_mtime_ns, state.st_size
