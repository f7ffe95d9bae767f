"""OpenAI Responses: request, answer and stream.

Shape: {"id", "model", "status", "service_tier", "incomplete_details": {"reason"}, "error": {"code"},
       "usage": {"input_tokens", "input_tokens_details": {"cached_tokens", "cache_write_tokens",
       "cache_write_tokens_details": {"ttl_30m_tokens", "ttl_12h_tokens"}}, "output_tokens",
       "output_tokens_details": {"reasoning_tokens"}}}; streamed, the last event repeats it all under "response".
Source: openai 3.54 types/responses/response.py, response_usage.py, response_completed_event.py (November 2026).
"""

from collections.abc import Mapping
from typing import Final

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation.document import Document
from spanledger_instrumentation.providers.openai_request import output_type, read_error
from spanledger_instrumentation.providers.values import (
    AttributeValue,
    Row,
    attributes,
    count,
    error_type,
    integer,
    members,
    number,
    text,
    word,
)
from spanledger_instrumentation.providers.wire import Wire
from spanledger_instrumentation.usage import Answer, Usage

__all__ = ["WIRE", "ResponseStream", "read_answer", "read_request"]

_REQUEST: Final[tuple[Row, ...]] = (
    (names.REQUEST_MODEL, ("model",), text),
    (names.REQUEST_MAX_TOKENS, ("max_output_tokens",), integer),
    (names.REQUEST_TEMPERATURE, ("temperature",), number),
    (names.REQUEST_TOP_P, ("top_p",), number),
    (names.REQUEST_REASONING_LEVEL, ("reasoning", "effort"), word),
    (names.OUTPUT_TYPE, ("text", "format", "type"), output_type),
    (names.OPENAI_REQUEST_SERVICE_TIER, ("service_tier",), word),
)
_LAST: Final = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
_TELLING: Final = tuple(b'"' + name.encode() + b'"' for name in (*_LAST, "response.created", "error"))


def read_request(request: Document) -> dict[str, AttributeValue]:
    """Read the attributes of a request."""
    return attributes(request, _REQUEST)


def read_answer(document: Document) -> Answer:
    """Read a whole answer. One that is queued or in progress has no usage yet."""
    answer = Answer()
    _take(answer, document, ())
    answer.usage_final = True
    return answer


class ResponseStream:
    """Read the events of a stream; only the first and the last hold figures."""

    def __init__(self) -> None:
        self.answer = Answer()

    def event(self, data: bytes, tail: bytes) -> bool:
        """Take an event. Deltas are not parsed."""
        if b'.delta"' in data[:64]:
            return False
        if not any(name in data or name in tail for name in _TELLING):
            self.answer.done = self.answer.done or data.startswith(b"[DONE]")
            return self.answer.done
        document = Document(data, tail)
        kind = document.read("type")
        if kind == "error":
            # Flat in OpenAI's own stream (response_error_event.py), nested in some compatible ones.
            code = error_type(document.read("code"), document.read("error", "code"), document.read("error", "type"))
            self.answer.error_type = code or "_OTHER"
            return True
        if kind not in _LAST and kind != "response.created":
            return False
        _take(self.answer, document, ("response",))
        self.answer.done = self.answer.usage_final = kind in _LAST
        return True


def _take(answer: Answer, document: Document, at: tuple[str, ...]) -> None:
    answer.id = text(document.read(*at, "id")) or answer.id
    answer.model = text(document.read(*at, "model")) or answer.model
    answer.service_tier = word(document.read(*at, "service_tier")) or answer.service_tier
    answer.begun = answer.begun or answer.id is not None
    if usage := members(document.read(*at, "usage")):
        answer.usage = read_usage(usage)
    status = document.read(*at, "status")
    if status == "completed":
        answer.finish_reasons = ("completed",)
    elif status == "incomplete":
        answer.finish_reasons = (word(document.read(*at, "incomplete_details", "reason")) or "incomplete",)
    elif status in ("failed", "cancelled"):
        answer.finish_reasons = ("error",)
        answer.error_type = error_type(document.read(*at, "error", "code"), status)


def read_usage(usage: Mapping[str, object]) -> Usage:
    """Read the usage object."""
    read = members(usage.get("input_tokens_details"))
    written = members(read.get("cache_write_tokens_details"))
    return Usage(
        input_tokens=count(usage.get("input_tokens")),
        output_tokens=count(usage.get("output_tokens")),
        cache_read_input_tokens=count(read.get("cached_tokens")),
        cache_write_input_tokens=count(read.get("cache_write_tokens")),
        cache_write_30m_input_tokens=count(written.get("ttl_30m_tokens")),
        cache_write_12h_input_tokens=count(written.get("ttl_12h_tokens")),
        reasoning_output_tokens=count(members(usage.get("output_tokens_details")).get("reasoning_tokens")),
    )


WIRE: Final = Wire(
    provider="openai",
    operation="chat",
    read_request=read_request,
    read_answer=read_answer,
    read_error=read_error,
    stream=ResponseStream,
)
