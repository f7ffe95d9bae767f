"""Span attributes -> UsageRecord: the one place that knows what attributes are called.

A dialect is the vocabulary of one family of instrumentations. Here stand the current names of the OpenTelemetry
GenAI conventions, the older ones that they replaced, and the provider-specific detail that they leave to the
provider's SDK. Our own half's names are docs/span-attributes.md.

Source: repository semantic-conventions-genai, `docs/gen-ai/client-inference.md`, read 2026-11; anthropic 2.12
`_tracing.py` for the `anthropic.*` names.
"""

from collections.abc import Callable, Iterable
from typing import NamedTuple

from spanledger_exporter.figures import count, milliseconds, nanoseconds, pico_usd
from spanledger_exporter.otlp import Attributes, AttributeValue, Span
from spanledger_exporter.records import Usage, UsageRecord, UsageStatus

# Spans of these operations are calls. All others either are no model calls (tools, retrieval, memory) or repeat
# figures that their children report (agents, workflows, `fetch_response`); counting them would count the same
# tokens twice.
COUNTED_OPERATIONS = frozenset(
    {
        "chat",
        "text_completion",
        "generate_content",
        "embeddings",
        "rerank",
        "image_generation",
        "transcription",
        "speech",
        "moderation",
        "ocr",
    }
)
# Older provider names -> the current one (facts: semantic conventions up to 1.36 and the attribute registry of 2026).
PROVIDER_NAMES = {
    "xai": "x_ai",
    "vertex_ai": "gcp.vertex_ai",
    "gemini": "gcp.gemini",
    "az.ai.openai": "azure.ai.openai",
    "az.ai.inference": "azure.ai.inference",
    "mistral": "mistral_ai",
    "bedrock": "aws.bedrock",
}

