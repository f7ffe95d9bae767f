"""An OTLP trace request -> its spans, each a request of its own, whole or with allow-listed attributes only.

For what went wrong: it is slower than `otlp.py`, and reads the wire by itself, so that nothing in one span, however it
is broken, can keep the others from being looked at.

Source: opentelemetry-proto `trace/v1/trace.proto` v1 (field numbers).
"""

from collections.abc import Collection, Iterator
from typing import NamedTuple

from google.protobuf.message import DecodeError
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from spanledger_exporter.receiving.wire import BYTES, FIXED64, VARINT, field, fields

# A value that is longer than any that a dialect reads is left out of what is kept.
_VALUE_BYTES_MAX = 1024
_SCALARS = frozenset({"string_value", "int_value", "double_value", "bool_value"})
# Field numbers.
_RESOURCE_SPANS, _RESOURCE, _SCOPE_SPANS, _SCOPE, _SPANS = 1, 1, 2, 1, 2
_RESOURCE_ATTRIBUTES, _SCOPE_NAME = 1, 1
_TRACE_ID, _SPAN_ID, _PARENT_SPAN_ID, _START, _END, _ATTRIBUTES, _STATUS, _STATUS_CODE = 1, 2, 4, 7, 8, 9, 15, 3
_ID_BYTES = {_TRACE_ID: 16, _SPAN_ID: 8, _PARENT_SPAN_ID: 8}


class Fragment(NamedTuple):
    """One span of a request: the bytes of its resource, of its scope, and its own."""

    resource: bytes
    scope: bytes
    span: bytes

    @property
    def request(self) -> bytes:
        """The span as a request of its own, as it was sent."""
        return _request(self.resource, self.scope, self.span)

    @property
    def key(self) -> tuple[int, bytes, bytes]:
        """Its end, span id and trace id, as a record's key has them; zero and empty where they cannot be read."""
        end_ns, span_id, trace_id = 0, b"", b""
        for number, kind, value in fields(self.span):
            if number == _END and kind == FIXED64:
                end_ns = int.from_bytes(value, "little")
            elif number == _SPAN_ID and kind == BYTES:
                span_id = value
            elif number == _TRACE_ID and kind == BYTES:
                trace_id = value
        return end_ns, span_id, trace_id

    def kept(self, allowed: Collection[bytes], allowed_resource: Collection[bytes]) -> bytes:
        """Return the span as a request of its own that holds nothing but ids, times, status and allowed attributes."""
        resource = b"".join(
            field(_RESOURCE_ATTRIBUTES, pair)
            for pair in _kept_pairs(self.resource, _RESOURCE_ATTRIBUTES, allowed_resource)
        )
        names = [value for number, kind, value in fields(self.scope) if (number, kind) == (_SCOPE_NAME, BYTES)]
        # As UTF-8 in any case, as a message must have it: the sender may have had none, or the cut have made it none.
        texts = (name[:_VALUE_BYTES_MAX].decode(errors="replace") for name in names[-1:])
        scope = b"".join(field(_SCOPE_NAME, text.encode()) for text in texts)
        return _request(resource, scope, _kept_span(self.span, allowed))


def fragments(body: bytes) -> Iterator[Fragment]:
    """Go through the spans of a request; what cannot be read as one ends that part of it without an error.

    Shape: `ExportTraceServiceRequest`, binary protobuf.
    """
    for resource_spans in _messages(body, _RESOURCE_SPANS):
        resource = b"".join(_messages(resource_spans, _RESOURCE))
        for scope_spans in _messages(resource_spans, _SCOPE_SPANS):
            scope = b"".join(_messages(scope_spans, _SCOPE))
            for span in _messages(scope_spans, _SPANS):
                yield Fragment(resource, scope, span)


def _request(resource: bytes, scope: bytes, span: bytes) -> bytes:
    scope_spans = field(_SCOPE, scope) + field(_SPANS, span)
    return field(_RESOURCE_SPANS, field(_RESOURCE, resource) + field(_SCOPE_SPANS, scope_spans))


def _kept_span(span: bytes, allowed: Collection[bytes]) -> bytes:
    kept: list[bytes] = []
    for number, kind, value in fields(span):
        if kind == BYTES and len(value) == _ID_BYTES.get(number):
            kept.append(field(number, value))
        elif kind == FIXED64 and number in (_START, _END):
            kept.append(bytes((number << 3 | FIXED64,)) + value)
        elif kind == BYTES and number == _STATUS:
            codes = [code for at, code_kind, code in fields(value) if (at, code_kind) == (_STATUS_CODE, VARINT)]
            kept.append(field(_STATUS, b"".join(bytes((_STATUS_CODE << 3,)) + code for code in codes[-1:])))
    kept.extend(field(_ATTRIBUTES, pair) for pair in _kept_pairs(span, _ATTRIBUTES, allowed))
    return b"".join(kept)


def _kept_pairs(message: bytes, number: int, allowed: Collection[bytes]) -> Iterator[bytes]:
    for raw in _messages(message, number):
        try:
            pair = KeyValue.FromString(raw)
        except DecodeError:
            continue
        value = _kept_value(pair.value)
        if value is not None and pair.key.encode() in allowed:
            yield KeyValue(key=pair.key, value=value).SerializeToString()


def _kept_value(value: AnyValue) -> AnyValue | None:
    """Return a new value, of which only what is known is kept: a message also carries fields that nobody knows."""
    kind = value.WhichOneof("value")
    if kind == "array_value":
        kept = AnyValue()
        items = (_kept_value(item) for item in value.array_value.values if item.WhichOneof("value") in _SCALARS)
        kept.array_value.values.extend(item for item in items if item is not None)
    elif kind in _SCALARS:
        kept = AnyValue(**{kind: getattr(value, kind)})
    else:
        return None
    return kept if kept.ByteSize() <= _VALUE_BYTES_MAX else None


def _messages(message: bytes, number: int) -> Iterator[bytes]:
    return (value for at, kind, value in fields(message) if (at, kind) == (number, BYTES))
