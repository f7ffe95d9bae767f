"""What is patched, what is looked at, and what is taken back."""

import asyncio
import inspect
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from typing import Any

import httpx
import httpx2
import pytest

from tests.instrumentation.conftest import Spans, instrumented
from tests.instrumentation.fixtures import load
from tests.wire_server import Reply, WireServer, json_reply

CHAT = Reply(pieces=[load("openai/chat.json")])
LIBRARIES = pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])


def ask(client: Any, path: str = "/v1/chat/completions", **body: Any) -> Any:
    return client.post(path, json={"model": "gpt-5", "messages": [], **body})


@LIBRARIES
def test_a_raw_call_is_one_span(library: Any, server: WireServer, spans: Spans) -> None:
    server.reply(CHAT)
    with library.Client(base_url=server.url) as client:
        assert ask(client).content == load("openai/chat.json")
    span = spans.one()
    assert span.name == "chat gpt-5"
    assert span.kind.name == "CLIENT"
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == "spanledger"
    assert spans.attributes() == {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": "openai",
        "gen_ai.request.model": "gpt-5",
        "server.address": "127.0.0.1",
        "server.port": server.port,
        "http.response.status_code": 200,
        "gen_ai.response.id": "chatcmpl-A1",
        "gen_ai.response.model": "gpt-5-2025-08-07",
        "gen_ai.response.finish_reasons": ("stop", "length"),
        "openai.response.service_tier": "default",
        "gen_ai.usage.input_tokens": 1200,
        "gen_ai.usage.output_tokens": 340,
        "gen_ai.usage.cache_read.input_tokens": 1024,
        "gen_ai.usage.cache_write.input_tokens": 64,
        "gen_ai.usage.reasoning.output_tokens": 128,
        "gen_ai.usage.audio.input_tokens": 8,
        "gen_ai.usage.audio.output_tokens": 4,
        "gen_ai.usage.image.input_tokens": 16,
        "spanledger.usage.status": "reported",
    }


@LIBRARIES
def test_an_async_raw_call_is_one_span(library: Any, server: WireServer, spans: Spans) -> None:
    server.reply(CHAT)

    async def main() -> None:
        async with library.AsyncClient(base_url=server.url) as client:
            body = {"model": "gpt-5", "messages": []}
            assert (await client.post("/v1/chat/completions", json=body)).content == load("openai/chat.json")

    asyncio.run(main())
    assert spans.attributes()["gen_ai.usage.input_tokens"] == 1200


@LIBRARIES
def test_other_requests_make_no_span(library: Any, server: WireServer, spans: Spans) -> None:
    paths = ["/v1/messages/count_tokens", "/v1/responses/r1/cancel", "/v1/files", "/surveys/responses"]
    server.reply(*[json_reply({}) for _ in range(len(paths) + 1)])
    with library.Client(base_url=server.url) as client:
        for path in paths:
            client.post(path, json={"answers": []})
        client.get("/v1/responses")
    assert len(server.requests) == len(paths) + 1
    assert not spans()


@pytest.mark.parametrize(
    ("status", "content", "usage_status", "error_type"),
    [
        (504, b"upstream timed out", "unreported", "504"),
        (408, b"", "unreported", "408"),
        (524, b"<html>", "unreported", "524"),
        (504, b'{"error": {"code": "deadline"}}', "none", "deadline"),
        (503, b"", "none", "503"),
    ],
)
@pytest.mark.parametrize("streamed", [False, True])
def test_a_gateway_that_stopped_to_wait_does_not_mean_that_nothing_was_used(
    server: WireServer, spans: Spans, *, status: int, content: bytes, usage_status: str, error_type: str, streamed: bool
) -> None:
    server.reply(Reply(status=status, pieces=[content] if content else []))
    with httpx2.Client(base_url=server.url) as client:
        if streamed:
            with client.stream("POST", "/v1/chat/completions", json={"stream": True}) as response:
                response.read()
        else:
            ask(client)
    attributes = spans.attributes()
    assert (attributes["spanledger.usage.status"], attributes["error.type"]) == (usage_status, error_type)
    assert spans.one().status.status_code.name == "ERROR"
    assert "gen_ai.response.time_to_first_chunk" not in attributes


