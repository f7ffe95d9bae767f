"""An OTLP trace request in JSON -> the same request in binary protobuf, with the wanted attributes only.

From there on both encodings go one way. The document is read in steps, as the protobuf one is: first its frame, in
which each span stays text, then each span, in which the attributes' values stay text. So a bad span costs that span
alone, and prompts, events and links never become objects. msgspec reads so in half the time that `json` takes to make
objects of everything.

Source: opentelemetry-proto docs/specification.md, "JSON Protobuf Encoding", 2026-08: ids in hex of either case, enums
as integers, 64-bit integers as text or number, lowerCamelCase names only, unknown names passed over.
"""

import hashlib
import re
import struct
from collections.abc import Collection, Iterable
from typing import Any, NamedTuple

import msgspec

from spanledger_exporter.errors import RejectedError
from spanledger_exporter.receiving.wire import FIXED64, VARINT, field, varint

# Each value that the frame holds takes a Python object, and a document of nothing but `0,0,0` would take gigabytes.
# An attribute takes 28 bytes of text or more, so a real request of 64 MiB stays well below this.
VALUES_MAX = 4_000_000
_ARRAY_ITEMS_MAX = 128
_DEPTH_MAX = 8
_INT64 = range(-(2**63), 2**63)
_UINT64_MAX = 2**64 - 1
# Field numbers.
_RESOURCE_SPANS, _RESOURCE_OF, _RESOURCE_ATTRIBUTES, _SCOPE_SPANS, _SCOPE_OF, _SCOPE_NAME, _SPANS = 1, 1, 1, 2, 1, 1, 2
_IDS, _ATTRIBUTES, _STATUS, _STATUS_CODE = (1, 2, 4), 9, 15, 3
_KEY, _VALUE_OF, _STRING, _BOOL, _INT, _DOUBLE, _ARRAY_OF, _VALUES = 1, 2, 1, 2, 3, 4, 5, 1
_START, _END = 7 << 3 | FIXED64, 8 << 3 | FIXED64  # with their kind, as `_TIMES` writes them
_TIMES, _DOUBLE_VALUE = struct.Struct("<BQBQ"), struct.Struct("<Bd")


class Refused(NamedTuple):
    """A span that could not be read at all: why, and what of it may be kept.

    Units: `size` bytes of the span's text; `digest` its SHA-256.
    """

    detail: str
    digest: bytes
    size: int


class Converted(NamedTuple):
    """A request in binary protobuf, the spans that are not in it, and how many attributes could not be read."""

    body: bytes
    refused: list[Refused]
    unreadable: int


_ABSENT = msgspec.Raw(b"null")  # the type Raw allows no union with None


class _Value(msgspec.Struct, rename="camel"):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: int | float | str | None = None
    double_value: float | str | None = None
    array_value: msgspec.Raw = _ABSENT


class _Array(msgspec.Struct):
    values: list[msgspec.Raw] | None = None


class _Attribute(msgspec.Struct):
    key: str = ""
    value: msgspec.Raw = _ABSENT


class _Attributes(msgspec.Struct):  # of a resource
    attributes: list[msgspec.Raw] | None = None


class _Scope(msgspec.Struct):
    name: str | None = None


class _Status(msgspec.Struct):
    code: int | None = None


_Time = int | float | str | None


class _SpanHead(msgspec.Struct, rename="camel"):
    trace_id: str | None = None
    span_id: str | None = None
    parent_span_id: str | None = None
    kind: int | None = None
    start_time_unix_nano: _Time = None
    end_time_unix_nano: _Time = None
    status: _Status | None = None


class _Span(_SpanHead, rename="camel"):
    attributes: list[_Attribute] | None = None


class _OddSpan(_SpanHead, rename="camel"):  # some attribute of it is none: each is tried by itself
    attributes: list[msgspec.Raw] | None = None


class _ScopeSpans(msgspec.Struct):
    scope: msgspec.Raw = _ABSENT
    spans: list[msgspec.Raw] | None = None


class _ResourceSpans(msgspec.Struct, rename="camel"):
    resource: msgspec.Raw = _ABSENT
    scope_spans: list[_ScopeSpans] | None = None


