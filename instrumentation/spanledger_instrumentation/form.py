"""A form, as files are uploaded with -> a Document of its short text fields: the model, the format asked for.

Read from the head and the tail of the body, since in between stands the file, and never from a file's own bytes.
Source: RFC 7578 (multipart/form-data), as httpx, requests, aiohttp and urllib3 write it.
"""

import json
import re
from collections.abc import Iterable, Iterator
from typing import Final

from spanledger_instrumentation.document import Document
from spanledger_instrumentation.excerpt import HEAD_BYTES_MAX, TAIL_BYTES_MAX
from spanledger_instrumentation.providers.values import TEXT_CHARS_MAX

__all__ = ["FIELDS_MAX", "MEDIA_TYPE", "document", "read"]

MEDIA_TYPE: Final = "multipart/form-data"
FIELDS_MAX: Final = 64
"""Fields of one form that are looked at."""

_BOUNDARY: Final = re.compile(r';\s*boundary=(?:"([^"]{1,200})"|([^\s;"]{1,200}))', re.IGNORECASE)
_NAME: Final = re.compile(rb'^content-disposition:[^\r\n]*;\s*name="?([^"\r\n;]{1,64})', re.IGNORECASE | re.MULTILINE)
_FILE: Final = re.compile(rb"^content-disposition:[^\r\n]*;\s*filename", re.IGNORECASE | re.MULTILINE)
_NUMBER: Final = re.compile(r"-?\d{1,15}(?:\.\d{1,15})?")
_ALWAYS_TEXT: Final = frozenset({"model", "prompt"})


def read(content: bytes, content_type: str) -> Document:
    """Read a form that is all there."""
    found = _BOUNDARY.search(content_type)
    if found is None:
        return Document(b"")
    boundary = b"\r\n--" + (found[1] or found[2]).encode("latin-1", "replace")
    if len(content) <= HEAD_BYTES_MAX + TAIL_BYTES_MAX:
        return document(_fields(b"\r\n" + content, boundary))
    head, tail = content[:HEAD_BYTES_MAX], content[-TAIL_BYTES_MAX:]
    return document([*_fields(b"\r\n" + head, boundary), *_fields(tail, boundary)])


def document(fields: Iterable[tuple[str, object]]) -> Document:
    """Make a document of text fields; of two with one name the first counts, of a long one only that it is there."""
    found: dict[str, object] = {}
    for name, value in fields:
        if len(found) < FIELDS_MAX and name not in found and (text := _text(value)) is not None:
            found[name] = text if name in _ALWAYS_TEXT else _typed(text)
    return Document(json.dumps(found).encode())


def _fields(content: bytes, boundary: bytes) -> Iterator[tuple[str, object]]:
    # What stands before the first boundary and behind the last one is cut, or nothing.
    for part in content.split(boundary, FIELDS_MAX + 1)[1:-1]:
        head, separator, value = part.partition(b"\r\n\r\n")
        name = _NAME.search(head)
        if separator and name is not None and _FILE.search(head) is None:
            yield name[1].decode("utf-8", "replace"), value


def _text(value: object) -> str | None:
    if not isinstance(value, bytes | str):
        return None
    if len(value) > TEXT_CHARS_MAX:
        return ""
    return value if isinstance(value, str) else value.decode("utf-8", "replace")


def _typed(text: str) -> object:
    """Read a text as what JSON would say in its place."""
    if text in ("true", "false"):
        return text == "true"
    if _NUMBER.fullmatch(text):
        return float(text) if "." in text else int(text)
    return text
