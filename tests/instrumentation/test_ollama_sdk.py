"""The real Ollama SDK against a real server."""

import asyncio
from collections.abc import Iterator
from typing import Any

import ollama
import pytest

from tests.instrumentation.conftest import Spans
from tests.instrumentation.fixtures import load
from tests.wire_server import Reply, WireServer, json_reply

MESSAGES = [{"role": "user", "content": "a joke"}]
CHAT: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "ollama",
    "gen_ai.request.model": "llama3",
    "gen_ai.response.model": "llama3",
    "gen_ai.response.finish_reasons": ("stop",),
    "gen_ai.usage.input_tokens": 17,
    "gen_ai.usage.output_tokens": 63,
    "spanledger.usage.status": "reported",
}


@pytest.fixture
def client(server: WireServer, spans: Spans) -> Iterator[ollama.Client]:
    """A client."""
    with ollama.Client(server.url) as made:
        yield made


def lines(name: str) -> Reply:
    """Answer with a stream, line by line."""
    return Reply(
        headers={"content-type": "application/x-ndjson"}, pieces=load(f"ollama/{name}").splitlines(keepends=True)
    )


def has(spans: Spans, wanted: dict[str, Any]) -> None:
    attributes = spans.attributes()
    assert {name: attributes.get(name) for name in wanted} == wanted


def test_chat(client: ollama.Client, server: WireServer, spans: Spans) -> None:
    server.reply(Reply(pieces=[load("ollama/chat.json")]))
    options = {"temperature": 0.5, "num_predict": 50, "seed": 7}
    client.chat("llama3", MESSAGES, options=options, format="json", think="low")
    has(
        spans,
        CHAT
        | {
            "gen_ai.request.temperature": 0.5,
            "gen_ai.request.max_tokens": 50,
            "gen_ai.request.seed": 7,
            "gen_ai.request.reasoning.level": "low",
            "gen_ai.output.type": "json",
            "gen_ai.request.stream": None,
        },
    )


def test_a_prompt_that_was_cached_is_not_counted_as_nothing(
    client: ollama.Client, server: WireServer, spans: Spans
) -> None:
    server.reply(Reply(pieces=[load("ollama/chat_cached.json")]))
    client.chat("llama3", MESSAGES)
    has(spans, CHAT | {"gen_ai.usage.input_tokens": None})


def test_a_chat_stream(client: ollama.Client, server: WireServer, spans: Spans) -> None:
    server.reply(lines("chat_stream.ndjson"))
    assert len(list(client.chat("llama3", MESSAGES, stream=True))) == 3
    has(spans, CHAT | {"gen_ai.request.stream": True})


def test_an_async_chat_stream(server: WireServer, spans: Spans) -> None:
    async def ask() -> int:
        async with ollama.AsyncClient(server.url) as client:
            return len([part async for part in await client.chat("llama3", MESSAGES, stream=True)])

    server.reply(lines("chat_stream.ndjson"))
    assert asyncio.run(ask()) == 3
    has(spans, CHAT)


def test_text_completions(client: ollama.Client, server: WireServer, spans: Spans) -> None:
    server.reply(lines("generate_stream.ndjson"))
    assert list(client.generate("llama3", "a joke", stream=True))
    wanted = {"gen_ai.operation.name": "text_completion", "gen_ai.response.finish_reasons": ("length",)}
    has(spans, CHAT | wanted)


def test_embeddings_old_and_new(client: ollama.Client, server: WireServer, spans: Spans) -> None:
    server.reply(Reply(pieces=[load("ollama/embed.json")]), json_reply({"embedding": [0.1]}))
    client.embed("all-minilm", ["a"], dimensions=2)
    has(
        spans,
        {
            "gen_ai.operation.name": "embeddings",
            "gen_ai.usage.input_tokens": 8,
            "gen_ai.usage.output_tokens": None,
            "gen_ai.embeddings.dimension.count": 2,
            "gen_ai.request.stream": None,
        },
    )
    spans.clear()
    client.embeddings("all-minilm", "a")
    has(spans, {"gen_ai.operation.name": "embeddings", "spanledger.usage.status": "unreported"})


def test_an_error_in_a_stream_never_tells_its_text(client: ollama.Client, server: WireServer, spans: Spans) -> None:
    server.reply(lines("chat_stream_error.ndjson"))
    with pytest.raises(ollama.ResponseError):
        list(client.chat("llama3", MESSAGES, stream=True))
    has(spans, {"error.type": "_OTHER", "spanledger.usage.status": "unreported"})


def test_a_refusal_never_tells_its_text(client: ollama.Client, server: WireServer, spans: Spans) -> None:
    server.reply(json_reply({"error": "model 'x' not found"}, 404))
    with pytest.raises(ollama.ResponseError):
        client.chat("x", MESSAGES)
    has(spans, {"error.type": "404", "spanledger.usage.status": "none"})


def test_pulling_a_model_is_no_call(client: ollama.Client, server: WireServer, spans: Spans) -> None:
    server.reply(json_reply({"status": "success"}))
    assert client.pull("llama3").status == "success"
    assert not spans()
