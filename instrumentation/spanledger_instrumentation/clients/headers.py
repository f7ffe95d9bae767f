"""The headers of any client -> a mapping by lower-case name."""

from collections.abc import Iterable, Mapping
from typing import Final

__all__ = ["PORTS", "lowered", "lowered_bytes", "text"]

NAMES_MAX: Final = 512
"""Names of headers that are remembered with their lower case; providers send some dozens."""
PORTS: Final = {"http": 80, "https": 443}


class _Names(dict[bytes, str]):
    """Names as they came -> their lower case; one that is not known yet is learned when it is asked for."""

    def __missing__(self, name: bytes) -> str:
        text = name.decode("latin-1").lower()
        if len(self) < NAMES_MAX:
            self[name] = text
        return text


_NAMES: Final = _Names()


def lowered(items: Iterable[tuple[object, object]]) -> Mapping[str, str]:
    """Give headers by lower-case name; names and values may be bytes, as botocore has them."""
    return {text(name).lower(): text(value) for name, value in items}


def lowered_bytes(items: Iterable[tuple[bytes, bytes]]) -> Mapping[str, str]:
    """Give the same of bytes alone, as httpx has them: on the path of every call, and fast."""
    return {_NAMES[name]: value.decode("latin-1") for name, value in items}


def text(value: object) -> str:
    """Give a name or a value as text."""
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
