"""Files that may change while the exporter runs -> what they say, read anew when they do.

What cannot be read any more, or is only half written yet, changes nothing: the last good reading stays in force, which
is logged and counted, so that a slip in rotating a token or a certificate turns nobody away.
"""

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

from spanledger_exporter.errors import ConfigError

_logger = logging.getLogger(__name__)
_T = TypeVar("_T")
_Signature = tuple[tuple[int, int, int] | None, ...]


class Watched(Generic[_T]):
    """What some files say.

    `read` raises `ConfigError` while they cannot be used; `failed` is called each time a change is turned down.

    Raises: `ConfigError` when they cannot be used at the start.
    """

    def __init__(
        self, paths: Sequence[Path], read: Callable[[], _T], *, failed: Callable[[], None] = lambda: None
    ) -> None:
        self._paths = tuple(paths)
        self._read = read
        self._failed = failed
        self._seen = self._signature()
        self._good = True
        self.value = read()

    def refresh(self) -> None:
        """Read the files again if any of them has changed, or could not be used the last time."""
        signature = self._signature()
        if signature == self._seen and self._good:
            return
        try:
            self.value = self._read()
        except ConfigError as exc:
            if signature != self._seen or self._good:
                _logger.error("%s; what was read before stays in force", exc)
                self._failed()
            self._good = False
        else:
            _logger.info("read again: %s", ", ".join(map(str, self._paths)))
            self._good = True
        self._seen = signature

    def _signature(self) -> _Signature:
        return tuple(_signature(path) for path in self._paths)


def _signature(path: Path) -> tuple[int, int, int] | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