# What we read -> the attributes that say it, most current first.
_NAMES: dict[str, tuple[str, ...]] = {
    "provider": ("gen_ai.provider.name", "gen_ai.system"),
    "operation": ("gen_ai.operation.name",),
    "request_model": ("gen_ai.request.model",),
    "response_model": ("gen_ai.response.model",),
    "response_id": ("gen_ai.response.id",),
    "finish_reasons": ("gen_ai.response.finish_reasons",),
    "stream": ("gen_ai.request.stream",),
    "time_to_first_chunk": ("gen_ai.response.time_to_first_chunk",),
    "service_tier": (
        "openai.response.service_tier",
        "anthropic.response.service_tier",
        "spanledger.response.service_tier",
        "gen_ai.openai.response.service_tier",
    ),
    "speed": ("anthropic.response.speed",),
    "inference_geo": ("anthropic.response.inference_geo",),
    "server_address": ("server.address",),
    "error_type": ("error.type",),
    "http_status": ("http.response.status_code",),
    "resend_count": ("http.request.resend_count",),
    "usage_status": ("spanledger.usage.status",),
}
_USAGE_NAMES: dict[str, tuple[str, ...]] = {
    "input_tokens": ("gen_ai.usage.input_tokens", "gen_ai.usage.prompt_tokens"),
    "output_tokens": ("gen_ai.usage.output_tokens", "gen_ai.usage.completion_tokens"),
    "cache_read_tokens": ("gen_ai.usage.cache_read.input_tokens", "gen_ai.usage.cache_read_input_tokens"),
    "cache_write_tokens": (
        "gen_ai.usage.cache_write.input_tokens",
        "gen_ai.usage.cache_creation.input_tokens",
        "gen_ai.usage.cache_creation_input_tokens",
    ),
    "cache_write_5m_tokens": ("anthropic.usage.cache_creation.ephemeral_5m_input_tokens",),
    "cache_write_30m_tokens": ("openai.usage.cache_write.ttl_30m_input_tokens",),
    "cache_write_1h_tokens": ("anthropic.usage.cache_creation.ephemeral_1h_input_tokens",),
    "cache_write_12h_tokens": ("openai.usage.cache_write.ttl_12h_input_tokens",),
    "reasoning_tokens": ("gen_ai.usage.reasoning.output_tokens", "gen_ai.usage.reasoning_tokens"),
    "input_audio_tokens": ("gen_ai.usage.audio.input_tokens",),
    "output_audio_tokens": ("gen_ai.usage.audio.output_tokens",),
    "input_image_tokens": ("gen_ai.usage.image.input_tokens",),
    "web_search_requests": ("spanledger.usage.web_search_requests",),
}
# Classes of usage that most spans lack: looked for all at once.
_SPARSE_USAGE_NAMES: dict[str, str] = {
    "gen_ai.usage.text.input_tokens": "input_text_tokens",
    "gen_ai.usage.video.input_tokens": "input_video_tokens",
    "gen_ai.usage.text.output_tokens": "output_text_tokens",
    "gen_ai.usage.image.output_tokens": "output_image_tokens",
    "gen_ai.usage.text.cache_read.input_tokens": "cache_read_text_tokens",
    "gen_ai.usage.audio.cache_read.input_tokens": "cache_read_audio_tokens",
    "gen_ai.usage.image.cache_read.input_tokens": "cache_read_image_tokens",
    "gen_ai.usage.video.cache_read.input_tokens": "cache_read_video_tokens",
    "anthropic.usage.compaction.input_tokens": "compaction_input_tokens",
    "anthropic.usage.compaction.output_tokens": "compaction_output_tokens",
    "openai.usage.svg.input_tokens": "svg_input_tokens",
    "openai.usage.svg.output_tokens": "svg_output_tokens",
    "openai.usage.svg.reasoning.output_tokens": "svg_reasoning_tokens",
    "openai.usage.image_generation.input_tokens": "image_tool_input_tokens",
    "openai.usage.image_generation.output_tokens": "image_tool_output_tokens",
    "spanledger.usage.search_sources": "search_sources",
    "spanledger.usage.search_units": "search_units",
    "spanledger.usage.input_characters": "input_characters",
    "spanledger.usage.input_audio_seconds": "input_audio_ms",
    "spanledger.usage.input_images": "input_images",
    "spanledger.usage.output_images": "output_images",
    "spanledger.usage.pages": "pages",
    "spanledger.batch.requests": "requests",
    "spanledger.batch.input_tokens_max": "request_input_tokens_max",
    "spanledger.estimate.input_tokens": "estimated_input_tokens",
    "spanledger.estimate.output_tokens": "estimated_output_tokens",
    "spanledger.processed.input_tokens": "processed_input_tokens",
    "spanledger.processed.output_tokens": "processed_output_tokens",
}
_ANNOTATED = "spanledger.request.annotated"
_COST_AMOUNT = "gen_ai.usage.cost.amount"
_COST_CURRENCY = "gen_ai.usage.cost.currency"
_COST_SOURCE = "gen_ai.usage.cost.source"
_RESOURCE_NAMES: dict[str, tuple[str, ...]] = {
    "service": ("service.name",),
    "environment": ("deployment.environment.name", "deployment.environment"),
}
SPAN_ATTRIBUTES = frozenset(
    {name for table in (_NAMES, _USAGE_NAMES) for names in table.values() for name in names}
    | _SPARSE_USAGE_NAMES.keys()
    | {_ANNOTATED, _COST_AMOUNT, _COST_CURRENCY, _COST_SOURCE}
)
RESOURCE_ATTRIBUTES = frozenset(name for names in _RESOURCE_NAMES.values() for name in names)
WANTED = frozenset(name.encode() for name in SPAN_ATTRIBUTES)
WANTED_RESOURCE = frozenset(name.encode() for name in RESOURCE_ATTRIBUTES)

_TEXT_CHARS_MAX = 512
# Answers of a gateway that gave up waiting: the provider behind it may have worked all the same.
_MAYBE_BILLED = frozenset({408, 499, 504, 524})
# What SDKs call a refusal (openai 3.54 and anthropic 2.12 `_exceptions.py`, httpx2 2.16 `_exceptions.py`).
_REFUSALS = frozenset(
    {
        "APIConnectionError",
        "AuthenticationError",
        "BadRequestError",
        "ConflictError",
        "ConnectError",
        "ConnectTimeout",
        "InternalServerError",
        "NotFoundError",
        "OverloadedError",
        "PermissionDeniedError",
        "RateLimitError",
        "ServiceUnavailableError",
        "UnprocessableEntityError",
    }
)
_STATUSES: frozenset[str] = frozenset({"reported", "partial", "unreported", "none"})


