"""Where a call is reported: on a span of ours, on somebody else's, or not at all; and what never is."""

import asyncio
import contextvars
import subprocess
import sys
import textwrap
from typing import Any

import httpx2
import openai
import pytest
from opentelemetry import trace
from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, Sampler, SamplingResult

from tests.instrumentation.conftest import Spans, instrumented
from tests.instrumentation.fixtures import load
from tests.wire_server import Gate, Reply, WireServer, sse_reply

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
        {"gen_ai.operation.name": "embeddings"},
        {"openinference.span.kind": "LLM"},
        {"llm.request.type": "chat"},
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


@pytest.mark.parametrize("mark", [{}, {"gen_ai.operation.name": "invoke_agent"}, {"openinference.span.kind": "AGENT"}])
def test_a_span_that_is_no_model_call_becomes_the_parent(
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


def test_a_span_of_another_provider_is_left_alone(server: WireServer, spans: Spans) -> None:
    private = TracerProvider(resource=Resource({"private": "yes"}))
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
import sys, httpx2
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.instrumentation.httpx import HTTPX2ClientInstrumentor
from spanledger_instrumentation.instrumentor import SpanledgerInstrumentor
exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
trace.set_tracer_provider(provider)
kinds = [SpanledgerInstrumentor, HTTPX2ClientInstrumentor]
for kind in kinds if sys.argv[2] == "ours first" else reversed(kinds):
    kind().instrument(tracer_provider=provider)
with httpx2.Client(base_url=sys.argv[1]) as client:
    body = {"model": "gpt-5", "stream": True}
    with client.stream("POST", "/v1/chat/completions", json=body) as response:
        response.read()
http, ours = exporter.get_finished_spans()
assert http.parent.span_id == ours.context.span_id, (http, ours)
assert ours.parent is None
assert ours.attributes["gen_ai.usage.input_tokens"] == 1200
print(http.name, "|", ours.name)
"""


@pytest.mark.parametrize("order", ["ours first", "theirs first"])
def test_the_span_of_the_http_instrumentation_is_the_child_of_ours_in_either_order(
    server: WireServer, order: str
) -> None:
    server.reply(STREAM)
    ran = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(HTTPX), server.url, order],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.strip() == "POST | chat gpt-5"
    assert "traceparent" in server.requests[0].headers
