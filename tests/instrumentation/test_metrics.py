"""What is measured of a call: once, when it ends, under the conventions' names, and never beside somebody who does."""

import contextlib
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.metrics import NoOpMeterProvider
from opentelemetry.sdk.metrics import AlwaysOffExemplarFilter, Counter, MeterProvider, ObservableCounter
from opentelemetry.sdk.metrics.export import AggregationTemporality, InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import NoOpTracerProvider

from spanledger_instrumentation import fence, metrics
from spanledger_instrumentation.instrumentor import SpanledgerInstrumentor
from spanledger_instrumentation.metrics import Ended, Instruments
from spanledger_instrumentation.usage import Usage
from tests.instrumentation.fixtures import load
from tests.wire_server import Reply, WireServer, json_reply, sse_reply

CHAT = Reply(pieces=[load("openai/chat.json")])
INFERENCE = "gen_ai.client.inference."
CALL = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "gen_ai.request.model": "gpt-5",
    "gen_ai.response.model": "gpt-5-2025-08-07",
    "server.address": "127.0.0.1",
}
Points = list[tuple[dict[str, Any], float]]


class Measured:
    """The metrics of an instrumented process."""

    def __init__(self, **reading: Any) -> None:
        self.reader = InMemoryMetricReader(**reading)
        self.meters = MeterProvider(metric_readers=[self.reader], exemplar_filter=AlwaysOffExemplarFilter())
        self.tracers = TracerProvider()

    def points(self) -> dict[str, list[Any]]:
        """Collect the points of each metric."""
        data = self.reader.get_metrics_data()
        return {
            metric.name: list(metric.data.data_points)
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
            for metric in scope.metrics
        }

    def __call__(self) -> dict[str, Points]:
        """Collect each metric's attributes and sums; of times only how many there are."""
        return {
            name: sorted(((dict(point.attributes), total(name, point)) for point in points), key=str)
            for name, points in self.points().items()
        }


def total(name: str, point: Any) -> float:
    if hasattr(point, "value"):
        return point.value
    return point.count if name.endswith(("duration", "chunk")) else point.sum


@contextlib.contextmanager
def measuring(measured: Measured, **more: Any) -> Iterator[None]:
    """Instrument for the length of the block; no fence may have held anything back."""
    fence.FAILURES.clear()
    instrumentor = SpanledgerInstrumentor()
    instrumentor.instrument(**{"tracer_provider": measured.tracers, "meter_provider": measured.meters, **more})
    try:
        yield
    finally:
        instrumentor.uninstrument()
    assert not fence.FAILURES


@pytest.fixture
def measured() -> Iterator[Measured]:
    """An instrumented process."""
    found = Measured()
    with measuring(found):
        yield found


def ask(server: WireServer, path: str = "/v1/chat/completions", **more: Any) -> None:
    with httpx2.Client(base_url=server.url) as client:
        client.post(path, json={"model": "gpt-5", "input": "x", **more})


def test_a_call_is_measured_once_with_its_tokens_by_modality(server: WireServer, measured: Measured) -> None:
    server.reply(CHAT)
    ask(server)
    call = {**CALL, "server.port": server.port}

    def tokens(**by_modality: int) -> Points:
        return [({**call, "gen_ai.token.modality": name}, count) for name, count in sorted(by_modality.items())]

    assert measured() == {
        INFERENCE + "duration": [(call, 1)],
        INFERENCE + "operation.input_tokens": [(call, 1200)],
        INFERENCE + "operation.output_tokens": [(call, 340)],
        INFERENCE + "usage.input_tokens": tokens(audio=8, image=16, unknown=1176),
        INFERENCE + "usage.output_tokens": tokens(audio=4, unknown=336),
        INFERENCE + "usage.cache_read.input_tokens": tokens(unknown=1024),
        INFERENCE + "usage.cache_write.input_tokens": tokens(unknown=64),
        INFERENCE + "usage.reasoning.output_tokens": tokens(unknown=128),
    }


