"""Decoding OTLP: what stock protobuf reads, we read; what is broken costs as little as possible."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import Status

from spanledger_exporter import dialects
from spanledger_exporter.errors import RejectedError
from spanledger_exporter.receiving import keyvalues, otlp
from spanledger_exporter.receiving.fragments import Fragment
from tests.exporter.otlp_requests import CHAT, END_NS, any_value, body, key_values, request, span

RESOURCE = frozenset({"service.name"})


def decode(raw: bytes) -> otlp.Batch:
    return otlp.decode(raw, RESOURCE)


def attributes(decoded: otlp.Span) -> dict[str, object]:
    return dict(keyvalues.read(raw) for raw in decoded.attributes)


def test_a_span_is_decoded_with_its_source() -> None:
    sent = span()
    (got,) = decode(body(sent)).spans
    assert (got.trace_id, got.span_id, got.end_ns) == (sent.trace_id, sent.span_id, END_NS)
    assert attributes(got) == {key: list(value) if isinstance(value, tuple) else value for key, value in CHAT.items()}
    assert (got.source.resource, got.source.scope) == ({"service.name": "shop"}, "spanledger")
    assert not got.failed


def test_an_error_status_is_seen() -> None:
    assert decode(body(span(failed=True))).spans[0].failed


def test_only_wanted_attributes_are_decoded() -> None:
    secret = span({**CHAT, "gen_ai.input.messages": "canary", "session": "canary"})
    secret.events.add(name="gen_ai.content", attributes=[KeyValue(key="gen_ai.prompt", value=any_value("canary"))])
    secret.status.message = "canary"
    assert "canary" not in repr(dialects.understand(decode(body(secret)).spans))


def test_spans_without_any_gen_ai_attribute_are_ignored_unread() -> None:
    batch = decode(body(span({"http.method": "GET"}), span()))
    assert (len(batch.spans), batch.ignored) == (1, 1)


def test_an_empty_request_is_no_error() -> None:
    assert decode(b"") == otlp.Batch([], 0, [], 0)


@pytest.mark.parametrize("raw", [b"garbage", b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x03\x0a\x01"])
def test_malformed_bytes_are_rejected_with_a_reason(raw: bytes) -> None:
    with pytest.raises(RejectedError, match="not an OTLP ExportTraceServiceRequest"):
        decode(raw)


def test_a_span_with_bad_ids_costs_that_span_alone() -> None:
    no_trace, zero_span, no_end = span(), span(), span()
    no_trace.trace_id = b"short"
    zero_span.span_id = bytes(8)
    no_end.end_time_unix_nano = 0
    batch = decode(body(no_trace, span(), zero_span, no_end))
    assert len(batch.spans) == 1
    assert [problem.reason.split()[0] for problem in batch.problems] == ["trace_id", "span_id", "span"]


def test_a_text_that_is_not_utf_8_costs_that_attribute_alone() -> None:
    """The tokens beside it were paid for all the same."""
    marker = "utf8-" + "x" * 20
    broken = span({**CHAT, "gen_ai.response.id": marker})
    batch = decode(body(span(), broken, span()).replace(marker.encode(), b"\xff" * len(marker)))
    understood = dialects.understand(batch.spans)
    assert (len(understood.records), batch.problems, understood.unreadable) == (3, [], 1)
    whole, lacking, _ = understood.records
    assert lacking.response_id is None
    assert (lacking.usage, lacking.profile) == (whole.usage, whole.profile)


def test_a_parent_of_the_wrong_size_is_not_kept() -> None:
    odd = span()
    odd.parent_span_id = b"x" * 3_000_000
    assert decode(body(odd)).spans[0].parent_span_id is None


def test_an_unreadable_resource_attribute_loses_no_span() -> None:
    raw = request(span(), service="s" * 20).SerializeToString().replace(b"s" * 20, b"\xff" * 20)
    (got,) = decode(raw).spans
    assert got.source.resource == {}


def swapped(key: str, value: str) -> bytes:
    """A request with one span, whose only attribute has its fields in the order that no encoder chooses."""
    text = AnyValue(string_value=value).SerializeToString()
    raw = b""
    attribute = field(b"\x12", text) + field(b"\x0a", key.encode())
    for tag, outer in ((b"\x4a", span({}).SerializeToString()), (b"\x12", b""), (b"\x12", b""), (b"\x0a", b"")):
        raw = outer + field(tag, raw or attribute)
    return raw


def field(tag: bytes, content: bytes) -> bytes:
    assert len(content) < 128, "longer ones have lengths of two bytes"
    return tag + bytes([len(content)]) + content


def test_an_attribute_with_its_fields_in_another_order_is_read_if_it_is_wanted() -> None:
    (call,) = dialects.understand(decode(swapped("gen_ai.operation.name", "chat")).spans).records
    assert call.profile.operation == "chat"
    assert dialects.understand(decode(swapped("gen_ai.prompt", "canary")).spans).records == []


def nested(depth: int) -> AnyValue:
    value = AnyValue(string_value="x" * 20)
    for _ in range(depth):
        value = AnyValue(array_value=ArrayValue(values=[value]))
    return value


@pytest.mark.parametrize("depth", [2, 45, 46, 99, 1000])
@pytest.mark.parametrize("key", ["gen_ai.response.finish_reasons", "gen_ai.prompt"])
def test_values_of_any_depth_cost_that_attribute_at_most(depth: int, key: str) -> None:
    """Protobuf's own parser refuses a request for what is nested beyond its limit of 100."""
    value = nested(1).SerializeToString()
    for _ in range(depth):
        array = b"\x0a" + varint(len(value)) + value
        value = b"\x2a" + varint(len(array)) + array
    attribute = field(b"\x0a", key.encode()) + b"\x12" + varint(len(value)) + value
    deep = span({name: value for name, value in CHAT.items() if name != key}).SerializeToString()
    batch = decode(wrapped(deep + b"\x4a" + varint(len(attribute)) + attribute) + body(span()))
    records = dialects.understand(batch.spans).records
    assert (len(records), batch.problems) == (2, [])
    assert [record.usage.input_tokens for record in records] == [100, 100]


