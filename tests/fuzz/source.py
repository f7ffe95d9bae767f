"""The bytes of one try -> a few choices and the rest, in a format that a corpus can be written in."""

import random
from collections.abc import Sequence
from typing import Final, TypeVar

T = TypeVar("T")

CHOICES: Final = 4
"""Bytes in front that choose; what stands behind them is the content, which a mutation may change at will."""
STRETCH: Final = b"%%"
STRETCHED_BYTES: Final = 60_000
"""More than is kept whole: what no fuzzer grows to in time, one mark in the content does at once."""


class Source:
    """Read a try."""

    def __init__(self, data: bytes) -> None:
        self._choices = data[:CHOICES].ljust(CHOICES, b"\0")
        self.content = data[CHOICES:].replace(STRETCH, b"x" * STRETCHED_BYTES, 1)

    def choose(self, at: int, among: Sequence[T]) -> T:
        """Choose by one of the bytes in front."""
        return among[self._choices[at] % len(among)]

    def flag(self, at: int, bit: int) -> bool:
        """Read one bit of the bytes in front."""
        return bool(self._choices[at] >> bit & 1)

    def pieces(self, at: int, content: bytes) -> list[bytes]:
        """Cut content in up to 32 pieces, small ones and large ones, by one of the bytes in front."""
        dice = random.Random(self._choices[at])
        largest = dice.choice((1, 3, 17, 300, 5_000, 50_000))
        pieces: list[bytes] = []
        while content and len(pieces) < 31:
            size = dice.randint(0, largest)
            pieces.append(content[:size])
            content = content[size:]
        return [*pieces, content]


def written(*choices: int, content: bytes) -> bytes:
    """Write a try, for a corpus."""
    return bytes(choices).ljust(CHOICES, b"\0") + content
