"""OpenAI Responses, also as other providers and servers speak them: request, answer and stream.

Decisions, which answer questions on an input, are read here too: they have the same usage.

Shape: {"id", "model", "status", "service_tier", "incomplete_details": {"reason"}, "error": {"code"}, "tool_usage",
       "usage": see openai_usage}; streamed, the last event repeats it all under "response".
Source: openai 3.54 types/responses/response.py, response_usage.py, response_completed_event.py (November 2026).
"""

from collections.abc import Mapping
from typing import Final

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation.document import Document
from spanledger_instrumentation.providers.openai_chat import read_head
from spanledger_instrumentation.providers.openai_request import output_type, read, read_error
from spanledger_instrumentation.providers.openai_usage import read_usage
from spanledger_instrumentation.providers.values import (
    AttributeValue,
    Row,
    count,
    error_type,
    integer,
    members,
    number,
    text,
    word,
)
from spanledger_instrumentation.providers.wire import Request, Wire
from spanledger_instrumentation.usage import Answer

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
_IMAGES: Final = (
    (names.IMAGE_TOOL_INPUT_TOKENS, "input_tokens"),
    (names.IMAGE_TOOL_OUTPUT_TOKENS, "output_tokens"),
)
_TEXT: Final = b'{"type":"response.output_text.delta"'
_LAST: Final = frozenset({"response.completed", "response.incomplete", "response.failed", "response.cancelled"})
_TELLING: Final = tuple(b'"' + name.encode() + b'"' for name in (*_LAST, "response.created", "error"))


def read_request(request: Request) -> dict[str, AttributeValue]:
    """Read the attributes of a request."""
    return read(request, _REQUEST)


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
        if data.startswith(_TEXT) or b'.delta"' in data[:64]:
            return False
        if not any(name in data or name in tail for name in _TELLING):
            self.answer.done = self.answer.done or data.startswith(b"[DONE]")
            return self.answer.done
        document = Document(data, tail)
        kind = text(document.read("type"))
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
        answer.usage = read_usage(usage, model=answer.model)
    if tools := members(document.read(*at, "tool_usage")):
        _take_tools(answer, tools)
    answer.background = answer.background or document.read(*at, "background") is True
    status = document.read(*at, "status")
    answer.pending = status in ("queued", "in_progress")
    if status == "completed":
        answer.finish_reasons = ("completed",)
    elif status == "incomplete":
        answer.finish_reasons = (word(document.read(*at, "incomplete_details", "reason")) or "incomplete",)
    elif status in ("failed", "cancelled"):
        answer.finish_reasons = ("error",)
        answer.error_type = error_type(document.read(*at, "error", "code"), status)


def _take_tools(answer: Answer, tools: Mapping[str, object]) -> None:
    """Take what hosted tools used, which stands in no other figure.

    Images are made by another model, at other prices: their tokens are told apart, and make the figures partial.

    Shape: {"web_search": {"num_requests"}, "image_gen": {"input_tokens", "output_tokens"}}, with zeros for the unused
    """
    if answer.usage is not None and answer.usage.web_search_requests is None:
        answer.usage.web_search_requests = count(members(tools.get("web_search")).get("num_requests"))
    images = members(tools.get("image_gen"))
    for name, member in _IMAGES:
        if figure := count(images.get(member)):
            answer.details[name] = figure
            answer.beside = True


WIRE: Final = Wire(
    provider="openai",
    operation="chat",
    read_request=read_request,
    read_answer=read_answer,
    read_error=read_error,
    stream=ResponseStream,
    read_head=read_head,
)
