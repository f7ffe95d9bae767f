"""Threads, tasks, trio, forks, the loader's own command: each call is reported once, wherever it is made."""

import os
import subprocess
import sys
import threading
from contextlib import aclosing
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx2
import pytest

from spanledger_instrumentation.instrumentor import SpanledgerInstrumentor
from tests.instrumentation.conftest import Spans
from tests.instrumentation.fixtures import load
from tests.wire_server import Gate, Reply, WireServer, sse_reply

CHAT = Reply(pieces=[load("openai/chat.json")])
STREAM = sse_reply(load("openai/chat_stream.sse"))


def ask(server: WireServer) -> None:
    with httpx2.Client(base_url=server.url) as client:
        client.post("/v1/chat/completions", json={"model": "gpt-5"})


def input_tokens(spans: Spans) -> list[Any]:
    return [(span.attributes or {})["gen_ai.usage.input_tokens"] for span in spans()]


def test_calls_of_many_threads_are_each_reported_once(server: WireServer, spans: Spans) -> None:
    server.reply(*[CHAT] * 16)
    threads = [threading.Thread(target=ask, args=(server,)) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert input_tokens(spans) == [1200] * 16
    assert all(span.parent is None for span in spans())


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_calls_of_many_tasks_are_each_reported_once(server: WireServer, spans: Spans, backend: str) -> None:
    server.reply(*[STREAM] * 8)

    async def main() -> None:
        async with httpx2.AsyncClient(base_url=server.url) as client, anyio.create_task_group() as group:
            for _ in range(8):
                group.start_soon(read, client)

    anyio.run(main, backend=backend)
    assert input_tokens(spans) == [1200] * 8
    assert all(span.parent is None for span in spans())


async def read(client: httpx2.AsyncClient, begun: anyio.Event | None = None) -> None:
    body = {"model": "gpt-5", "stream": True}
    async with (
        client.stream("POST", "/v1/chat/completions", json=body) as response,
        aclosing(response.aiter_raw()) as chunks,
    ):
        async for _ in chunks:
            if begun is not None:
                begun.set()
            await anyio.lowlevel.checkpoint()


# Under trio httpx2 leaves its inner generators to the collector, with us and without.
NOISY = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.mark.parametrize("backend", ["asyncio", pytest.param("trio", marks=NOISY)])
def test_a_cancelled_task_reports_its_stream(server: WireServer, spans: Spans, backend: str) -> None:
    server.reply(sse_reply(load("openai/chat_stream.sse")[:700], Gate()))

    async def main() -> None:
        async with httpx2.AsyncClient(base_url=server.url) as client, anyio.create_task_group() as group:
            begun = anyio.Event()
            group.start_soon(read, client, begun)
            await begun.wait()
            group.cancel_scope.cancel()

    anyio.run(main, backend=backend)
    assert spans.attributes()["gen_ai.response.id"] == "chatcmpl-A1"
    assert spans.attributes()["spanledger.usage.status"] == "unreported"


def test_instrumenting_twice_reports_once(server: WireServer, spans: Spans, caplog: pytest.LogCaptureFixture) -> None:
    server.reply(CHAT)
    SpanledgerInstrumentor().instrument(tracer_provider=spans.provider)
    assert "already instrumented" in caplog.text
    ask(server)
    assert input_tokens(spans) == [1200]


FORKED = """
import os, sys
from multiprocessing import get_context
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from spanledger_instrumentation.instrumentor import SpanledgerInstrumentor
provider = TracerProvider()
line = lambda span: f"{{os.getpid() == parent}} {{span.attributes['gen_ai.request.model']}}\\n"
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter(formatter=line)))
SpanledgerInstrumentor().instrument(tracer_provider=provider)
import httpx2
parent = os.getpid()
def ask(model):
    answer = lambda _: httpx2.Response(200, content=iter([b"{{}}"]))
    client = httpx2.Client(transport=httpx2.MockTransport(answer))
    request = client.build_request("POST", "http://x/v1/chat/completions", json={{"model": model}})
    return client.send(request, stream=True)
open_before = ask("before")
def child():
    open_before.close()
    ask("child").close()
    sys.stdout.flush()
{}
open_before.close()
ask("parent").close()
"""
FORKS = {
    "os.fork": """
pid = os.fork()
if not pid:
    child()
    os._exit(0)
os.waitpid(pid, 0)
""",
    "multiprocessing": """
process = get_context("fork").Process(target=child)
process.start()
process.join()
""",
}


@pytest.mark.parametrize("fork", FORKS)
def test_parent_and_child_report_their_own_calls_once_each(fork: str) -> None:
    ran = subprocess.run(
        [sys.executable, "-c", FORKED.format(FORKS[fork])], capture_output=True, text=True, timeout=60, check=True
    )
    assert sorted(ran.stdout.splitlines()) == ["False child", "True before", "True parent"]


APP = """
import sys
import httpx2
with httpx2.Client(base_url=sys.argv[1]) as client:
    client.post("/v1/chat/completions", json={"model": "gpt-5"})
"""


@pytest.mark.parametrize(
    ("environment", "count"),
    [
        ({}, 1),
        ({"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "spanledger"}, 0),
        ({"OTEL_SDK_DISABLED": "true"}, 0),
    ],
    ids=["as it is", "disabled", "the SDK disabled"],
)
def test_the_loaders_command_reports_a_call_unless_told_otherwise(
    server: WireServer, environment: dict[str, str], count: int
) -> None:
    server.reply(CHAT)
    exporters = {"OTEL_TRACES_EXPORTER": "console", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
    ran = subprocess.run(
        [
            Path(sys.executable).parent / "opentelemetry-instrument",
            sys.executable,
            "-c",
            APP,
            server.url,
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=os.environ | exporters | environment,
    )
    assert ran.stdout.count('"spanledger.usage.status": "reported"') == count
    assert len(server.requests) == 1
