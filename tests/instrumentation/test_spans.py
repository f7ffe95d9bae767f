"""Where a call is reported: on a span of ours, on somebody else's, or not at all; and what never is."""

import asyncio
import contextvars
import gc
import subprocess
import sys
import textwrap
import threading
import weakref
from typing import Any

import httpx2
import openai
import pytest
from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, Sampler, SamplingResult

from spanledger_instrumentation import outer
from tests.instrumentation.conftest import Spans, instrumented
from tests.instrumentation.fixtures import load
from tests.wire_server import Gate, Reply, WireServer, json_reply, sse_reply

CHAT = Reply(pieces=[load("openai/chat.json")])
STREAM = sse_reply(load("openai/chat_stream.sse"))


def ask(server: WireServer, path: str = "/v1/chat/completions", **more: Any) -> None:
    with httpx2.Client(base_url=server.url) as client:
        client.post(path, json={"model": "gpt-5", "messages": []}, **more)


def names(spans: Spans) -> list[str]:
    return [span.name for span in spans()]


@pytest.mark.parametrize(
    "mark",
    [
        {"gen_ai.operation.name": "chat"},
        {"gen_ai.operation.name": "generate_content"},
        {"gen_ai.operation.name": "text_completion"},
        {"openinference.span.kind": "LLM"},
        {"llm.request.type": "chat"},
        {"llm.request.type": "completion"},
        {"llm.request.type": "unknown"},
    ],
)
def test_an_outer_span_gets_what_it_lacks_and_keeps_what_it_has(
    server: WireServer, spans: Spans, mark: dict[str, str]
) -> None:
    server.reply(CHAT)
    theirs = {**mark, "gen_ai.request.model": "theirs", "gen_ai.usage.output_tokens": 5}
    with spans.provider.get_tracer("theirs").start_as_current_span("outer", attributes=theirs):
        ask(server)
    attributes = spans.attributes()
    assert attributes.items() >= theirs.items()
    assert attributes["gen_ai.usage.input_tokens"] == 1200
    assert attributes["gen_ai.response.finish_reasons"] == ("stop", "length")
    assert "http.response.status_code" not in attributes


@pytest.mark.parametrize(
    "mark",
    [
        {},
        {"gen_ai.operation.name": "invoke_agent"},
        {"gen_ai.operation.name": "execute_tool"},
        {"gen_ai.operation.name": "unknown"},
        {"openinference.span.kind": "AGENT"},
        {"gen_ai.operation.name": "embeddings"},
        {"openinference.span.kind": "EMBEDDING"},
        {"llm.request.type": "rerank"},
    ],
)
def test_a_span_that_is_no_call_of_this_operation_becomes_the_parent(
    server: WireServer, spans: Spans, mark: dict[str, str]
) -> None:
    server.reply(CHAT, CHAT)
    with spans.provider.get_tracer("theirs").start_as_current_span("agent", attributes=mark):
        ask(server)
        ask(server)
    first, second, agent = spans()
    assert names(spans) == ["chat gpt-5", "chat gpt-5", "agent"]
    assert first.parent is not None
    assert second.parent is not None
    assert first.parent.span_id == second.parent.span_id == agent.context.span_id


def test_a_second_call_under_one_outer_span_is_not_lost(server: WireServer, spans: Spans) -> None:
    server.reply(CHAT, CHAT)
    mark = {"gen_ai.operation.name": "chat"}
    with spans.provider.get_tracer("theirs").start_as_current_span("outer", attributes=mark):
        ask(server)
        ask(server)
    assert names(spans) == ["chat gpt-5", "outer"]
    assert [dict(span.attributes or {})["gen_ai.usage.input_tokens"] for span in spans()] == [1200, 1200]


def test_an_outer_span_has_the_usage_before_the_app_sees_the_event(server: WireServer, spans: Spans) -> None:
    server.reply(STREAM)
    mark = {"gen_ai.operation.name": "chat"}
    with spans.provider.get_tracer("theirs").start_as_current_span("outer", attributes=mark) as outer:
        client = httpx2.Client(base_url=server.url)
        with client, client.stream("POST", "/v1/chat/completions", json={"stream": True}) as response:
            next(response.iter_raw())
            outer.end()
    assert spans.attributes()["gen_ai.usage.output_tokens"] == 340


