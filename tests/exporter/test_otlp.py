"""Decoding OTLP: what stock protobuf reads, we read; what is broken costs as little as possible."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from spanledger_exporter import otlp
from spanledger_exporter.errors import RejectedError
from tests.exporter.otlp_requests import CHAT, END_NS, any_value, body, request, span

WANTED = frozenset(key.encode() for key in CHAT)
RESOURCE = frozenset({b"service.name"})


def decode(raw: bytes) -> otlp.Batch:
    return otlp.decode(raw, WANTED, RESOURCE)


def test_a_span_is_decoded_with_its_source() -> None:
    sent = span()
    (got,) = decode(body(sent)).spans
    assert (got.trace_id, got.span_id, got.end_ns) == (sent.trace_id, sent.span_id, END_NS)
    assert got.attributes == {key: list(value) if isinstance(value, tuple) else value for key, value in CHAT.items()}
    assert got.source == otlp.Source({"service.name": "shop"}, "spanledger")
    assert not got.failed


def test_an_error_status_is_seen() -> None:
    assert decode(body(span(failed=True))).spans[0].failed


def test_only_wanted_attributes_are_decoded() -> None:
    secret = span({**CHAT, "gen_ai.input.messages": "canary", "session": "canary"})
    secret.events.add(name="gen_ai.content", attributes=[KeyValue(key="gen_ai.prompt", value=any_value("canary"))])
    assert "canary" not in repr(decode(body(secret)))


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
    assert [problem.split()[0] for problem in batch.problems] == ["trace_id", "span_id", "span"]


def test_a_text_that_is_not_utf_8_costs_that_attribute_alone() -> None:
    """The tokens beside it were paid for all the same."""
    marker = "utf8-" + "x" * 20
    broken = span({**CHAT, "gen_ai.response.id": marker})
    batch = decode(body(span(), broken, span()).replace(marker.encode(), b"\xff" * len(marker)))
    assert (len(batch.spans), batch.problems, batch.unreadable) == (3, [], 1)
    assert batch.spans[1].attributes == {
        k: v for k, v in batch.spans[0].attributes.items() if k != "gen_ai.response.id"
    }


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
    assert decode(swapped("gen_ai.operation.name", "chat")).spans[0].attributes == {"gen_ai.operation.name": "chat"}
    assert decode(swapped("gen_ai.prompt", "canary")).spans[0].attributes == {}


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
    assert len(batch.spans) + batch.ignored + len(batch.problems) >= 0
