"""A refusal on the real SDKs of seven providers: each one's own error, at once, and no call to the provider."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import anthropic
import cohere
import groq
import httpx
import ollama
import openai
import pytest
from cohere.core.api_error import ApiError as CohereError
from google import genai
from google.genai.errors import ClientError as GoogleError
from mistralai.client import Mistral
from mistralai.client.errors import SDKError as MistralError

from tests.instrumentation.conftest import Spans
from tests.instrumentation.enforcement.lease_server import Budget, LeaseServer
from tests.instrumentation.fixtures import load
from tests.wire_server import Reply, Request, WireServer

pytestmark = pytest.mark.filterwarnings("ignore:Inheritance class AiohttpClientSession:DeprecationWarning")
TOLD: Any = [{"role": "user", "content": "Hello"}]
KEY = "a-key-of-some-length"
KINDS = {".json": "application/json", ".sse": "text/event-stream", ".ndjson": "application/x-ndjson"}
Ask = Callable[[str, bool], Any]


class Sdk(NamedTuple):
    """How one SDK asks, plain and streamed, and what it raises."""

    ask: Ask
    ask_async: Ask
    error: type[Exception]
    answers: tuple[str, str]


def openai_ask(url: str, streams: bool) -> None:
    with openai.OpenAI(base_url=url, api_key=KEY) as client:
        drain(client.chat.completions.create(model="gpt-5-mini", messages=TOLD, stream=streams), streams)


async def openai_async(url: str, streams: bool) -> None:
    async with openai.AsyncOpenAI(base_url=url, api_key=KEY) as client:
        await drain_async(await client.chat.completions.create(model="m", messages=TOLD, stream=streams), streams)


def groq_ask(url: str, streams: bool) -> None:
    with groq.Groq(base_url=url, api_key=KEY) as client:
        drain(client.chat.completions.create(model="openai/gpt-oss-120b", messages=TOLD, stream=streams), streams)


async def groq_async(url: str, streams: bool) -> None:
    async with groq.AsyncGroq(base_url=url, api_key=KEY) as client:
        await drain_async(await client.chat.completions.create(model="m", messages=TOLD, stream=streams), streams)


def anthropic_ask(url: str, streams: bool) -> None:
    with anthropic.Anthropic(base_url=url, api_key=KEY) as client:
        drain(client.messages.create(model="claude", max_tokens=9, messages=TOLD, stream=streams), streams)


async def anthropic_async(url: str, streams: bool) -> None:
    async with anthropic.AsyncAnthropic(base_url=url, api_key=KEY) as client:
        await drain_async(
            await client.messages.create(model="claude", max_tokens=9, messages=TOLD, stream=streams), streams
        )


def google_ask(url: str, streams: bool) -> None:
    with genai.Client(api_key=KEY, http_options={"base_url": url}) as client:
        create = client.models.generate_content_stream if streams else client.models.generate_content
        drain(create(model="gemini-2.5-flash", contents="Hello"), streams)


async def google_async(url: str, streams: bool) -> None:
    async with genai.Client(api_key=KEY, http_options={"base_url": url}).aio as client:
        create: Any = client.models.generate_content_stream if streams else client.models.generate_content
        await drain_async(await create(model="gemini-2.5-flash", contents="Hello"), streams)


def mistral_ask(url: str, streams: bool) -> None:
    with Mistral(server_url=url, api_key=KEY) as client:
        create: Any = client.chat.stream if streams else client.chat.complete
        drain(create(model="mistral-large-latest", messages=TOLD), streams)


async def mistral_async(url: str, streams: bool) -> None:
    async with Mistral(server_url=url, api_key=KEY) as client:
        create: Any = client.chat.stream_async if streams else client.chat.complete_async
        await drain_async(await create(model="mistral-large-latest", messages=TOLD), streams)


def cohere_ask(url: str, streams: bool) -> None:
    with httpx.Client() as http:
        client = cohere.ClientV2(base_url=url, api_key=KEY, httpx_client=http)
        create: Any = client.chat_stream if streams else client.chat
        drain(create(model="command-a-03-2025", messages=TOLD), streams)


async def cohere_async(url: str, streams: bool) -> None:
    async with httpx.AsyncClient() as http:
        client = cohere.AsyncClientV2(base_url=url, api_key=KEY, httpx_client=http)
        if streams:
            await drain_async(client.chat_stream(model="command-a-03-2025", messages=TOLD), streams)
        else:
            await client.chat(model="command-a-03-2025", messages=TOLD)


def ollama_ask(url: str, streams: bool) -> None:
    with ollama.Client(url) as client:
        drain(client.chat("llama3", TOLD, stream=streams), streams)


async def ollama_async(url: str, streams: bool) -> None:
    async with ollama.AsyncClient(url) as client:
        await drain_async(await client.chat("llama3", TOLD, stream=streams), streams)


def drain(answer: Any, streams: bool) -> None:
    if streams:
        list(answer)


async def drain_async(answer: Any, streams: bool) -> None:
    if streams:
        stream: AsyncIterator[Any] = answer
        async for _ in stream:
            pass


SDKS = {
    "openai": Sdk(openai_ask, openai_async, openai.APIStatusError, ("openai/chat.json", "openai/chat_stream.sse")),
    "groq": Sdk(groq_ask, groq_async, groq.APIStatusError, ("groq/chat.json", "groq/chat_stream.sse")),
    "anthropic": Sdk(
        anthropic_ask,
        anthropic_async,
        anthropic.APIStatusError,
        ("anthropic/message.json", "anthropic/message_stream.sse"),
    ),
    "google": Sdk(google_ask, google_async, GoogleError, ("gemini/content.json", "gemini/content_stream.sse")),
    "mistral": Sdk(mistral_ask, mistral_async, MistralError, ("mistral/chat.json", "mistral/chat_stream.sse")),
    "cohere": Sdk(cohere_ask, cohere_async, CohereError, ("cohere/chat.json", "cohere/chat_stream.sse")),
    "ollama": Sdk(ollama_ask, ollama_async, ollama.ResponseError, ("ollama/chat.json", "ollama/chat_stream.ndjson")),
}
WAYS = [(asynchronous, streams) for asynchronous in (False, True) for streams in (False, True)]


def call(sdk: Sdk, url: str, *, asynchronous: bool, streams: bool) -> None:
    if asynchronous:
        asyncio.run(sdk.ask_async(url, streams))
    else:
        sdk.ask(url, streams)


@pytest.fixture(params=SDKS)
def sdk(request: pytest.FixtureRequest) -> Sdk:
    """One of them."""
    return SDKS[request.param]


@pytest.mark.parametrize(("asynchronous", "streams"), WAYS)
def test_a_refusal_is_the_sdks_own_error_after_one_attempt_and_names_the_budget(
    sdk: Sdk, asynchronous: bool, streams: bool, lender: LeaseServer, spans: Spans, server: WireServer
) -> None:
    lender.budgets = [Budget("team-search", limit=12_500_000, per=("team",))]
    lender.budgets[0].spent["team="] = 12_500_000
    with pytest.raises(sdk.error) as caught:
        call(sdk, server.url, asynchronous=asynchronous, streams=streams)
    text = f"{caught.value} {getattr(caught.value, 'body', '')}"
    assert '"team-search"' in text or r"\"team-search\"" in text
    assert "12.50 USD" in text
    assert "UTC" in text
    assert getattr(caught.value, "status_code", getattr(caught.value, "code", None)) == 402
    assert not server.requests
    assert len(lender.wants) == 1
    attributes = spans.attributes()
    assert attributes["error.type"] == "budget_exceeded"
    assert attributes["spanledger.usage.status"] == "none"
    assert not [name for name in attributes if name.startswith("gen_ai.usage")]


@pytest.mark.parametrize(("asynchronous", "streams"), WAYS)
def test_an_admitted_call_is_as_it_would_be_and_its_span_names_the_lease(
    sdk: Sdk, asynchronous: bool, streams: bool, lender: LeaseServer, spans: Spans, server: WireServer
) -> None:
    def answer(_: Request) -> Reply:
        name = sdk.answers[streams]
        return Reply(headers={"content-type": KINDS[name[name.index(".") :]]}, pieces=[load(name)])

    server.answer = answer
    lender.budgets = [Budget("team-search", limit=12_500_000)]
    call(sdk, server.url, asynchronous=asynchronous, streams=streams)
    assert len(server.requests) == 1
    (lease_id,) = spans.attributes()["spanledger.budget.leases"]
    assert lender.leases[lease_id].budget.name == "team-search"
    assert "error.type" not in spans.attributes()
