"""Recorded traffic, replayed through plain clients and the real SDKs: the span has the tokens of the recording.

What the recording says is read here a second time, independently of the parsers and from the whole body.
"""

import gzip
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any

import anthropic
import httpx
import httpx2
import openai
import pytest
from anthropic.types import Message, RawMessageStreamEvent
from openai.types import CreateEmbeddingResponse
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent

from tests import recordings
from tests.instrumentation.conftest import Spans
from tests.recordings import Interaction
from tests.wire_server import Reply, Request, WireServer

OPERATIONS = ("chat/completions", "responses", "embeddings", "messages")
OTHER_REASONS = {
    "GET": "not a call of a model: GET",
    "/v1/completions": "legacy completions are not supported yet",
    "/v1/complete": "Anthropic's legacy API reports no usage",
    "/v1/images/generations": "images are not supported yet",
    "/v2/chat": "another wire format: Cohere",
    "/invoke": "another wire format: Bedrock",
    "/search": "not a model: Tavily",
    "/v1/traces/ingest": "not a call of a model: OpenAI's trace upload",
    "/v1/assistants": "assistants are not supported",
    "/v1/threads": "assistants are not supported",
    "/": "another wire format: Hugging Face",
}
CHUNK_BYTES = 997


@pytest.fixture(scope="module")
def recorded() -> list[Interaction]:
    """Everything that was recorded."""
    try:
        return list(recordings.interactions())
    except recordings.MissingRecordingsError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"the recordings cannot be downloaded here: {error}")


@pytest.fixture
def supported(recorded: list[Interaction], server: WireServer) -> list[Interaction]:
    """The interactions of supported operations, served by number."""
    found = [interaction for interaction in recorded if operation(interaction)]

    def answer(request: Request) -> Reply:
        interaction = found[int(request.headers["x-replay"])]
        kept = {name: value for name, value in interaction.headers.items() if name in KEPT_HEADERS}
        body = interaction.response
        return Reply(
            status=interaction.status,
            headers=kept,
            pieces=[body[at : at + CHUNK_BYTES] for at in range(0, len(body), CHUNK_BYTES)],
        )

    server.answer = answer
    return found


KEPT_HEADERS = ("content-type", "content-encoding", "x-request-id", "request-id")


def operation(interaction: Interaction) -> str | None:
    """Name the supported operation of a recorded request."""
    if interaction.method != "POST":
        return None
    if "/threads/" in interaction.path:  # the messages of a thread are not those of a model
        return None
    return next((name for name in OPERATIONS if interaction.path.endswith("/" + name)), None)


def decoded(interaction: Interaction) -> bytes:
    """Give the body as an app sees it."""
    encoded = interaction.headers.get("content-encoding") == "gzip"
    return gzip.decompress(interaction.response) if encoded else interaction.response


# --- the independent reading ---


def said(interaction: Interaction) -> dict[str, Any]:
    """Read the usage that the provider sent, `{}` where there is none."""
    if not 200 <= interaction.status < 300:
        return {}
    body = decoded(interaction).decode()
    if body.lstrip().startswith("{"):
        return json.loads(body).get("usage") or {}
    merged: dict[str, Any] = {}
    for event in events(body):
        usage = event.get("usage") or (event.get("response") or event.get("message") or {}).get("usage")
        merged.update({name: value for name, value in (usage or {}).items() if value is not None})
    return merged


def events(body: str) -> Iterator[dict[str, Any]]:
    """Read the events of a stream."""
    for line in body.splitlines():
        if line.startswith("data:") and line[5:].strip() != "[DONE]":
            yield json.loads(line[5:])


def expected(name: str, usage: Mapping[str, Any]) -> dict[str, int]:
    """Say which attributes a usage makes."""
    read = {"chat/completions": of_chat, "embeddings": of_chat, "responses": of_responses, "messages": of_messages}[
        name
    ]
    return {attribute: value for attribute, value in read(usage).items() if value is not None}


