"""What each wire format provides to the application: a request -> an ask, and a draft -> bytes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast

from spanledger_demo.provider.cache import Block
from spanledger_demo.provider.draft import Ask, Draft, RequestError
from spanledger_demo.provider.figures import Figures

# A JSON object on the wire, in or out; its shape is the vendor's.
Json = dict[str, Any]

# Words in one event of a stream.
EVENT_WORDS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """Hold one event of a stream: its bytes, and the figures that a client knows once it has read them.

    `last` stands on the event at which a client has everything; what follows adds nothing to the figures.
    """

    data: bytes
    said: Figures | None = None
    last: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Hold an answer that is an error: its status and what it says."""

    status: int
    message: str
    param: str | None = None
    code: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """Hold one endpoint's format. An empty `id_prefix` says that its answers have no id."""

    provider: str
    id_prefix: str
    parse: Callable[[Json], Ask]
    answer: Callable[[Draft], Json]
    events: Callable[[Draft], Iterator[Event]]
    error: Callable[[Failure], Json]
    error_event: Callable[[Failure], bytes]
    headers: Callable[[int, float], Mapping[str, str]]
    credential: Callable[[Mapping[str, str]], str]


def sse(value: Json, *, name: str | None = None) -> bytes:
    """Encode one server-sent event."""
    head = f"event: {name}\n" if name else ""
    return f"{head}data: {json.dumps(value, separators=(',', ':'))}\n\n".encode()


def pieces(draft: Draft) -> Iterator[str]:
    """Cut the answer's text into what each event of a stream carries; joined, they are the text."""
    words = draft.words
    for start in range(0, len(words), EVENT_WORDS):
        space = " " if start else ""
        yield space + " ".join(words[start : start + EVENT_WORDS])


def required(body: Json, name: str) -> Any:
    """Read a field that the vendor requires.

    Raises: RequestError, to be answered as 400.
    """
    if body.get(name) in (None, "", []):
        raise RequestError(f"Missing required parameter: '{name}'.", param=name, code="missing_required_parameter")
    return body[name]


def positive(body: Json, name: str) -> int | None:
    """Read an optional limit.

    Raises: RequestError, to be answered as 400.
    """
    value = body.get(name)
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        message = f"Invalid value for '{name}': expected an integer of 1 or more, got {json.dumps(value)}."
        raise RequestError(message, param=name, code="integer_below_min_value")
    return value


def child(body: Json, name: str) -> Json:
    """Read an optional object; absent and null are empty.

    Raises: RequestError, to be answered as 400.
    """
    value: Any = body.get(name)
    if not isinstance(value, dict | None):
        raise RequestError(f"Invalid type for '{name}': expected an object.", param=name, code="invalid_type")
    return cast("Json", value or {})


def listed(body: Json, name: str) -> list[Json]:
    """Read an optional list of objects; absent and null are empty.

    Raises: RequestError, to be answered as 400.
    """
    value: Any = body.get(name)
    if not isinstance(value, list | None):
        raise RequestError(f"Invalid type for '{name}': expected a list.", param=name, code="invalid_type")
    return cast("list[Json]", value or [])


def text_of(content: Any) -> str:
    """Flatten what a vendor takes as content: a text, or parts, of which the texts count as such."""
    if isinstance(content, str):
        return content
    if isinstance(content, list):
        return "\n".join(text_of(part) for part in cast("list[Any]", content))
    if isinstance(content, dict) and isinstance(text := cast("Json", content).get("text"), str):
        return text
    return json.dumps(content, sort_keys=True)


def tool_blocks(body: Json) -> list[Block]:
    """Read the tools, which are part of the prompt and come first in it."""
    return [Block(text=json.dumps(tool, sort_keys=True)) for tool in listed(body, "tools")]
