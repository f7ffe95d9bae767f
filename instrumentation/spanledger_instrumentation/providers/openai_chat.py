"""OpenAI chat completions: request, answer and stream.

Shape: {"id", "model", "service_tier", "choices": [{"index", "finish_reason"}], "usage": {"prompt_tokens",
       "completion_tokens", "prompt_tokens_details": {"cached_tokens", "cache_write_tokens", "audio_tokens",
       "image_tokens"}, "completion_tokens_details": {"reasoning_tokens", "audio_tokens"}}};
       streamed in chunks, then [DONE]. Totals include their parts.
Source: openai 3.54 types/completion_usage.py, types/chat/chat_completion_chunk.py (November 2026).
"""

from collections.abc import Mapping
from typing import Final, cast

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation.document import Document
from spanledger_instrumentation.providers.openai_request import choice_count, output_type, read_error
from spanledger_instrumentation.providers.values import (
    AttributeValue,
    Row,
    attributes,
    count,
    error_type,
    finish_reason,
    integer,
    members,
    number,
    text,
    word,
)
from spanledger_instrumentation.providers.wire import Wire
from spanledger_instrumentation.usage import Answer, Usage

__all__ = ["WIRE", "ChatStream", "read_answer", "read_request", "read_usage"]

CHOICES_MAX: Final = 128
"""Choices of one answer that are looked at: the most that OpenAI lets one ask for."""
_REQUEST: Final[tuple[Row, ...]] = (
    (names.REQUEST_MODEL, ("model",), text),
    (names.REQUEST_MAX_TOKENS, ("max_completion_tokens",), integer),
    (names.REQUEST_MAX_TOKENS, ("max_tokens",), integer),
    (names.REQUEST_TEMPERATURE, ("temperature",), number),
    (names.REQUEST_TOP_P, ("top_p",), number),
    (names.REQUEST_TOP_K, ("top_k",), integer),
    (names.REQUEST_FREQUENCY_PENALTY, ("frequency_penalty",), number),
    (names.REQUEST_PRESENCE_PENALTY, ("presence_penalty",), number),
    (names.REQUEST_SEED, ("seed",), integer),
    (names.REQUEST_CHOICE_COUNT, ("n",), choice_count),
    (names.REQUEST_REASONING_LEVEL, ("reasoning_effort",), word),
    (names.OUTPUT_TYPE, ("response_format", "type"), output_type),
    (names.OPENAI_REQUEST_SERVICE_TIER, ("service_tier",), word),
)


def read_request(request: Document) -> dict[str, AttributeValue]:
    """Read the attributes of a request."""
    return attributes(request, _REQUEST)


def read_answer(document: Document) -> Answer:
    """Read a whole answer."""
    stream = ChatStream()
    stream.take(document)
    stream.answer.usage_final = True
    return stream.answer


class ChatStream:
    """Read the chunks of a stream; the last usage that is not null wins, some servers send it in every chunk."""

    def __init__(self) -> None:
        self.answer = Answer()
        self._reasons: dict[int, str | None] = {}  # of each choice that was seen

    def event(self, data: bytes, tail: bytes) -> bool:
        """Take a chunk. Most chunks hold text alone and are not parsed."""
        answer = self.answer
        if data.startswith(b"[DONE]"):
            answer.done = answer.usage_final = True
            return True
        if answer.id is not None and not _tells(data) and not (tail and _tells(tail)):
            return False
        self.take(Document(data, tail))
        return True

    def take(self, document: Document) -> None:
        """Take a chunk or a whole answer."""
        answer = self.answer
        answer.id = answer.id or text(document.read("id"))
        answer.model = answer.model or text(document.read("model"))
        answer.service_tier = word(document.read("service_tier")) or answer.service_tier
        choices = document.read("choices")
        answer.begun = answer.begun or choices is not None or answer.id is not None
        if isinstance(choices, list):
            self._take_reasons(cast("list[object]", choices))
        if usage := members(document.read("usage")):
            answer.usage = read_usage(usage)
        if error := document.read("error"):
            answer.error_type = error_type(members(error).get("code"), members(error).get("type")) or "_OTHER"

    def _take_reasons(self, choices: list[object]) -> None:
        before = dict(self._reasons)
        for position, choice in enumerate(map(members, choices[:CHOICES_MAX])):
            index = integer(choice.get("index"))
            index = position if index is None else index
            if index in self._reasons or len(self._reasons) < CHOICES_MAX:
                self._reasons[index] = finish_reason(choice.get("finish_reason")) or self._reasons.get(index)
        if self._reasons != before:
            reasons = (self._reasons[index] for index in sorted(self._reasons))
            self.answer.finish_reasons = tuple(reason for reason in reasons if reason is not None)
            self.answer.choices = len(self._reasons)


def _tells(data: bytes) -> bool:
    """Tell whether a chunk can hold more than text of the first choice: a usage, a reason to finish, an error."""
    return (
        (b'"usage"' in data and b'"usage":null' not in data)
        or b'"finish_reason":"' in data
        or b'"finish_reason": "' in data
        or b'"error"' in data
        or (b'"index"' in data and b'"index":0' not in data and b'"index": 0' not in data)
    )


def read_usage(usage: Mapping[str, object]) -> Usage:
    """Read the usage object."""
    prompt = members(usage.get("prompt_tokens_details"))
    completion = members(usage.get("completion_tokens_details"))
    return Usage(
        input_tokens=count(usage.get("prompt_tokens")),
        output_tokens=count(usage.get("completion_tokens")),
        cache_read_input_tokens=count(prompt.get("cached_tokens")),
        cache_write_input_tokens=count(prompt.get("cache_write_tokens")),
        reasoning_output_tokens=count(completion.get("reasoning_tokens")),
        audio_input_tokens=count(prompt.get("audio_tokens")),
        audio_output_tokens=count(completion.get("audio_tokens")),
        image_input_tokens=count(prompt.get("image_tokens")),
    )


WIRE: Final = Wire(
    provider="openai",
    operation="chat",
    read_request=read_request,
    read_answer=read_answer,
    read_error=read_error,
    stream=ChatStream,
)