def of_chat(usage: Mapping[str, Any]) -> dict[str, Any]:
    prompt, completion = usage.get("prompt_tokens_details") or {}, usage.get("completion_tokens_details") or {}
    return {
        "gen_ai.usage.input_tokens": usage.get("prompt_tokens"),
        "gen_ai.usage.output_tokens": usage.get("completion_tokens"),
        "gen_ai.usage.cache_read.input_tokens": prompt.get("cached_tokens"),
        "gen_ai.usage.cache_write.input_tokens": prompt.get("cache_write_tokens"),
        "gen_ai.usage.audio.input_tokens": prompt.get("audio_tokens"),
        "gen_ai.usage.image.input_tokens": prompt.get("image_tokens"),
        "gen_ai.usage.reasoning.output_tokens": completion.get("reasoning_tokens"),
        "gen_ai.usage.audio.output_tokens": completion.get("audio_tokens"),
    }


def of_responses(usage: Mapping[str, Any]) -> dict[str, Any]:
    details = usage.get("input_tokens_details") or {}
    return {
        "gen_ai.usage.input_tokens": usage.get("input_tokens"),
        "gen_ai.usage.output_tokens": usage.get("output_tokens"),
        "gen_ai.usage.cache_read.input_tokens": details.get("cached_tokens"),
        "gen_ai.usage.cache_write.input_tokens": details.get("cache_write_tokens"),
        "gen_ai.usage.reasoning.output_tokens": (usage.get("output_tokens_details") or {}).get("reasoning_tokens"),
    }


