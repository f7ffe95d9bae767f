"""The quick way of understanding a span comes to what stock protobuf and the long way come to."""

import contextlib
from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.message import DecodeError
from hypothesis import given, settings
from hypothesis import strategies as st
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import KeyValue

from spanledger_exporter import dialects
from spanledger_exporter.dialects import understanding
from spanledger_exporter.dialects.figuring import NO_VALUES, read, record
from spanledger_exporter.dialects.plans import ANSWER_ATTRIBUTES, OWN_ATTRIBUTES, SHARED_ATTRIBUTES, plan_of
from spanledger_exporter.receiving import keyvalues, otlp
from spanledger_exporter.receiving.keyvalues import Attributes
from spanledger_exporter.records import UsageRecord
from tests.exporter.otlp_requests import CHAT, END_NS, Value, key_values, request, span

KEYS = (
    *CHAT,
    "gen_ai.usage.prompt_tokens",
    "gen_ai.usage.cache_creation.input_tokens",
    "gen_ai.response.time_to_first_chunk",
    "gen_ai.system",
    "openinference.span.kind",
    "llm.token_count.prompt",
    "output.value",
    "mlflow.chat.tokenUsage",
    "spanledger.usage.input_audio_seconds",
    "user.id",
    "spanledger.budget.leases",
    "spanledger.rate_limit.requests.remaining",
    "spanledger.rate_limit.tokens.reset_at",
    "spanledger.rate_limit.unheard_of.limit",
    "unwanted",
    "gen_ai.prompt",
    "k" * 127,
    "k" * 128,
    "k" * 300,
)
VALUES: st.SearchStrategy[Value] = (
    st.integers(-1, 300)
    | st.integers(-(2**63), 2**63 - 1)
    | st.sampled_from([16_383, 16_384, 2**34, 2**35, 10**12, 10**12 + 1])
    | st.floats()
    | st.booleans()
    | st.text(max_size=5)
    | st.sampled_from(["chat", "LLM", "embeddings", "invoke_agent", "openai", "x" * 130, "x" * 20_000, "a\0b"])
    | st.sampled_from(['{"id":"chatcmpl-abcdef0123456789"}', '{"input_tokens": 5, "output_tokens": "6"}'])
    | st.lists(st.text(max_size=3), max_size=3)
)


def canonical(raw: bytes) -> bytes:
    return raw


def turned_round(raw: bytes) -> bytes:
    """The value before the key, as no encoder writes it."""
    pair = KeyValue.FromString(raw)
    return KeyValue(value=pair.value).SerializeToString() + KeyValue(key=pair.key).SerializeToString()


def with_two_values(raw: bytes) -> bytes:
    return (
        raw
        + KeyValue(value=KeyValue.FromString(key_values({"x": 77})[0].SerializeToString()).value).SerializeToString()
    )


def with_a_long_length(raw: bytes) -> bytes:
    """The key's length in two bytes where one is enough."""
    return raw[:1] + bytes((raw[1] | 0x80, 0)) + raw[2:] if raw[1] < 0x80 else raw


def with_an_unknown_field(raw: bytes) -> bytes:
    return raw + b"\x18\x07"


def not_utf_8(raw: bytes) -> bytes:
    return raw[:-1] + b"\xff"


def cut(raw: bytes) -> bytes:
    return raw[:-1]


SHAPES: tuple[Callable[[bytes], bytes], ...] = (
    canonical,
    turned_round,
    with_two_values,
    with_a_long_length,
    with_an_unknown_field,
    not_utf_8,
    cut,
)


@st.composite
def attributes(draw: st.DrawFn) -> list[bytes]:
    """The attributes of a span: a call's, some of them changed, repeated or written as no encoder writes them."""
    chosen = {**CHAT} if draw(st.booleans()) else {}
    pairs = [*chosen.items(), *draw(st.lists(st.tuples(st.sampled_from(KEYS), VALUES), max_size=8))]
    raws = [pair.SerializeToString() for key, value in pairs for pair in key_values({key: value})]
    shapes = st.sampled_from(SHAPES)
    oddly = draw(st.dictionaries(st.integers(0, max(len(raws) - 1, 0)), shapes, max_size=2)) if raws else {}
    return [oddly.get(index, canonical)(raw) for index, raw in enumerate(raws)]