class Understood(NamedTuple):
    """The calls of a batch, how many of its spans are no calls, and how many figures were refused as impossible."""

    records: list[UsageRecord]
    ignored: int
    refused_figures: int


def understand(spans: Iterable[Span]) -> Understood:
    """Turn spans into usage records; spans that are no LLM call are counted and dropped."""
    records: list[UsageRecord] = []
    ignored = refused = 0
    for span in spans:
        operation = _text(_first(span.attributes, _NAMES["operation"]))
        if operation not in COUNTED_OPERATIONS:
            ignored += 1
            continue
        usage, refused_here = _usage(span.attributes)
        provider_cost_pusd, refused_costs = _provider_cost(span.attributes)
        refused += refused_here + refused_costs
        record = _record(span, operation, usage, provider_cost_pusd)
        if refused_here and record.usage_status == "reported":
            record = record._replace(usage_status="partial")  # some of its figures are not known after all
        records.append(record)
    return Understood(records, ignored, refused)


def _record(span: Span, operation: str, usage: Usage, provider_cost_pusd: int | None) -> UsageRecord:
    attributes, resource = span.attributes, span.source.resource
    texts = {name: _text(_first(attributes, _NAMES[name])) for name in _TEXTS}
    error_type = texts["error_type"]
    http_status = _http_status(_first(attributes, _NAMES["http_status"]))
    failed = span.failed or error_type is not None
    return UsageRecord(
        end_ns=span.end_ns,
        span_id=span.span_id,
        trace_id=span.trace_id,
        start_ns=span.start_ns,
        parent_span_id=span.parent_span_id,
        service=_text(_first(resource, _RESOURCE_NAMES["service"])),
        environment=_text(_first(resource, _RESOURCE_NAMES["environment"])),
        scope=_text(span.source.scope) or "",
        dialect="otel" if "gen_ai.provider.name" in attributes else "otel_legacy",
        provider=_provider(texts["provider"]),
        operation=operation,
        request_model=texts["request_model"],
        response_model=texts["response_model"],
        response_id=texts["response_id"],
        server_address=texts["server_address"],
        stream=_first(attributes, _NAMES["stream"]) is True,
        outcome="error" if failed else "ok",
        error_type=error_type or ("_OTHER" if failed else None),
        http_status=http_status,
        resend_count=count(_first(attributes, _NAMES["resend_count"])),
        finish_reasons=_texts(_first(attributes, _NAMES["finish_reasons"])),
        service_tier=texts["service_tier"],
        speed=texts["speed"],
        inference_geo=texts["inference_geo"],
        time_to_first_chunk_ns=nanoseconds(_first(attributes, _NAMES["time_to_first_chunk"])),
        usage_status=_usage_status(
            texts["usage_status"],
            operation,
            usage,
            priced_by_provider=provider_cost_pusd is not None,
            failed=failed,
            refused=failed and _refused(error_type, http_status),
        ),
        usage=usage,
        provider_cost_pusd=provider_cost_pusd,
    )


_TEXTS = (
    "provider",
    "request_model",
    "response_model",
    "response_id",
    "server_address",
    "error_type",
    "service_tier",
    "speed",
    "inference_geo",
    "usage_status",
)


def _usage_status(
    said: str | None, operation: str, usage: Usage, *, priced_by_provider: bool, failed: bool, refused: bool
) -> UsageStatus:
    """Return what the span says of its figures, if that agrees with them; else what the figures show."""
    known = priced_by_provider or usage.known
    if said in _STATUSES and known == (said in {"reported", "partial"}):
        return said  # pyright: ignore[reportReturnType] -- membership in _STATUSES is the literal type
    if not known:
        return "none" if refused else "unreported"
    return "reported" if _complete(operation, usage) and not failed else "partial"


