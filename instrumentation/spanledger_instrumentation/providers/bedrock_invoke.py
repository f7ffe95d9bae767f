"""Amazon Bedrock's InvokeModel: the bodies are the vendors' own, the counts are in AWS's headers and metrics.

Shape: X-Amzn-Bedrock-{Input,Output,Cache-Read-Input,Cache-Write-Input}-Token-Count, X-Amzn-Bedrock-Service-Tier;
       streamed as chunk {"bytes": base64 of a vendor's event}, of which the last one has
       "amazon-bedrock-invocationMetrics": {"inputTokenCount", "outputTokenCount", "cacheReadInputTokenCount", ...}.
Source: botocore 1.44 data/bedrock-runtime/2023-09-30/service-2.json, and the recordings of
opentelemetry-instrumentation-bedrock 0.62.4 and -botocore 0.66b2 (November 2026): the input count leaves the cache out
(4, beside 18131 written, as Anthropic's own usage says it), and is the only figure of Cohere's, AI21's and older
Claude's whole answers. Anthropic's, Nova's and OpenAI-like usage, Titan's and Llama's counts say the same as AWS's.

What a body says itself comes first, since Anthropic's has more classes; AWS's figures fill in what it leaves out.
Image models bill by the image: the answer's are counted or, where it is too long to be read, those asked for.
"""

import binascii
from collections.abc import Iterator, Mapping
from typing import Final, cast

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation.document import Document
from spanledger_instrumentation.providers import anthropic_messages, openai_chat
from spanledger_instrumentation.providers.bedrock_converse import (
    read_error,
    read_error_head,
    read_exception,
    read_place,
    read_usage,
    streams,
    total_input,
)
from spanledger_instrumentation.providers.values import (
    AttributeValue,
    Row,
    attributes,
    count,
    finish_reason,
    integer,
    members,
    number,
    text,
    word,
)
from spanledger_instrumentation.providers.wire import Request, Wire
from spanledger_instrumentation.usage import FIGURES, Answer, Usage

__all__ = ["EMBEDDINGS", "IMAGES", "RERANK", "WIRE", "InvokeStream", "read_answer", "read_head"]

METRICS: Final = b"amazon-bedrock-invocationMetrics"
IMAGES_MAX: Final = 128
_HEAD: Final = "x-amzn-bedrock-"
_PARTS: Final = ("input", "output", "cache-read-input", "cache-write-input")
_CHUNK: Final = b'{":event-type":"chunk"'
_BYTES: Final = b'"bytes":"'
_TEXT: Final = binascii.b2a_base64(b'{"type":"content_bloc', newline=False)
"""How Anthropic's events of text begin, in base64: 21 bytes are whole groups of it. Nearly all events are such."""
_MESSAGES: Final = b'{"type":'
_MARKS: Final = (b"oken", b"sage", b"eason")
"""An event of no vendor has figures or an end without one of these; nearly all events of text are not parsed."""
_REASONS: Final[tuple[tuple[str, ...], ...]] = (
    ("stop_reason",),  # Anthropic, Llama
    ("stopReason",),  # Nova
    ("messageStop", "stopReason"),  # Nova, streamed
    ("completionReason",),  # Titan, streamed
    ("finish_reason",),  # Cohere
)
_IN_LISTS: Final = (
    ("results", "completionReason"),  # Titan
    ("outputs", "stop_reason"),  # Mistral
    ("generations", "finish_reason"),  # Cohere
    ("completions", "finishReason"),  # AI21 Jurassic
    ("choices", "finish_reason"),  # as OpenAI: Jamba, gpt-oss, Qwen and others
)
_REQUEST: Final[tuple[Row, ...]] = (
    (names.REQUEST_MAX_TOKENS, ("max_tokens",), integer),
    (names.REQUEST_MAX_TOKENS, ("max_completion_tokens",), integer),
    (names.REQUEST_MAX_TOKENS, ("max_gen_len",), integer),
    (names.REQUEST_MAX_TOKENS, ("max_tokens_to_sample",), integer),
    (names.REQUEST_MAX_TOKENS, ("maxTokens",), integer),
    (names.REQUEST_MAX_TOKENS, ("inferenceConfig", "maxTokens"), integer),
    (names.REQUEST_MAX_TOKENS, ("inferenceConfig", "max_new_tokens"), integer),
    (names.REQUEST_MAX_TOKENS, ("textGenerationConfig", "maxTokenCount"), integer),
    (names.REQUEST_TEMPERATURE, ("temperature",), number),
    (names.REQUEST_TEMPERATURE, ("inferenceConfig", "temperature"), number),
    (names.REQUEST_TEMPERATURE, ("textGenerationConfig", "temperature"), number),
    (names.REQUEST_TOP_P, ("top_p",), number),
    (names.REQUEST_TOP_P, ("topP",), number),
    (names.REQUEST_TOP_P, ("p",), number),
    (names.REQUEST_TOP_P, ("inferenceConfig", "topP"), number),
    (names.REQUEST_TOP_P, ("textGenerationConfig", "topP"), number),
    (names.REQUEST_TOP_K, ("top_k",), integer),
    (names.REQUEST_TOP_K, ("k",), integer),
    (names.REQUEST_SEED, ("seed",), integer),
    (names.REQUEST_REASONING_LEVEL, ("output_config", "effort"), word),
    (names.REQUEST_REASONING_LEVEL, ("reasoning_effort",), word),
)
_EMBEDDINGS_REQUEST: Final[tuple[Row, ...]] = (
    (names.EMBEDDINGS_DIMENSION_COUNT, ("dimensions",), integer),
    (names.EMBEDDINGS_DIMENSION_COUNT, ("output_dimension",), integer),
    (names.EMBEDDINGS_DIMENSION_COUNT, ("singleEmbeddingParams", "embeddingDimension"), integer),
)


