"""Requests of spans as our own instrumentation exports them for a chat: 25 attributes, about 1 kB each.

They are made by writing ids, times and figures into the bytes of a few templates, so that making them takes a client
less time than taking them takes the exporter.
"""

import random
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

from spanledger_exporter.receiving.wire import field, varint

SERVICES: Final = 20
MODELS: Final = ("gpt-4o-mini", "gpt-5-mini", "gpt-5", "gpt-4.1", "gpt-4o")
NS_BETWEEN: Final = 100_000

TRACE, SPAN, PARENT, RESPONSE, HASH = b"\xaa" * 16, b"\xbb" * 8, b"\xcc" * 8, b"R" * 29, b"H" * 32
START, END = 0x1111111111111111, 0x2222222222222222
INPUT, OUTPUT, CACHED, REASONING = 12_345, 2_345, 9_876, 1_234  # two bytes each, as all that take their place


class Template(NamedTuple):
    """The bytes of a span, and where in them stands what differs from span to span."""

    raw: bytes
    trace: int
    span: int
    parent: int
    start: int
    end: int
    response: int
    hash: int
    tokens: tuple[int, ...]


def template(model: str) -> Template:
    """Make the span of one chat with a model, as our instrumentation exports it."""
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue
    from opentelemetry.proto.trace.v1.trace_pb2 import Span

    attributes: dict[str, Any] = {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "server.address": "api.openai.com",
        "gen_ai.request.model": model,
        "gen_ai.request.temperature": 0.5,
        "server.port": 443,
        "spanledger.api_key.hash": "0f9d1c2b3a4857665544332211000fed",
        "spanledger.api_key.last4": "cdef",
        "spanledger.request.hash": HASH.decode(),
        "openai.response.service_tier": "default",
        "gen_ai.response.finish_reasons": ["stop"],
        "gen_ai.response.id": "chatcmpl-" + RESPONSE.decode(),
        "gen_ai.response.model": model,
        "gen_ai.usage.cache_read.input_tokens": CACHED,
        "gen_ai.usage.input_tokens": INPUT,
        "gen_ai.usage.output_tokens": OUTPUT,
        "gen_ai.usage.reasoning.output_tokens": REASONING,
        "http.response.status_code": 200,
        "spanledger.organization": "acme",
        "spanledger.rate_limit.requests.limit": 30_000,
        "spanledger.rate_limit.requests.remaining": 29_999,
        "spanledger.rate_limit.tokens.limit": 150_000_000,
        "spanledger.rate_limit.tokens.remaining": 149_999_227,
        "spanledger.request_id": "req_27be8f4c3a1d4a5e9f0b6c7d8e9f0a1b",
        "spanledger.usage.status": "reported",
    }

    def value(given: Any) -> AnyValue:
        if isinstance(given, list):
            return AnyValue(array_value=ArrayValue(values=[value(item) for item in given]))
        kind = {str: "string_value", int: "int_value", float: "double_value"}[type(given)]
        return AnyValue(**{kind: given})

    made = Span(
        trace_id=TRACE,
        span_id=SPAN,
        parent_span_id=PARENT,
        name=f"chat {model}",
        kind=Span.SpanKind.SPAN_KIND_CLIENT,
        start_time_unix_nano=START,
        end_time_unix_nano=END,
        attributes=[KeyValue(key=key, value=value(given)) for key, given in attributes.items()],
    )
    raw = made.SerializeToString()
    places = [raw.index(varint(tokens)) for tokens in (INPUT, OUTPUT, CACHED, REASONING)]
    return Template(
        raw,
        raw.index(TRACE),
        raw.index(SPAN),
        raw.index(PARENT),
        raw.index(START.to_bytes(8, "little")),
        raw.index(END.to_bytes(8, "little")),
        raw.index(RESPONSE),
        raw.index(HASH),
        tuple(places),
    )


class Tally:
    """What was sent, for the comparison in the end."""

    def __init__(self) -> None:
        self.calls = self.input_tokens = self.output_tokens = 0


def bodies(first: int, count: int, batch: int, base_ns: int, tally: Tally) -> Iterator[bytes]:
    """Make requests of this many spans, numbered on from the first: each span with ids and figures of its own."""
    templates = [template(model) for model in MODELS]
    dice = random.Random(first)
    scope = field(1, field(1, b"spanledger") + field(2, b"0.1.0"))
    resources = []
    for number in range(SERVICES):
        name = field(2, field(1, f"service-{number}".encode()))
        resources.append(field(1, field(1, field(1, b"service.name") + name)))
    for start in range(first, first + count, batch):
        spans = [
            span_of(templates[number % len(templates)], number, base_ns, dice, tally)
            for number in range(start, min(start + batch, first + count))
        ]
        scope_spans = scope + b"".join(field(2, span) for span in spans)
        yield field(1, resources[start // batch % SERVICES] + field(2, scope_spans))


def span_of(made: Template, number: int, base_ns: int, dice: random.Random, tally: Tally) -> bytes:
    """Give a span its ids, times and figures."""
    raw = bytearray(made.raw)
    unique = dice.randbytes(32)
    end_ns = base_ns + number * NS_BETWEEN
    raw[made.trace : made.trace + 16] = unique[:16]
    raw[made.span : made.span + 8] = unique[16:24]
    raw[made.parent : made.parent + 8] = unique[24:]
    raw[made.start : made.start + 8] = (end_ns - 1_500_000_000).to_bytes(8, "little")
    raw[made.end : made.end + 8] = end_ns.to_bytes(8, "little")
    raw[made.response : made.response + 29] = unique.hex()[:29].encode()
    raw[made.hash : made.hash + 32] = unique.hex()[16:48].encode()
    input_tokens, output_tokens = dice.randint(9_000, 16_000), dice.randint(1_000, 4_000)
    figures = (input_tokens, output_tokens, input_tokens // 2, output_tokens // 2)
    for place, tokens in zip(made.tokens, figures, strict=True):
        raw[place] = tokens & 0x7F | 0x80
        raw[place + 1] = tokens >> 7
    tally.calls += 1
    tally.input_tokens += input_tokens
    tally.output_tokens += output_tokens
    return bytes(raw)
