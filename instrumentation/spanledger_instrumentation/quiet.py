"""Chunks of a stream that differ from earlier ones in nothing but text, told without looking at every byte.

Nearly all chunks of a chat hold some text, and are else the same as the one before. To cut each into lines, and to
search it for all that could matter, costs several times more than to see that its frame is known.
"""

import re
from typing import Final

__all__ = ["Quiet"]

LEARNED_MAX: Final = 8
"""Chunks from which a frame is learned: where they keep changing in more than text it is not worth it."""
_STRING: Final = re.compile(rb'"((?:[^"\\]|\\.)*+)(?:"|\\?\Z)(\s*:)?', re.DOTALL)
"""A string; one with a colon behind it is a name. One without an end is matched all the same: else each quote in it
would be tried as a beginning, and the time would grow with the square of the length."""
_TEXT: Final = re.compile(
    rb'"(?:content|text|delta|thinking|arguments|partial_json|reasoning|reasoning_content|obfuscation)"\s*:\s*\Z'
)
"""The names of strings that nobody here reads."""


class Quiet:
    """Remember the frame of events that said nothing, with one or two texts in it that may change."""

    __slots__ = ("_between", "_end", "_last", "_left", "_start", "_start_size")

    def __init__(self) -> None:
        self._start = b""
        self._start_size = 0
        self._between = b""  # empty where only one text changes
        self._end = b""
        self._last = b""
        self._left = LEARNED_MAX

    @property
    def is_useful(self) -> bool:
        """Whether a frame is known, or may still be learned."""
        return self._left > 0 or self._start_size > 0

    @property
    def is_learned(self) -> bool:
        """Whether a frame is known."""
        return self._start_size > 0

    def knows(self, chunk: bytes) -> bool:
        """Tell whether a chunk is one event of the known frame. One whose text has quotes in it is not recognised."""
        start = self._start_size
        if not start or not chunk.startswith(self._start):
            return False
        at = chunk.find(b'"', start)
        text = chunk[start:at]
        if 10 in text or 13 in text:  # a line end, which JSON has no use for
            return False
        if self._between:
            if not chunk.startswith(self._between, at):
                return False
            start = at + len(self._between)
            at = chunk.find(b'"', start)
            text = chunk[start:at]
            if 10 in text or 13 in text:
                return False
        return chunk[at:] == self._end

    def learn(self, chunk: bytes) -> None:
        """Take a whole event that said nothing, though its frame is not known."""
        if self._left and chunk.startswith((b"data:", b"event:")) and chunk.find(b"\n\n") == len(chunk) - 2:
            self._left -= 1
            if self._last:
                self._compare(self._last, chunk)
            self._last = chunk if self._left else b""

    def _compare(self, before: bytes, chunk: bytes) -> None:
        if _STRING.sub(_frame, before) != _STRING.sub(_frame, chunk):
            return
        pairs = zip(_STRING.finditer(before), _STRING.finditer(chunk), strict=True)
        changed = [match.span(1) for earlier, match in pairs if earlier[1] != match[1]]
        if not 1 <= len(changed) <= 2 or not all(_TEXT.search(chunk, 0, start - 1) for start, _ in changed):
            return
        first, last = changed[0], changed[-1]
        self._start = chunk[: first[0]]
        self._start_size = first[0]
        self._between = chunk[first[1] : last[0]] if len(changed) == 2 else b""
        self._end = chunk[last[1] :]


def _frame(string: re.Match[bytes]) -> bytes:
    return string[0] if string[2] is not None else b'""'
