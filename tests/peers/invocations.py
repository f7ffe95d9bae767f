"""Calls under and above an invocation of opentelemetry-util-genai. Runs in the environment of the peers.

    python -m tests.peers.invocations

prints as JSON, for each case, the spans that were exported.
"""

import contextlib
import json
import sys
from collections.abc import Callable
from typing import Any

import httpx2
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.util.genai.handler import TelemetryHandler

from spanledger_instrumentation.fence import FAILURES
from tests import wire_server
from tests.peers import activation
from tests.peers.scenarios import EMBEDDING, FAILURE, answer, plain
from tests.wire_server import WireServer, json_reply

EXPORTER = InMemorySpanExporter()
PROVIDER = TracerProvider()
PROVIDER.add_span_processor(SimpleSpanProcessor(EXPORTER))
HANDLER = TelemetryHandler(tracer_provider=PROVIDER)
Case = Callable[[WireServer], None]


def ask(server: WireServer, **more: Any) -> None:
    with httpx2.Client(base_url=server.url, **more) as client:
        client.post("/v1/chat/completions", json={"model": "gpt-5", "messages": []})


def a_span_between(server: WireServer) -> None:
    server.reply(answer("openai/chat.json"))
    with (
        HANDLER.inference("theirs", request_model="theirs"),
        trace.get_tracer("app").start_as_current_span("attempt"),
    ):
        ask(server)


def two_calls(server: WireServer) -> None:
    server.reply(answer("openai/chat.json"), answer("openai/chat.json"))
    with HANDLER.inference("openai", request_model="gpt-5"):
        ask(server)
        ask(server)


def a_failure_first(server: WireServer) -> None:
    server.reply(FAILURE, answer("openai/chat.json"))
    with (
        HANDLER.inference("openai", request_model="gpt-5"),
        trace.get_tracer("app").start_as_current_span("attempts"),
    ):
        ask(server)
        ask(server)


def embeddings(server: WireServer) -> None:
    server.reply(json_reply(EMBEDDING))
    with HANDLER.embedding("openai", request_model="m"), httpx2.Client(base_url=server.url) as client:
        client.post("/v1/embeddings", json={"model": "m", "input": "x", "dimensions": 8})


def an_invocation_below(server: WireServer) -> None:
    """Whatever is built on util-genai and sits in a transport has nothing to tell that the wire does not."""

    def below(_: Any) -> None:
        with HANDLER.inference("openai", request_model="gpt-5"):
            pass

    server.reply(answer("openai/chat.json"), answer("openai/chat.json"))
    ask(server, event_hooks={"request": [below]})
    with HANDLER.inference("openai", request_model="gpt-5"):
        pass


CASES: tuple[Case, ...] = (a_span_between, two_calls, a_failure_first, embeddings, an_invocation_below)


def main() -> None:
    trace.set_tracer_provider(PROVIDER)
    activation.activate_ours()
    found: dict[str, Any] = {}
    for case in CASES:
        with wire_server.running() as server, contextlib.redirect_stdout(sys.stderr):
            case(server)
        found[case.__name__] = [plain(span) for span in EXPORTER.get_finished_spans()]
        EXPORTER.clear()
    sys.stdout.write(json.dumps({"cases": found, "failures": dict(FAILURES)}))


if __name__ == "__main__":
    main()
