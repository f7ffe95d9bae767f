"""The real Google SDK against a real server: the Gemini API, Vertex AI and Interactions."""

import asyncio
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from anthropic import AnthropicVertex
from google import genai
from google.genai import errors, types
from google.oauth2.credentials import Credentials

from tests.instrumentation.conftest import Spans
from tests.instrumentation.fixtures import load
from tests.wire_server import Cut, Reply, WireServer, json_reply, sse_reply

MODEL = "gemini-3-pro-preview"
CONTENT = Reply(pieces=[load("gemini/content.json")])
CONTENT_STREAM = sse_reply(*load("gemini/content_stream.sse").replace(b"\n", b"\r\n").splitlines(keepends=True))
INTERACTION_STREAM = sse_reply(load("gemini/interaction_stream.sse"))
CONFIG = types.GenerateContentConfig(
    temperature=0.5,
    top_p=0.9,
    top_k=40,
    max_output_tokens=50,
    seed=7,
    response_mime_type="application/json",
    thinking_config=types.ThinkingConfig(thinking_level=types.ThinkingLevel.LOW),
)
FIGURES = {
    "gen_ai.usage.input_tokens": 1260,
    "gen_ai.usage.output_tokens": 340,
    "gen_ai.usage.cache_read.input_tokens": 1000,
    "gen_ai.usage.reasoning.output_tokens": 250,
    "gen_ai.usage.image.input_tokens": 258,
    "spanledger.usage.web_search_requests": 2,
    "spanledger.usage.status": "reported",
}


@pytest.fixture
def client(server: WireServer, spans: Spans) -> Iterator[genai.Client]:
    """A client of the Gemini API."""
    with genai.Client(api_key="test", http_options=types.HttpOptions(base_url=server.url)) as made:
        yield made


@pytest.fixture
def vertex(server: WireServer, spans: Spans) -> Iterator[genai.Client]:
    """A client of Vertex AI, whose credentials are nobody's."""
    with genai.Client(
        vertexai=True,
        project="mine",
        location="europe-west4",
        credentials=Credentials(token="nobody"),
        http_options=types.HttpOptions(
            base_url=f"{server.url}/v1/projects/mine/locations/europe-west4", api_version=""
        ),
    ) as made:
        yield made


def has(spans: Spans, wanted: dict[str, Any]) -> None:
    attributes = spans.attributes()
    assert {name: attributes.get(name) for name in wanted} == wanted


def test_content_is_counted_with_its_thoughts_and_tools(client: genai.Client, server: WireServer, spans: Spans) -> None:
    server.reply(CONTENT)
    answer = client.models.generate_content(model=MODEL, contents="a joke", config=CONFIG)
    assert answer.text == "Arr, matey."
    assert spans.one().name == f"generate_content {MODEL}"
    has(
        spans,
        FIGURES
        | {
            "gen_ai.provider.name": "gcp.gemini",
            "gen_ai.response.id": "gem-D1",
            "gen_ai.response.model": MODEL,
            "gen_ai.response.finish_reasons": ("STOP",),
            "spanledger.response.service_tier": "standard",
            "gen_ai.request.max_tokens": 50,
            "gen_ai.request.temperature": 0.5,
            "gen_ai.request.top_p": 0.9,
            "gen_ai.request.top_k": 40,
            "gen_ai.request.seed": 7,
            "gen_ai.request.reasoning.level": "low",
            "gen_ai.output.type": "json",
            "gen_ai.request.stream": None,
        },
    )


def test_a_content_stream_is_counted_once(client: genai.Client, server: WireServer, spans: Spans) -> None:
    server.reply(CONTENT_STREAM)
    chunks = list(client.models.generate_content_stream(model=MODEL, contents="a joke"))
    assert len(chunks) == 3
    has(spans, FIGURES | {"gen_ai.request.stream": True, "gen_ai.response.finish_reasons": ("STOP",)})


