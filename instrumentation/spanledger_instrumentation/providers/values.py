"""JSON values of a provider -> attribute values, or `None` where the type is not the one that the field has."""

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, cast

from spanledger_instrumentation.document import Document

__all__ = [
    "TEXT_CHARS_MAX",
    "AttributeValue",
    "Row",
    "attributes",
    "count",
    "entries",
    "error_type",
    "finish_reason",
    "integer",
    "members",
    "number",
    "text",
    "total",
    "word",
]

AttributeValue = str | bool | int | float | tuple[str, ...]
Row = tuple[str, tuple[str, ...], Callable[[object], AttributeValue | None]]
"""An attribute, the path of its member in the request, and what reads it."""

TEXT_CHARS_MAX: Final = 256
"""Longer ids, models and reasons are not what they should be, and are left out."""
ENTRIES_MAX: Final = 256
"""Objects of one list that are looked at: 250 texts may be embedded at once."""
_INTEGER_MAX: Final = 2**63 - 1
_COUNT_MAX: Final = 2**53 - 1
"""The greatest integer that all readers of JSON agree on (RFC 7493); a span can hold a sum of hundreds of them."""
_WORD_CHARS_MAX: Final = 64


def text(value: object) -> str | None:
    """Read a short, printable text: a control character or half a surrogate pair would spoil all that it stands in."""
    return value if isinstance(value, str) and 0 < len(value) <= TEXT_CHARS_MAX and value.isprintable() else None


def word(value: object) -> str | None:
    """Read a value of an enumeration: one short word, never a sentence, in which a prompt might be quoted."""
    found = text(value)
    if found is None or len(found) > _WORD_CHARS_MAX:
        return None
    return found if found.replace(".", "_").replace("-", "_").isidentifier() else None


def finish_reason(value: object) -> str | None:
    """Read why an answer ended; that it ended counts also where the provider says so in free text."""
    return word(value) or ("_OTHER" if isinstance(value, str) and value else None)


def integer(value: object) -> int | None:
    """Read an integer; `true` is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and abs(value) <= _INTEGER_MAX else None


def count(value: object) -> int | None:
    """Read a count, never negative. Some servers send whole numbers as floats (GPUStack, OpenRouter)."""
    if value is None:
        return None
    if type(value) is int:  # nearly always
        return value if 0 <= value <= _COUNT_MAX else None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    found = integer(value)
    return found if found is not None and 0 <= found <= _COUNT_MAX else None


def number(value: object) -> float | None:
    """Read a number as a double; JSON's `1e999` and what is no JSON, such as `NaN`, are none."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    found = integer(value)
    return None if found is None else float(found)


def error_type(*candidates: object) -> str | None:
    """Choose the first candidate that is an error code, not a message."""
    return next(filter(None, map(word, candidates)), None)


def members(value: object) -> Mapping[str, object]:
    """Read an object; anything else has no members."""
    return cast("Mapping[str, object]", value) if isinstance(value, dict) else {}


def entries(value: object) -> Iterator[Mapping[str, object]]:
    """Give the objects of a list; what is none has no members."""
    if isinstance(value, list):
        yield from map(members, cast("list[object]", value)[:ENTRIES_MAX])


def total(*parts: int | None) -> int | None:
    """Add up the parts that were reported; nothing, if none was."""
    known = [part for part in parts if part is not None]
    return sum(known) if known else None


def attributes(request: Document, rows: Iterable[Row]) -> dict[str, AttributeValue]:
    """Read the attributes of a request; of two rows for one attribute the first that has a value counts."""
    found: dict[str, AttributeValue] = {}
    present = request.top
    for name, path, read in rows:
        if present is not None and path[0] not in present:
            continue  # nearly always, since most requests say little
        if name not in found and (value := read(request.read(*path))) is not None:
            found[name] = value
    return found