@pytest.mark.parametrize("resource", [Resource({"private": "yes"}), None], ids=["of its own", "the same"])
def test_a_span_of_another_provider_is_left_alone(server: WireServer, spans: Spans, resource: Resource | None) -> None:
    private = TracerProvider(resource=resource or spans.provider.resource)
    server.reply(CHAT)
    with private.get_tracer("sdk").start_as_current_span("p", attributes={"gen_ai.operation.name": "chat"}) as outer:
        ask(server)
        assert set(getattr(outer, "attributes", {})) == {"gen_ai.operation.name"}
    assert names(spans) == ["chat gpt-5"]


def test_suppressed_instrumentation_emits_nothing_but_an_outer_span_is_still_enriched(
    server: WireServer, spans: Spans
) -> None:
    server.reply(CHAT, CHAT)
    with suppress_instrumentation():
        ask(server)
        assert not spans()
        mark = {"gen_ai.operation.name": "chat"}
        with spans.provider.get_tracer("theirs").start_as_current_span("outer", attributes=mark):
            ask(server)
    assert spans.attributes()["gen_ai.usage.input_tokens"] == 1200


@pytest.mark.parametrize(
    ("operation", "mark"),
    [
        ("generate_content", {"gen_ai.operation.name": "chat"}),
        ("embeddings", {"openinference.span.kind": "EMBEDDING"}),
        ("rerank", {"openinference.span.kind": "RERANKER"}),
        ("rerank", {"llm.request.type": "rerank"}),
        ("transcription", {"gen_ai.operation.name": "transcription"}),
        ("image_generation", {"gen_ai.operation.name": "image_generation"}),
    ],
)
def test_each_operation_knows_its_outer_span(spans: Spans, operation: str, mark: dict[str, str]) -> None:
    with spans.provider.get_tracer("theirs").start_as_current_span("outer", attributes=mark) as span:
        found = outer.find(context.get_current(), spans.provider, operation, suppressed=False)
        other = outer.find(context.get_current(), spans.provider, "moderation", suppressed=False)
    assert found is not None
    assert found.span is span
    assert other is None


def test_a_stream_under_suppression_that_outlives_its_outer_span_is_reported_below_it(
    server: WireServer, spans: Spans
) -> None:
    """Logfire ends its span of the request when the stream begins."""
    server.reply(STREAM)
    with httpx2.Client(base_url=server.url) as client:
        request = client.build_request("POST", "/v1/chat/completions", json={"model": "gpt-5", "stream": True})
        with (
            spans.provider.get_tracer("theirs").start_as_current_span("outer", attributes=CHAT_MARK),
            suppress_instrumentation(),
        ):
            response = client.send(request, stream=True)
        response.read()
    outer_span, own = spans()
    assert own.parent == outer_span.context
    assert (own.attributes or {})["gen_ai.usage.input_tokens"] == 1200


class Seen(Sampler):
    """Remembers the attributes that it was shown."""

    def __init__(self) -> None:
        self.attributes: dict[str, Any] = {}

    def should_sample(self, *args: Any, **kwargs: Any) -> SamplingResult:
        self.attributes = dict(kwargs.get("attributes") or args[4])
        return SamplingResult(Decision.RECORD_AND_SAMPLE, self.attributes)

    def get_description(self) -> str:
        return "seen"


def test_a_sampler_sees_the_request(server: WireServer) -> None:
    sampler = Seen()
    server.reply(CHAT)
    with instrumented(TracerProvider(sampler=sampler)):
        ask(server)
    assert sampler.attributes == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-5",
        "server.address": "127.0.0.1",
        "server.port": server.port,
    }


def test_a_call_that_is_not_sampled_is_current_while_it_is_sent(server: WireServer) -> None:
    currents: list[trace.SpanContext] = []

    def note(_: Any) -> None:
        currents.append(trace.get_current_span().get_span_context())

    server.reply(STREAM)
    client = httpx2.Client(base_url=server.url, event_hooks={"request": [note]})
    request = client.build_request("POST", "/v1/chat/completions", json={"stream": True})
    with instrumented(TracerProvider(sampler=ALWAYS_OFF)), client:
        assert client.send(request, stream=True).read() == load("openai/chat_stream.sse")
    (current,) = currents
    assert current.is_valid
    assert not current.trace_flags.sampled


def test_a_task_started_while_a_request_was_sent_reports_its_own_calls(server: WireServer, spans: Spans) -> None:
    """The first call's stream is still open, and its span current in the context that the task inherited."""
    inherited: list[contextvars.Context] = []
    gate = Gate()
    server.reply(sse_reply(load("openai/chat_stream.sse")[:700], gate), CHAT)
    hooks: Any = {"request": [lambda _: inherited.append(contextvars.copy_context())]}
    client = httpx2.Client(base_url=server.url, event_hooks=hooks)
    with client, client.stream("POST", "/v1/chat/completions", json={"model": "gpt-5", "stream": True}):
        inherited[0].run(ask, server)
        assert spans.attributes()["gen_ai.usage.input_tokens"] == 1200
        gate.set()
    assert len(spans()) == 2


