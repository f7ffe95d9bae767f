"""The real Cohere SDK, both of its APIs, against a real server."""

import asyncio
from collections.abc import Iterator
from typing import Any

import cohere
import httpx
import pytest

from spanledger_instrumentation.instrumentor import SpanledgerInstrumentor
from tests.instrumentation.conftest import Spans
from tests.instrumentation.fixtures import load
from tests.wire_server import Reply, WireServer, json_reply, sse_reply

CHAT: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "cohere",
    "gen_ai.usage.input_tokens": 7,
    "gen_ai.usage.output_tokens": 109,
    "gen_ai.usage.cache_read.input_tokens": None,
    "spanledger.processed.input_tokens": 69,
    "spanledger.processed.output_tokens": 110,
    "gen_ai.response.finish_reasons": ("COMPLETE",),
    "spanledger.usage.status": "reported",
}
MESSAGES: Any = [{"role": "user", "content": "a joke"}]
LINES = Reply(
    headers={"content-type": "application/stream+json"},
    pieces=load("cohere/chat_v1_stream.ndjson").splitlines(keepends=True),
)


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch, server: WireServer) -> Iterator[Spans]:
    """The spans of a process whose user says who answers on the host."""
    monkeypatch.setenv("OTEL_INSTRUMENTATION_SPANLEDGER_HOSTS", "127.0.0.1=cohere")
    found = Spans()
    instrumentor = SpanledgerInstrumentor()
    instrumentor.instrument(tracer_provider=found.provider)
    yield found
    instrumentor.uninstrument()


@pytest.fixture
def http() -> Iterator[httpx.Client]:
    """What the SDK's clients send with, so that it is closed."""
    with httpx.Client() as made:
        yield made


@pytest.fixture
def client(server: WireServer, spans: Spans, http: httpx.Client) -> cohere.ClientV2:
    """A client of the second API."""
    return cohere.ClientV2(api_key="test", base_url=server.url, httpx_client=http)


@pytest.fixture
def client_v1(server: WireServer, spans: Spans, http: httpx.Client) -> cohere.Client:
    """A client of the first API."""
    return cohere.Client(api_key="test", base_url=server.url, httpx_client=http)


def has(spans: Spans, wanted: dict[str, Any]) -> None:
    attributes = spans.attributes()
    assert {name: attributes.get(name) for name in wanted} == wanted


def test_what_is_billed_counts_and_what_was_processed_stands_beside_it(
    client: cohere.ClientV2, server: WireServer, spans: Spans
) -> None:
    server.reply(Reply(pieces=[load("cohere/chat.json")]))
    client.chat(model="command-a", messages=MESSAGES, max_tokens=50, p=0.5, k=3)
    asked = {"gen_ai.request.model": "command-a", "gen_ai.request.top_p": 0.5, "gen_ai.request.top_k": 3}
    has(spans, CHAT | asked | {"gen_ai.response.id": "co-G1", "gen_ai.request.stream": None})


def test_a_chat_stream(client: cohere.ClientV2, server: WireServer, spans: Spans) -> None:
    server.reply(sse_reply(load("cohere/chat_stream.sse")))
    assert list(client.chat_stream(model="command-a", messages=MESSAGES))
    has(spans, CHAT | {"gen_ai.response.id": "co-G1", "gen_ai.request.stream": True})


def test_an_async_chat_stream(server: WireServer, spans: Spans) -> None:
    async def ask() -> None:
        async with httpx.AsyncClient() as http:
            client = cohere.AsyncClientV2(api_key="test", base_url=server.url, httpx_client=http)
            assert [event async for event in client.chat_stream(model="command-a", messages=MESSAGES)]

    server.reply(sse_reply(load("cohere/chat_stream.sse")))
    asyncio.run(ask())
    has(spans, CHAT)


