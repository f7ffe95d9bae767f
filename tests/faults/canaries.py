"""Canaries: random words in every place of a request that may hold content, and none of which anything may keep."""

import json
import secrets
from collections.abc import Iterator
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from tests.exporter.otlp_requests import CHAT, document, request, span, spans_of

# Where instrumentations put content, and keys that nobody has thought of yet.
KEYS = (
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.prompt",
    "gen_ai.prompt.0.content",
    "gen_ai.completion.0.content",
    "gen_ai.system_instructions",
    "gen_ai.tool.call.arguments",
    "input.value",
    "output.value",
    "http.request.header.authorization",
    "url.full",
    "db.query.text",
    "tomorrows.sdk.what_was_said",
)


class Canaries:
    """Makes canaries of one family, which a search for their common beginning finds."""

    def __init__(self) -> None:
        self.family = f"canary{secrets.token_hex(6)}"

    def word(self) -> str:
        return f"{self.family}x{secrets.token_hex(4)}"

    def value(self) -> AnyValue:
        return AnyValue(string_value=self.word())

    def values(self) -> Iterator[AnyValue]:
        """Give a canary in every kind of value."""
        yield self.value()
        yield AnyValue(bytes_value=self.word().encode())
        yield AnyValue(array_value=ArrayValue(values=[self.value()]))
        yield AnyValue(kvlist_value=KeyValueList(values=[KeyValue(key=self.word(), value=self.value())]))

    def pairs(self) -> Iterator[KeyValue]:
        for key in (*KEYS, self.word()):
            for value in self.values():
                yield KeyValue(key=key, value=value)

    def span(self) -> Span:
        """Give a call with canaries wherever no attribute of the list stands."""
        made = span(CHAT)
        made.name, made.trace_state = self.word(), f"v={self.word()}"
        made.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message=self.word()))
        made.attributes.extend(self.pairs())
        # An allowed key with a value of a kind that no dialect writes.
        made.attributes.add(key="gen_ai.request.top_k", value=self.value())
        for value in list(self.values())[1:]:
            if value.WhichOneof("value") != "array_value":
                made.attributes.add(key="gen_ai.response.finish_reasons", value=value)
        made.events.add(name=self.word(), attributes=self.pairs())
        made.links.add(trace_id=made.trace_id, span_id=made.span_id, trace_state=self.word(), attributes=self.pairs())
        return made

    def request(self, *spans: Span) -> ExportTraceServiceRequest:
        made = request(*spans)
        group = made.resource_spans[0]
        group.resource.attributes.extend(self.pairs())
        group.schema_url = group.scope_spans[0].schema_url = self.word()
        group.scope_spans[0].scope.version = self.word()
        group.scope_spans[0].scope.attributes.extend(self.pairs())
        return made

    def malformed(self) -> list[Span]:
        """Give spans that cannot become entries, full of canaries."""
        broken = [self.span() for _ in range(4)]
        broken[0].trace_id = b""
        broken[1].span_id = b"x"
        broken[2].end_time_unix_nano = 0
        broken[3].end_time_unix_nano = 2**64 - 1
        return broken

    def bodies(self) -> Iterator[tuple[str, bytes]]:
        """Give request bodies and their content types: good ones, bad ones, and no requests at all."""
        good = self.request(self.span(), self.span())
        bad = self.request(self.span(), *self.malformed())
        for each in (good, bad):
            yield "application/x-protobuf", each.SerializeToString()
        raw = good.SerializeToString()
        yield "application/x-protobuf", raw.replace(b"gpt-4o-mini", b"\xff\xfe\xfdo-mini")
        yield "application/x-protobuf", raw[: len(raw) // 2]
        yield "application/x-protobuf", self.word().encode()
        yield "text/plain", raw
        made = self.json(bad)
        yield "application/json", json.dumps(made).encode()
        for break_it in (
            {"traceId": self.word()},
            {"kind": self.word()},
            {"endTimeUnixNano": self.word()},
            {"attributes": self.word()},
            {
                "attributes": [
                    {"key": [self.word()]},
                    {"key": "gen_ai.request.model", "value": {"intValue": self.word()}},
                ]
            },
        ):
            made = self.json(self.request(self.span(), self.span()))
            spans_of(made)[0].update(break_it)
            yield "application/json", json.dumps(made).encode()
        made["resourceSpans"] = self.word()
        yield "application/json", json.dumps(made).encode()
        yield "application/json", self.word().encode()

    def json(self, made: ExportTraceServiceRequest) -> dict[str, Any]:
        return {**document(made), self.word(): [self.word()]}