def test_no_content_key_or_query_is_in_what_is_exported(server: WireServer, spans: Spans) -> None:
    fixtures = {
        "/v1/chat/completions": ["openai/chat.json", "openai/chat_stream.sse"],
        "/v1/responses": ["openai/response.json", "openai/response_stream.sse", "openai/response_stream_failed.sse"],
        "/v1/messages": [
            "anthropic/message.json",
            "anthropic/message_stream.sse",
            "anthropic/message_stream_error.sse",
        ],
    }
    asked = "CANARY-PROMPT"
    for path, files in fixtures.items():
        for file in files:
            content = load(file)
            assert b"CANARY-OUTPUT" in content
            server.reply(sse_reply(content) if file.endswith(".sse") else Reply(pieces=[content]))
            with httpx2.Client(base_url=server.url, headers={"authorization": "Bearer CANARY-KEY"}) as client:
                body = {
                    "model": "m",
                    "max_tokens": 9,
                    "messages": [asked],
                    "input": asked,
                    "system": asked,
                    "user": asked,
                    "stop": [asked],
                }
                client.post(path + "?key=CANARY-QUERY", json=body)
    server.reply(Reply(status=400, pieces=[b'{"error": {"code": "CANARY in a message", "message": "CANARY"}}']))
    ask(server)
    assert len(spans()) == 9
    assert "CANARY" not in "".join(span.to_json() for span in spans())


def test_the_event_loop_s_other_tasks_do_not_see_the_span(server: WireServer, spans: Spans) -> None:
    server.reply(CHAT, CHAT)
    seen: list[bool] = []

    async def main() -> None:
        async with openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="k", max_retries=0) as client:
            calls = [client.chat.completions.create(model="m", messages=[]) for _ in range(2)]
            tasks = [asyncio.ensure_future(call) for call in calls]
            while not all(task.done() for task in tasks):
                await asyncio.sleep(0)
                seen.append(trace.get_current_span().get_span_context().is_valid)

    asyncio.run(main())
    assert not any(seen)
    first, second = spans()
    assert first.parent is None
    assert second.parent is None


HTTPX = """
import asyncio, sys
from importlib import import_module
from opentelemetry import context, trace
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.instrumentation.httpx import HTTPX2ClientInstrumentor, HTTPXClientInstrumentor
from spanledger_instrumentation.instrumentor import SpanledgerInstrumentor
exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
library = import_module(sys.argv[3])
theirs = HTTPXClientInstrumentor if sys.argv[3] == "httpx" else HTTPX2ClientInstrumentor
kinds = [SpanledgerInstrumentor, theirs]
for kind in kinds if sys.argv[2] == "ours first" else reversed(kinds):
    kind().instrument(tracer_provider=provider)
body = {"model": "gpt-5", "stream": True}
with library.Client(base_url=sys.argv[1]) as client:
    with client.stream("POST", "/v1/chat/completions", json=body) as response:
        response.read()
async def main():
    async with library.AsyncClient(base_url=sys.argv[1]) as client:
        async with client.stream("POST", "/v1/chat/completions", json=body) as response:
            await response.aread()
asyncio.run(main())
found = exporter.get_finished_spans()
for http, ours in (found[:2], found[2:]):
    assert http.parent.span_id == ours.context.span_id, (http, ours)
    assert ours.parent is None
    assert ours.attributes["gen_ai.usage.input_tokens"] == 1200
    print(http.name, "|", ours.name)
"""


@pytest.mark.parametrize("library", ["httpx", "httpx2"])
@pytest.mark.parametrize("order", ["ours first", "theirs first"])
def test_the_span_of_the_http_instrumentation_is_the_child_of_ours_in_either_order(
    server: WireServer, order: str, library: str
) -> None:
    server.reply(STREAM, STREAM)
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(HTTPX), server.url, order, library],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == ["POST | chat gpt-5"] * 2
    assert all("traceparent" in request.headers for request in server.requests)


CHAT_MARK = {"gen_ai.operation.name": "chat"}