def test_a_compaction_of_a_conversation_is_a_call(server: WireServer, spans: Spans) -> None:
    server.reply(json_reply({"id": "resp_1", "output": [], "usage": {"input_tokens": 9000, "output_tokens": 800}}))
    with httpx2.Client(base_url=server.url) as client:
        client.post("/v1/responses/compact", json={"model": "gpt-5", "input": "hi"})
    assert spans.one().name == "chat gpt-5"
    assert spans.attributes()["gen_ai.usage.input_tokens"] == 9000


def test_a_response_in_the_background_is_unreported(server: WireServer, spans: Spans) -> None:
    server.reply(json_reply({"id": "resp_1", "status": "queued", "usage": None}))
    with httpx2.Client(base_url=server.url) as client:
        client.post("/v1/responses", json={"model": "gpt-5", "input": "hi", "background": True})
    assert spans.attributes()["spanledger.usage.status"] == "unreported"


def test_a_scheme_without_a_usual_port_has_none(spans: Spans) -> None:
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, json={}))
    with httpx2.Client(mounts={"unix://": transport}) as client:
        client.post("unix://socket/v1/chat/completions", json={"model": "gpt-5"})
    assert "server.port" not in spans.attributes()


@LIBRARIES
def test_subclasses_and_older_clients_are_instrumented_once(library: Any, server: WireServer) -> None:
    class Client(library.Client):
        def send(self, request: Any, **kwargs: Any) -> Any:
            return super().send(request, **kwargs)

    spans = Spans()
    server.reply(CHAT, CHAT)
    clients = Client(base_url=server.url), library.Client(base_url=server.url)
    with instrumented(spans.provider):
        for client in clients:
            ask(client)
            client.close()
    assert len(spans()) == 2


@LIBRARIES
def test_a_client_built_on_another_counts_once(library: Any, server: WireServer, spans: Spans) -> None:
    class Relay(library.BaseTransport):
        def handle_request(self, request: Any) -> Any:
            with library.Client() as inner:
                answer = inner.post(f"{server.url}{request.url.path}", content=request.read())
            return library.Response(200, content=answer.content)

    server.reply(CHAT, CHAT)
    with library.Client(base_url=server.url, transport=Relay()) as client:
        ask(client)
        ask(client)
    assert len(server.requests) == 2
    assert len(spans()) == 2


@LIBRARIES
def test_redirects_and_authentication_are_one_call(library: Any, server: WireServer, spans: Spans) -> None:
    class Auth(library.Auth):
        def auth_flow(self, request: Any) -> Iterator[Any]:
            response = yield request
            assert response.status_code == 401
            yield request

    moved = Reply(status=307, headers={"location": "/moved/v1/chat/completions"})
    server.reply(json_reply({}, status=401), moved, CHAT)
    with library.Client(base_url=server.url, auth=Auth(), follow_redirects=True) as client:
        assert ask(client).status_code == 200
    assert len(server.requests) == 3
    assert spans.attributes()["http.response.status_code"] == 200


@LIBRARIES
def test_a_request_body_from_a_generator_is_left_alone(library: Any, server: WireServer, spans: Spans) -> None:
    server.reply(CHAT)
    with library.Client(base_url=server.url) as client:
        client.post("/v1/chat/completions", content=iter([b'{"model": ', b'"gpt-5"}']))
    assert server.requests[0].json() == {"model": "gpt-5"}
    assert spans.one().name == "chat"
    assert spans.attributes()["gen_ai.usage.input_tokens"] == 1200


@LIBRARIES
def test_a_loaded_mock_response_is_read_too(library: Any, spans: Spans) -> None:
    answer = library.Response(200, content=load("openai/chat.json"))
    transport = library.MockTransport(lambda _: answer)
    with (
        library.Client(transport=transport) as client,
        client.stream("POST", "http://x/v1/chat/completions") as response,
    ):
        assert response.read() == load("openai/chat.json")
    assert spans.attributes()["spanledger.usage.status"] == "reported"


@LIBRARIES
def test_exceptions_of_the_client_pass_untouched(library: Any, spans: Spans) -> None:
    error = library.ConnectError("no route")

    def fail(_: Any) -> Any:
        raise error

    with library.Client(transport=library.MockTransport(fail)) as client:
        with pytest.raises(library.ConnectError) as raised:
            ask(client, "http://x/v1/chat/completions")
        assert raised.value is error
        with pytest.raises(TypeError, match=r"Client\.send"):
            client.send()
    span = spans.one()
    assert spans.attributes()["error.type"] == "ConnectError"
    assert spans.attributes()["spanledger.usage.status"] == "none"
    assert span.status.status_code.name == "ERROR"
    assert not span.status.description
    assert not span.events