def test_a_content_stream_that_breaks_is_partial(client: genai.Client, server: WireServer, spans: Spans) -> None:
    begun = load("gemini/content_stream.sse").partition(b"\n\n")[0] + b"\n\n"
    server.reply(sse_reply(begun, Cut()))
    with pytest.raises(httpx2.RemoteProtocolError):
        list(client.models.generate_content_stream(model=MODEL, contents="a joke"))
    has(spans, {"gen_ai.usage.input_tokens": 1200, "spanledger.usage.status": "partial"})


@pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession")
@pytest.mark.parametrize("library", ["aiohttp", "httpx2"])
def test_async_content_and_streams(library: str, server: WireServer, spans: Spans) -> None:
    transport = {"transport": httpx2.AsyncHTTPTransport()} if library == "httpx2" else {}  # without it aiohttp is taken
    options = types.HttpOptions(base_url=server.url, async_client_args=transport)

    async def ask() -> int:
        async with genai.Client(api_key="test", http_options=options).aio as client:
            await client.models.generate_content(model=MODEL, contents="a joke")
            has(spans, FIGURES)
            spans.clear()
            stream = await client.models.generate_content_stream(model=MODEL, contents="a joke")
            return len([chunk async for chunk in stream])

    server.reply(CONTENT, CONTENT_STREAM)
    assert asyncio.run(ask()) == 3
    has(spans, FIGURES | {"gen_ai.request.stream": True})


@pytest.mark.parametrize("operation", ["generate_content", "chat"])
def test_an_outer_span_of_either_name_gets_the_figures(
    operation: str, client: genai.Client, server: WireServer, spans: Spans
) -> None:
    server.reply(CONTENT)
    outer = spans.provider.get_tracer("someone")
    with outer.start_as_current_span("outer", attributes={"gen_ai.operation.name": operation}):
        client.models.generate_content(model=MODEL, contents="a joke")
    assert spans.one().name == "outer"
    has(spans, FIGURES)


@pytest.mark.parametrize("whole", [True, False])
def test_a_stream_without_alt_sse_is_an_array(whole: bool, server: WireServer, spans: Spans) -> None:
    content = load("gemini/content_stream.json")
    server.reply(Reply(pieces=[content[:500], content[500:900], content[900:]]))
    url = f"{server.url}/v1beta/models/{MODEL}:streamGenerateContent"
    with httpx2.Client() as client:
        if whole:
            assert client.post(url, json={"contents": []}).content == content
        else:
            with client.stream("POST", url, json={"contents": []}) as answer:
                assert b"".join(answer.iter_raw()) == content
    has(spans, FIGURES | {"gen_ai.request.stream": True})


def test_a_stream_that_is_refused_answers_with_an_array(server: WireServer, spans: Spans) -> None:
    server.reply(json_reply([{"error": {"code": 400, "message": "a joke", "status": "INVALID_ARGUMENT"}}], 400))
    with httpx2.Client() as client:
        client.post(f"{server.url}/v1beta/models/{MODEL}:streamGenerateContent", json={"contents": []})
    has(spans, {"error.type": "INVALID_ARGUMENT", "spanledger.usage.status": "none"})


def test_counting_tokens_is_no_call(client: genai.Client, server: WireServer, spans: Spans) -> None:
    server.reply(json_reply({"totalTokens": 5}))
    assert client.models.count_tokens(model=MODEL, contents="a joke").total_tokens == 5
    assert not spans()


def test_embeddings(client: genai.Client, server: WireServer, spans: Spans) -> None:
    server.reply(Reply(pieces=[load("gemini/embeddings.json")]))
    client.models.embed_content(
        model="gemini-embedding-2", contents=["a", "b"], config=types.EmbedContentConfig(output_dimensionality=2)
    )
    has(
        spans,
        {
            "gen_ai.operation.name": "embeddings",
            "gen_ai.request.model": "gemini-embedding-2",
            "gen_ai.embeddings.dimension.count": 2,
            "gen_ai.usage.input_tokens": 9,
            "spanledger.usage.status": "reported",
        },
    )


