"""Gemini's Interactions: request, answer and stream.

Shape: {"id", "model", "status", "service_tier", "usage": {"total_input_tokens" (with the cached ones),
       "total_cached_tokens", "total_tool_use_tokens", "total_output_tokens" (without thoughts),
       "total_thought_tokens", "..._tokens_by_modality": [{"modality", "tokens"}],
       "grounding_tool_count": [{"type": "google_search", "count"}]}};
       streamed as interaction.created {"interaction": it}, ..., interaction.completed, then [DONE]; one that was asked
       for with `background` is answered at once, `in_progress` and without usage.
Source: google-genai 3.4 _gaos/types/interactions/usage.py, interaction.py; recorded answers (November 2026).
"""

from collections.abc import Mapping
from typing import Final

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation.document import Document
from spanledger_instrumentation.providers.gemini import level
from spanledger_instrumentation.providers.google import add_modalities, read_api, read_error
from spanledger_instrumentation.providers.values import (
    AttributeValue,
    Row,
    attributes,
    count,
    entries,
    error_type,
    integer,
    members,
    number,
    text,
    total,
    word,
)
from spanledger_instrumentation.providers.wire import Request, Wire
from spanledger_instrumentation.usage import Answer, Usage

__all__ = ["WIRE", "InteractionStream", "read_answer", "read_request", "read_usage"]

_CONFIG: Final = "generation_config"
_REQUEST: Final[tuple[Row, ...]] = (
    (names.REQUEST_MODEL, ("model",), text),
    (names.REQUEST_MAX_TOKENS, (_CONFIG, "max_output_tokens"), integer),
    (names.REQUEST_TEMPERATURE, (_CONFIG, "temperature"), number),
    (names.REQUEST_TOP_P, (_CONFIG, "top_p"), number),
    (names.REQUEST_SEED, (_CONFIG, "seed"), integer),
    (names.REQUEST_REASONING_LEVEL, (_CONFIG, "thinking_level"), level),
)
_PENDING: Final = frozenset({"in_progress", "queued"})
_FAILED: Final = frozenset({"failed", "cancelled"})


def read_request(request: Request) -> dict[str, AttributeValue]:
    """Read the attributes of a request. One to an agent names no model."""
    found = read_api(request) | attributes(request.document, _REQUEST)
    model = found.get(names.REQUEST_MODEL)
    if isinstance(model, str):
        found[names.REQUEST_MODEL] = model.removeprefix("models/")
    return found


def read_answer(document: Document) -> Answer:
    """Read a whole answer, also that to a poll; of one that is not done yet there are no figures."""
    answer = Answer()
    _take(answer, document)
    answer.usage_final = True
    answer.pending = document.read("status") in _PENDING
    return answer


class InteractionStream:
    """Read the events of a stream; only the first and the last tell of the whole."""

    def __init__(self) -> None:
        self.answer = Answer()

    def event(self, data: bytes, tail: bytes) -> bool:
        """Take an event. Deltas, whose type stands last, are not parsed."""
        if data.endswith(b'"step.delta"}'):
            return False
        if data.startswith(b"[DONE]"):
            self.answer.done = True
            return True
        document = Document(data, tail)
        kind = document.read("event_type")
        if kind == "error":
            self.answer.error_type = read_error(document) or "_OTHER"
        elif isinstance(kind, str) and kind.startswith("interaction.") and document.has("interaction"):
            _take(self.answer, document.under("interaction"))
            self.answer.done = self.answer.usage_final = kind != "interaction.created"
        else:
            return False
        return True


def _take(answer: Answer, document: Document) -> None:
    answer.id = text(document.read("id")) or answer.id
    model = text(document.read("model"))
    answer.model = answer.model if model is None else model.removeprefix("models/")
    answer.service_tier = word(document.read("service_tier")) or answer.service_tier
    answer.begun = answer.begun or answer.id is not None
    if usage := members(document.read("usage")):
        answer.usage = read_usage(usage)
    status = word(document.read("status"))
    if status in _FAILED:
        answer.finish_reasons = ("error",)
        answer.error_type = error_type(document.read("error", "code"), status)
    elif status is not None and status not in _PENDING:
        answer.finish_reasons = (status,)


def read_usage(usage: Mapping[str, object]) -> Usage:
    """Read the usage object; the totals are made here, since thoughts and what tools read stand beside the rest."""
    thoughts = count(usage.get("total_thought_tokens"))
    found = Usage(
        input_tokens=total(count(usage.get("total_input_tokens")), count(usage.get("total_tool_use_tokens"))),
        output_tokens=total(count(usage.get("total_output_tokens")), thoughts),
        cache_read_input_tokens=count(usage.get("total_cached_tokens")),
        reasoning_output_tokens=thoughts,
        web_search_requests=total(
            *(
                count(tool.get("count"))
                for tool in entries(usage.get("grounding_tool_count"))
                if tool.get("type") == "google_search"
            )
        ),
    )
    add_modalities(found, "input", usage.get("input_tokens_by_modality"), "tokens")
    add_modalities(found, "input", usage.get("tool_use_tokens_by_modality"), "tokens")
    add_modalities(found, "cache_read_input", usage.get("cached_tokens_by_modality"), "tokens")
    add_modalities(found, "output", usage.get("output_tokens_by_modality"), "tokens")
    return found


WIRE: Final = Wire(
    provider="gcp.gemini",
    operation="generate_content",
    read_request=read_request,
    read_answer=read_answer,
    read_error=read_error,
    stream=InteractionStream,
)