@LIBRARIES
def test_uninstrumenting_restores_everything(library: Any, server: WireServer) -> None:
    originals = [library.Client.send, library.AsyncClient.send]
    spans = Spans()
    with instrumented(spans.provider) as instrumentor:
        assert [library.Client.send, library.AsyncClient.send] != originals
        assert inspect.signature(library.Client.send) == inspect.signature(originals[0])
        instrumentor.instrument()  # a second time is harmless
        instrumentor.uninstrument()
        assert [library.Client.send, library.AsyncClient.send] == originals
        server.reply(CHAT)
        with library.Client(base_url=server.url) as client:
            ask(client)
    assert not spans()


def test_a_patch_over_ours_stays_and_ours_falls_silent(server: WireServer, monkeypatch: pytest.MonkeyPatch) -> None:
    spans = Spans()
    with instrumented(spans.provider):
        ours = httpx2.Client.send

        def theirs(self: Any, request: Any, **kwargs: Any) -> Any:
            return ours(self, request, **kwargs)

        monkeypatch.setattr(httpx2.Client, "send", theirs)
    assert httpx2.Client.send is theirs
    server.reply(CHAT)
    with httpx2.Client(base_url=server.url) as client:
        ask(client)
    assert not spans()
    monkeypatch.undo()
    httpx2.Client.send = ours.__wrapped__  # type: ignore[attr-defined,method-assign]


def test_an_excluded_host_is_not_looked_at(server: WireServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_SPANLEDGER_EXCLUDED_HOSTS", "127.0.0.1")
    spans = Spans()
    server.reply(CHAT)
    with instrumented(spans.provider), httpx2.Client(base_url=server.url) as client:
        ask(client)
    assert not spans()


def run(program: str) -> str:
    """Run a program in a process of its own."""
    ran = subprocess.run(
        [sys.executable, "-W", "error", "-c", PREAMBLE + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


PREAMBLE = """
import sys
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from spanledger_instrumentation.instrumentor import SpanledgerInstrumentor
exporter = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(exporter))
instrumentor = SpanledgerInstrumentor()
def ask(library):
    transport = library.MockTransport(lambda request: library.Response(200, json={"usage": {"prompt_tokens": 1}}))
    with library.Client(transport=transport) as client:
        client.post("http://x/v1/chat/completions", json={"model": "m"})
    return len(exporter.get_finished_spans())
"""


@pytest.mark.parametrize("imported", ["before", "after"])
@pytest.mark.parametrize("aliased", ["not at all", "before", "after"])
def test_a_library_under_an_alias_counts_once(imported: str, aliased: str) -> None:
    load_it = "import httpx2"
    alias = "import httpx2; sys.modules['httpx'] = httpx2"
    lines = [
        load_it if imported == "before" else "",
        alias if aliased == "before" else "",
        "instrumentor.instrument(tracer_provider=provider)",
        alias if aliased == "after" else "",
        "import httpx, httpx2",
        "print(ask(httpx), ask(httpx2))",
        "instrumentor.uninstrument()",
        "print(hasattr(httpx2.Client.send, '__wrapped__'))",
    ]
    assert run("\n".join(lines)) == "1 2\nFalse"


def test_an_import_after_uninstrumenting_is_not_patched_and_instrumenting_again_works() -> None:
    program = """
    instrumentor.instrument(tracer_provider=provider)
    instrumentor.uninstrument()
    import httpx
    assert not hasattr(httpx.Client.send, "__wrapped__")
    assert ask(httpx) == 0
    instrumentor.instrument(tracer_provider=provider)
    import httpx2
    print(ask(httpx), ask(httpx2))
    """
    assert run(program) == "1 2"


def test_without_an_sdk_nothing_happens() -> None:
    program = """
    from opentelemetry import trace
    instrumentor.instrument()
    import httpx2
    ask(httpx2)
    trace.set_tracer_provider(provider)
    print(ask(httpx2))
    """
    assert run(program) == "1"
