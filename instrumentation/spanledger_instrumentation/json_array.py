r"""A JSON array that is sent element by element, bytes -> each element: streams of Google's APIs without `alt=sse`.

Shape: [{...}\r\n,\r\n{...}\r\n]
Elements that are neither object nor array are left out, and so is one that the end of the stream leaves open.
"""

import re
from collections.abc import Callable
from typing import Final

from spanledger_instrumentation.excerpt import WHOLE_BYTES_MAX, Excerpt

__all__ = ["ElementReader"]

DEPTH_MAX: Final = 256
"""Brackets in brackets; what nests deeper than any answer is not read on, since each bracket takes its time."""

# Up to the next bracket, over whole strings; a quote as the token means that its string does not end in this chunk.
_BETWEEN: Final = re.compile(rb'(?:[^"{}\[\]]|"(?:[^"\\]|\\.)*+")*+(["{}\[\]])', re.DOTALL)
_IN_STRING: Final = re.compile(rb'(?:[^"\\]|\\.)*+(["\\])', re.DOTALL)


class ElementReader:
    """Push bytes in, get each element called back as (whole, b"") or, beyond the limit, as (head, tail)."""

    __slots__ = ("_broken", "_depth", "_element", "_escaped", "_event", "_in_string")

    def __init__(self, event: Callable[[bytes, bytes], None]) -> None:
        self._event = event
        self._element = Excerpt()  # what earlier chunks hold of the open element
        self._depth = 0
        self._broken = False
        self._in_string = False
        self._escaped = False  # whether the last byte was a backslash that escapes the next one

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes, cut anywhere."""
        start = 0  # of the open element, as far as it stands in this chunk
        at = 1 if self._escaped and chunk else 0
        self._escaped = self._escaped and not chunk
        while not self._broken and (match := (_IN_STRING if self._in_string else _BETWEEN).match(chunk, at)):
            at = match.end()
            token = match[1]
            if token == b'"':
                self._in_string = not self._in_string
            elif token == b"\\":  # the last byte: any other one was matched with the byte that it escapes
                self._escaped = True
            elif token in b"{[":
                self._depth += 1
                start = at - 1 if self._depth == 2 else start
                self._broken = self._depth > DEPTH_MAX
            else:
                self._depth = max(self._depth - 1, 0)
                if self._depth == 1:
                    self._end(chunk[start:at])
        if self._depth > 1 and not self._broken:
            self._element.append(chunk[start:])

    def finish(self) -> None:
        """Take the end of the stream."""

    def _end(self, last: bytes) -> None:
        if not len(self._element) and len(last) <= WHOLE_BYTES_MAX:
            self._event(last, b"")
            return
        self._element.append(last)
        head, tail = self._element.head, self._element.tail
        self._element.clear()
        self._event(head, tail)
