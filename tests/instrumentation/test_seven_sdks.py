"""One program with every SDK under the loader's own command, its spans read as a new user would: from the console."""

import json
import os
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.instrumentation.fixtures import load
from tests.wire_server import Reply, Request, WireServer

APP = """
import asyncio
import sys

import anthropic, boto3, cohere, groq, ollama, openai
from google import genai
from mistralai.client import Mistral

from spanledger_instrumentation import attribute

URL, KEY = sys.argv[1], "CANARY-KEY-of-some-length"
NAMED = URL.replace("127.0.0.1", "localhost")
TOLD = [{"role": "user", "content": "CANARY-INPUT"}]
CLAUDE = {"model": "claude-sonnet-5-5", "max_tokens": 9, "messages": TOLD}
GEMINI = {"model": "gemini-2.5-flash", "contents": "CANARY-INPUT"}
BEDROCK = {"modelId": "amazon.nova-lite-v1:0", "messages": [{"role": "user", "content": [{"text": "CANARY-INPUT"}]}]}


def chats(create):
    create()
    assert all(chunk.choices for chunk in create(stream=True))


@attribute(team="sync")
def sync():
    with openai.OpenAI(base_url=URL, api_key=KEY) as client:
        chats(lambda **more: client.chat.completions.create(model="gpt-5-mini", messages=TOLD, **more))
    with groq.Groq(base_url=URL, api_key=KEY) as client:
        chats(lambda **more: client.chat.completions.create(model="openai/gpt-oss-120b", messages=TOLD, **more))
    with anthropic.Anthropic(base_url=URL, api_key=KEY) as client:
        client.messages.create(**CLAUDE)
        list(client.messages.create(**CLAUDE, stream=True))
    with genai.Client(api_key=KEY, http_options={"base_url": URL}) as client:
        client.models.generate_content(**GEMINI)
        list(client.models.generate_content_stream(**GEMINI))
    with Mistral(server_url=NAMED, api_key=KEY) as client:
        client.chat.complete(model="mistral-large-latest", messages=TOLD)
        with client.chat.stream(model="mistral-large-latest", messages=TOLD) as events:
            list(events)
    with cohere.ClientV2(base_url=URL, api_key=KEY) as client:
        client.chat(model="command-a-03-2025", messages=TOLD)
        list(client.chat_stream(model="command-a-03-2025", messages=TOLD))
    with ollama.Client(URL) as client:
        client.chat("llama3", TOLD)
        list(client.chat("llama3", TOLD, stream=True))
    runtime = boto3.client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=URL,
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="secret",
    )
    runtime.converse(**BEDROCK)
    list(runtime.converse_stream(**BEDROCK)["stream"])
    runtime.close()


async def chunks(stream):
    return [chunk async for chunk in stream]


@attribute(team="async")
async def asynchronous():
    async with openai.AsyncOpenAI(base_url=URL, api_key=KEY) as client:
        stream = await client.chat.completions.create(model="gpt-5-mini", messages=TOLD, stream=True)
        assert all(chunk.choices for chunk in await chunks(stream))
    async with groq.AsyncGroq(base_url=URL, api_key=KEY) as client:
        stream = await client.chat.completions.create(model="openai/gpt-oss-120b", messages=TOLD, stream=True)
        assert all(chunk.choices for chunk in await chunks(stream))
    async with anthropic.AsyncAnthropic(base_url=URL, api_key=KEY) as client:
        await chunks(await client.messages.create(**CLAUDE, stream=True))
    async with genai.Client(api_key=KEY, http_options={"base_url": URL}).aio as client:
        await chunks(await client.models.generate_content_stream(**GEMINI))
    async with Mistral(server_url=NAMED, api_key=KEY) as client:
        await chunks(await client.chat.stream_async(model="mistral-large-latest", messages=TOLD))
    async with cohere.AsyncClientV2(base_url=URL, api_key=KEY) as client:
        await chunks(client.chat_stream(model="command-a-03-2025", messages=TOLD))
    async with ollama.AsyncClient(URL) as client:
        await chunks(await client.chat("llama3", TOLD, stream=True))


sync()
asyncio.run(asynchronous())
sys.exit(7)
"""

