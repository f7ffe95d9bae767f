"""Calls of the real SDKs, one scenario each. Runs in the environment of the peers, never under pytest.

    python -m tests.peers.scenarios [--only WORDS] PEER...

plays all scenarios beside these peers, first without ours and then with it, and prints as JSON what was exported.
"""

import argparse
import asyncio
import contextlib
import json
import os
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import anthropic
import openai
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from spanledger_instrumentation.fence import FAILURES
from tests import wire_server
from tests.peers import activation
from tests.wire_server import Cut, Reply, Request, WireServer, json_reply, sse_reply

DATA = Path(__file__).parent.parent / "data"
MESSAGES: Any = [{"role": "user", "content": "hello"}]
CHAT: Any = {"model": "gpt-5", "messages": MESSAGES}
CHAT_STREAM: Any = CHAT | {"stream": True, "stream_options": {"include_usage": True}}
RESPONSE: Any = {"model": "gpt-5", "input": "hello"}
MESSAGE: Any = {"model": "claude-opus-4-5", "max_tokens": 100, "messages": MESSAGES}
EMBEDDING = {
    "object": "list",
    "model": "text-embedding-3-small",
    "data": [{"object": "embedding", "index": 0, "embedding": [0.5]}],
    "usage": {"prompt_tokens": 5, "total_tokens": 5},
}
TELEMETRY = "/telemetry"


def answer(name: str) -> Reply:
    """Answer with a fixture."""
    content = (DATA / name).read_bytes()
    return sse_reply(content) if name.endswith(".sse") else Reply(pieces=[content])


def cut(name: str, before: bytes) -> Reply:
    """Answer with the beginning of a stream; then the connection breaks, should anybody wait for more."""
    head, found, _ = (DATA / name).read_bytes().partition(before)
    assert found
    return sse_reply(head, Cut())


FAILURE = json_reply({"error": {"type": "server_error", "message": "x"}}, status=500, retry_after_ms="1")


