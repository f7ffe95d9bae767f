"""OTLP requests for tests, built with the stock protobuf classes that real senders use."""

import base64
import secrets
from collections.abc import Mapping, Sequence
from typing import Any

from google.protobuf.json_format import MessageToDict
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, InstrumentationScope, KeyValue
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

END_NS = 1_795_000_000 * 10**9  # 2026-11-18T11:06:40Z
Value = str | int | float | bool | Sequence[str]

CHAT: Mapping[str, Value] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.response.model": "gpt-4o-mini-2024-07-18",
    "gen_ai.response.id": "chatcmpl-1",
    "gen_ai.response.finish_reasons": ("stop",),
    "gen_ai.usage.input_tokens": 100,
    "gen_ai.usage.output_tokens": 20,
    "gen_ai.usage.cache_read.input_tokens": 40,
    "spanledger.usage.status": "reported",
}
CHAT_PUSD = 60 * 150_000 + 40 * 75_000 + 20 * 600_000


def any_value(value: Value) -> AnyValue:
    if isinstance(value, bool):
        return AnyValue(bool_value=value)
    if isinstance(value, int):
        return AnyValue(int_value=value)
    if isinstance(value, float):
        return AnyValue(double_value=value)
    if isinstance(value, str):
        return AnyValue(string_value=value)
    return AnyValue(array_value=ArrayValue(values=[any_value(item) for item in value]))


def key_values(attributes: Mapping[str, Value]) -> list[KeyValue]:
    return [KeyValue(key=key, value=any_value(value)) for key, value in attributes.items()]


def span(attributes: Mapping[str, Value] = CHAT, *, end_ns: int = END_NS, failed: bool = False) -> Span:
    return Span(
        trace_id=secrets.token_bytes(16),
        span_id=secrets.token_bytes(8),
        name="chat gpt-4o-mini",
        start_time_unix_nano=end_ns - 10**9,
        end_time_unix_nano=end_ns,
        attributes=key_values(attributes),
        status=Status(code=Status.STATUS_CODE_ERROR) if failed else None,
    )


def request(*spans: Span, service: str = "shop", scope: str = "spanledger") -> ExportTraceServiceRequest:
    resource = Resource(attributes=key_values({"service.name": service, "deployment.environment.name": "test"}))
    scope_spans = ScopeSpans(scope=InstrumentationScope(name=scope), spans=spans)
    return ExportTraceServiceRequest(resource_spans=[ResourceSpans(resource=resource, scope_spans=[scope_spans])])


def body(*spans: Span, service: str = "shop") -> bytes:
    return request(*spans, service=service).SerializeToString()


def document(sent: ExportTraceServiceRequest) -> dict[str, Any]:
    """Write a request as OTLP's JSON has it: protobuf's own mapping, but for ids, which are in hex."""
    made = MessageToDict(sent, use_integers_for_enums=True)
    for made_span in spans_of(made):
        for name in ("traceId", "spanId", "parentSpanId"):
            if name in made_span:
                made_span[name] = base64.b64decode(made_span[name]).hex()
    return made


def spans_of(made: dict[str, Any]) -> list[dict[str, Any]]:
    return [each for group in made["resourceSpans"] for scope in group["scopeSpans"] for each in scope.get("spans", ())]