# What each provider answers, plain and streamed, by what the path and the model say.
FIXTURES = {
    "mistral-large": ("mistral/chat.json", "mistral/chat_stream.sse"),
    "gpt-oss": ("groq/chat.json", "groq/chat_stream.sse"),
    "gpt-5-mini": ("openai/chat.json", "openai/chat_stream.sse"),
    "claude": ("anthropic/message.json", "anthropic/message_stream.sse"),
    "gemini": ("gemini/content.json", "gemini/content_stream.sse"),
    "command-a": ("cohere/chat.json", "cohere/chat_stream.sse"),
    "llama3": ("ollama/chat.json", "ollama/chat_stream.ndjson"),
    "nova": ("bedrock/converse.json", "bedrock/converse_stream.bin"),
}
CONTENT_TYPES = {
    ".json": "application/json",
    ".sse": "text/event-stream",
    ".ndjson": "application/x-ndjson",
    ".bin": "application/vnd.amazon.eventstream",
}
# By provider: the operation, the input and the output of each call; the fixtures' own figures.
FIGURES = {
    ("openai", "gpt-5-mini"): ("chat", 1200, 340),
    ("openai", "openai/gpt-oss-120b"): ("chat", 120, 60),
    ("anthropic", "claude-sonnet-5-5"): ("chat", 42600, 900),
    ("gcp.gemini", "gemini-2.5-flash"): ("generate_content", 1260, 340),
    ("mistral_ai", "mistral-large-latest"): ("chat", 90, 30),
    ("cohere", "command-a-03-2025"): ("chat", 7, 109),
    ("ollama", "llama3"): ("chat", 17, 63),
    ("aws.bedrock", "amazon.nova-lite-v1:0"): ("chat", 2800, 340),
}
ENVIRONMENT = {
    "OTEL_TRACES_EXPORTER": "console",
    "OTEL_METRICS_EXPORTER": "none",
    "OTEL_LOGS_EXPORTER": "none",
    "OTEL_INSTRUMENTATION_SPANLEDGER_HOSTS": "localhost=mistral_ai",
    "OTEL_INSTRUMENTATION_SPANLEDGER_INCLUDE_USAGE": "always",
    "PYTHONWARNINGS": "ignore::DeprecationWarning",  # of the SDKs' own
}


def answer(request: Request) -> Reply:
    plain, streamed = next(
        names for part, names in FIXTURES.items() if part in request.path or part in request.json().get("model", "")
    )
    named = request.json().get("stream")
    ollamas_default = request.path == "/api/chat" and named is None
    name = streamed if named or ollamas_default or "tream" in request.path else plain
    return Reply(headers={"content-type": CONTENT_TYPES[Path(name).suffix]}, pieces=[load(name)])


def exported(text: str) -> Iterator[dict[str, Any]]:
    """Read the objects that the console exporter writes one behind the other."""
    decoder = json.JSONDecoder()
    while text := text.lstrip():
        span, end = decoder.raw_decode(text)
        yield span
        text = text[end:]


@pytest.fixture(scope="module")
def ran(tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.CompletedProcess[str]]:
    """The program, run to its end."""
    app = tmp_path_factory.mktemp("app") / "app.py"
    app.write_text(APP)
    server = WireServer()
    server.answer = answer
    server.start()
    command = [Path(sys.executable).parent / "opentelemetry-instrument", sys.executable, app, server.url]
    try:
        yield subprocess.run(
            command, capture_output=True, text=True, timeout=120, check=False, env=os.environ | ENVIRONMENT
        )
    finally:
        server.stop()


def calls(ran: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    found = [span["attributes"] for span in exported(ran.stdout)]
    return [attributes for attributes in found if "gen_ai.operation.name" in attributes]


def test_the_program_ends_as_it_would_without_us(ran: subprocess.CompletedProcess[str]) -> None:
    assert (ran.returncode, ran.stderr) == (7, "")


def test_each_call_of_each_sdk_is_one_span_with_the_providers_figures(ran: subprocess.CompletedProcess[str]) -> None:
    found = Counter(
        (
            (call["gen_ai.provider.name"], call["gen_ai.request.model"]),
            (
                call["gen_ai.operation.name"],
                call.get("gen_ai.usage.input_tokens"),
                call.get("gen_ai.usage.output_tokens"),
            ),
            call["spanledger.usage.status"],
            call.get("gen_ai.request.stream", False),
            call["spanledger.team"],
        )
        for call in calls(ran)
    )
    expected = Counter(
        (model, figures, "reported", stream, team)
        for model, figures in FIGURES.items()
        for stream, team in [(False, "sync"), (True, "sync"), (True, "async")]
        if (model[0], team) != ("aws.bedrock", "async")  # boto3 has no asynchronous client
    )
    assert found == expected


def test_only_openai_chat_streams_are_asked_for_their_usage(ran: subprocess.CompletedProcess[str]) -> None:
    asked = Counter(call["gen_ai.request.model"] for call in calls(ran) if "spanledger.include_usage_injected" in call)
    assert asked == {"gpt-5-mini": 2, "openai/gpt-oss-120b": 2, "mistral-large-latest": 2}


def test_no_prompt_output_or_key_is_on_any_span(ran: subprocess.CompletedProcess[str]) -> None:
    assert calls(ran)
    assert "CANARY" not in ran.stdout
