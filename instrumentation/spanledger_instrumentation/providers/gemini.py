"""Gemini's generateContent: request, answer and stream, in the Gemini API and in Vertex AI.

Shape: {"candidates": [{"index", "finishReason", "groundingMetadata": {"webSearchQueries"}}],
       "promptFeedback": {"blockReason"}, "usageMetadata": {"promptTokenCount" (with the cached ones),
       "cachedContentTokenCount", "toolUsePromptTokenCount", "candidatesTokenCount" (without thoughts),
       "thoughtsTokenCount", "...Details": [{"modality", "tokenCount"}], "serviceTier" | "trafficType"},
       "modelVersion", "responseId"}; streamed as such objects, whose figures are cumulative, without a last event.
Source: google-genai 3.4 types.py; recorded answers (November 2026). Early chunks of Vertex AI say `trafficType` alone.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Final, cast

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation.document import Document
from spanledger_instrumentation.providers.google import add_modalities, read_error, read_place
from spanledger_instrumentation.providers.openai_request import choice_count
from spanledger_instrumentation.providers.values import (
    AttributeValue,
    count,
    entries,
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

__all__ = ["WIRE", "ContentStream", "level", "output_type", "read_answer", "read_request", "read_usage"]

CANDIDATES_MAX: Final = 128
"""Candidates of one answer that are looked at."""
QUERIES_MAX: Final = 256
"""Different web searches of one answer that are told apart."""
_MIDDLE: Final = frozenset({"content", "index"})
"""Members of a candidate that has not ended."""
_USAGE: Final = frozenset(
    {
        *("promptTokenCount", "toolUsePromptTokenCount", "cachedContentTokenCount"),
        *("candidatesTokenCount", "thoughtsTokenCount"),
        *("promptTokensDetails", "promptTokenDetails", "toolUsePromptTokensDetails", "cacheTokensDetails"),
        *("candidatesTokensDetails", "serviceTier", "trafficType"),
    }
)
"""Members of a usage that are kept; a stream may send others without end."""
_GENERATION: Final = re.compile(r"gemini-(\d+)")


def output_type(value: object) -> str | None:
    """Read a media type as the conventions name it."""
    return {"text/plain": "text", "application/json": "json"}.get(text(value) or "")


def level(value: object) -> str | None:
    """Read how hard to think."""
    found = word(value)
    return None if found is None else found.lower()


def _thinking_level(value: object) -> str | None:
    config = members(value)
    return level(config.get("thinkingLevel") or config.get("thinking_level"))


_Field = tuple[str, tuple[str, str], Callable[[object], AttributeValue | None]]
_CONFIG: Final[tuple[_Field, ...]] = (
    (names.REQUEST_MAX_TOKENS, ("maxOutputTokens", "max_output_tokens"), integer),
    (names.REQUEST_TEMPERATURE, ("temperature", ""), number),
    (names.REQUEST_TOP_P, ("topP", "top_p"), number),
    (names.REQUEST_TOP_K, ("topK", "top_k"), count),  # the SDK sends a float
    (names.REQUEST_FREQUENCY_PENALTY, ("frequencyPenalty", "frequency_penalty"), number),
    (names.REQUEST_PRESENCE_PENALTY, ("presencePenalty", "presence_penalty"), number),
    (names.REQUEST_SEED, ("seed", ""), integer),
    (names.REQUEST_CHOICE_COUNT, ("candidateCount", "candidate_count"), choice_count),
    (names.OUTPUT_TYPE, ("responseMimeType", "response_mime_type"), output_type),
    (names.REQUEST_REASONING_LEVEL, ("thinkingConfig", "thinking_config"), _thinking_level),
)


def read_request(request: Request) -> dict[str, AttributeValue]:
    """Read the attributes of a request. Google takes each name in both spellings, and so do its users."""
    found = read_place(request)
    document = request.document
    config = members(document.read("generationConfig")) or members(document.read("generation_config"))
    for name, (camel, snake), read in _CONFIG if config else ():
        if (value := read(config.get(camel, config.get(snake)))) is not None:
            found[name] = value
    return found


def streams(request: Request) -> bool:
    """Tell whether a request asks for a stream: its verb says so."""
    return request.segments[-1].endswith(":streamGenerateContent")


def read_answer(document: Document) -> Answer:
    """Read a whole answer."""
    stream = ContentStream()
    stream.take(document)
    stream.answer.usage_final = True
    return stream.answer


class ContentStream:
    """Read the chunks of a stream. A figure that a later chunk lacks stays what it was."""

    def __init__(self) -> None:
        self.answer = Answer()
        self._usage: dict[str, object] = {}
        self._reasons: dict[int, str | None] = {}  # of each candidate that was seen
        self._queries: set[int] = set()  # hashes: they may be long

    def event(self, data: bytes, tail: bytes) -> bool:
        """Take a chunk. All of them have figures; those in the middle differ in the output's alone."""
        document = Document(data, tail)
        usage = self.answer.usage
        if usage is None or not self._goes_on(document):
            self.take(document)
        elif said := members(document.read("usageMetadata")):
            self._keep(said)
            _read_totals(usage, self._usage)
        return True

    def _goes_on(self, document: Document) -> bool:
        """Tell whether a chunk is one of those in the middle: it has some more content of a known candidate."""
        candidates = document.read("candidates")
        if not isinstance(candidates, list) or len(cast("list[object]", candidates)) != 1:
            return False
        candidate = members(cast("list[object]", candidates)[0])
        return candidate.keys() <= _MIDDLE and integer(candidate.get("index", 0)) in self._reasons

    def take(self, document: Document) -> None:
        """Take a chunk or a whole answer."""
        answer = self.answer
        answer.id = answer.id or text(document.read("responseId"))
        if (model := text(document.read("modelVersion"))) is not None:
            answer.model = model.removeprefix("models/")
        candidates = document.read("candidates")
        usage = members(document.read("usageMetadata"))
        blocked = finish_reason(document.read("promptFeedback", "blockReason"))
        answer.begun = answer.begun or bool(usage) or blocked is not None or document.has("candidates")
        if isinstance(candidates, list):
            self._take_candidates(entries(cast("list[object]", candidates)))
        if blocked is not None:
            answer.finish_reasons = (blocked,)
        if usage:
            self._take_usage(usage)
        if answer.usage is not None:
            answer.usage.web_search_requests = searches_billed(answer.model, len(self._queries))
        if document.has("error"):
            answer.error_type = read_error(document) or "_OTHER"

    def _take_candidates(self, candidates: Iterable[Mapping[str, object]]) -> None:
        for position, candidate in enumerate(candidates):
            index = integer(candidate.get("index"))
            index = position if index is None else index
            if index in self._reasons or len(self._reasons) < CANDIDATES_MAX:
                self._reasons[index] = finish_reason(candidate.get("finishReason")) or self._reasons.get(index)
            if (grounding := members(candidate.get("groundingMetadata"))) and len(self._queries) < QUERIES_MAX:
                queries = grounding.get("webSearchQueries")
                told = cast("list[object]", queries) if isinstance(queries, list) else []
                self._queries.update(hash(query) for query in told[:QUERIES_MAX] if isinstance(query, str) and query)
        if self._reasons:
            reasons = (self._reasons[index] for index in sorted(self._reasons))
            self.answer.finish_reasons = tuple(reason for reason in reasons if reason is not None)
            self.answer.choices = len(self._reasons)

    def _take_usage(self, usage: Mapping[str, object]) -> None:
        self._keep(usage)
        tier = word(self._usage.get("serviceTier")) or word(self._usage.get("trafficType"))
        self.answer.service_tier = tier or self.answer.service_tier
        found = read_usage(self._usage)
        self.answer.usage = found if found.known() else self.answer.usage

    def _keep(self, usage: Mapping[str, object]) -> None:
        self._usage.update((name, value) for name, value in usage.items() if value is not None and name in _USAGE)