def of_messages(usage: Mapping[str, Any]) -> dict[str, Any]:
    lifetimes = usage.get("cache_creation") or {}
    parts = [usage.get(name) for name in ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")]
    return {
        "gen_ai.usage.input_tokens": sum(part or 0 for part in parts) if usage else None,
        "gen_ai.usage.output_tokens": usage.get("output_tokens"),
        "gen_ai.usage.cache_read.input_tokens": usage.get("cache_read_input_tokens"),
        "gen_ai.usage.cache_write.input_tokens": usage.get("cache_creation_input_tokens"),
        "anthropic.usage.cache_creation.ephemeral_5m_input_tokens": lifetimes.get("ephemeral_5m_input_tokens"),
        "anthropic.usage.cache_creation.ephemeral_1h_input_tokens": lifetimes.get("ephemeral_1h_input_tokens"),
        "spanledger.usage.web_search_requests": (usage.get("server_tool_use") or {}).get("web_search_requests"),
    }


def check(interaction: Interaction, spans: Spans) -> None:
    """Compare the only span with the recording, class by class, then forget it."""
    name = operation(interaction)
    assert name is not None
    attributes = spans.attributes()
    wanted = expected(name, said(interaction))
    usage = {key: value for key, value in attributes.items() if ".usage." in key and key != "spanledger.usage.status"}
    assert usage == wanted, interaction.source
    status = "reported" if wanted else "none" if failed(interaction) else "unreported"
    assert attributes.get("spanledger.usage.status") == status, interaction.source
    assert (attributes.get("error.type") is not None) == failed(interaction), interaction.source
    assert attributes["http.response.status_code"] == interaction.status
    spans.clear()


def failed(interaction: Interaction) -> bool:
    """Tell a refusal, also where it came with a status of 200 (Azure's content filter)."""
    return not 200 <= interaction.status < 300 or decoded(interaction).lstrip().startswith(b'{ "error"')


# --- the replays ---


def test_every_recorded_interaction_is_replayed_or_counted_with_a_reason(recorded: list[Interaction]) -> None:
    replayed = Counter(filter(None, map(operation, recorded)))
    left_out = Counter(reason(interaction) for interaction in recorded if not operation(interaction))
    assert replayed == {"chat/completions": 446, "responses": 69, "embeddings": 63, "messages": 90}
    assert left_out == {
        "not a call of a model: GET": 180,
        "legacy completions are not supported yet": 97,
        "assistants are not supported": 54,
        "not a call of a model: OpenAI's trace upload": 16,
        "not a model: Tavily": 10,
        "another wire format: Cohere": 9,
        "another wire format: Bedrock": 6,
        "images are not supported yet": 5,
        "Anthropic's legacy API reports no usage": 3,
        "another wire format: Hugging Face": 3,
    }


def reason(interaction: Interaction) -> str:
    """Say why an interaction is not replayed."""
    if interaction.method == "GET":
        return OTHER_REASONS["GET"]
    if "/threads" in interaction.path:
        return OTHER_REASONS["/v1/threads"]
    ends = (text for end, text in OTHER_REASONS.items() if interaction.path.endswith(end))
    return next(ends, f"unknown: {interaction.path}")


@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_plain_clients_get_the_recorded_bytes_and_the_span_gets_the_recorded_tokens(
    library: Any, supported: list[Interaction], server: WireServer, spans: Spans
) -> None:
    with library.Client(base_url=server.url) as client:
        for number, interaction in enumerate(supported):
            headers = {"x-replay": str(number), "content-type": "application/json"}
            asked = {"content": interaction.request, "headers": headers}
            assert client.post(interaction.path, **asked).content == decoded(interaction)
            check(interaction, spans)
            with client.stream("POST", interaction.path, **asked) as response:
                assert b"".join(response.iter_raw()) == interaction.response
            check(interaction, spans)


def test_the_openai_sdk_gets_the_recorded_answer_and_the_span_gets_the_recorded_tokens(
    supported: list[Interaction], server: WireServer, spans: Spans
) -> None:
    with openai.OpenAI(base_url=server.url + "/v1", api_key="test", max_retries=0) as client:
        for number, interaction in enumerate(supported):
            name = operation(interaction)
            if name != "messages":
                replay(client, f"/{name}", number, interaction)
                check(interaction, spans)


def test_the_anthropic_sdk_gets_the_recorded_answer_and_its_own_span_gets_the_recorded_tokens(
    supported: list[Interaction], server: WireServer, spans: Spans
) -> None:
    with anthropic.Anthropic(base_url=server.url, api_key="test", max_retries=0) as client:
        for number, interaction in enumerate(supported):
            if operation(interaction) == "messages":
                replay(client, "/v1/messages", number, interaction)
                check(interaction, spans)


TYPES: Mapping[str, tuple[Any, Any]] = {
    "/chat/completions": (ChatCompletion, openai.Stream[ChatCompletionChunk]),
    "/responses": (Response, openai.Stream[ResponseStreamEvent]),
    "/embeddings": (CreateEmbeddingResponse, None),
    "/v1/messages": (Message, anthropic.Stream[RawMessageStreamEvent]),
}


def replay(client: Any, path: str, number: int, interaction: Interaction) -> None:
    """Send the recorded request through the SDK and read the answer as its types."""
    body = json.loads(interaction.request)
    answer, stream = TYPES[path]
    headers = {"x-replay": str(number), "x-stainless-raw-response": "true"}
    options: dict[str, Any] = {"body": body, "cast_to": answer, "options": {"headers": headers}}
    if body.get("stream"):
        options |= {"stream": True, "stream_cls": stream}
    if not 200 <= interaction.status < 300:
        with pytest.raises((openai.APIStatusError, anthropic.APIStatusError)) as refused:
            client.post(path, **options)
        assert refused.value.response.content == decoded(interaction)
        return
    raw = client.post(path, **options)
    if body.get("stream"):
        got = [event.to_dict() for event in raw.parse()]
        sent = [event for event in events(decoded(interaction).decode()) if event.get("type") != "ping"]
        assert len(got) == len(sent)
    else:
        assert raw.http_response.content == decoded(interaction)
