"""The fence between our mistakes and the app: a failure of ours is counted, logged once and goes no further."""

import contextlib
import logging
from collections import Counter
from types import TracebackType
from typing import Literal, overload

__all__ = ["FAILURES", "Fence"]

_LOGGER = logging.getLogger(__name__)
_MESSAGE = "spanledger failed in %s; the app's call is not affected"

FAILURES: Counter[str] = Counter()
"""How often each entry point failed, by its name. For tests and for whoever debugs."""


class Fence:
    """Hold back every `Exception` of the block below it. The first one is logged, at debug, with its traceback."""

    __slots__ = ("_entry_point",)

    def __init__(self, entry_point: str) -> None:
        self._entry_point = entry_point

    def __enter__(self) -> None:
        """Enter the block; a fence has no state and may be entered anywhere at any time."""

    @overload
    def __exit__(self, kind: None, error: None, trace: None) -> Literal[False]: ...
    @overload
    def __exit__(self, kind: type[BaseException], error: BaseException, trace: TracebackType) -> bool: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        """Hold back an exception, but never what ends the program or a task."""
        if error is None or not isinstance(error, Exception):  # the first is nearly always so, and costs nothing
            return False
        self.caught(error)
        return True

    def caught(self, error: Exception) -> None:
        """Count an exception, for entry points so hot that a `with` is too dear."""
        FAILURES[self._entry_point] += 1
        if FAILURES[self._entry_point] == 1:
            with contextlib.suppress(Exception):  # the app's log handlers may raise, and the stack may end here
                _LOGGER.debug(_MESSAGE, self._entry_point, exc_info=error)