def sent(raws: list[bytes], scope: str) -> bytes:
    made = span({})
    whole = made.SerializeToString() + b"".join(b"\x4a" + varint(len(raw)) + raw for raw in raws)
    template = request(span({}), scope=scope)
    del template.resource_spans[0].scope_spans[0].spans[:]
    scope_spans = template.resource_spans[0].scope_spans[0].SerializeToString() + b"\x12" + varint(len(whole)) + whole
    del template.resource_spans[0].scope_spans[:]
    resource_spans = template.resource_spans[0].SerializeToString() + b"\x12" + varint(len(scope_spans)) + scope_spans
    return b"\x0a" + varint(len(resource_spans)) + resource_spans


def varint(number: int) -> bytes:
    raw = b""
    while number > 0x7F:
        raw += bytes((number & 0x7F | 0x80,))
        number >>= 7
    return raw + bytes((number,))


def stock(raw: bytes) -> tuple[str, Any]:
    """What protobuf's own class reads of an attribute; of a long text the beginning, whatever follows.

    Raises: DecodeError or UnicodeDecodeError, by protobuf's version.
    """
    try:
        pair = KeyValue.FromString(raw)
    except Exception:
        if len(raw) <= keyvalues.TEXT_BYTES_MAX:
            raise
        return keyvalues.read(raw)
    kind = pair.value.WhichOneof("value")
    value = keyvalues.read(raw)[1] if kind == "array_value" else getattr(pair.value, kind) if kind else None
    if isinstance(value, str) and len(raw) > keyvalues.TEXT_BYTES_MAX:
        value = value[: keyvalues.TEXT_BYTES_MAX]
    return pair.key, value


def limits_by_the_book(raws: list[bytes]) -> tuple[bytes, ...]:
    # As the Collector writes them, values first, they are turned where the first one is so.
    turned = [keyvalues.key_first(raw) for raw in raws] if raws[0].startswith(b"\x12") else raws
    limits: dict[str, bytes] = {}
    for raw in turned:
        with contextlib.suppress(Exception):
            name, _ = stock(raw)
            if name in dialects.rate_limits.RATE_LIMIT_ATTRIBUTES:
                limits[name] = raw
    return tuple(limits.values())


def by_the_book(raws: list[bytes], source: otlp.Source, found: otlp.Span) -> UsageRecord | None:
    """What stock protobuf reads, understood without any memory."""
    shared: Attributes = {}
    own: Attributes = {}
    for raw in raws:
        try:
            key, value = stock(raw)
        except Exception:  # noqa: BLE001 -- one of the two errors
            continue
        if value is None or isinstance(value, bytes):
            continue
        if key in SHARED_ATTRIBUTES:
            shared[key] = value
        elif key in OWN_ATTRIBUTES | ANSWER_ATTRIBUTES:
            own[key] = value
    plan = plan_of(source, found.failed, shared, own)
    if plan is None:
        return None
    values = NO_VALUES.copy()
    refused: list[dialects.Refusal] = []
    read(plan.reads, own, values, refused)
    return record(found, plan, values, refused, limits_by_the_book(raws))


memory = understanding.Memory()


@settings(max_examples=600)
@given(attributes(), st.sampled_from(["spanledger", "somebody's", "@traceloop/x", "mlflow"]))
def test_what_is_remembered_and_what_is_not_come_to_what_stock_protobuf_reads(raws: list[bytes], scope: str) -> None:
    batch = otlp.decode(sent(raws, scope), dialects.RESOURCE_ATTRIBUTES)
    assert batch.problems == []
    for found in batch.spans:
        expected = by_the_book(raws, found.source, found)
        fresh = understanding.Memory().understand([found])
        twice = memory.understand([found, found])
        assert fresh.records == ([] if expected is None else [expected])
        assert twice.records == fresh.records * 2
        assert twice.ignored == fresh.ignored * 2
        assert twice.unreadable <= fresh.unreadable * 2  # what need not be looked at is not
        assert dict(twice.refused) == {refusal: 2 * times for refusal, times in fresh.refused.items()}


def test_a_span_like_another_has_its_own_figures() -> None:
    numbers = [0, 1, 127, 128, 16_383, 16_384, 2**21, 2**35 - 1, 2**35, 10**12]
    spans = [
        span({**CHAT, "gen_ai.usage.input_tokens": number, "gen_ai.response.id": f"id-{number}"}) for number in numbers
    ]
    records = dialects.understand(
        otlp.decode(request(*spans).SerializeToString(), dialects.RESOURCE_ATTRIBUTES).spans
    ).records
    assert [(record.usage.input_tokens, record.response_id) for record in records] == [
        (number, f"id-{number}") for number in numbers
    ]


