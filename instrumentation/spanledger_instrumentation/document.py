"""A JSON object as a provider sent it, whole or cut -> the values of its members.

A cut document is read by its structure: a member counts only where its path (from the head) or its depth (from the
tail) is certain, so that a member of the same name inside an output or a schema is never taken for the real one. From a
tail only members of the whole, or of a known envelope, are read: of any deeper one, the object that it stands in may be
the user's own `metadata`.
"""

import codecs
import json
import re
from collections.abc import Iterator, Mapping
from copy import copy
from typing import Any, Final, cast

from spanledger_instrumentation.excerpt import HEAD_BYTES_MAX, TAIL_BYTES_MAX

__all__ = ["Document"]

# The last string of a head may have lost its end; matching it all the same keeps the scan linear.
_TOKEN: Final = re.compile(rb'"(?:[^"\\]|\\.)*+(?:"|\\?\Z)|[{}\[\]]', re.DOTALL)
_COLON: Final = re.compile(rb"\s*:\s*")
_DECODER: Final = json.JSONDecoder()
_ENVELOPES: Final = frozenset(
    {(), ("response",), ("interaction",), ("response", "body"), ("result",), ("result", "message")}
)
"""What the whole may be wrapped in: an event of a stream, a line of a batch. Beside an envelope stand only scalars, and
objects that have none of the members that are looked for."""
_CANDIDATES_MAX: Final = 32  # members of one name looked at in a tail, the last ones first


class Document:
    """Read members of a JSON object; what is absent, cut away or no JSON at all reads as `None`."""

    __slots__ = ("_at", "_begun", "_head", "_tail", "_whole")

    def __init__(self, head: bytes, tail: bytes = b"") -> None:
        self._at: tuple[str, ...] = ()
        self._head = head
        self._tail = tail
        self._whole = None if tail else _parse(head)
        self._begun = dict(reversed(list(_members(head)))) if tail else {}  # the first of a name counts

    @classmethod
    def of(cls, content: bytes, whole_bytes_max: int) -> "Document":
        """Take bytes that are all there already; beyond the limit only their head and tail are read."""
        if len(content) <= whole_bytes_max:
            return cls(content)
        return cls(content[:HEAD_BYTES_MAX], content[-TAIL_BYTES_MAX:])

    def element(self) -> "Document":
        """Give the first element of an array, as which some APIs send what others send bare; else this one."""
        if self._whole is not None or self._tail or not self._head.lstrip().startswith(b"["):
            return self
        element = Document(b"")
        value = _value(self._head)
        first = cast("list[object]", value)[:1] if isinstance(value, list) else []
        element._whole = cast("Mapping[str, object]", first[0]) if first and isinstance(first[0], dict) else None
        return element

    def under(self, *path: str) -> "Document":
        """Give the object at this path as a document of its own, which shares the bytes."""
        view = copy(self)
        view._at = (*self._at, *path)  # noqa: SLF001 - of its own kind
        return view

    @property
    def is_cut(self) -> bool:
        """Whether a part is missing."""
        return bool(self._tail)

    @property
    def is_object(self) -> bool:
        """Whether the bytes are a JSON object, as far as one can see."""
        return self._whole is not None or (bool(self._tail) and self._head.lstrip()[:1] == b"{")

    @property
    def top(self) -> Mapping[str, object] | None:
        """All members, where nothing was cut away and this is no part of another document; else nothing."""
        return None if self._at else self._whole

    def read(self, *path: str) -> object:
        """Give the value at this path of member names, or `None`."""
        if self._at:
            path = (*self._at, *path)
        if self._whole is not None:
            return self._whole.get(path[0]) if len(path) == 1 else dig(self._whole, path)  # nearly always the former
        if not self._tail:
            return None
        if path in self._begun:
            return _value(self._head[self._begun[path] :])
        return _value(self._tail[at:]) if (at := _in_tail(self._tail, path)) is not None else None

    def has(self, name: str) -> bool:
        """Tell whether there is a member of this name, though its value may be cut away."""
        path = (*self._at, name)
        if self._whole is not None:
            return (self._whole.get(name) if len(path) == 1 else dig(self._whole, path)) is not None
        return path in self._begun or _in_tail(self._tail, path) is not None


def dig(value: object, path: tuple[str, ...]) -> object:
    """Walk down the members of nested objects."""
    for name in path:
        if not isinstance(value, dict):
            return None
        value = cast("Mapping[str, object]", value).get(name)
    return value


def _parse(content: bytes) -> Mapping[str, object] | None:
    try:
        # Decoded here, for `json` would look for other encodings first. A byte order mark is no JSON, but was seen.
        value: Any = _DECODER.decode(content.removeprefix(codecs.BOM_UTF8).decode())
    except (ValueError, RecursionError):  # no JSON, no UTF-8, a number of thousands of digits, or endless nesting
        return None
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else None


def _members(head: bytes) -> Iterator[tuple[tuple[str, ...], int]]:
    """Yield the path of each member and where its value begins. What stands in an array has no path."""
    names: list[str] = []  # the name of the member that is open, for each level of nesting
    for match in _TOKEN.finditer(head):
        token = match[0]
        if token in (b"{", b"["):
            names.append("")
        elif token in (b"}", b"]"):
            del names[-1:]
        elif names and (colon := _COLON.match(head, match.end())):
            names[-1] = token[1:-1].decode(errors="replace")
            yield tuple(names), colon.end()


def _in_tail(tail: bytes, path: tuple[str, ...]) -> int | None:
    if path[:-1] not in _ENVELOPES:
        return None
    # The tail may begin inside a string, but there every quote is escaped: a bare quoted name behind a brace or a comma
    # is a member. How deep it stands follows from the brackets that close behind it.
    name = re.compile(rb'[{,]\s*"' + re.escape(path[-1].encode()) + rb'"\s*:\s*')
    depth, end = 0, len(tail)
    for match in reversed(list(name.finditer(tail))[-_CANDIDATES_MAX:]):
        # From the last one backwards, so that the tail is gone through once, however many of them there are.
        depth += _closings(tail, match.end(), end)
        if depth == len(path):
            return match.end()
        end = match.end()
    return None


def _closings(tail: bytes, start: int, end: int) -> int:
    depth = 0
    for match in _TOKEN.finditer(tail, start, end):
        token = match[0]
        depth += (token in (b"}", b"]")) - (token in (b"{", b"["))
    return depth


def _value(text: bytes) -> object:
    decoded = text.decode(errors="replace")
    try:
        value: Any
        value, end = _DECODER.raw_decode(decoded)
    except (ValueError, RecursionError):
        return None
    # A number may have lost its last digits; everything else shows its end.
    return None if end == len(decoded) and isinstance(value, int | float) else cast("object", value)
