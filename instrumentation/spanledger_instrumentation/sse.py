"""Server-sent events, bytes -> the data of each event.

Lines end in LF, CRLF or CR; several data lines join with LF; comments and all fields but `data` are dropped, since
every provider repeats the event's type in its data. Unlike in the standard, data that the end of the stream leaves open
count as an event: the SDKs read them too.
Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation (November 2026).
"""

from collections.abc import Callable
from typing import Final

from spanledger_instrumentation.excerpt import WHOLE_BYTES_MAX, Excerpt

__all__ = ["EventReader"]

LINES_BYTES_MAX: Final = 8 * 1024
"""An event of several data lines, which no provider sends, but which may be held beside an over-long line: together
they stay below 64 KiB."""
LINES_PART_BYTES_MAX: Final = 2 * 1024
_BOM = b"\xef\xbb\xbf"


class EventReader:
    """Push bytes in, get each event's data called back as (whole, b"") or, beyond the limit, as (head, tail)."""

    __slots__ = ("_data", "_event", "_first", "_line", "_more", "_skip_lf", "between")

    def __init__(self, event: Callable[[bytes, bytes], None]) -> None:
        self._event = event
        self._line = Excerpt()  # a line that has not ended yet
        self._data: bytes | None = None  # the only data line of the open event so far
        self._more: Excerpt | None = None  # the data of the open event, once it has a second or an over-long line
        self._first = True
        self._skip_lf = False
        self.between = False
        """Whether the next byte begins an event, for certain."""

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes, cut anywhere."""
        # Nearly all chunks are one whole event: a data line, behind a line with its type or not. Reading those in one
        # go, instead of line by line, makes them several times cheaper. (13 is CR, 10 LF: numbers are found fast.)
        size = len(chunk)
        if self.between and size <= WHOLE_BYTES_MAX and 13 not in chunk:
            start, end = 0, chunk.find(b"\n")
            if chunk[:6] == b"event:":
                start = end + 1
                end = chunk.find(b"\n", start)
            if end == size - 2 and chunk[-1] == 10 and chunk[start : start + 6] == b"data: ":
                self._event(chunk[start + 6 : end], b"")
                return
        self._feed_lines(chunk)
        self.between = not (self._first or self._skip_lf or self._line) and self._data is None and self._more is None

    def _feed_lines(self, chunk: bytes) -> None:
        if b"\r" in chunk or self._skip_lf:
            chunk = self._with_lf(chunk)
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            if len(self._line) or end - start > WHOLE_BYTES_MAX:
                self._line.append(chunk[start:end])
                self._end_kept_line()
            else:
                self._end_line(chunk[start:end])
            start = end + 1
        if start < len(chunk):
            self._line.append(chunk[start:])
            # What is known to be a second data line of the event makes the first one shorter at once.
            if self._data is not None and len(self._data) > LINES_BYTES_MAX and self._line.head.startswith(b"data:"):
                self._begin_more()

    def finish(self) -> None:
        """Take the end of the stream."""
        if len(self._line):
            self._end_kept_line()
        self._dispatch()

    def _with_lf(self, chunk: bytes) -> bytes:
        # A CR ends its line at once; if a LF follows, perhaps in the next chunk, it belongs to that CR.
        if self._skip_lf and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._skip_lf = False
        self._skip_lf = self._skip_lf or chunk.endswith(b"\r")
        return chunk.replace(b"\r\n", b"\n").replace(b"\r", b"\n")

    def _end_kept_line(self) -> None:
        head, tail = self._line.head, self._line.tail
        self._line.clear()
        self._end_line(head, tail)

    def _end_line(self, line: bytes, tail: bytes = b"") -> None:
        if self._first:
            self._first = False
            line = line.removeprefix(_BOM)
        if not line:
            self._dispatch()
        elif line.startswith(b"data:"):
            value = line[6:] if line[5:6] == b" " else line[5:]
            if self._data is None and self._more is None and not tail:
                self._data = value
            else:
                self._add(value, tail)

    def _add(self, value: bytes, tail: bytes) -> None:
        more = self._more
        if more is None and self._data is None:
            more = self._more = Excerpt(LINES_BYTES_MAX, LINES_PART_BYTES_MAX)
        else:
            more = self._begin_more() if more is None else more
            more.append(b"\n")
        if tail:
            more.append_cut(value, tail)
        else:
            more.append(value)

    def _begin_more(self) -> Excerpt:
        more = self._more = Excerpt(LINES_BYTES_MAX, LINES_PART_BYTES_MAX)
        more.append(self._data or b"")
        self._data = None
        return more

    def _dispatch(self) -> None:
        if self._more is not None:
            head, tail = self._more.head, self._more.tail
            self._more = None
            self._event(head, tail)
        elif self._data is not None:
            data, self._data = self._data, None
            self._event(data, b"")
