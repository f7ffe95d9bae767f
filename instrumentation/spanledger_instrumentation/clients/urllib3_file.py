"""The file below a response of urllib3, in which what is hidden from the app does not exist.

urllib3 takes a file's bytes for what they are: a read that gives fewer than it was asked for is the end, and so is a
file that is closed. So each read goes on until it has as many bytes as it must give, and the file is not closed before
all of them are given. The chunks of a chunked body are cut by urllib3 itself and do not pass through here.
"""

import sys
from collections.abc import Callable
from http.client import IncompleteRead
from typing import Any

from spanledger_instrumentation.following import Following

__all__ = ["ShownFile", "is_closed"]


class ShownFile:
    """Reads what the app is to get; of all else it is the file that it stands for."""

    def __init__(self, file: Any, call: Following) -> None:  # Any: http.client's response, or any file
        self._file = file
        self._call = call
        self._shown = b""
        """What was read and not given yet."""
        self._error: Exception | None = None
        """What the file has raised, to be raised after what is shown."""
        self._ended = False
        self._hidden_bytes = 0

    def __getattr__(self, name: str) -> Any:
        if name in ("_file", "_call"):
            raise AttributeError(name)
        return getattr(self._file, name)

    def read(self, amount: int | None = None) -> bytes:
        """Read so many bytes, fewer only at the end; or all."""
        if amount is None or amount < 0:
            while not self._is_over:
                self._fill(self._file.read, needed=sys.maxsize)
            return self._give(len(self._shown))
        while len(self._shown) < amount and not self._is_over:
            self._fill(self._file.read, amount - len(self._shown), needed=amount)
        return self._give(amount)

    def read1(self, amount: int = -1) -> bytes:
        """Read what is there, so many bytes at most; none only at the end."""
        while not self._shown and amount != 0 and not self._is_over:
            self._fill(self._file.read1, amount, needed=1)
        return self._give(amount if amount >= 0 else len(self._shown))

    def close(self) -> None:
        """Close the file; nothing more is given."""
        self._shown, self._error = b"", None
        self._file.close()

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return not self._is_pending and bool(getattr(self._file, "closed", False))

    def isclosed(self) -> bool:
        """Tell whether nothing is left to be read."""
        return not self._is_pending and is_closed(self._file)

    def take_hidden(self) -> int:
        """Give how many bytes were hidden, known at the end, once."""
        hidden, self._hidden_bytes = (self._hidden_bytes, 0) if self._ended else (0, self._hidden_bytes)
        return hidden

    @property
    def _is_pending(self) -> bool:
        return bool(self._shown) or self._error is not None

    @property
    def _is_over(self) -> bool:
        return self._ended or self._error is not None

    def _fill(self, read: Callable[..., bytes], *amount: int, needed: int) -> None:
        try:
            data = read(*amount)
        except Exception as error:
            if isinstance(error, IncompleteRead):
                self._show(self._call.feed(error.partial))
            self._show(self._call.release())
            if len(self._shown) < needed:  # a read that breaks off gives nothing
                self._shown = b""
                raise
            self._error = error
            return
        if data:
            self._hidden_bytes += len(data)
            self._show(self._call.feed(data))
        # http.client closes itself at the end, but for `read1` (python/cpython#113199).
        if not data or not amount or is_closed(self._file) or getattr(self._file, "length", None) == 0:
            self._ended = True
            self._show(self._call.release())

    def _show(self, data: bytes) -> None:
        self._hidden_bytes -= len(data)
        self._shown = self._shown + data if self._shown else data

    def _give(self, amount: int) -> bytes:
        if not self._shown and self._error is not None:
            error, self._error = self._error, None
            raise error
        given, self._shown = self._shown[:amount], self._shown[amount:]
        return given


def is_closed(file: Any) -> bool:
    """Tell whether a file has come to its end: http.client's response knows, of another one only whether it is shut."""
    closed = getattr(file, "isclosed", None)
    return bool(closed()) if closed is not None else bool(getattr(file, "closed", False))
