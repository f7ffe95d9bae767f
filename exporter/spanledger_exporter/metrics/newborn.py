"""Series that are new are shown as 0 first, because Prometheus does not see a step from nothing to the first value."""

import time
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

Series = TypeVar("Series", bound=Hashable)


class Newborn(Generic[Series]):
    """The series that Prometheus has not seen at 0 yet; for one thread at a time.

    Units: `hold_s` seconds for which one is shown as 0, from the first time that anybody asks for it; two scrape
    intervals let two Prometheus servers see it. With 0 none is ever held.
    """

    def __init__(self, hold_s: float, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._hold_s = hold_s
        self._clock_s = clock_s
        self._since_s: dict[Series, float | None] = {}

    def add(self, series: Series) -> None:
        """Begin to hold one."""
        if self._hold_s:
            self._since_s.setdefault(series, None)

    def at_zero(self) -> frozenset[Series]:
        """Return those that are to be shown as 0 now."""
        if not self._since_s:
            return frozenset()
        now_s = self._clock_s()
        self._since_s = {
            series: now_s if since_s is None else since_s
            for series, since_s in self._since_s.items()
            if since_s is None or now_s - since_s < self._hold_s
        }
        return frozenset(self._since_s)
