"""What this process has counted, and what it waits for: ids of results that may come more than once, or late.

Bounded, the oldest are forgotten first. What is forgotten may be reported again; it has the same response id then, by
which the exporter can tell.
"""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final

__all__ = ["IDS_MAX", "Memory"]

IDS_MAX: Final = 4096
"""Ids of each kind that are known at a time."""


class Memory:
    """Remember ids. Every step is one atomic operation: threads and tasks meet here, and a lock may outlive a fork."""

    __slots__ = ("_awaited", "_counted")

    def __init__(self) -> None:
        self._awaited: OrderedDict[Hashable, object] = OrderedDict()
        self._counted: OrderedDict[Hashable, object] = OrderedDict()

    def expect(self, key: Hashable) -> None:
        """Remember that the result of this is to come later."""
        _add(self._awaited, key)

    def expects(self, key: Hashable) -> bool:
        """Tell whether the result of this was to come later."""
        return key in self._awaited

    def first(self, key: Hashable) -> bool:
        """Count this; tell whether it is for the first time."""
        return _add(self._counted, key)


def _add(ids: OrderedDict[Hashable, object], key: Hashable) -> bool:
    token = object()
    if ids.setdefault(key, token) is not token:
        return False
    if len(ids) > IDS_MAX:
        ids.popitem(last=False)
    return True