def varint(number: int) -> bytes:
    raw = b""
    while number > 0x7F:
        raw += bytes((number & 0x7F | 0x80,))
        number >>= 7
    return raw + bytes((number,))


def wrapped(raw: bytes) -> bytes:
    """A request with one span, of a length that protobuf's classes need not accept."""
    for tag in (b"\x12", b"\x12", b"\x0a"):
        raw = tag + varint(len(raw)) + raw
    return raw


def test_a_long_text_is_read_as_far_as_it_may_hold_an_id() -> None:
    answer = '{"id": "chatcmpl-0123456789abcdef", "choices": "' + "é" * 1_000_000
    attributes = {"openinference.span.kind": "LLM", "llm.model_name": "m" * 10**6, "output.value": answer}
    sent = request(span(attributes), scope="somebody's").SerializeToString()
    (call,) = dialects.understand(decode(sent).spans).records
    assert call.response_id == "chatcmpl-0123456789abcdef"
    assert call.profile.model == "m" * 512


# -- what may be stored of a span that was refused -------------------------------------------------------------

CANARY = "xyzzy-canary"


def test_a_refused_span_is_redacted_to_what_may_be_stored() -> None:
    hidden = span({**CHAT, "gen_ai.input.messages": CANARY, "output.value": CANARY, "session": CANARY})
    hidden.span_id = b""
    hidden.name = CANARY
    hidden.trace_state = CANARY
    hidden.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message=CANARY))
    hidden.events.add(name=CANARY)
    hidden.links.add(trace_id=bytes(15) + b"1", trace_state=CANARY)
    # A second value behind the first, which parsers merge, and a field that no schema has.
    trick = key_values({"gen_ai.request.model": "gpt-5"})[0].SerializeToString() + field(b"\x7a", CANARY.encode())
    whole = request(hidden)
    whole.resource_spans[0].resource.attributes.extend(key_values({"process.command_line": CANARY}))
    whole.resource_spans[0].scope_spans[0].scope.attributes.extend(key_values({"prompt": CANARY}))
    raw = whole.SerializeToString()
    (rejected,) = decode(raw).problems
    rejected = rejected._replace(span=rejected.span + b"\x4a" + varint(len(trick)) + trick)
    kept = Fragment(rejected.resource, rejected.scope, rejected.span).kept(dialects.WANTED, dialects.WANTED_RESOURCE)
    assert CANARY.encode() not in kept
    resource_spans = ExportTraceServiceRequest.FromString(kept).resource_spans[0]
    (again,) = resource_spans.scope_spans[0].spans
    assert {pair.key for pair in again.attributes} == set(CHAT)
    assert (again.trace_id, again.end_time_unix_nano, again.status.code) == (hidden.trace_id, END_NS, 2)
    assert {pair.key for pair in resource_spans.resource.attributes} == dialects.RESOURCE_ATTRIBUTES - {
        "deployment.environment"
    }
    assert [problem.reason for problem in decode(kept).problems] == [rejected.reason]


@given(st.data())
def test_any_mutation_is_read_or_refused_but_never_crashes(data: st.DataObject) -> None:
    raw = bytearray(body(span(), span()))
    for _ in range(data.draw(st.integers(1, 5))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(raw)))
    try:
        batch = decode(bytes(raw[:cut]))
    except RejectedError:
        return
    understood = dialects.understand(batch.spans)
    assert len(understood.records) + understood.ignored == len(batch.spans)
