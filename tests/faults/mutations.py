"""Bytes -> bytes that are nearly the same: what a broken sender, a bad disk or an attacker makes of a request."""

import random
from collections.abc import Callable, Sequence

_NUMBERS = (
    b"\xff" * 9 + b"\x01",
    b"\x80\x80\x80\x80\x08",
    b"\x00",
    b"\x7f",
    b"-1",
    b"9" * 40,
    b"1e999",
    b"NaN",
    b"null",
)
_TOKENS = (
    b"\xff\xfe",
    b"\\ud800",
    b"\x00",
    b'"',
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b"gen_ai.",
    b"\x0a",
    b"\x4a",
    b"\x12",
)


def mutate(dice: random.Random, seeds: Sequence[bytes]) -> bytes:
    """Return one of the seeds after one to eight changes."""
    content = bytearray(dice.choice(seeds))
    for _ in range(dice.choice((1, 1, 1, 2, 3, 8))):
        dice.choice(_CHANGES)(dice, content, seeds)
    return bytes(content)


def _flip(dice: random.Random, content: bytearray, _seeds: Sequence[bytes]) -> None:
    if content:
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)


def _write(dice: random.Random, content: bytearray, _seeds: Sequence[bytes]) -> None:
    at, new = dice.randrange(len(content) + 1), dice.choice((*_NUMBERS, *_TOKENS))
    content[at : at + dice.choice((0, len(new)))] = new


def _cut(dice: random.Random, content: bytearray, _seeds: Sequence[bytes]) -> None:
    at = dice.randrange(len(content) + 1)
    del content[at : at + dice.choice((1, 2, 8, 64, len(content)))]


def _repeat(dice: random.Random, content: bytearray, _seeds: Sequence[bytes]) -> None:
    at = dice.randrange(len(content) + 1)
    content[at:at] = content[at : at + dice.choice((1, 16, 200))] * dice.choice((1, 2, 30))


def _splice(dice: random.Random, content: bytearray, seeds: Sequence[bytes]) -> None:
    other = dice.choice(seeds)
    content[dice.randrange(len(content) + 1) :] = other[dice.randrange(len(other) + 1) :]


_CHANGES: tuple[Callable[[random.Random, bytearray, Sequence[bytes]], None], ...] = (
    _flip, _flip, _flip, _write, _write, _cut, _repeat, _splice,
)  # fmt: skip
