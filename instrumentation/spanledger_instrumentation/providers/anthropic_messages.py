"""Anthropic messages: request, answer and stream.

Shape: {"id", "model", "stop_reason", "usage": {"input_tokens", "cache_read_input_tokens",
       "cache_creation_input_tokens", "cache_creation": {"ephemeral_5m_input_tokens", "ephemeral_1h_input_tokens"},
       "output_tokens", "output_tokens_details": {"thinking_tokens"}, "server_tool_use": {"web_search_requests"},
       "service_tier", "inference_geo", "speed"}};
       streamed as message_start {"message": it}, ..., message_delta {"delta", "usage"}, message_stop.
Source: anthropic 2.12 types/usage.py, types/message_delta_usage.py (November 2026). `input_tokens` excludes the cache;
the usage of message_delta is cumulative, so its fields replace those of message_start and are never added to them.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation.document import Document
from spanledger_instrumentation.providers.openai_chat import read_cost
from spanledger_instrumentation.providers.values import (
    AttributeValue,
    Row,
    attributes,
    count,
    entries,
    error_type,
    finish_reason,
    integer,
    members,
    number,
    text,
    total,
    word,
)
from spanledger_instrumentation.providers.wire import Request, Wire
from spanledger_instrumentation.usage import Answer, Usage

__all__ = ["WIRE", "MessageStream", "read_answer", "read_request"]

_DETAILS: Final = (
    (names.ANTHROPIC_RESPONSE_INFERENCE_GEO, "inference_geo"),
    (names.ANTHROPIC_RESPONSE_SPEED, "speed"),
)
_TEXT: Final = (b'{"type":"content_block_', b'{"type": "content_block_')
_INPUT: Final = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
_USAGE: Final = frozenset(
    {
        *_INPUT,
        *("cache_creation", "output_tokens", "output_tokens_details", "server_tool_use", "iterations", "service_tier"),
        *(member for _, member in _DETAILS),
    }
)
"""Members of a usage that are kept; a stream may send others without end."""


def _output_type(value: object) -> str | None:
    return "json" if value == "json_schema" else None


_REQUEST: Final[tuple[Row, ...]] = (
    (names.REQUEST_MODEL, ("model",), text),
    (names.REQUEST_MAX_TOKENS, ("max_tokens",), integer),
    (names.REQUEST_TEMPERATURE, ("temperature",), number),
    (names.REQUEST_TOP_P, ("top_p",), number),
    (names.REQUEST_TOP_K, ("top_k",), integer),
    (names.REQUEST_REASONING_LEVEL, ("output_config", "effort"), word),
    (names.OUTPUT_TYPE, ("output_config", "format", "type"), _output_type),
    (names.OUTPUT_TYPE, ("output_format", "type"), _output_type),
    (names.ANTHROPIC_REQUEST_SERVICE_TIER, ("service_tier",), word),
)


def read_request(request: Request) -> dict[str, AttributeValue]:
    """Read the attributes of a request."""
    return attributes(request.document, _REQUEST)


def read_error(document: Document) -> str | None:
    """Read why a request was refused.

    Shape: {"type": "error", "error": {"type": "rate_limit_error", "message": ...}}
    Source: anthropic 2.12 types/shared/error_response.py (November 2026).
    """
    return error_type(document.read("error", "type"))


def read_answer(document: Document) -> Answer:
    """Read a whole answer."""
    stream = MessageStream()
    stream.take_message(document, ())
    stream.answer.usage_final = True
    return stream.answer


class MessageStream:
    """Read the events of a stream; the text in between is not parsed."""

    def __init__(self) -> None:
        self.answer = Answer()
        self._usage: dict[str, object] = {}

    def event(self, data: bytes, tail: bytes) -> bool:
        """Take an event."""
        if data.startswith(_TEXT) or b'"content_block_' in data[:40]:
            return False
        document = Document(data, tail)
        kind = document.read("type")
        if kind == "message_start":
            self.take_message(document, ("message",))
        elif kind == "message_delta":
            self._take_reason(document.read("delta", "stop_reason"))
            if usage := members(document.read("usage")):
                self._take_usage({**self._fallen_back(usage), **_said(usage)})
                self.answer.usage_final = True
        elif kind == "message_stop":
            self.answer.done = True
        elif kind == "error":
            self.answer.error_type = read_error(document) or "_OTHER"
        else:
            return False
        return True

    def take_message(self, document: Document, at: tuple[str, ...]) -> None:
        """Take a message, whole or as it starts."""
        self.answer.id = text(document.read(*at, "id"))
        self.answer.model = text(document.read(*at, "model"))
        self.answer.begun = True
        self._take_reason(document.read(*at, "stop_reason"))
        if usage := members(document.read(*at, "usage")):
            self._take_usage(usage)

    def _take_reason(self, value: object) -> None:
        if reason := finish_reason(value):
            self.answer.finish_reasons = (reason,)

    def _fallen_back(self, usage: Mapping[str, object]) -> Mapping[str, object]:
        """Turn to another model, where one took over in the stream: what the first one said of its usage is past.

        Source: anthropic 2.12 types/beta/beta_fallback_message_iteration_usage.py;
        platform.claude.com/docs/en/build-with-claude/refusals-and-fallback (November 2026). The figures are those of
        the model that answered, which message_start could not know.
        """
        served = _iterations(usage, "fallback_message")
        if not served:
            return {}
        self.answer.model = text(served[-1].get("model")) or self.answer.model
        for name in (*_INPUT, "cache_creation"):
            self._usage.pop(name, None)
        return _said(served[-1])

    def _take_usage(self, usage: Mapping[str, object]) -> None:
        self._usage.update(_said(usage))
        self.answer.usage = read_usage(self._usage)
        self.answer.service_tier = word(self._usage.get("service_tier"))
        for name, member in _DETAILS:
            if (detail := word(self._usage.get(member))) is not None:
                self.answer.details[name] = detail
        if "iterations" in self._usage:
            _take_advice(self.answer, self._usage)
            self.answer.beside = self.answer.beside or _has_declined(self._usage)


def read_usage(usage: Mapping[str, object]) -> Usage:
    """Read the usage object; the total of the input is made here, since Anthropic gives only its parts."""
    uncached, cache_read, cache_write = (count(usage.get(part)) for part in _INPUT)
    lifetimes = members(usage.get("cache_creation"))
    return Usage(
        input_tokens=None if uncached is None else uncached + (cache_read or 0) + (cache_write or 0),
        output_tokens=count(usage.get("output_tokens")),
        cache_read_input_tokens=cache_read,
        cache_write_input_tokens=cache_write,
        cache_write_5m_input_tokens=count(lifetimes.get("ephemeral_5m_input_tokens")),
        cache_write_1h_input_tokens=count(lifetimes.get("ephemeral_1h_input_tokens")),
        reasoning_output_tokens=count(members(usage.get("output_tokens_details")).get("thinking_tokens")),
        web_search_requests=count(members(usage.get("server_tool_use")).get("web_search_requests")),
        compaction_input_tokens=_compacted(usage, _INPUT),
        compaction_output_tokens=_compacted(usage, ("output_tokens",)),
    )


def _compacted(usage: Mapping[str, object], parts: tuple[str, ...]) -> int | None:
    """Add up what compactions used, which stands in no other figure.

    Source: anthropic 2.12 types/beta/beta_usage.py; summed as in its lib/_tracing/_response.py (November 2026).
    """
    compactions = _iterations(usage, "compaction")
    return (_sum(compactions, parts) or 0) if compactions else None


def _take_advice(answer: Answer, usage: Mapping[str, object]) -> None:
    """Take what the advisor used, another model than the answer's, at other prices, whose tokens are in no total.

    Source: anthropic 2.12 types/beta/beta_advisor_message_iteration_usage.py;
    platform.claude.com/docs/en/agents-and-tools/tool-use/advisor-tool (November 2026).
    """
    advice = _iterations(usage, "advisor_message")
    for name, parts in ((names.ADVISOR_INPUT_TOKENS, _INPUT), (names.ADVISOR_OUTPUT_TOKENS, ("output_tokens",))):
        if (figure := _sum(advice, parts)) is not None:
            answer.details[name] = figure
    answer.beside = bool(advice)
    if advice and (model := text(advice[0].get("model"))) is not None:
        answer.details[names.ADVISOR_MODEL] = model


def _has_declined(usage: Mapping[str, object]) -> bool:
    """Tell whether a model that another one took over from had begun to answer: that is billed, and in no total."""
    served, others = _iterations(usage, "fallback_message"), _iterations(usage, "message")
    written = _sum((*served, *others), ("output_tokens",)) or 0
    return bool(served) and written > (count(usage.get("output_tokens")) or 0)


def _said(usage: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in usage.items() if value is not None and name in _USAGE}


def _iterations(usage: Mapping[str, object], kind: str) -> list[Mapping[str, object]]:
    return [entry for entry in entries(usage.get("iterations")) if entry.get("type") == kind]


def _sum(iterations: Iterable[Mapping[str, object]], parts: tuple[str, ...]) -> int | None:
    return total(*(count(entry.get(part)) for entry in iterations for part in parts))


WIRE: Final = Wire(
    provider="anthropic",
    operation="chat",
    read_request=read_request,
    read_answer=read_answer,
    read_error=read_error,
    stream=MessageStream,
    read_head=read_cost,
)
