"""Span attributes -> UsageRecord: the one place that knows what attributes are called.

A dialect is the vocabulary of one family of instrumentations. Here stand the current names of the OpenTelemetry
GenAI conventions, the older ones that they replaced, and the provider-specific detail that they leave to the
provider's SDK. Our own half's names are docs/span-attributes.md.

Source: repository semantic-conventions-genai, `docs/gen-ai/client-inference.md`, read 2026-11; anthropic 2.12
`_tracing.py` for the `anthropic.*` names.
"""

import math
from collections.abc import Iterable
from typing import NamedTuple

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
_RESOURCE_NAMES: dict[str, tuple[str, ...]] = {
    "service": ("service.name",),
    "environment": ("deployment.environment.name", "deployment.environment"),
}
SPAN_ATTRIBUTES = frozenset(name for table in (_NAMES, _USAGE_NAMES) for names in table.values() for name in names)
RESOURCE_ATTRIBUTES = frozenset(name for names in _RESOURCE_NAMES.values() for name in names)
WANTED = frozenset(name.encode() for name in SPAN_ATTRIBUTES)
WANTED_RESOURCE = frozenset(name.encode() for name in RESOURCE_ATTRIBUTES)

# A model's longest context is about 10 million tokens today; a figure beyond this is an error of the sender.
_FIGURE_MAX = 10**12
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
        refused += refused_here
        record = _record(span, operation, usage)
        if refused_here and record.usage_status == "reported":
            record = record._replace(usage_status="partial")  # some of its figures are not known after all
        records.append(record)
    return Understood(records, ignored, refused)


def _record(span: Span, operation: str, usage: Usage) -> UsageRecord:
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
        resend_count=_figure(_first(attributes, _NAMES["resend_count"])),
        finish_reasons=_texts(_first(attributes, _NAMES["finish_reasons"])),
        service_tier=texts["service_tier"],
        speed=texts["speed"],
        inference_geo=texts["inference_geo"],
        time_to_first_chunk_ns=_nanoseconds(_first(attributes, _NAMES["time_to_first_chunk"])),
        usage_status=_usage_status(
            texts["usage_status"],
            operation,
            usage,
            failed=failed,
            refused=failed and _refused(error_type, http_status),
        ),
        usage=usage,
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


def _usage_status(said: str | None, operation: str, usage: Usage, *, failed: bool, refused: bool) -> UsageStatus:
    """Return what the span says of its figures, if that agrees with them; else what the figures show."""
    known = usage.input_tokens is not None or usage.output_tokens is not None
    if said in _STATUSES and known == (said in {"reported", "partial"}):
        return said  # pyright: ignore[reportReturnType] -- membership in _STATUSES is the literal type
    if not known:
        return "none" if refused else "unreported"
    complete = usage.input_tokens is not None and (usage.output_tokens is not None or operation == "embeddings")
    return "reported" if complete and not failed else "partial"


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
    figures: dict[str, int] = {}
    refused = 0
    for name, names in _USAGE_NAMES.items():
        value = _first(attributes, names)
        if value is None:
            continue
        figure = _figure(value)
        if figure is None:
            refused += 1
        else:
            figures[name] = figure
    if "cache_write_tokens" not in figures:
        parts = [figures[name] for name in _CACHE_WRITE_PARTS if name in figures]
        if parts:
            figures["cache_write_tokens"] = sum(parts)
    return Usage(**figures), refused


_CACHE_WRITE_PARTS = tuple(
    name for name in _USAGE_NAMES if name.startswith("cache_write_") and name != "cache_write_tokens"
)


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


def _figure(value: AttributeValue | None) -> int | None:
    """Return a count, also from the doubles and texts that some SDKs send; `None` for what cannot be one."""
    if isinstance(value, str):
        value = int(value) if value.isascii() and value.isdigit() and len(value) <= len(str(_FIGURE_MAX)) else None
    if isinstance(value, float):
        value = int(value) if value.is_integer() else None
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= _FIGURE_MAX:
        return None
    return value


def _http_status(value: AttributeValue | None) -> int | None:
    status = _figure(value)
    return status if status is not None and 100 <= status <= 599 else None


def _nanoseconds(value: AttributeValue | None) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return round(value * 1e9) if math.isfinite(value) and 0 <= value < 1e9 else None
