"""OTLP trace requests as bytes -> spans, their attributes still bytes.

The stock protobuf classes reject a whole request for one string that is not UTF-8, and spend most of their time
building objects that nobody reads. Here each nested message stays bytes until it is needed: a bad span costs that
span alone, and prompts, events and links are never decoded at all.

Source: opentelemetry-proto `trace/v1/trace.proto` v1 (field numbers); decoded with protobuf's own parser throughout.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError

from spanledger_exporter.errors import RejectedError
from spanledger_exporter.receiving import keyvalues

_Field = descriptor_pb2.FieldDescriptorProto
_BYTES, _INT, _FIXED64 = _Field.TYPE_BYTES, _Field.TYPE_INT32, _Field.TYPE_FIXED64
_ONE, _MANY = _Field.LABEL_OPTIONAL, _Field.LABEL_REPEATED
# message -> (field name, number, type, label); every nested message is declared as bytes.
_SCHEMA = {
    "Request": (("resource_spans", 1, _BYTES, _MANY),),
    "ResourceSpans": (("resource", 1, _BYTES, _ONE), ("scope_spans", 2, _BYTES, _MANY)),
    "Resource": (("attributes", 1, _BYTES, _MANY),),
    "ScopeSpans": (("scope", 1, _BYTES, _ONE), ("spans", 2, _BYTES, _MANY)),
    "Scope": (("name", 1, _BYTES, _ONE),),
    "Span": (
        ("trace_id", 1, _BYTES, _ONE),
        ("span_id", 2, _BYTES, _ONE),
        ("parent_span_id", 4, _BYTES, _ONE),
        ("start_time_unix_nano", 7, _FIXED64, _ONE),
        ("end_time_unix_nano", 8, _FIXED64, _ONE),
        ("attributes", 9, _BYTES, _MANY),
        ("status", 15, _BYTES, _ONE),
    ),
    "Status": (("code", 3, _INT, _ONE),),
}
_STATUS_CODE_ERROR = 2
_TRACE_ID_BYTES, _SPAN_ID_BYTES = 16, 8
_NO_TRACE_ID, _NO_SPAN_ID = bytes(_TRACE_ID_BYTES), bytes(_SPAN_ID_BYTES)
_TIME_NS_MAX = 2**63 - 1
_ID_BYTES_KEPT_MAX = 32  # of an id of the wrong length: enough to see what it is
# Every LLM call carries at least one of these in the key or value of an attribute; a span without any is not decoded
# further. The first is in nearly all.
_MARKS = (
    b"gen_ai.",
    b"openinference.",
    b"ai.operationId",
    b"langfuse.",
    b"mlflow.",
    b"llm.",
    b"llm_request",
    b"haystack.",
)
# Attributes of one span that are looked at: real ones have some dozens, recorded conversations some hundreds.
ATTRIBUTES_MAX = 1024
_RESOURCE_ATTRIBUTES_MAX = 128
_RESOURCE_TEXT_CHARS_MAX = 512
# Decoded resources and scopes that are remembered, if their bytes are not more than this.
_SOURCES_MAX = 1024
_SOURCE_BYTES_MAX = 16_384


def _messages() -> dict[str, Any]:  # protobuf makes these classes at run time: no static type exists
    file = descriptor_pb2.FileDescriptorProto(name="spanledger/otlp.proto", package="spanledger.otlp", syntax="proto3")
    for message_name, fields in _SCHEMA.items():
        message = file.message_type.add(name=message_name)
        for name, number, kind, label in fields:
            message.field.add(name=name, number=number, type=kind, label=label)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"spanledger.otlp.{name}")) for name in _SCHEMA
    }


_CLASSES = _messages()
_Request, _ResourceSpans, _Resource = _CLASSES["Request"], _CLASSES["ResourceSpans"], _CLASSES["Resource"]
_ScopeSpans, _Scope, _Status = _CLASSES["ScopeSpans"], _CLASSES["Scope"], _CLASSES["Status"]
_Span = _CLASSES["Span"]
_parse_span: Callable[[bytes], Any] = _Span.FromString


@dataclass(frozen=True, slots=True, eq=False)
class Source:
    """Where a group of spans comes from: its resource's wanted texts and its scope's name.

    Equal sources that are remembered are one object, so that what is known of them is found by identity, at no cost.
    """

    resource: Mapping[str, str]
    scope: str


class Span(NamedTuple):
    """One span; its attributes are as they came, each the bytes of a `KeyValue`."""

    source: Source
    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes | None
    start_ns: int
    end_ns: int
    failed: bool
    attributes: list[bytes]


class Rejected(NamedTuple):
    """A span that cannot be read: why, and the bytes of it, of its resource and of its scope as they came.

    They may hold content: `Fragment.kept` makes of them what may be stored.
    """

    reason: str
    resource: bytes
    scope: bytes
    span: bytes


class Batch(NamedTuple):
    """The spans of one request: those that may be LLM calls, how many are surely none, and those that were refused.

    `unreadable` counts attributes that were passed over because they are no valid protobuf, no UTF-8 or too many: their
    span still stands for money that was spent.
    """

    spans: list[Span]
    ignored: int
    problems: list[Rejected]
    unreadable: int


def decode(body: bytes, wanted_resource: frozenset[str]) -> Batch:
    """Decode an ExportTraceServiceRequest.

    Shape: `ExportTraceServiceRequest`, binary protobuf; `wanted_resource` are the resource attributes to decode.

    Raises:
        RejectedError: the request is no such message; sending it again cannot help.
    """
    batch = Batch([], 0, [], 0)
    try:
        ignored, unreadable = _collect(body, wanted_resource, batch)
    except DecodeError as exc:
        raise RejectedError(
            f"the body ({len(body)} bytes) is not an OTLP ExportTraceServiceRequest in binary protobuf: {exc}"
        ) from exc
    return batch._replace(ignored=ignored, unreadable=unreadable)


def _collect(body: bytes, wanted_resource: frozenset[str], batch: Batch) -> tuple[int, int]:
    ignored = unreadable = 0
    spans, first_mark = batch.spans, _MARKS[0]
    for resource, scope, raw_spans in _groups(body):
        source, unread = _source(resource, scope, wanted_resource)
        unreadable += unread
        for raw in raw_spans:
            if first_mark not in raw and not any(mark in raw for mark in _MARKS):
                ignored += 1
                continue
            try:
                span = _span(source, raw)
            except (DecodeError, ValueError) as exc:
                batch.problems.append(Rejected(str(exc), resource, scope, raw))
                continue
            dropped = len(span.attributes) - ATTRIBUTES_MAX
            if dropped > 0:
                unreadable += dropped
                del span.attributes[ATTRIBUTES_MAX:]
            spans.append(span)
    return ignored, unreadable


def _groups(body: bytes) -> Iterator[tuple[bytes, bytes, Collection[bytes]]]:
    """Yield the resource, the scope and the spans of each group, as bytes."""
    for raw_resource_spans in _Request.FromString(body).resource_spans:
        resource_spans = _ResourceSpans.FromString(raw_resource_spans)
        for raw_scope_spans in resource_spans.scope_spans:
            scope_spans = _ScopeSpans.FromString(raw_scope_spans)
            yield resource_spans.resource, scope_spans.scope, scope_spans.spans


def _source(resource: bytes, scope: bytes, wanted: frozenset[str]) -> tuple[Source, int]:
    if len(resource) + len(scope) <= _SOURCE_BYTES_MAX:
        return _remembered_source(resource, scope, wanted)
    return _read_source(resource, scope, wanted)


def _read_source(resource: bytes, scope: bytes, wanted: frozenset[str]) -> tuple[Source, int]:
    """Return the source, and how many attributes of its resource are unreadable."""
    found: dict[str, str] = {}
    attributes = _Resource.FromString(resource).attributes
    unreadable = max(len(attributes) - _RESOURCE_ATTRIBUTES_MAX, 0)
    for raw in attributes[:_RESOURCE_ATTRIBUTES_MAX]:
        try:
            key, value = keyvalues.read(raw)
        except (DecodeError, ValueError):
            unreadable += 1
            continue
        if key in wanted and isinstance(value, str):
            found[key] = value[:_RESOURCE_TEXT_CHARS_MAX]
    name = _Scope.FromString(scope).name[:_RESOURCE_TEXT_CHARS_MAX].decode(errors="replace")
    return _same_source(tuple(sorted(found.items())), name), unreadable


_remembered_source = lru_cache(maxsize=_SOURCES_MAX)(_read_source)


@lru_cache(maxsize=_SOURCES_MAX)
def _same_source(resource: tuple[tuple[str, str], ...], scope: str) -> Source:
    return Source(dict(resource), scope)


# Past a named tuple's own constructor, which takes four times as long.
_new: Callable[[type, Iterable[Any]], Any] = tuple.__new__  # pyright: ignore[reportUnknownMemberType, reportUnknownVariableType] -- typeshed leaves its items open


def _span(source: Source, raw: bytes) -> Span:
    span = _parse_span(raw)
    trace_id, span_id = span.trace_id, span.span_id
    if len(trace_id) != _TRACE_ID_BYTES or trace_id == _NO_TRACE_ID:
        raise ValueError(f"trace_id must be 16 bytes and not all zero, got {trace_id.hex()!r:.80}")
    if len(span_id) != _SPAN_ID_BYTES or span_id == _NO_SPAN_ID:
        raise ValueError(f"span_id must be 8 bytes and not all zero, got {span_id.hex()!r:.80}")
    start_ns, end_ns = span.start_time_unix_nano, span.end_time_unix_nano
    if not 0 < end_ns <= _TIME_NS_MAX or start_ns > _TIME_NS_MAX:
        raise ValueError(f"span {span_id.hex()}: end_time_unix_nano must be set and below 2^63, got {end_ns}")
    parent_span_id, status = span.parent_span_id, span.status
    return _new(
        Span,
        (
            source,
            trace_id,
            span_id,
            parent_span_id if len(parent_span_id) == _SPAN_ID_BYTES else None,
            start_ns,
            end_ns,
            bool(status) and _Status.FromString(status).code == _STATUS_CODE_ERROR,
            list(span.attributes),
        ),
    )
