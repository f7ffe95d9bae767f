"""What calls are told apart by in metrics: the dimensions that are configured, of an allow-list.

Users, sessions, keys and requests are not on it: they have no limit, and become labels nowhere.
"""

import threading
from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from spanledger_exporter.records import OTHER

if TYPE_CHECKING:  # the command line reads the names, and starts without a database
    from spanledger_exporter.ledger.cells import Cell

ALLOWED_DIMENSIONS: Final = (
    *("service", "environment", "tenant", "team", "project", "feature", "provider", "model", "operation"),
)
"""All of them, in the order in which labels stand."""
DEFAULT_NAMES: Final = ("service", "environment", "team", "project", "provider", "model", "operation")
_CLOSED: Final = frozenset({"operation"})  # its values are few and known, so that `__other__` need not replace them


class Dimensions:
    """Some of the allowed dimensions, each at most once; they stand in the order of the list, whatever is given."""

    def __init__(self, names: tuple[str, ...]) -> None:
        self.names = tuple(name for name in ALLOWED_DIMENSIONS if name in names)
        self._free = tuple(name not in _CLOSED for name in self.names)
        self._of = _getter(self.names)

    def of(self, cell: "Cell") -> tuple[str, ...]:
        """Return the values of a cell."""
        return self._of(cell)

    def folded(self, labels: tuple[str, ...]) -> tuple[str, ...]:
        """Return labels, of which the first are ours, with `__other__` for each free text."""
        own = len(self.names)
        other = (OTHER if free else value for free, value in zip(self._free, labels[:own], strict=True))
        return (*other, *labels[own:])


def _getter(names: tuple[str, ...]) -> "Callable[[Cell], tuple[str, ...]]":
    if not names:
        return lambda _cell: ()
    if len(names) == 1:
        value = attrgetter(names[0])
        return lambda cell: (value(cell),)
    return attrgetter(*names)


DEFAULT_DIMENSIONS: Final = Dimensions(DEFAULT_NAMES)


class Places:
    """Which calls have series of their own: those of the first `sets_max` sets of values; others become `__other__`.

    All metrics of spend ask the same one, so that what is one model's in one of them is no other's in the next, and the
    cost of a model can be divided by its tokens. May be asked by several threads.
    """

    def __init__(self, dimensions: Dimensions = DEFAULT_DIMENSIONS, *, sets_max: int) -> None:
        self.dimensions = dimensions
        self._sets_max = sets_max
        self._own: set[tuple[str, ...]] = set()
        self._lock = threading.Lock()

    def of(self, cell: "Cell") -> tuple[tuple[str, ...], tuple[str, ...]]:
        """Return the values of a cell, and those under which it is summed."""
        values = self.dimensions.of(cell)
        return values, self.fold(values)

    def fold(self, values: tuple[str, ...]) -> tuple[str, ...]:
        """Return the values under which others are summed: the same, if there is room."""
        if values in self._own:
            return values
        with self._lock:
            if values in self._own:  # by now
                return values
            if len(self._own) >= self._sets_max:
                return self.dimensions.folded(values)
            self._own.add(values)
        return values
