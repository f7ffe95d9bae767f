"""What every wire format offers: how its request, its answer and its stream are read."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from spanledger_instrumentation.document import Document
from spanledger_instrumentation.providers.values import AttributeValue
from spanledger_instrumentation.usage import Answer, Usage

__all__ = ["Request", "StreamReader", "Wire", "streams_if_asked"]


@dataclass(slots=True, kw_only=True)
class Request:
    """A request, as far as wire formats want to know it. Not frozen, since that makes it slow to make."""

    host: str
    segments: tuple[str, ...]
    """Segments of the path, percent-decoded; the empty ones are left out."""
    query: str
    document: Document
    """The JSON body; of a form, its short text fields."""
    headers: Mapping[str, str]
    """By lower-case name."""


class StreamReader(Protocol):
    """Reads the events of one streamed answer."""

    answer: Answer
    """What the events have said so far."""

    def event(self, data: bytes, tail: bytes) -> bool:
        """Take the data of an event, whole or as head and tail; tell whether the answer changed."""
        ...


def streams_if_asked(request: Request) -> bool:
    """Tell whether the body asks for a stream, as most formats have it."""
    return request.document.read("stream") is True


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """Name one wire format and operation, with its readers."""

    provider: str
    """Its owner, whose name a call gets on a host that nobody knows."""
    operation: str
    read_request: Callable[[Request], dict[str, AttributeValue]]
    """The request -> the attributes that the span starts with."""
    read_answer: Callable[[Document], Answer]
    """The body of a successful answer that is no stream."""
    read_error: Callable[[Document], str | None]
    """The body of a refusal -> the provider's error code or type."""
    read_error_head: Callable[[Mapping[str, str]], str | None] | None = None
    """The headers of a refusal, for providers whose error code stands there -> the code."""
    stream: Callable[[], StreamReader] | None = None
    """A reader of a streamed answer, where the operation has one."""
    streams: Callable[[Request], bool] = streams_if_asked
    """Whether a request asks for a stream."""
    read_head: Callable[[Mapping[str, str], Answer], None] | None = None
    """Add to a successful answer that came to its end what only the headers say of it."""
    asked: Callable[[Request], Usage | None] | None = None
    """What is billed by the request itself, where the answer has no usage: the characters that speech is made of."""
    usage_on_request: bool = False
    """Whether a stream has its usage only where the request asks by OpenAI's `stream_options.include_usage`."""
    answer_bytes_max: int = 4 * 1024 * 1024
    """Body of an answer that is parsed as a whole; of a longer one only head and tail are read."""
