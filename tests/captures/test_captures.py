"""The stored captures are whole: OTLP as stock protobuf reads it, the calls that the provider counted, no secrets."""

import re
from collections.abc import Iterator

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from tests.captures import captures
from tests.captures.captures import Capture, TallyCall
from tests.captures.table import ROWS

NAMES = captures.names()

# How many answers' usage an instrumentation leaves out, though the provider told it: all of them streams.
UNTOLD = {
    "mlflow-anthropic": 6,
    "node-official-and-openllmetry": 1,
    "node-openinference-openai": 3,
    "node-openllmetry-openai": 1,
}


def spans(capture: Capture) -> Iterator[Span]:
    """Yield the spans that instrumentations made, not the app itself."""
    for body in capture.requests:
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            for scope in resource.scope_spans:
                if scope.scope.name != "app":
                    yield from scope.spans


def tells(span: str, call: TallyCall) -> bool:
    """Tell whether a span has a call's id, or else its figures."""
    if call.response_id and call.response_id in span:
        return True
    numbers = set(re.findall(r"\d+", span))
    uncached = call.input_tokens - call.cache_read_tokens - call.cache_write_tokens
    inputs = {str(call.input_tokens), str(uncached)}
    return bool(inputs & numbers) and (not call.output_tokens or str(call.output_tokens) in numbers)


def test_the_table_and_the_stored_captures_are_the_same():
    assert sorted(row.name for row in ROWS) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_request_is_whole_otlp_of_that_program(name):
    for body in captures.load(name).requests:
        request = ExportTraceServiceRequest.FromString(body)
        groups = [scope.spans for resource in request.resource_spans for scope in resource.scope_spans]
        assert groups
        assert all(len(span.trace_id) == 16 and span.end_time_unix_nano for spans in groups for span in spans)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_a_capture_names_what_made_it_as_the_table_has_it(row):
    made_by = captures.load(row.name).made_by
    assert made_by["language"] == row.language
    assert made_by["program"] == row.program
    assert made_by["instrumentations"] == list(row.instrumentations)
    assert made_by["runtime"]
    assert len(made_by["packages"]) == len(row.packages)
    assert all(made_by["packages"].values())


@pytest.mark.parametrize("name", NAMES)
def test_an_answer_that_said_its_usage_is_in_some_span(name):
    capture = captures.load(name)
    texts = [str(span) for span in spans(capture)]
    answered = [call for call in capture.calls if call.outcome == "complete" and call.stated]
    assert answered
    untold = [call for call in answered if not any(tells(text, call) for text in texts)]
    assert len(untold) == UNTOLD.get(name, 0)
    assert all(call.stream for call in untold)


@pytest.mark.parametrize("name", NAMES)
def test_no_capture_holds_a_key_or_a_folder_of_the_machine(name):
    capture = captures.load(name)
    everything = b"".join(capture.requests) + str(capture.made_by).encode()
    assert not re.search(rb"\bsk-[A-Za-z0-9-]{6}|/root/|/tmp/|/home/|/Users/", everything)