def read_request(request: Request) -> dict[str, AttributeValue]:
    """Read the attributes of a request to a text model."""
    return {**read_place(request), **attributes(request.document, _REQUEST)}


def _read_embeddings_request(request: Request) -> dict[str, AttributeValue]:
    return {**read_place(request), **attributes(request.document, _EMBEDDINGS_REQUEST)}


def read_answer(document: Document) -> Answer:
    """Read a whole answer, of whichever vendor."""
    if document.read("type") == "message":
        return anthropic_messages.read_answer(document)
    if document.read("object") in ("chat.completion", "text_completion"):
        return openai_chat.read_answer(document)
    return Answer(
        id=text(document.read("id")) or text(document.read("response_id")),
        finish_reasons=tuple(_reasons(document)),
        service_tier=word(document.read("serviceTier", "type")),
        usage=_usage(document),
        usage_final=True,
        begun=document.is_object,
    )


def read_head(head: Mapping[str, str], answer: Answer) -> None:
    """Add AWS's figures, where the answer itself left them out."""
    uncached, output, cache_read, cache_write = (_decimal(head.get(f"{_HEAD}{part}-token-count")) for part in _PARTS)
    counted = Usage(
        input_tokens=total_input(uncached, cache_read, cache_write),
        output_tokens=output,
        cache_read_input_tokens=cache_read,
        cache_write_input_tokens=cache_write,
    )
    _fill(answer, counted)
    answer.service_tier = word(head.get(f"{_HEAD}service-tier")) or answer.service_tier


_GUARDRAIL: Final = "amazon-bedrock-guardrailAction"
_BLOCKED: Final = "guardrail_intervened"
"""As Converse calls it (botocore's model of bedrock-runtime, `StopReason`)."""


class InvokeStream:
    """Read the events of a stream: Anthropic's by its own reader, of all others the figures and the end."""

    def __init__(self) -> None:
        self._messages = anthropic_messages.MessageStream()
        self.answer = self._messages.answer

    def event(self, data: bytes, tail: bytes) -> bool:
        """Take an event."""
        if not data.startswith(_CHUNK):
            return self._take_exception(Document(data, tail))
        self.answer.begun = True
        start = data.find(_BYTES) + len(_BYTES)
        if data.startswith(_TEXT, start):
            return False
        inner, inner_tail = _inner(data, tail, start)
        if inner.startswith(_MESSAGES):
            changed = self._messages.event(inner, inner_tail)
            self.answer.done = False  # AWS's metrics are in the very last event
            return (METRICS in inner and self._take_metrics(Document(inner))) or changed
        if not inner_tail and not any(mark in inner for mark in _MARKS):
            return False
        return self._take(Document(inner, inner_tail))

    def _take(self, document: Document) -> bool:
        if (usage := _usage(document)) is not None:
            self.answer.usage = _merged(self.answer.usage, usage)
        reasons = tuple(_reasons(document))
        if not reasons and document.read(_GUARDRAIL) == "INTERVENED":
            reasons = (_BLOCKED,)  # the only event then: the model was not asked
        self.answer.finish_reasons = self.answer.finish_reasons or reasons
        return self._take_metrics(document) or usage is not None or bool(reasons)

    def _take_metrics(self, document: Document) -> bool:
        metrics = members(document.read(METRICS.decode()))
        if metrics:
            counted = read_usage(metrics)
            _fill(self.answer, counted)
            self.answer.usage_final = self.answer.done = True
        return bool(metrics)

    def _take_exception(self, document: Document) -> bool:
        exception = document.read(":exception-type")
        if exception is None:
            return False
        self.answer.error_type = read_exception(exception) or "_OTHER"
        return True