def test_a_stream_is_measured_with_the_time_to_its_first_chunk(server: WireServer, measured: Measured) -> None:
    server.reply(sse_reply(load("openai/chat_stream.sse")))
    client = httpx2.Client(base_url=server.url)
    with client, client.stream("POST", "/v1/chat/completions", json={"model": "gpt-5", "stream": True}) as response:
        response.read()
    found = measured()
    call = {**CALL, "server.port": server.port}
    assert found[INFERENCE + "time_to_first_chunk"] == found[INFERENCE + "duration"] == [(call, 1)]
    assert found[INFERENCE + "operation.output_tokens"] == [(call, 340)]


def test_embeddings_are_measured_apart(server: WireServer, measured: Measured) -> None:
    server.reply(json_reply({"data": [], "model": "e", "usage": {"prompt_tokens": 5, "total_tokens": 5}}))
    ask(server, "/v1/embeddings")
    found = measured()
    assert found.keys() == {"gen_ai.client.embeddings.duration", "gen_ai.client.embeddings.operation.input_tokens"}
    assert found["gen_ai.client.embeddings.operation.input_tokens"][0][1] == 5


def test_a_failed_attempt_counts_no_tokens(server: WireServer, measured: Measured) -> None:
    server.reply(Reply(status=429, pieces=[b'{"error": {"code": "rate_limit_exceeded"}}']), CHAT)
    ask(server)
    ask(server)
    found = measured()
    assert [attributes.get("error.type") for attributes, _ in found[INFERENCE + "duration"]] == [
        "rate_limit_exceeded",
        None,
    ]
    failed = [count for attributes, count in found[INFERENCE + "usage.input_tokens"] if "error.type" in attributes]
    assert failed == [0]
    assert len(found[INFERENCE + "operation.input_tokens"]) == 1


def test_a_call_without_figures_counts_no_tokens(server: WireServer, measured: Measured) -> None:
    server.reply(json_reply({"choices": []}))
    ask(server)
    assert measured().keys() == {INFERENCE + "duration"}


LIMITED = {
    "x_ratelimit_limit_requests": "500",
    "x_ratelimit_remaining_requests": "25",
    "x_ratelimit_reset_requests": "6m0s",
    "x_ratelimit_limit_tokens": "1000",
    "x_ratelimit_remaining_tokens": "1000",
}


def test_it_is_told_how_much_of_a_rate_limit_is_in_use(server: WireServer, measured: Measured) -> None:
    server.reply(json_reply({"choices": []}, **LIMITED))
    ask(server)
    of = {"gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-5"}
    told = [
        ({**of, "spanledger.rate_limit.kind": "requests"}, 0.95),
        ({**of, "spanledger.rate_limit.kind": "tokens"}, 0.0),
    ]
    assert measured()["spanledger.rate_limit.used"] == told
    assert measured()["spanledger.rate_limit.used"] == told  # until somebody says something else


def test_a_call_that_is_refused_tells_that_the_limit_is_used_up(server: WireServer, measured: Measured) -> None:
    used_up = {**LIMITED, "x_ratelimit_remaining_requests": "0"}
    server.reply(json_reply({"error": {"code": "rate_limit_exceeded"}}, status=429, **used_up))
    ask(server)
    assert [used for _, used in measured()["spanledger.rate_limit.used"]] == [1.0, 0.0]


def test_the_buckets_are_those_of_the_conventions(server: WireServer, measured: Measured) -> None:
    server.reply(CHAT)
    ask(server)
    found = measured.points()
    assert found[INFERENCE + "duration"][0].explicit_bounds[:3] == (0.01, 0.02, 0.04)
    assert found[INFERENCE + "operation.input_tokens"][0].explicit_bounds[-1] == 67108864