def read_usage(usage: Mapping[str, object]) -> Usage:
    """Read the usage object; the totals are made here, since thoughts and what tools read stand beside the rest."""
    found = Usage(cache_read_input_tokens=count(usage.get("cachedContentTokenCount")))
    _read_totals(found, usage)
    # Embeddings say `promptTokenDetails`.
    add_modalities(found, "input", usage.get("promptTokensDetails") or usage.get("promptTokenDetails"))
    add_modalities(found, "input", usage.get("toolUsePromptTokensDetails"))
    add_modalities(found, "cache_read_input", usage.get("cacheTokensDetails"))
    add_modalities(found, "output", usage.get("candidatesTokensDetails"))
    return found


def _read_totals(found: Usage, usage: Mapping[str, object]) -> None:
    thoughts = count(usage.get("thoughtsTokenCount"))
    found.input_tokens = total(count(usage.get("promptTokenCount")), count(usage.get("toolUsePromptTokenCount")))
    found.output_tokens = total(count(usage.get("candidatesTokenCount")), thoughts)
    found.reasoning_output_tokens = thoughts


def searches_billed(model: str | None, queries: int) -> int | None:
    """Count the uses of Google Search that are billed for one answer.

    From Gemini 3 on, each different query that is not empty; before, the prompt, however many queries it led to.
    Source: https://ai.google.dev/gemini-api/docs/google-search#pricing (November 2026).
    """
    generation = _GENERATION.match(model or "")
    if not queries or generation is None:
        return None
    return queries if int(generation[1]) >= 3 else 1


WIRE: Final = Wire(
    provider="gcp.gemini",
    operation="generate_content",
    read_request=read_request,
    read_answer=read_answer,
    read_error=read_error,
    stream=ContentStream,
    streams=streams,
)
