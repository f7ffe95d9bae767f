"""The headers of any client -> a mapping by lower-case name."""

from collections.abc import Iterable, Mapping
from typing import Final

__all__ = ["PORTS", "lowered", "lowered_bytes", "text"]

NAMES_MAX: Final = 512
"""Names of headers that are remembered with their lower case; providers send some dozens."""
_NAMES: Final[dict[bytes, str]] = {}
PORTS: Final = {"http": 80, "https": 443}


def lowered(items: Iterable[tuple[object, object]]) -> Mapping[str, str]:
    """Give headers by lower-case name; names and values may be bytes, as botocore has them."""
    return {text(name).lower(): text(value) for name, value in items}


def lowered_bytes(items: Iterable[tuple[bytes, bytes]]) -> Mapping[str, str]:
    """Give the same of bytes alone, as httpx has them: on the path of every call, and fast."""
    found: dict[str, str] = {}
    for name, value in items:
        known = _NAMES.get(name)
        if known is None:
            known = _learn(name)
        found[known] = value.decode("latin-1")
    return found


def _learn(name: bytes) -> str:
    lower = name.decode("latin-1").lower()
    if len(_NAMES) < NAMES_MAX:
        _NAMES[name] = lower
    return lower


def text(value: object) -> str:
    """Give a name or a value as text."""
    return value.decode("latin-1") if isinstance(value, bytes) else str(value)