class _Request(msgspec.Struct, rename="camel"):
    resource_spans: list[_ResourceSpans] | None = None


_REQUEST, _SPAN, _ODD_SPAN, _RESOURCE, _SCOPE, _ATTRIBUTE, _VALUE, _ARRAY = (
    msgspec.json.Decoder(kind)
    for kind in (_Request, _Span, _OddSpan, _Attributes | None, _Scope | None, _Attribute, _Value | None, _Array | None)
)
# An escaped half of a surrogate pair without its other half, as JavaScript writes a text that was cut within an emoji.
# The alternatives before it take what it must not be found in: an escaped backslash, and a whole pair.
_HALF_PAIR = re.compile(
    rb"""\\(?: u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2} | (u[dD][89a-fA-F][0-9a-fA-F]{2}) | . )""",
    re.VERBOSE | re.DOTALL,
)
# What reading a value may end in: no such JSON, a surrogate without its other half, a number out of range.
_UNREADABLE = (msgspec.MsgspecError, ValueError, TypeError, OverflowError, RecursionError)


def convert(body: bytes, wanted: Collection[bytes], wanted_resource: Collection[bytes]) -> Converted:
    """Convert an ExportTraceServiceRequest.

    Shape: JSON, UTF-8; `wanted` are the attribute keys to convert, UTF-8.

    Raises:
        RejectedError: the document is no such message; sending it again cannot help.
    """
    if body.count(b",") > VALUES_MAX:
        raise RejectedError(f"the JSON document has more than {VALUES_MAX} values; send fewer spans at once")
    try:
        document = _frame(body)
    except _UNREADABLE as exc:
        raise RejectedError(
            f"the body ({len(body)} bytes) is not an OTLP ExportTraceServiceRequest in JSON: {_said(exc)}"
        ) from exc
    attributes, resources = _Reader(wanted), _Reader(wanted_resource)
    refused: list[Refused] = []
    groups = (_resource_spans(group, attributes, resources, refused) for group in document.resource_spans or ())
    body = b"".join([field(_RESOURCE_SPANS, group) for group in groups])
    return Converted(body, refused, attributes.unreadable + resources.unreadable)


def _frame(body: bytes) -> _Request:
    try:
        return _REQUEST.decode(body)
    except msgspec.DecodeError:
        mended = _HALF_PAIR.sub(lambda found: b"\\ufffd" if found[1] else found[0], body)
        if mended == body:
            raise
        return _REQUEST.decode(mended)


def _resource_spans(
    group: _ResourceSpans, attributes: "_Reader", resources: "_Reader", refused: list[Refused]
) -> bytes:
    found: _Attributes | None = _decoded(_RESOURCE, group.resource)
    pairs = resources.read(None if found is None else found.attributes)
    resource = b"".join([field(_RESOURCE_ATTRIBUTES, pair) for pair in pairs])
    scopes = [field(_SCOPE_SPANS, _scope_spans(each, attributes, refused)) for each in group.scope_spans or ()]
    return field(_RESOURCE_OF, resource) + b"".join(scopes)


def _scope_spans(group: _ScopeSpans, reader: "_Reader", refused: list[Refused]) -> bytes:
    parts: list[bytes] = []
    scope: _Scope | None = _decoded(_SCOPE, group.scope)
    if scope is not None and scope.name:
        parts.append(field(_SCOPE_OF, field(_SCOPE_NAME, scope.name.encode())))
    for raw in group.spans or ():
        try:
            parts.append(field(_SPANS, _span(raw, reader)))
        except _UNREADABLE as exc:
            digest, size = hashlib.sha256(raw).digest(), memoryview(raw).nbytes
            refused.append(Refused(f"a span in JSON: {_said(exc)}", digest, size))
    return b"".join(parts)


def _decoded(decoder: Any, raw: msgspec.Raw) -> Any:  # a decoder's type is that of what it makes
    """Read what may be left out: a resource or a scope that cannot be read costs its names, and no span."""
    try:
        return decoder.decode(raw)
    except _UNREADABLE:
        return None