def _complete(operation: str, usage: Usage) -> bool:
    """Tell whether the figures are all that a call of this kind has: both totals, or what is counted instead."""
    if usage.input_tokens is None and usage.output_tokens is None:
        return any(getattr(usage, name) is not None for name in _INSTEAD_OF_TOKENS)
    return usage.input_tokens is not None and (usage.output_tokens is not None or operation in _WITHOUT_OUTPUT)


_INSTEAD_OF_TOKENS = ("search_units", "input_characters", "input_audio_ms", "input_images", "output_images", "pages")
_WITHOUT_OUTPUT = frozenset({"embeddings", "rerank", "moderation"})


def _refused(error_type: str | None, http_status: int | None) -> bool:
    """Tell whether the provider surely did not work on the call, so that nothing is billed.

    A call that was cancelled, timed out or broke off may well be billed: of those only its usage is unknown.
    """
    if http_status is not None:
        return http_status >= 400 and http_status not in _MAYBE_BILLED
    if error_type is None:
        return False
    name = error_type.rpartition(".")[2]
    if name.isascii() and name.isdigit():
        return 400 <= int(name[:3]) <= 599 and int(name[:3]) not in _MAYBE_BILLED
    return name in _REFUSALS


def _usage(attributes: Attributes) -> tuple[Usage, int]:
    read: dict[str, int | None] = {}
    for name, names in _USAGE_NAMES.items():
        value = _first(attributes, names)
        if value is not None:
            read[name] = count(value)
    for attribute in _SPARSE_USAGE_NAMES.keys() & attributes.keys():
        name = _SPARSE_USAGE_NAMES[attribute]
        read[name] = _READERS.get(name, count)(attributes[attribute])
    figures = {name: figure for name, figure in read.items() if figure is not None}
    if "cache_write_tokens" not in figures:
        parts = [figures[name] for name in _CACHE_WRITE_PARTS if name in figures]
        if parts:
            figures["cache_write_tokens"] = sum(parts)
    if "pages" in figures and attributes.get(_ANNOTATED) is True:
        figures["annotated_pages"] = figures["pages"]
    refused = sum(figure is None for figure in read.values())
    return Usage(**figures), refused


_READERS: dict[str, Callable[[AttributeValue], int | None]] = {"input_audio_ms": milliseconds}
_CACHE_WRITE_PARTS = tuple(
    name for name in _USAGE_NAMES if name.startswith("cache_write_") and name != "cache_write_tokens"
)


def _provider_cost(attributes: Attributes) -> tuple[int | None, int]:
    """Return the provider's own figure of the cost, and how many were refused: no amount at all, or not in USD.

    A cost that the sender computed itself (`local`) is not the provider's, and passed over.

    Source: semantic-conventions-genai#443, read 2026-11: `source` is `provider` or `local`.
    """
    amount = attributes.get(_COST_AMOUNT)
    if amount is None or attributes.get(_COST_SOURCE, "provider") != "provider":
        return None, 0
    cost_pusd = pico_usd(amount) if attributes.get(_COST_CURRENCY) == "USD" else None
    return cost_pusd, int(cost_pusd is None)


def _first(attributes: Attributes, names: tuple[str, ...]) -> AttributeValue | None:
    for name in names:
        value = attributes.get(name)
        if value is not None:
            return value
    return None


def _provider(name: str | None) -> str | None:
    if name is None:
        return None
    folded = name.strip().lower()
    return PROVIDER_NAMES.get(folded, folded)


def _text(value: AttributeValue | None) -> str | None:
    """Return a non-empty text of bounded length. PostgreSQL stores no NUL characters, so none gets that far."""
    if not isinstance(value, str):
        return None
    return value.replace("\x00", "")[:_TEXT_CHARS_MAX] or None


def _texts(value: AttributeValue | None) -> str | None:
    if isinstance(value, str):
        return _text(value)
    return _text(",".join(item for item in value if isinstance(item, str))) if isinstance(value, list) else None


def _http_status(value: AttributeValue | None) -> int | None:
    status = count(value)
    return status if status is not None and 100 <= status <= 599 else None
