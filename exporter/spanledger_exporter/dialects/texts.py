"""Attribute values -> texts that may be stored."""

import re

from spanledger_exporter.receiving.keyvalues import AttributeValue

_TEXT_CHARS_MAX = 512
_IDS_MAX = 64
_ID = re.compile(r"[0-9A-Za-z_-]{1,64}")


def text(value: AttributeValue | None) -> str | None:
    """Return a non-empty text of bounded length. PostgreSQL stores no NUL characters, so none gets that far."""
    if not isinstance(value, str):
        return None
    return value.replace("\x00", "")[:_TEXT_CHARS_MAX] or None


def texts(value: AttributeValue | None) -> str | None:
    """Return a list of texts as one, and one that is written as JSON like a list."""
    if isinstance(value, str):
        listed = value[1:-1].split(",") if value[:1] == "[" and value[-1:] == "]" else [value]
        return text(",".join(item.strip().strip("\"'") for item in listed))
    return text(",".join(item for item in value if isinstance(item, str))) if isinstance(value, list) else None


def ids(value: AttributeValue | None) -> tuple[str, ...] | None:
    """Return a list of ids of our own making, each once; what cannot be one is left out."""
    if not isinstance(value, list):
        return None
    found = dict.fromkeys(item for item in value if isinstance(item, str) and _ID.fullmatch(item))
    return tuple(found)[:_IDS_MAX] or None