def test_spans_that_differ_only_in_what_is_not_shared_are_told_apart() -> None:
    """Where one span has one figure, the other has another, at the same place among the same shared attributes."""
    base = {key: value for key, value in CHAT.items() if not key.startswith("gen_ai.usage.")}
    classes = ("reasoning.output_tokens", "audio.input_tokens", "audio.output_tokens", "cache_write.input_tokens")
    spans = [span({**base, f"gen_ai.usage.{name}": 7}) for name in (*classes, *classes)]
    records = dialects.understand(
        otlp.decode(request(*spans).SerializeToString(), dialects.RESOURCE_ATTRIBUTES).spans
    ).records
    usages = [record.usage for record in records]
    assert usages[:4] == usages[4:]
    assert [usage.reasoning_tokens for usage in usages[:4]] == [7, None, None, None]
    assert [usage.cache_write_tokens for usage in usages[:4]] == [None, None, None, 7]


def test_a_cost_that_is_not_in_usd_is_refused_each_time_that_it_is_said() -> None:
    sent = request(span({**CHAT, "gen_ai.usage.cost.amount": 0.1}))
    (found,) = otlp.decode(sent.SerializeToString(), dialects.RESOURCE_ATTRIBUTES).spans
    memory = understanding.Memory()
    for _ in range(2):
        got = memory.understand([found, found])
        assert [each.provider_cost_pusd for each in got.records] == [None, None]
        assert got.refused_figures == 2


def value_first(raw: bytes) -> bytes:
    """Write an attribute as the Collector does, from its end."""
    pair = KeyValue.FromString(raw)
    return KeyValue(value=pair.value).SerializeToString() + KeyValue(key=pair.key).SerializeToString()


@pytest.mark.parametrize("text", ["id-1", "i" * 126, "i" * 127, "i" * 128, "i" * 16_000, "i" * 20_000])
def test_spans_by_way_of_the_collector_are_understood_as_fast_and_to_the_same(text: str) -> None:
    """It writes the values of attributes before their keys."""
    limit = {"spanledger.rate_limit.requests.limit": 10, "spanledger.rate_limit.requests.remaining": 5}
    sent = request(span({**CHAT, "gen_ai.response.id": text, **limit}))
    (found,) = otlp.decode(sent.SerializeToString(), dialects.RESOURCE_ATTRIBUTES).spans
    turned = found._replace(attributes=[value_first(raw) for raw in found.attributes])
    assert turned.attributes != found.attributes
    memory = understanding.Memory()
    expected = memory.understand([found])
    size = memory.size
    assert memory.understand([turned, turned]).records == expected.records * 2
    if len(text) < 16_384:
        assert memory.size == size  # as one of those that it knows


@given(st.binary(max_size=40))
def test_to_turn_an_attribute_changes_nothing_that_it_says(raw: bytes) -> None:
    turned = keyvalues.key_first(raw)
    assert sorted(turned) == sorted(raw)
    try:
        pair = KeyValue.FromString(raw)
    except DecodeError:
        return
    assert KeyValue.FromString(turned) == pair


def test_what_is_remembered_is_bounded_whatever_is_sent() -> None:
    memory = understanding.Memory()
    for number in range(20):
        spans = [span({**CHAT, "gen_ai.request.model": f"model-{number}-{each}"}, end_ns=END_NS) for each in range(500)]
        found = memory.understand(otlp.decode(request(*spans).SerializeToString(), dialects.RESOURCE_ATTRIBUTES).spans)
        assert len(found.records) == 500
    assert memory.size <= understanding.PIECES_MAX + understanding.PATTERNS_MAX


def test_a_million_attributes_cost_that_span_alone() -> None:
    crowd = span(CHAT)
    crowded = crowd.SerializeToString() + (b"\x4a" + bytes((5,)) + b"\x0a\x01x\x12\x00") * 1_000_000
    template = request(span(), span())
    body = template.SerializeToString()
    sent_to_us = ExportTraceServiceRequest.FromString(body)
    scope_spans = b"\x12" + varint(len(crowded)) + crowded
    resource_spans = b"\x12" + varint(len(scope_spans)) + scope_spans
    batch = otlp.decode(
        sent_to_us.SerializeToString() + b"\x0a" + varint(len(resource_spans)) + resource_spans, frozenset()
    )
    understood = dialects.understand(batch.spans)
    assert len(understood.records) == 3
    assert batch.unreadable == 1_000_000 + len(CHAT) - otlp.ATTRIBUTES_MAX
