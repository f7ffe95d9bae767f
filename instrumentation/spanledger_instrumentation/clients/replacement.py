"""The body of a request, as an app gives it to a client -> its bytes, and another body that goes in its place.

What goes in its place is of the same kind, so that the client treats both alike.
"""

from collections.abc import Mapping
from typing import Any

from spanledger_instrumentation.clients.headers import text

__all__ = ["content_of", "fitting", "is_replaceable", "like"]


def content_of(body: object) -> bytes:
    """Give the body of a request, or nothing where reading it would consume it."""
    if isinstance(body, str):
        return body.encode(errors="replace")
    return bytes(body) if isinstance(body, bytes | bytearray) else b""


def is_replaceable(body: object, content: bytes, headers: Mapping[str, str]) -> bool:
    """Tell whether another one can go in its place: it is all there, and what the headers say of it is true."""
    if not isinstance(body, str | bytes | bytearray) or headers.get("content-length", len(content)) not in (
        len(content),
        str(len(content)),
    ):
        return False
    return not isinstance(body, str) or body.isascii() or content.decode() == body  # else it has no bytes


def like(body: object, content: bytes) -> Any:
    """Give this content as the same kind of object as that body."""
    if isinstance(body, str):
        return content.decode()
    return bytearray(content) if isinstance(body, bytearray) else content


def fitting(given: Mapping[str, str], others: Mapping[str, str], content: bytes) -> dict[str, str]:
    """Give the headers that must be set for another content, besides others, as the app has spelt them.

    Its length stands there only where the app has said one: otherwise the client counts.
    """
    spelt = {text(name).lower(): name for name in given}
    found = {spelt.get(name, name): value for name, value in others.items()}
    if "content-length" in spelt:
        found[spelt["content-length"]] = str(len(content))
    return found