def _span(raw: msgspec.Raw, reader: "_Reader") -> bytes:
    head: _SpanHead
    try:
        span: _Span = _SPAN.decode(raw)
        head, attributes = span, reader.convert(span.attributes or ())
    except _UNREADABLE:
        odd: _OddSpan = _ODD_SPAN.decode(raw)
        head, attributes = odd, reader.read(odd.attributes)
    ids = (head.trace_id, head.span_id, head.parent_span_id)
    parts = [field(number, _id(text)) for number, text in zip(_IDS, ids, strict=True) if text]
    parts.append(_TIMES.pack(_START, _time(head.start_time_unix_nano), _END, _time(head.end_time_unix_nano)))
    parts += [field(_ATTRIBUTES, pair) for pair in attributes]
    if head.status is not None:
        parts.append(field(_STATUS, _enum(_STATUS_CODE, head.status.code)))
    return b"".join(parts)


def _id(text: str) -> bytes:
    if not text.isascii() or not text.isalnum():  # fromhex would pass over spaces
        raise ValueError("an id is not in hex")
    return bytes.fromhex(text)


def _enum(number: int, value: int | None) -> bytes:
    """Write an enum; what is no number of 32 bits is no value of any."""
    return b"" if value is None or not 0 < value < 2**31 else bytes((number << 3 | VARINT,)) + varint(value)


def _time(value: float | str | None) -> int:
    if value is None or value == "":
        return 0
    time_ns = _integer(value)
    if not 0 <= time_ns <= _UINT64_MAX:
        raise ValueError("a time is out of range")
    return time_ns


def _integer(value: float | str) -> int:
    whole = len(value) <= 20 and value.removeprefix("-").isdecimal() if isinstance(value, str) else value % 1 == 0
    if not whole:
        raise ValueError("a 64-bit integer is not one")
    return int(value)


class _Reader:
    """Converts the wanted ones of a message's attributes, and counts those that cannot be read."""

    def __init__(self, wanted: Collection[bytes]) -> None:
        self._keys = {key.decode(): field(_KEY, key) for key in wanted}
        self.unreadable = 0

    def read(self, raw_attributes: Iterable[msgspec.Raw] | None) -> list[bytes]:
        found: list[bytes] = []
        for raw in raw_attributes or ():
            try:
                found.extend(self.convert((_ATTRIBUTE.decode(raw),)))
            except _UNREADABLE:
                self.unreadable += 1
        return found

    def convert(self, attributes: Iterable[_Attribute]) -> list[bytes]:
        """Return a KeyValue for each."""
        found: list[bytes] = []
        for pair in attributes:
            key = self._keys.get(pair.key)
            if key is not None and (value := _value(pair.value, _DEPTH_MAX)) is not None:
                found.append(key + field(_VALUE_OF, value))
        return found


def _value(raw: msgspec.Raw, depth: int) -> bytes | None:
    """Return an AnyValue."""
    value: _Value | None = _VALUE.decode(raw)
    if value is None:
        return None
    if value.string_value is not None:
        return field(_STRING, value.string_value.encode())
    if value.bool_value is not None:
        return bytes((_BOOL << 3 | VARINT, value.bool_value))
    if value.double_value is not None:
        return _DOUBLE_VALUE.pack(_DOUBLE << 3 | FIXED64, float(value.double_value))
    if value.int_value is None:
        return _array(value.array_value, depth)
    number = _integer(value.int_value)
    if number not in _INT64:
        raise ValueError("a 64-bit integer is out of range")
    return bytes((_INT << 3 | VARINT,)) + varint(number & _UINT64_MAX)  # a negative one is its two's complement


def _array(raw: msgspec.Raw, depth: int) -> bytes | None:
    array: _Array | None = _ARRAY.decode(raw)
    if array is None or not depth:
        return None  # bytes, maps and empty values: no dialect writes a wanted attribute so
    items = (_value(item, depth - 1) for item in (array.values or ())[:_ARRAY_ITEMS_MAX])
    return field(_ARRAY_OF, b"".join([field(_VALUES, item) for item in items if item is not None]))


def _said(error: Exception) -> str:
    """Return what was wrong; none of these messages quotes the document."""
    return "it nests too deeply" if isinstance(error, RecursionError) else str(error)