@pytest.mark.parametrize(
    ("opt_in", "old"), [("", False), ("gen_ai_latest_experimental", False), ("http,gen_ai/dup", True)]
)
def test_the_older_names_are_there_for_those_who_ask(
    server: WireServer, monkeypatch: pytest.MonkeyPatch, opt_in: str, *, old: bool
) -> None:
    monkeypatch.setenv("OTEL_SEMCONV_STABILITY_OPT_IN", opt_in)
    found = Measured()
    server.reply(CHAT)
    with measuring(found):
        ask(server)
    measured = found()
    assert INFERENCE + "duration" in measured
    assert ("gen_ai.client.operation.duration" in measured) == old
    usage = measured.get("gen_ai.client.token.usage", [])
    assert [(attributes["gen_ai.token.type"], count) for attributes, count in usage] == (
        [("input", 1200), ("output", 340)] if old else []
    )


def test_a_call_that_is_not_sampled_is_measured(server: WireServer) -> None:
    found = Measured()
    server.reply(CHAT)
    with measuring(found, tracer_provider=TracerProvider(sampler=ALWAYS_OFF)):
        ask(server)
    assert found()[INFERENCE + "operation.input_tokens"][0][1] == 1200


def test_metrics_need_no_traces(server: WireServer) -> None:
    found = Measured()
    server.reply(CHAT)
    with measuring(found, tracer_provider=NoOpTracerProvider()):
        ask(server)
    assert found()[INFERENCE + "operation.input_tokens"][0][1] == 1200


def test_what_is_suppressed_is_not_measured(server: WireServer, measured: Measured) -> None:
    server.reply(CHAT, CHAT)
    with suppress_instrumentation():
        ask(server)
        with measured.tracers.get_tracer("theirs").start_as_current_span(
            "o", attributes={"gen_ai.operation.name": "chat"}
        ):
            ask(server)
    assert not measured()


@pytest.mark.parametrize(
    ("scope", "count"),
    [("com.anthropic.sdk.python", 1), ("opentelemetry.instrumentation.openai.v1", 0)],
)
def test_a_call_is_measured_under_an_outer_span_unless_its_owner_does(
    server: WireServer, measured: Measured, scope: str, count: int
) -> None:
    server.reply(CHAT)
    mark = {"gen_ai.operation.name": "chat"}
    with measured.tracers.get_tracer(scope).start_as_current_span("outer", attributes=mark):
        ask(server)
    assert len(measured().get(INFERENCE + "duration", [])) == count


def test_each_collection_of_differences_has_what_is_new(server: WireServer) -> None:
    delta = AggregationTemporality.DELTA
    found = Measured(preferred_temporality={Counter: delta, ObservableCounter: delta})
    with measuring(found):
        for _ in range(2):
            server.reply(CHAT)
            ask(server)
            assert found()[INFERENCE + "usage.output_tokens"][-1][1] == 336


def test_instrumenting_again_goes_on_with_the_same_counters(server: WireServer) -> None:
    found = Measured()
    for _ in range(2):
        server.reply(CHAT)
        with measuring(found):
            ask(server)
    assert found()[INFERENCE + "usage.output_tokens"][-1][1] == 672


def test_two_readers_see_all_calls(server: WireServer) -> None:
    found = Measured()
    readers = [InMemoryMetricReader(), InMemoryMetricReader()]
    server.reply(CHAT)
    with measuring(found, meter_provider=MeterProvider(metric_readers=readers)):
        ask(server)
    seen: list[Any] = []
    for found.reader in readers:
        seen.append(found())
    assert seen[0] == seen[1]
    assert seen[0][INFERENCE + "operation.output_tokens"][0][1] == 340


class Broken(MeterProvider):
    """Fails."""

    def get_meter(self, *args: Any, **kwargs: Any) -> Any:
        raise OSError


