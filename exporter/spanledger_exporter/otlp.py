"""OTLP trace requests as bytes -> spans with the wanted attributes only.

The stock protobuf classes reject a whole request for one string that is not UTF-8, and spend most of their time
building objects that nobody reads. Here each nested message stays bytes until it is needed: a bad span costs that
span alone, and prompts, events and links are never decoded at all.

Source: opentelemetry-proto `trace/v1/trace.proto` v1 (field numbers); decoded with protobuf's own parser throughout.
"""

from collections.abc import Collection, Iterator
from typing import Any, NamedTuple

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from spanledger_exporter.errors import RejectedError

AttributeValue = str | int | float | bool | list["AttributeValue"]
Attributes = dict[str, AttributeValue]

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
_TIME_NS_MAX = 2**63 - 1
# Every LLM call carries at least one attribute with one of these in its key; a span without any is not decoded further.
_MARKS = (b"gen_ai.",)
_ARRAY_ITEMS_MAX = 128


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
_ScopeSpans, _Scope, _Span, _Status = (
    _CLASSES["ScopeSpans"],
    _CLASSES["Scope"],
    _CLASSES["Span"],
    _CLASSES["Status"],
)


class Source(NamedTuple):
    """Where a group of spans comes from: its resource's wanted attributes and its scope's name."""

    resource: Attributes
    scope: str


class Span(NamedTuple):
    """One span, with the attributes that the dialects ask for."""

    source: Source
    trace_id: bytes
    span_id: bytes
    parent_span_id: bytes | None
    start_ns: int
    end_ns: int
    failed: bool
    attributes: Attributes


class Batch(NamedTuple):
    """The spans of one request: those that may be LLM calls, how many are surely none, and why others were refused.

    `unreadable` counts attributes that were passed over because they are no valid protobuf or no UTF-8: their span
    still stands for money that was spent.
    """

    spans: list[Span]
    ignored: int
    problems: list[str]
    unreadable: int


def decode(body: bytes, wanted: Collection[bytes], wanted_resource: Collection[bytes]) -> Batch:
    """Decode an ExportTraceServiceRequest.

    Shape: `ExportTraceServiceRequest`, binary protobuf; `wanted` are the attribute keys to decode, UTF-8.

    Raises:
        RejectedError: the request is no such message; sending it again cannot help.
    """
    batch = Batch([], 0, [], 0)
    attributes, resources = _Reader(wanted), _Reader(wanted_resource)
    ignored = 0
    try:
        for source, raw in _raw_spans(body, resources):
            if not any(mark in raw for mark in _MARKS):
                ignored += 1
                continue
            try:
                batch.spans.append(_span(source, raw, attributes))
            except (DecodeError, ValueError) as exc:
                batch.problems.append(str(exc))
    except DecodeError as exc:
        raise RejectedError(
            f"the body ({len(body)} bytes) is not an OTLP ExportTraceServiceRequest in binary protobuf: {exc}"
        ) from exc
    return batch._replace(ignored=ignored, unreadable=attributes.unreadable + resources.unreadable)


def _raw_spans(body: bytes, resources: "_Reader") -> Iterator[tuple[Source, bytes]]:
    for raw_resource_spans in _Request.FromString(body).resource_spans:
        resource_spans = _ResourceSpans.FromString(raw_resource_spans)
        resource = resources.read(_Resource.FromString(resource_spans.resource).attributes)
        for raw_scope_spans in resource_spans.scope_spans:
            scope_spans = _ScopeSpans.FromString(raw_scope_spans)
            scope = _Scope.FromString(scope_spans.scope).name.decode(errors="replace")
            source = Source(resource, scope)
            for raw in scope_spans.spans:
                yield source, raw


def _span(source: Source, raw: bytes, attributes: "_Reader") -> Span:
    span = _Span.FromString(raw)
    trace_id, span_id = span.trace_id, span.span_id
    if len(trace_id) != _TRACE_ID_BYTES or not any(trace_id):
        raise ValueError(f"trace_id must be 16 bytes and not all zero, got {trace_id.hex()!r:.80}")
    if len(span_id) != _SPAN_ID_BYTES or not any(span_id):
        raise ValueError(f"span_id must be 8 bytes and not all zero, got {span_id.hex()!r:.80}")
    start_ns, end_ns = span.start_time_unix_nano, span.end_time_unix_nano
    if not 0 < end_ns <= _TIME_NS_MAX or start_ns > _TIME_NS_MAX:
        raise ValueError(f"span {span_id.hex()}: end_time_unix_nano must be set and below 2^63, got {end_ns}")
    return Span(
        source,
        trace_id,
        span_id,
        span.parent_span_id if len(span.parent_span_id) == _SPAN_ID_BYTES else None,
        start_ns,
        end_ns,
        bool(span.status) and _Status.FromString(span.status).code == _STATUS_CODE_ERROR,
        attributes.read(span.attributes),
    )


class _Reader:
    """Reads the wanted ones of a message's attributes, and counts those that cannot be read."""

    def __init__(self, wanted: Collection[bytes]) -> None:
        self._wanted = wanted
        self.unreadable = 0

    def read(self, raw_attributes: Collection[bytes]) -> Attributes:
        found: Attributes = {}
        for raw in raw_attributes:
            # A KeyValue as every encoder writes it: tag 0x0a, the key's length in one byte, the key. Anything else
            # takes the slow road through protobuf's own parser, which accepts fields in any order.
            if len(raw) > 2 and raw[0] == 0x0A and raw[1] < 0x80 and raw[2 : 2 + raw[1]] not in self._wanted:
                continue
            try:
                pair = KeyValue.FromString(raw)
            except DecodeError:
                self.unreadable += 1
                continue
            value = _value(pair.value) if pair.key.encode() in self._wanted else None
            if value is not None:
                found[pair.key] = value
        return found


def _value(value: AnyValue) -> AttributeValue | None:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        items = (_value(item) for item in value.array_value.values[:_ARRAY_ITEMS_MAX])
        return [item for item in items if item is not None]
    if kind in {"string_value", "int_value", "double_value", "bool_value"}:
        return getattr(value, kind)
    return None  # bytes, maps and empty values: no dialect writes a wanted attribute so
