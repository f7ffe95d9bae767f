"""OpenAI chat completions, also as other providers and servers speak them: request, answer and stream.

Shape: {"id", "model", "service_tier", "choices": [{"index", "finish_reason"}], "usage": see openai_usage};
       streamed in chunks, then [DONE]. Some send usage in every chunk, some beside choices, Groq also as
       {"x_groq": {"usage"}}: all of these are one slot.
Source: openai 3.54 types/chat/chat_completion_chunk.py, groq 1.7 types/chat/chat_completion_chunk.py (November 2026).
"""

import math
from collections.abc import Mapping
from typing import Final, cast

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation.document import Document
from spanledger_instrumentation.providers.openai_request import choice_count, output_type, read, read_error
from spanledger_instrumentation.providers.openai_usage import read_usage
from spanledger_instrumentation.providers.values import (
    AttributeValue,
    Row,
    error_type,
    finish_reason,
    integer,
    members,
    number,
    text,
    word,
)
from spanledger_instrumentation.providers.wire import Request, Wire
from spanledger_instrumentation.usage import Answer

__all__ = ["REQUEST", "WIRE", "ChatStream", "read_answer", "read_cost", "read_head", "read_request", "read_usage"]

CHOICES_MAX: Final = 128
"""Choices of one answer that are looked at: the most that OpenAI lets one ask for."""
REQUEST: Final[tuple[Row, ...]] = (
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
"""What chat and text completions ask for, in the conventions' names."""


def read_request(request: Request) -> dict[str, AttributeValue]:
    """Read the attributes of a request."""
    return read(request, REQUEST)


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
        if usage := _usage(document):
            answer.usage = read_usage(usage, model=answer.model)
            answer.service_tier = word(usage.get("service_tier")) or answer.service_tier  # Mistral
        if error := document.read("error") or document.read("x_groq", "error"):
            answer.error_type = _error_type(members(error))

    def _take_reasons(self, choices: list[object]) -> None:
        found = self._reasons
        before = found.copy()
        for position, choice in enumerate(map(members, choices[:CHOICES_MAX])):
            index = integer(choice.get("index"))
            index = position if index is None else index
            if index in found or len(found) < CHOICES_MAX:
                found[index] = finish_reason(choice.get("finish_reason")) or found.get(index)
        if found != before:
            self.answer.finish_reasons = tuple([reason for _, reason in sorted(found.items()) if reason is not None])
            self.answer.choices = len(found)


def _usage(document: Document) -> Mapping[str, object]:
    if usage := members(document.read("usage")):
        return usage
    # What stands there in an answer that is no stream is something else: how much of Groq's memory the cache took.
    of_groq = members(document.read("x_groq", "usage"))
    return of_groq if "prompt_tokens" in of_groq else {}


def _error_type(error: Mapping[str, object]) -> str:
    """Name an error within an answer; OpenRouter gives an HTTP status as its code."""
    code = integer(error.get("code"))
    return error_type(error.get("code"), error.get("type")) or ("_OTHER" if code is None else str(code))


def _tells(data: bytes) -> bool:
    """Tell whether a chunk can hold more than text of the first choice: a usage, a reason to finish, an error."""
    return (
        (b'"usage"' in data and (b'"usage":null' not in data or data.count(b'"usage"') > 1))
        or b'"finish_reason":"' in data
        or b'"finish_reason": "' in data
        or b'"error"' in data
        or (b'"index"' in data and b'"index":0' not in data and b'"index": 0' not in data)
    )


def read_head(headers: Mapping[str, str], answer: Answer) -> None:
    """Add to the usage what only headers say: the cost, and the cached part by Fireworks.

    Source: docs.fireworks.ai/guides/prompt-caching (November 2026).
    """
    usage = answer.usage
    if usage is None or not usage.known():
        return
    read_cost(headers, answer)
    cached = headers.get("fireworks-cached-prompt-tokens", "")
    if usage.cache_read_input_tokens is None and cached.isdecimal() and len(cached) < 12:
        usage.cache_read_input_tokens = int(cached)


def read_cost(headers: Mapping[str, str], answer: Answer) -> None:
    """Add to the usage what a LiteLLM proxy says that the call cost, in whatever format it answers.

    Source: docs.litellm.ai/docs/proxy/response_headers (November 2026).
    """
    usage = answer.usage
    if usage is not None and usage.cost_usd is None and usage.known():
        usage.cost_usd = _dollars(headers.get("x-litellm-response-cost", ""))


def _dollars(value: str) -> float | None:
    # A stream's head is sent before its cost is known; a zero there says nothing.
    try:
        amount = float(value[:32])
    except ValueError:
        return None
    return amount if amount > 0 and math.isfinite(amount) else None


WIRE: Final = Wire(
    provider="openai",
    operation="chat",
    read_request=read_request,
    read_answer=read_answer,
    read_error=read_error,
    stream=ChatStream,
    read_head=read_head,
    usage_on_request=True,
)