def test_a_stream_that_outlives_its_outer_span_is_reported_below_it(server: WireServer, spans: Spans) -> None:
    server.reply(STREAM)
    with httpx2.Client(base_url=server.url) as client:
        request = client.build_request("POST", "/v1/chat/completions", json={"model": "gpt-5", "stream": True})
        with spans.provider.get_tracer("theirs").start_as_current_span("outer", attributes=CHAT_MARK):
            response = client.send(request, stream=True)
        response.read()
    outer, own = spans()
    assert (outer.attributes or {})["spanledger.usage.status"] == "unreported"
    assert own.name == "chat gpt-5"
    assert own.parent == outer.context
    assert own.start_time is not None
    assert outer.end_time is not None
    assert own.start_time < outer.end_time
    found = dict(own.attributes or {})
    assert found["spanledger.usage.status"] == "reported"
    assert found["gen_ai.request.model"] == "gpt-5"
    assert found["gen_ai.usage.input_tokens"] == 1200
    assert found["http.response.status_code"] == 200


def test_a_stream_without_figures_under_an_ended_outer_span_is_marked_once(server: WireServer, spans: Spans) -> None:
    server.reply(sse_reply(load("openai/chat_stream_without_usage.sse")))
    with httpx2.Client(base_url=server.url) as client:
        request = client.build_request("POST", "/v1/chat/completions", json={"model": "gpt-5", "stream": True})
        with spans.provider.get_tracer("theirs").start_as_current_span("outer", attributes=CHAT_MARK):
            response = client.send(request, stream=True)
        response.read()
    assert spans.attributes()["spanledger.usage.status"] == "unreported"


def test_a_call_under_an_outer_span_that_ends_before_its_answer_is_not_lost(server: WireServer, spans: Spans) -> None:
    server.reply(CHAT)
    with spans.provider.get_tracer("theirs").start_as_current_span("outer", attributes=CHAT_MARK) as outer:
        hooks: Any = {"response": [lambda _: outer.end()]}
        with httpx2.Client(base_url=server.url, event_hooks=hooks) as client:
            client.post("/v1/chat/completions", json={"model": "gpt-5"})
    assert names(spans) == ["outer", "chat gpt-5"]
    assert (spans()[1].attributes or {})["gen_ai.usage.input_tokens"] == 1200


def test_of_two_streams_open_at_once_under_one_outer_span_none_is_lost(server: WireServer, spans: Spans) -> None:
    server.reply(STREAM, STREAM)
    path, body = "/v1/chat/completions", {"model": "gpt-5", "stream": True}
    with (
        spans.provider.get_tracer("theirs").start_as_current_span("outer", attributes=CHAT_MARK),
        httpx2.Client(base_url=server.url) as client,
        client.stream("POST", path, json=body) as first,
        client.stream("POST", path, json=body) as second,
    ):
        first.read()
        second.read()
    assert names(spans) == ["chat gpt-5", "outer"]
    assert [dict(span.attributes or {})["gen_ai.usage.input_tokens"] for span in spans()] == [1200, 1200]


def test_a_fallback_to_another_provider_finds_the_outer_span_as_it_was(server: WireServer, spans: Spans) -> None:
    message = Reply(pieces=[load("anthropic/message.json")])
    server.reply(Reply(status=429, pieces=[b'{"error": {"code": "rate_limit_exceeded"}}']), message)
    with (
        spans.provider.get_tracer("theirs").start_as_current_span("outer", attributes=CHAT_MARK),
        httpx2.Client(base_url=server.url) as client,
    ):
        client.post("/v1/chat/completions", json={"model": "gpt-5", "temperature": 0.5})
        client.post("/v1/messages", json={"model": "claude-opus-4-5", "max_tokens": 9})
    attributes = spans.attributes()
    assert attributes["gen_ai.provider.name"] == "anthropic"
    assert attributes["gen_ai.request.model"] == "claude-opus-4-5"
    assert "gen_ai.request.temperature" not in attributes
    assert attributes["gen_ai.usage.input_tokens"] == 42600


def test_a_stream_that_failed_after_it_had_begun_keeps_its_outer_span(server: WireServer, spans: Spans) -> None:
    """What it used is billed; the next attempt has figures of its own."""
    server.reply(sse_reply(load("anthropic/message_stream_error.sse")), CHAT)
    with (
        spans.provider.get_tracer("theirs").start_as_current_span("outer", attributes=CHAT_MARK),
        httpx2.Client(base_url=server.url) as client,
    ):
        client.post("/v1/messages", json={"model": "claude-opus-4-5", "max_tokens": 9, "stream": True})
        client.post("/v1/chat/completions", json={"model": "gpt-5"})
    assert names(spans) == ["chat gpt-5", "outer"]
    assert [dict(span.attributes or {})["gen_ai.usage.input_tokens"] for span in spans()] == [1200, 42600]


