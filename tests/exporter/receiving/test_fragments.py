"""A request taken apart: each span alone, and of it only what may be kept."""

from google.protobuf.message import DecodeError
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList

from spanledger_exporter import dialects
from spanledger_exporter.dialects import RESOURCE_ATTRIBUTES, WANTED, WANTED_RESOURCE
from spanledger_exporter.receiving import otlp
from spanledger_exporter.receiving.fragments import fragments
from spanledger_exporter.records import UsageRecord
from tests.exporter.otlp_requests import CHAT, request, span

CANARY = "xyzzy-canary"


def understood(body: bytes) -> list[UsageRecord]:
    return dialects.understand(otlp.decode(body, RESOURCE_ATTRIBUTES).spans).records


def test_each_span_alone_is_decoded_as_it_is_among_the_others() -> None:
    sent = request(span(), span(failed=True))
    sent.MergeFrom(request(span(), service="billing"))
    body = sent.SerializeToString()
    apart = [otlp.decode(each.request, RESOURCE_ATTRIBUTES).spans for each in fragments(body)]
    assert [alone for (alone,) in apart] == otlp.decode(body, RESOURCE_ATTRIBUTES).spans


def test_what_is_kept_of_a_span_is_decoded_as_the_whole_span() -> None:
    for each in fragments(request(span(failed=True), span({**CHAT, "app.other": "x"})).SerializeToString()):
        kept = each.kept(WANTED, WANTED_RESOURCE)
        assert understood(kept) == understood(each.request)


def test_nothing_is_kept_but_what_is_allowed() -> None:
    value = AnyValue(string_value=CANARY)
    odd = span({**CHAT, "gen_ai.prompt": CANARY})
    odd.name = odd.trace_state = odd.status.message = CANARY
    odd.parent_span_id = CANARY.encode()
    odd.events.add(name=CANARY).attributes.add(key="gen_ai.request.model", value=value)
    odd.links.add(trace_state=CANARY)
    nested = AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key="gen_ai.request.model", value=value)]))
    odd.attributes.add(key="gen_ai.request.model", value=nested)
    odd.attributes.add(key="gen_ai.response.model", value=AnyValue(array_value=ArrayValue(values=[nested])))
    odd.attributes.add(key="gen_ai.response.id", value=AnyValue(string_value=CANARY * 100))
    sent = request(odd)
    sent.resource_spans[0].resource.attributes.add(key="host.name", value=value)
    sent.resource_spans[0].scope_spans[0].scope.attributes.add(key="gen_ai.request.model", value=value)
    sent.resource_spans[0].scope_spans[0].scope.version = CANARY
    (fragment,) = fragments(sent.SerializeToString())
    kept = fragment.kept(WANTED, WANTED_RESOURCE)
    assert CANARY.encode() in fragment.span
    assert CANARY.encode() not in kept
    assert b"gpt-4o-mini" in kept


@settings(deadline=None)
@given(st.binary(max_size=200), st.integers(0, 400), st.binary(max_size=8))
@example(b"", 75, b"\x00\x80")  # the name of the scope is no UTF-8
def test_any_bytes_are_taken_apart_without_an_error(noise: bytes, at: int, inserted: bytes) -> None:
    body = request(span(), span()).SerializeToString()
    for each in (noise, body[:at], body[:at] + inserted + body[at:]):
        for fragment in fragments(each):
            assert fragment.key
            ExportTraceServiceRequest.FromString(fragment.kept(WANTED, WANTED_RESOURCE))


@settings(deadline=None)
@given(st.integers(0, 400), st.binary(min_size=1, max_size=8))
def test_a_request_that_protobuf_takes_has_as_many_fragments_as_spans(at: int, inserted: bytes) -> None:
    body = request(span(), span()).SerializeToString()
    body = body[:at] + inserted + body[at + len(inserted) :]
    try:
        batch = otlp.decode(body, frozenset())
    except (otlp.RejectedError, DecodeError):
        return
    assert len(list(fragments(body))) == len(batch.spans) + batch.ignored + len(batch.problems)