class Clients:
    """The SDKs' clients, made once, before any instrumentation that a scenario tries; all of them with one retry."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.loop = asyncio.new_event_loop()
        self.openai = openai.OpenAI(base_url=url + "/v1", api_key="k", max_retries=1)
        self.async_openai = openai.AsyncOpenAI(base_url=url + "/v1", api_key="k", max_retries=1)
        self.anthropic = anthropic.Anthropic(base_url=url, api_key="k", max_retries=1)
        self.async_anthropic = anthropic.AsyncAnthropic(base_url=url, api_key="k", max_retries=1)


Play = Callable[[Clients], None]
Answer = Reply | Callable[[Request], Reply]
SCENARIOS: dict[str, tuple[Play, tuple[Answer, ...]]] = {}


def scenario(*replies: Answer) -> Callable[[Play], Play]:
    """Take a function for a scenario, named as it is, to which the provider answers thus."""

    def keep(play: Play) -> Play:
        SCENARIOS[play.__name__] = (play, replies)
        return play

    return keep


@scenario(answer("openai/chat.json"))
def chat(clients: Clients) -> None:
    clients.openai.chat.completions.create(**CHAT)


@scenario(answer("openai/chat.json"))
def chat_async(clients: Clients) -> None:
    clients.loop.run_until_complete(clients.async_openai.chat.completions.create(**CHAT))


@scenario(FAILURE, answer("openai/chat.json"))
def chat_retried(clients: Clients) -> None:
    clients.openai.chat.completions.create(**CHAT)


@scenario(answer("openai/chat.json"))
def chat_raw(clients: Clients) -> None:
    clients.openai.chat.completions.with_raw_response.create(**CHAT).parse()


@scenario(answer("openai/chat.json"))
def chat_streaming_response(clients: Clients) -> None:
    with clients.openai.chat.completions.with_streaming_response.create(**CHAT) as response:
        response.read()


@scenario(answer("openai/chat_stream.sse"))
def chat_stream(clients: Clients) -> None:
    list(clients.openai.chat.completions.create(**CHAT_STREAM))


@scenario(answer("openai/chat_stream.sse"))
def chat_stream_async(clients: Clients) -> None:
    async def read() -> None:
        async for _ in await clients.async_openai.chat.completions.create(**CHAT_STREAM):
            pass

    clients.loop.run_until_complete(read())


@scenario(cut("openai/chat_stream.sse", b'"usage":{'))
def chat_stream_aborted(clients: Clients) -> None:
    abort(clients.openai.chat.completions.create(**CHAT_STREAM))


def if_asked(request: Request) -> Reply:
    """Report usage as OpenAI does: on request."""
    asked = "stream_options" in request.json()
    return answer("openai/chat_stream.sse" if asked else "openai/chat_stream_without_usage.sse")


@scenario(if_asked)
def chat_stream_unasked(clients: Clients) -> None:
    """Play an app that does not ask for the usage, so that no peer gets to see it."""
    chunks = list(clients.openai.chat.completions.create(**CHAT, stream=True))
    assert not any(chunk.usage for chunk in chunks)


@scenario(answer("openai/response.json"))
def response(clients: Clients) -> None:
    clients.openai.responses.create(**RESPONSE)


@scenario(answer("openai/response_stream.sse"))
def response_stream(clients: Clients) -> None:
    list(clients.openai.responses.create(**RESPONSE, stream=True))


@scenario(json_reply(EMBEDDING))
def embedding(clients: Clients) -> None:
    clients.openai.embeddings.create(model="text-embedding-3-small", input="hello", encoding_format="float")


@scenario(answer("anthropic/message.json"))
def message(clients: Clients) -> None:
    clients.anthropic.messages.create(**MESSAGE)


@scenario(answer("anthropic/message.json"))
def message_async(clients: Clients) -> None:
    clients.loop.run_until_complete(clients.async_anthropic.messages.create(**MESSAGE))


@scenario(FAILURE, answer("anthropic/message.json"))
def message_retried(clients: Clients) -> None:
    clients.anthropic.messages.create(**MESSAGE)


@scenario(answer("anthropic/message.json"))
def message_raw(clients: Clients) -> None:
    clients.anthropic.messages.with_raw_response.create(**MESSAGE).parse()


@scenario(answer("anthropic/message_stream.sse"))
def message_stream(clients: Clients) -> None:
    list(clients.anthropic.messages.create(**MESSAGE, stream=True))


@scenario(answer("anthropic/message_stream.sse"))
def message_stream_async(clients: Clients) -> None:
    async def read() -> None:
        async for _ in await clients.async_anthropic.messages.create(**MESSAGE, stream=True):
            pass

    clients.loop.run_until_complete(read())


@scenario(cut("anthropic/message_stream.sse", b"event: message_delta"))
def message_stream_aborted(clients: Clients) -> None:
    abort(clients.anthropic.messages.create(**MESSAGE, stream=True))


def abort(stream: Any) -> None:
    """Read one event, then turn away."""
    events = iter(stream)
    next(events)
    stream.close()
    events.close()


def mistral(clients: Clients, provider: str) -> None:
    from mistralai.client import Mistral
    from mistralai.extra.observability import configure_telemetry

    with Mistral(api_key="k", server_url=clients.url) as client:
        assert configure_telemetry(client, provider=provider)
        client.chat.complete(model="mistral-large-latest", messages=MESSAGES)
        for hook in client.sdk_configuration._hooks.before_request_hooks:
            if private := getattr(hook, "_auto_telemetry_provider", None):
                private.force_flush()


@scenario(answer("openai/chat.json"))
def mistral_global(clients: Clients) -> None:
    mistral(clients, "global")


@scenario(answer("openai/chat.json"))
def mistral_dedicated(clients: Clients) -> None:
    mistral(clients, "dedicated")


@dataclass
class Stage:
    """The server, the clients and the exporters of one process."""

    server: WireServer
    clients: Clients
    exporter: InMemorySpanExporter = field(default_factory=InMemorySpanExporter)
    reader: InMemoryMetricReader = field(default_factory=InMemoryMetricReader)
    replies: Iterator[Answer] = field(default_factory=lambda: iter(()))
    responses: int = 0

    def play(self, scenarios: list[str]) -> dict[str, Any]:
        """Play scenarios, and say what each has left behind."""
        return {name: self._played(name) for name in scenarios}

    def _played(self, name: str) -> list[dict[str, Any]]:
        play, self.replies = SCENARIOS[name][0], iter(SCENARIOS[name][1])
        self.server.answer = self._answer
        play(self.clients)
        spans = [plain(span) for span in self.exporter.get_finished_spans()]
        self.exporter.clear()
        return spans

    def _answer(self, request: Request) -> Reply:
        if request.path == TELEMETRY:
            return json_reply({})
        reply = next(self.replies)
        if not isinstance(reply, Reply):
            reply = reply(request)
        self.responses += 1  # each with an id of its own: one of the peers remembers them
        pieces = [
            piece.replace(b"resp_B1", b"resp_B%d" % self.responses) if isinstance(piece, bytes) else piece
            for piece in reply.pieces
        ]
        return replace(reply, pieces=pieces)

    def metrics(self) -> dict[str, Any]:
        """Say which metrics there are, and what their points sum up to, by scope."""
        data = self.reader.get_metrics_data()
        return {
            scope.scope.name: {metric.name: total(metric) for metric in scope.metrics}
            for resource in (data.resource_metrics if data else ())
            for scope in resource.scope_metrics
        }


def total(metric: Any) -> float:
    """Sum up the points of a metric: the count of a histogram, the value of a counter."""
    return sum(getattr(point, "count", getattr(point, "value", 0)) for point in metric.data.data_points)


def plain(span: ReadableSpan) -> dict[str, Any]:
    """Turn a span into JSON."""
    assert span.instrumentation_scope
    assert span.context
    return {
        "scope": span.instrumentation_scope.name,
        "name": span.name,
        "kind": span.kind.name,
        "status": span.status.status_code.name,
        "trace": span.context.trace_id,
        "id": span.context.span_id,
        "parent": span.parent and span.parent.span_id,
        "attributes": dict(span.attributes or {}),
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--only", default="", metavar="WORDS", help="words, by commas; a scenario has one in its name")
    parser.add_argument("peers", nargs="+", help="in the order in which they are activated; `ours` first, if at all")
    chosen = parser.parse_args()
    scenarios = [name for name in SCENARIOS if any(word in name for word in chosen.only.split(","))]
    warnings.simplefilter("ignore")
    with wire_server.running() as server, contextlib.redirect_stdout(sys.stderr):
        os.environ["MISTRAL_OTLP_TRACES_ENDPOINT"] = server.url + TELEMETRY
        os.environ["OTEL_INSTRUMENTATION_SPANLEDGER_INCLUDE_USAGE"] = "always"
        found = compare(Stage(server, Clients(server.url)), chosen.peers, scenarios)
    sys.stdout.write(json.dumps(found))


def compare(stage: Stage, peers: list[str], scenarios: list[str]) -> dict[str, Any]:
    """Play all scenarios without ours and with it; where ours is activated first, only with it."""
    early = peers[0] == "ours"
    if early:
        activation.activate_ours()
    activation.activate(peers, SimpleSpanProcessor(stage.exporter), stage.reader)
    without = {} if early else stage.play(scenarios)
    if not early:
        activation.activate_ours()
    stage.server.requests.clear()
    played = stage.play(scenarios)
    told = [request.body for request in stage.server.requests if request.path == TELEMETRY]
    return {
        "without": without,
        "with": played,
        "metrics": stage.metrics(),
        "failures": dict(FAILURES),
        "told_mistral": [len(told), sum(b"spanledger" in body for body in told)],
    }


if __name__ == "__main__":
    main()