def test_a_refusal_has_googles_own_code(client: genai.Client, server: WireServer, spans: Spans) -> None:
    refusal = {"error": {"code": 429, "message": "You exceeded your quota", "status": "RESOURCE_EXHAUSTED"}}
    server.reply(json_reply(refusal, 429))
    with pytest.raises(errors.ClientError):
        client.models.generate_content(model=MODEL, contents="a joke")
    has(spans, {"error.type": "RESOURCE_EXHAUSTED", "spanledger.usage.status": "none"})


def test_interactions(client: genai.Client, server: WireServer, spans: Spans) -> None:
    server.reply(Reply(pieces=[load("gemini/interaction.json")]), INTERACTION_STREAM)
    client.interactions.create(model="gemini-3.8-flash", input="a joke")
    wanted = {
        "gen_ai.operation.name": "generate_content",
        "gen_ai.request.model": "gemini-3.8-flash",
        "gen_ai.response.id": "v1_E1",
        "gen_ai.usage.input_tokens": 809,
        "gen_ai.usage.output_tokens": 848,
        "spanledger.usage.status": "reported",
    }
    has(spans, wanted)
    spans.clear()
    assert list(client.interactions.create(model="gemini-3.8-flash", input="a joke", stream=True))
    has(spans, wanted | {"gen_ai.request.stream": True})


def test_vertex_content_has_its_region(vertex: genai.Client, server: WireServer, spans: Spans) -> None:
    server.reply(CONTENT, sse_reply(load("vertex_ai/content_stream.sse")))
    vertex.models.generate_content(model=MODEL, contents="a joke")
    place = {"gen_ai.provider.name": "gcp.vertex_ai", "cloud.region": "europe-west4", "gen_ai.request.model": MODEL}
    has(spans, FIGURES | place)
    spans.clear()
    assert list(vertex.models.generate_content_stream(model=MODEL, contents="a joke"))
    has(spans, place | {"gen_ai.usage.output_tokens": 451, "spanledger.response.service_tier": "ON_DEMAND_FLEX"})


@pytest.mark.filterwarnings("ignore:The generate_images method")
def test_vertex_embeddings_and_images(vertex: genai.Client, server: WireServer, spans: Spans) -> None:
    server.reply(Reply(pieces=[load("vertex_ai/embeddings.json")]), Reply(pieces=[load("vertex_ai/images.json")]))
    vertex.models.embed_content(model="text-embedding-005", contents=["a", "b"])
    has(
        spans,
        {
            "gen_ai.operation.name": "embeddings",
            "gen_ai.usage.input_tokens": 11,
            "spanledger.usage.input_characters": 36,
        },
    )
    spans.clear()
    vertex.models.generate_images(
        model="imagen-4.0-generate-001", prompt="a ship", config=types.GenerateImagesConfig(number_of_images=3)
    )
    has(spans, {"gen_ai.operation.name": "image_generation", "spanledger.usage.output_images": 2})


def test_anthropic_s_models_on_vertex(server: WireServer, spans: Spans) -> None:
    server.reply(Reply(pieces=[load("anthropic/message.json")]), sse_reply(load("anthropic/message_stream.sse")))
    client = AnthropicVertex(
        base_url=server.url + "/v1", project_id="mine", region="us-east5", access_token="nobody", max_retries=0
    )
    asked: Any = {"model": "claude-opus-4-5@20251101", "max_tokens": 9, "messages": [{"role": "user", "content": "a"}]}
    wanted = {
        "gen_ai.provider.name": "gcp.vertex_ai",
        "gen_ai.request.model": "claude-opus-4-5@20251101",
        "cloud.region": "us-east5",
        "gen_ai.usage.input_tokens": 42600,
        "gen_ai.usage.output_tokens": 900,
        "spanledger.usage.status": "reported",
    }
    with client:
        client.messages.create(**asked)
        has(spans, wanted)
        spans.clear()
        assert list(client.messages.create(**asked, stream=True))
        has(spans, wanted | {"gen_ai.request.stream": True})
        spans.clear()
        server.reply(json_reply({"input_tokens": 5}))
        client.messages.count_tokens(model=asked["model"], messages=asked["messages"])
        assert not spans()
