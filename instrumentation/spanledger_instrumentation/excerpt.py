"""Bytes of any length in bounded memory: whole while they are short, else their head and their tail."""

from typing import Final

__all__ = ["HEAD_BYTES_MAX", "TAIL_BYTES_MAX", "WHOLE_BYTES_MAX", "Excerpt"]

WHOLE_BYTES_MAX: Final = 48 * 1024
"""What is longer is cut. An open stream holds one excerpt, so this bounds its memory."""
HEAD_BYTES_MAX: Final = 16 * 1024
"""Beginning of what is cut: ids and models stand there."""
TAIL_BYTES_MAX: Final = 16 * 1024
"""End of what is cut: usage stands there, in every wire format that repeats a long output."""


class Excerpt:
    """Collect bytes; the result is the same however they are cut into pieces."""

    __slots__ = ("_head", "_part_bytes_max", "_tail", "_whole_bytes_max", "is_cut")

    def __init__(self, whole_bytes_max: int = WHOLE_BYTES_MAX, part_bytes_max: int = HEAD_BYTES_MAX) -> None:
        self._whole_bytes_max = whole_bytes_max
        self._part_bytes_max = part_bytes_max
        self._head = bytearray()
        self._tail = bytearray()
        self.is_cut = False

    def __len__(self) -> int:
        return len(self._head) + len(self._tail)

    @property
    def head(self) -> bytes:
        """The whole, or its beginning."""
        return bytes(self._head)

    @property
    def tail(self) -> bytes:
        """Empty, or the end of what was cut."""
        return bytes(self._tail[-self._part_bytes_max :])

    def append(self, data: bytes) -> None:
        """Add the next bytes."""
        if not self.is_cut:
            if len(self._head) + len(data) <= self._whole_bytes_max:
                self._head += data
                return
            self._cut(data)
        part = self._part_bytes_max
        self._tail += data[-part:]
        if len(self._tail) > 2 * part:  # trimming now and then keeps many small pieces cheap
            del self._tail[:-part]

    def append_cut(self, head: bytes, tail: bytes) -> None:
        """Add bytes that were cut themselves."""
        self.append(head)
        self.is_cut = True
        del self._head[self._part_bytes_max :]
        self._tail[:] = tail[-self._part_bytes_max :]

    def clear(self) -> None:
        """Forget everything."""
        self._head.clear()
        self._tail.clear()
        self.is_cut = False

    def _cut(self, following: bytes) -> None:
        self.is_cut = True
        part = self._part_bytes_max
        self._tail += self._head[-part:]
        room = max(part - len(self._head), 0)
        self._head += following[:room]
        del self._head[part:]
