"""Newline-delimited JSON, bytes -> each line: streams of Ollama and of Cohere's first API.

Lines end in LF or CRLF; blank ones are left out. A last line that lacks its end counts: the SDKs read it, too.
"""

from collections.abc import Callable

from spanledger_instrumentation.excerpt import WHOLE_BYTES_MAX, Excerpt

__all__ = ["LineReader"]


class LineReader:
    """Push bytes in, get each line called back as (whole, b"") or, beyond the limit, as (head, tail)."""

    __slots__ = ("_event", "_line")

    def __init__(self, event: Callable[[bytes, bytes], None]) -> None:
        self._event = event
        self._line = Excerpt()  # a line that has not ended yet

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes, cut anywhere."""
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            if len(self._line) or end - start > WHOLE_BYTES_MAX:
                self._line.append(chunk[start:end])
                self._end_line()
            elif end > start:
                self._tell(chunk[start:end], b"")
            start = end + 1
        if start < len(chunk):
            self._line.append(chunk[start:])

    def finish(self) -> None:
        """Take the end of the stream."""
        if len(self._line):
            self._end_line()

    def _end_line(self) -> None:
        head, tail = self._line.head, self._line.tail
        self._line.clear()
        self._tell(head, tail)

    def _tell(self, line: bytes, tail: bytes) -> None:
        if tail or line != b"\r":
            self._event(line, tail)