def _inner(data: bytes, tail: bytes, start: int) -> tuple[bytes, bytes]:
    """Decode what a chunk wraps. Of a cut one both ends decode by themselves, in groups of four characters."""
    try:
        if not tail:
            return binascii.a2b_base64(data[start : data.index(b'"', start)]), b""
        head = data[start:]
        end = tail[: tail.index(b'"')]
        head, end = head[: len(head) // 4 * 4], end[len(end) % 4 :]
        return binascii.a2b_base64(head), binascii.a2b_base64(end)
    except ValueError:  # no base64, or no end of it
        return b"", b""


def _usage(document: Document) -> Usage | None:
    usage = members(document.read("usage")) or members(document.read("metadata", "usage"))
    if "inputTokens" in usage:
        return read_usage(usage)
    if usage:
        return openai_chat.read_usage(usage)
    found = Usage(
        input_tokens=_first(document, ("inputTextTokenCount", "prompt_token_count")),
        output_tokens=_titan_output(document)
        if document.has("results")
        else _first(document, ("totalOutputTextTokenCount", "generation_token_count")),
    )
    return found if found.known() else None


def _first(document: Document, candidates: tuple[str, ...]) -> int | None:
    return next((found for name in candidates if (found := count(document.read(name))) is not None), None)


def _titan_output(document: Document) -> int | None:
    counts = [count(entry.get("tokenCount")) for entry in _entries(document, "results")]
    known = [tokens for tokens in counts if tokens is not None]
    return sum(known) if known else None


def _reasons(document: Document) -> Iterator[str]:
    for path in _REASONS:
        if (reason := finish_reason(document.read(*path))) is not None:
            yield reason
            return
    for name, member in _IN_LISTS:
        for entry in _entries(document, name):
            value = entry.get(member)
            if (reason := finish_reason(members(value).get("reason") or value)) is not None:
                yield reason


def _entries(document: Document, name: str) -> list[Mapping[str, object]]:
    value = document.read(name)
    return [members(entry) for entry in cast("list[object]", value)[:IMAGES_MAX]] if isinstance(value, list) else []


def _fill(answer: Answer, counted: Usage) -> None:
    """Add AWS's figures where the vendor's own are absent."""
    if counted.known():
        answer.usage = counted if answer.usage is None else _merged(counted, answer.usage)


def _merged(older: Usage | None, newer: Usage) -> Usage:
    """Overwrite the figures of one usage by those that another one has."""
    if older is None:
        return newer
    figures = {name: getattr(newer, name) for name in FIGURES}
    return Usage(**{name: getattr(older, name) if value is None else value for name, value in figures.items()})


def _decimal(value: str | None) -> int | None:
    return count(int(value)) if value is not None and value.isdecimal() and len(value) < 19 else None


def _read_images(document: Document) -> Answer:
    """Read an answer with images.

    Shape: {"images": [base64, ...]} of Nova Canvas, Titan and newer ones of Stability, {"artifacts": [...]} of older.
    Source: docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html (November 2026).
    """
    for name in ("images", "artifacts"):
        value = document.read(name)
        if isinstance(value, list):
            images = [image for image in cast("list[object]", value) if image]
            return Answer(usage=Usage(output_images=len(images)), usage_final=True, begun=True)
    return Answer(begun=document.is_object)


def _images_asked(request: Request) -> Usage | None:
    asked = count(request.document.read("imageGenerationConfig", "numberOfImages"))
    return Usage(output_images=1 if asked is None else min(asked, IMAGES_MAX))


WIRE: Final = Wire(
    provider="aws.bedrock",
    operation="chat",
    read_request=read_request,
    read_answer=read_answer,
    read_error=read_error,
    read_error_head=read_error_head,
    read_head=read_head,
    stream=InvokeStream,
    streams=streams,
)
EMBEDDINGS: Final = Wire(
    provider="aws.bedrock",
    operation="embeddings",
    read_request=_read_embeddings_request,
    read_answer=read_answer,
    read_error=read_error,
    read_error_head=read_error_head,
    read_head=read_head,
    streams=streams,
)
RERANK: Final = Wire(
    provider="aws.bedrock",
    operation="rerank",
    read_request=read_place,
    read_answer=read_answer,
    read_error=read_error,
    read_error_head=read_error_head,
    read_head=read_head,
    streams=streams,
)
IMAGES: Final = Wire(
    provider="aws.bedrock",
    operation="image_generation",
    read_request=read_place,
    read_answer=_read_images,
    read_error=read_error,
    read_error_head=read_error_head,
    read_head=read_head,
    asked=_images_asked,
    streams=streams,
)