def test_a_meter_provider_that_fails_costs_no_span(server: WireServer) -> None:
    spans = InMemorySpanExporter()
    found = Measured()
    found.tracers.add_span_processor(SimpleSpanProcessor(spans))
    server.reply(CHAT, CHAT)
    fence.FAILURES.clear()
    instrumentor = SpanledgerInstrumentor()
    instrumentor.instrument(tracer_provider=found.tracers, meter_provider=Broken())
    ask(server)
    ask(server)
    instrumentor.uninstrument()
    assert len(spans.get_finished_spans()) == 2
    assert fence.FAILURES == {"make": 1}


def test_a_silent_meter_provider_is_not_used(server: WireServer) -> None:
    server.reply(CHAT)
    with measuring(Measured(), meter_provider=NoOpMeterProvider(), tracer_provider=NoOpTracerProvider()):
        ask(server)


def ended(model: str = "m", **usage: int) -> Ended:
    return Ended(
        request={"gen_ai.operation.name": "chat", "gen_ai.request.model": model, "user": "u1"},
        response_model=None,
        usage=Usage(**usage) if usage else None,
        duration_s=1,
        first_chunk_s=None,
        error_type=None,
    )


def test_of_more_calls_than_may_wait_the_first_are_measured_before_a_collection() -> None:
    found = Measured()
    instruments = Instruments(found.meters.get_meter("m"), old_names=False)
    for _ in range(metrics.PENDING_MAX + 5):
        instruments.add(ended(input_tokens=1))
        assert len(instruments._pending) <= metrics.PENDING_MAX
    measured = found()
    assert measured[INFERENCE + "duration"][0][1] == metrics.PENDING_MAX + 5
    assert measured[INFERENCE + "usage.input_tokens"][0][1] == metrics.PENDING_MAX + 5


def test_more_series_than_are_kept_are_counted_as_overflow() -> None:
    found = Measured()
    instruments = Instruments(found.meters.get_meter("m"), old_names=False)
    for number in range(metrics.SERIES_MAX + 5):
        instruments._measure(ended(str(number), output_tokens=1))
    points = found()[INFERENCE + "usage.output_tokens"]
    assert ({"otel.metric.overflow": True}, 5) in points


def test_an_attribute_that_is_not_of_the_conventions_is_on_no_metric() -> None:
    found = Measured()
    instruments = Instruments(found.meters.get_meter("m"), old_names=True)
    instruments.add(ended(input_tokens=1, output_tokens=1))
    assert "u1" not in str(found())


def test_other_operations_are_measured_by_their_duration() -> None:
    found = Measured()
    instruments = Instruments(found.meters.get_meter("m"), old_names=False)
    call = ended(input_tokens=1)
    call.request = {"gen_ai.operation.name": "rerank"}
    instruments.add(call)
    assert found() == {"gen_ai.client.operation.duration": [({"gen_ai.operation.name": "rerank"}, 1)]}


FORKED = """
import os, sys
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from spanledger_instrumentation.instrumentor import SpanledgerInstrumentor
reader = InMemoryMetricReader()
SpanledgerInstrumentor().instrument(meter_provider=MeterProvider(metric_readers=[reader]))
import httpx2
answer = {"choices": [{"index": 0, "finish_reason": "stop"}], "usage": {"prompt_tokens": 1, "completion_tokens": 0}}
client = httpx2.Client(transport=httpx2.MockTransport(lambda _: httpx2.Response(200, json=answer)))
ask = lambda: client.post("http://x/v1/chat/completions", json={"model": "m"})
ask()
ask()
if child := os.fork():
    os.waitpid(child, 0)
ask()
for metric in reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics:
    if metric.name == "gen_ai.client.inference.usage.input_tokens":
        print("parent" if child else "child", sum(point.value for point in metric.data.data_points))
sys.stdout.flush()
os._exit(0)
"""


def test_a_fork_measures_its_own_calls_and_not_its_parents() -> None:
    ran = subprocess.run([sys.executable, "-c", FORKED], capture_output=True, text=True, timeout=60, check=True)
    assert ran.stdout.splitlines() == ["child 1", "parent 3"]
    assert not ran.stderr