def test_chat_and_its_stream_of_lines_in_the_first_api(
    client_v1: cohere.Client, server: WireServer, spans: Spans
) -> None:
    server.reply(Reply(pieces=[load("cohere/chat_v1.json")]), LINES)
    client_v1.chat(model="command", message="a joke")
    has(spans, CHAT | {"gen_ai.response.id": "co-G2"})
    spans.clear()
    events = list(client_v1.chat_stream(model="command", message="a joke"))
    assert [event.event_type for event in events] == [
        "stream-start",
        "text-generation",
        "text-generation",
        "stream-end",
    ]
    has(spans, CHAT | {"gen_ai.response.id": "co-G2", "gen_ai.request.stream": True})


def test_text_completions(client_v1: cohere.Client, server: WireServer, spans: Spans) -> None:
    server.reply(Reply(pieces=[load("cohere/generate.json")]))
    client_v1.generate(model="command", prompt="a joke", num_generations=2)
    has(
        spans,
        {
            "gen_ai.operation.name": "text_completion",
            "gen_ai.request.choice.count": 2,
            "gen_ai.response.finish_reasons": ("COMPLETE", "MAX_TOKENS"),
            "gen_ai.usage.output_tokens": 129,
        },
    )


def test_embeddings_of_texts_and_images(client: cohere.ClientV2, server: WireServer, spans: Spans) -> None:
    server.reply(Reply(pieces=[load("cohere/embed.json")]), Reply(pieces=[load("cohere/embed_images.json")]))
    client.embed(model="embed-v4.0", texts=["hello"], input_type="search_document", embedding_types=["float", "int8"])
    has(
        spans,
        {
            "gen_ai.operation.name": "embeddings",
            "gen_ai.usage.input_tokens": 208,
            "gen_ai.request.encoding_formats": ("float", "int8"),
        },
    )
    spans.clear()
    client.embed(
        model="embed-v4.0", images=["data:image/png;base64,aGk="], input_type="image", embedding_types=["float"]
    )
    has(
        spans,
        {
            "gen_ai.usage.input_tokens": 1622,
            "gen_ai.usage.text.input_tokens": 12,
            "gen_ai.usage.image.input_tokens": 1610,
            "spanledger.usage.input_images": 1,
        },
    )


def test_reranking_is_billed_by_searches_in_both_apis(
    client: cohere.ClientV2, client_v1: cohere.Client, server: WireServer, spans: Spans
) -> None:
    for made in (client, client_v1):
        server.reply(Reply(pieces=[load("cohere/rerank.json")]))
        made.rerank(model="rerank-v3.5", query="capital", documents=["a", "b"])
        has(
            spans,
            {
                "gen_ai.operation.name": "rerank",
                "gen_ai.request.model": "rerank-v3.5",
                "spanledger.usage.search_units": 1,
                "spanledger.usage.status": "reported",
            },
        )
        spans.clear()


def test_documents_are_billed_by_page(client: cohere.ClientV2, server: WireServer, spans: Spans) -> None:
    page = {"type": "markdown", "index": 0, "markdown": {"content": "CANARY"}}
    server.reply(json_reply({"id": "p1", "pages": [page], "meta": {"billed_units": {"pages": 1}}}))
    client.parse(model="the-parser", document=cohere.ParseDocument(image_url="data:image/png;base64,AA=="))
    has(
        spans,
        {
            "gen_ai.operation.name": "ocr",
            "gen_ai.request.model": "the-parser",
            "gen_ai.response.id": "p1",
            "spanledger.usage.pages": 1,
            "spanledger.usage.status": "reported",
        },
    )


def test_what_is_free_is_no_call(client_v1: cohere.Client, server: WireServer, spans: Spans) -> None:
    server.reply(json_reply({"tokens": [1], "token_strings": ["a"], "meta": {}}))
    assert client_v1.tokenize(text="a", model="command", offline=False).tokens == [1]
    assert not spans()


def test_a_refusal_never_tells_its_message(client: cohere.ClientV2, server: WireServer, spans: Spans) -> None:
    server.reply(json_reply({"id": "x", "message": "invalid"}, 400))
    with pytest.raises(cohere.BadRequestError):
        client.chat(model="command-a", messages=MESSAGES)
    has(spans, {"error.type": "400", "spanledger.usage.status": "none"})