def test_another_call_that_is_made_while_one_is_sent_has_its_own_span(server: WireServer, spans: Spans) -> None:
    server.reply(CHAT, CHAT)

    def guard(_: Any) -> None:
        with httpx2.Client(base_url=server.url) as inner:
            inner.post("/v1/chat/completions", json={"model": "guard"})

    with httpx2.Client(base_url=server.url, event_hooks={"request": [guard]}) as client:
        client.post("/v1/chat/completions", json={"model": "gpt-5"})
    assert names(spans) == ["chat guard", "chat gpt-5"]


def test_the_same_request_sent_on_by_a_transport_is_one_call(server: WireServer, spans: Spans) -> None:
    class Onward(httpx2.BaseTransport):
        def handle_request(self, request: httpx2.Request) -> httpx2.Response:
            with httpx2.Client(base_url=server.url) as inner:
                return httpx2.Response(200, content=inner.post(request.url.path, content=request.content).content)

    server.reply(CHAT)
    with httpx2.Client(base_url="http://gateway", transport=Onward()) as client:
        client.post("/v1/chat/completions", json={"model": "gpt-5"})
    assert spans.attributes()["server.address"] == "gateway"


def test_a_context_that_a_hook_left_attached_stays_without_our_span(server: WireServer, spans: Spans) -> None:
    def hook(_: Any) -> None:
        context.attach(context.set_value("tenant", "t1"))

    def calls() -> None:
        with httpx2.Client(base_url=server.url, event_hooks={"request": [hook]}) as client:
            for _ in range(2):
                client.post("/v1/chat/completions", json={"model": "gpt-5"})
        assert context.get_value("tenant") == "t1"
        assert not trace.get_current_span().get_span_context().is_valid

    server.reply(CHAT, CHAT)
    contextvars.copy_context().run(calls)
    assert [span.parent for span in spans()] == [None, None]


def test_a_call_that_begins_while_another_one_gets_the_tracer_is_not_lost(server: WireServer) -> None:
    class Slow(TracerProvider):
        """Lets another thread make a whole call before the first one has its tracer."""

        other: threading.Thread | None = None

        def get_tracer(self, *args: Any, **kwargs: Any) -> trace.Tracer:
            if self.other is None:
                self.other = threading.Thread(target=ask, args=(server,))
                self.other.start()
                self.other.join(10)
            return super().get_tracer(*args, **kwargs)

    found = InMemorySpanExporter()
    provider = Slow()
    provider.add_span_processor(SimpleSpanProcessor(found))
    server.reply(CHAT, CHAT)
    with instrumented(provider):
        ask(server)
    assert len(found.get_finished_spans()) == 2


def test_outer_spans_are_not_kept(server: WireServer, spans: Spans) -> None:
    server.reply(CHAT)
    with spans.provider.get_tracer("theirs").start_as_current_span("outer", attributes=CHAT_MARK) as span:
        ask(server)
    kept = weakref.ref(span)
    del span
    spans.clear()
    gc.collect()
    assert kept() is None


def test_a_model_of_unprintable_text_spoils_nothing(server: WireServer, spans: Spans) -> None:
    server.reply(CHAT, CHAT)
    with httpx2.Client(base_url=server.url) as client:
        client.post("/v1/chat/completions", content=b'{"model": "gpt\\ud800"}')
        client.post("/v1/chat/completions", content=b'{"model": "gpt\\u001b[31m"}')
    assert names(spans) == ["chat", "chat"]
    assert encode_spans(spans()).SerializeToString()


def test_free_text_of_a_provider_is_not_exported(server: WireServer, spans: Spans) -> None:
    answer = {
        "choices": [{"index": 0, "finish_reason": "stopped, since they said CANARY"}],
        "service_tier": "a CANARY tier",
        "usage": {"prompt_tokens": 1},
    }
    server.reply(json_reply(answer))
    with httpx2.Client(base_url=server.url) as client:
        client.post("/v1/chat/completions", json={"reasoning_effort": "a CANARY", "service_tier": "a CANARY"})
    assert spans.attributes()["gen_ai.response.finish_reasons"] == ("_OTHER",)
    assert spans.attributes()["spanledger.usage.status"] == "reported"
    assert "CANARY" not in spans.one().to_json()
