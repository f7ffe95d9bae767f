"""Recorded traffic, replayed through plain clients and the real SDKs: the span has the tokens of the recording.

`python -m tests.instrumentation.test_recordings` prints the tables of docs/recordings.md.
"""

import json
import os
import re
from collections import Counter
from collections.abc import AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

import anthropic
import anyio
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
from tests.instrumentation.readings import decoded, documents, expected, failed, format_of, streamed
from tests.recordings import Interaction
from tests.wire_server import Reply, Request, WireServer

PAGE = Path(__file__).parents[2] / "docs" / "recordings.md"
CHUNK_BYTES = 997
KEPT_HEADERS = ("content-type", "content-encoding", "x-request-id", "request-id")
# Method, host and path -> why it is not read. Whatever matches nothing here, and no format, fails the test.
REASONS = (
    (
        r"GET generativelanguage.*/interactions/",
        "a poll; its usage is counted once (`tests/instrumentation/test_late.py`)",
    ),
    (r"\S+ api\.openai\.com/v1/(?:assistants|threads)", "the Assistants API, which OpenAI has withdrawn"),
    (r"POST api\.openai\.com/v1/traces/ingest", "no model: OpenAI's trace upload"),
    (r"\S+ api\.smith\.langchain\.com/", "no model: LangSmith"),
    (r"POST api\.tavily\.com/", "no model: a search engine"),
    (r"GET upload\.wikimedia\.org/", "no model: a picture"),
    (r"POST api\.anthropic\.com/v1/complete$", "Anthropic's legacy text completions report no usage"),
    (r"POST api\.writer\.com/v1/completions", "Writer's text completions report no usage"),
    (r"POST \S+\.endpoints\.huggingface\.cloud/$", "Hugging Face's text generation: its path, `/`, says nothing"),
)


@pytest.fixture(scope="module")
def recorded() -> list[Interaction]:
    """Everything that was recorded."""
    try:
        return list(recordings.interactions())
    except recordings.MissingRecordingsError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"the recordings cannot be downloaded here: {error}")


@pytest.fixture(scope="module")
def supported(recorded: list[Interaction]) -> list[Interaction]:
    """The interactions of supported operations."""
    return [interaction for interaction in recorded if format_of(interaction)]


@pytest.fixture
def served(supported: list[Interaction], server: WireServer) -> list[Interaction]:
    """The same, served by number."""

    def answer(request: Request) -> Reply:
        interaction = supported[int(request.headers["x-replay"])]
        kept = {name: value for name, value in interaction.headers.items() if name in KEPT_HEADERS}
        return Reply(status=interaction.status, headers=kept, pieces=list(pieces(interaction)))

    server.answer = answer
    return supported


def pieces(interaction: Interaction) -> Iterator[bytes]:
    """Cut the recorded bytes where no event ends."""
    body = interaction.response
    return (body[at : at + CHUNK_BYTES] for at in range(0, len(body), CHUNK_BYTES))


def check(interaction: Interaction, spans: Spans) -> None:
    """Compare the only span with the recording, class by class, then forget it."""
    attributes = spans.attributes()
    form = format_of(interaction)
    assert form is not None
    assert attributes["gen_ai.operation.name"] == form.operation, interaction.source
    wanted = expected(interaction)
    beside = ("spanledger.usage.status", "gen_ai.usage.cost.")
    usage = {name: value for name, value in attributes.items() if ".usage." in name and not name.startswith(beside)}
    assert usage == wanted, interaction.source
    status = "reported" if wanted else "none" if failed(interaction) else "unreported"
    assert attributes.get("spanledger.usage.status") == status, interaction.source
    assert (attributes.get("error.type") is not None) == failed(interaction), interaction.source
    assert attributes["http.response.status_code"] == interaction.status
    spans.clear()


# --- the census ---


def reason(interaction: Interaction) -> str:
    """Say why an interaction is not read."""
    url = f"{interaction.method} {interaction.host}{interaction.path}"
    return next((why for pattern, why in REASONS if re.match(pattern, url)), f"unknown: {url}")


def test_every_recorded_interaction_is_replayed_or_counted_with_a_reason(recorded: list[Interaction]) -> None:
    assert len({interaction.source for interaction in recorded}) == 786
    left_out = {reason(interaction) for interaction in recorded if not format_of(interaction)}
    assert left_out == {why for _, why in REASONS}


def test_the_census_in_the_docs_is_what_was_recorded(recorded: list[Interaction], spans: Spans) -> None:
    text = PAGE.read_text()
    for table in census(recorded, providers(recorded, spans)):
        assert table in text


def providers(recorded: list[Interaction], spans: Spans) -> dict[int, str]:
    """Ask the instrumentation whose each supported interaction is."""
    found: dict[int, str] = {}
    for number, interaction in enumerate(recorded):
        if format_of(interaction):
            with httpx.Client(transport=Sync(interaction)) as client:
                client.post(*url_of(interaction), content=interaction.request, headers=JSON)
            found[number] = spans.attributes()["gen_ai.provider.name"]
            spans.clear()
    return found


def census(recorded: list[Interaction], providers: Mapping[int, str]) -> Iterator[str]:
    """Make the tables of the page."""
    rows: dict[tuple[str, str], Counter[str]] = {}
    for number, provider in providers.items():
        interaction = recorded[number]
        form = format_of(interaction)
        assert form is not None
        row = rows.setdefault((provider, form.operation), Counter())
        kind = "refused" if failed(interaction) else "usage" if expected(interaction) else "without"
        row.update(["interactions", kind, *(["streams"] if streamed(interaction) else [])])
    columns = ("interactions", "streams", "usage", "without", "refused")
    heads = ("provider", "operation", "interactions", "of them streams", "usage equal", "no usage in it", "refused")
    head = f"| {' | '.join(heads)} |\n{'|---' * len(heads)}|\n"
    yield head + "".join(
        f"| `{provider}` | {operation} | " + " | ".join(str(row[name]) for name in columns) + " |\n"
        for (provider, operation), row in sorted(rows.items())
    )
    left_out = Counter(reason(interaction) for interaction in recorded if not format_of(interaction))
    yield "| not read | interactions |\n|---|---|\n" + "".join(
        f"| {why} | {count} |\n" for why, count in sorted(left_out.items())
    )


# --- the replays ---


JSON = {"content-type": "application/json"}


class Sync(httpx.BaseTransport, httpx2.BaseTransport):
    """A transport that answers with the recorded bytes, whatever it is asked."""

    def __init__(self, interaction: Interaction) -> None:
        self._interaction = interaction

    def handle_request(self, request: Any) -> Any:
        library: Any = httpx if isinstance(request, httpx.Request) else httpx2
        return response(library, self._interaction)


class Async(httpx.AsyncBaseTransport, httpx2.AsyncBaseTransport):
    """The same for the async clients."""

    def __init__(self, interaction: Interaction) -> None:
        self._interaction = interaction

    async def handle_async_request(self, request: Any) -> Any:
        library: Any = httpx if isinstance(request, httpx.Request) else httpx2
        return response(library, self._interaction)


class Body(httpx.SyncByteStream, httpx.AsyncByteStream, httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """The recorded bytes in pieces."""

    def __init__(self, interaction: Interaction) -> None:
        self._interaction = interaction

    def __iter__(self) -> Iterator[bytes]:
        return pieces(self._interaction)

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for piece in pieces(self._interaction):
            yield piece


def response(library: Any, interaction: Interaction) -> Any:
    """Answer as the provider did. Lengths are left out: some recorders kept those of the encoded body."""
    kept = {
        name: value
        for name, value in interaction.headers.items()
        if name not in ("content-length", "transfer-encoding")
    }
    return library.Response(interaction.status, headers=kept, stream=Body(interaction))


def url_of(interaction: Interaction) -> tuple[str]:
    """Give the URL that was asked."""
    return (f"https://{interaction.host}{interaction.path}",)


@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_plain_clients_get_the_recorded_bytes_and_the_span_gets_the_recorded_tokens(
    library: Any, supported: list[Interaction], spans: Spans
) -> None:
    for interaction in supported:
        asked = {"content": interaction.request, "headers": JSON}
        with library.Client(transport=Sync(interaction)) as client:
            assert client.post(*url_of(interaction), **asked).content == decoded(interaction)
            check(interaction, spans)
            with client.stream("POST", *url_of(interaction), **asked) as answer:
                assert b"".join(answer.iter_raw()) == interaction.response
            check(interaction, spans)


@pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
def test_async_clients_get_the_recorded_bytes_and_the_span_gets_the_recorded_tokens(
    library: Any, supported: list[Interaction], spans: Spans
) -> None:
    async def replay_all() -> None:
        for interaction in supported:
            asked = {"content": interaction.request, "headers": JSON}
            async with (
                library.AsyncClient(transport=Async(interaction)) as client,
                client.stream("POST", *url_of(interaction), **asked) as answer,
            ):
                assert b"".join([piece async for piece in answer.aiter_raw()]) == interaction.response
            check(interaction, spans)

    anyio.run(replay_all)


def paths(interaction: Interaction, *ends: str) -> str | None:
    """Give the end of the path that an SDK asks for, where it is one of these."""
    return next((end for end in ends if interaction.path.endswith(end)), None)


def test_the_openai_sdk_gets_the_recorded_answer_and_the_span_gets_the_recorded_tokens(
    served: list[Interaction], server: WireServer, spans: Spans
) -> None:
    with openai.OpenAI(base_url=server.url + "/v1", api_key="test", max_retries=0) as client:
        for number, interaction in enumerate(served):
            path = paths(interaction, "/chat/completions", "/responses", "/embeddings")
            if path and not interaction.path.startswith("/api/"):  # Ollama's own format
                replay(client, path, number, interaction)
                check(interaction, spans)


def test_the_anthropic_sdk_gets_the_recorded_answer_and_its_own_span_gets_the_recorded_tokens(
    served: list[Interaction], server: WireServer, spans: Spans
) -> None:
    with anthropic.Anthropic(base_url=server.url, api_key="test", max_retries=0) as client:
        for number, interaction in enumerate(served):
            if path := paths(interaction, "/v1/messages"):
                replay(client, path, number, interaction)
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
        sent = [event for event in documents(interaction) if event.get("type") != "ping"]
        assert len(got) == len(sent)
    else:
        assert raw.http_response.content == decoded(interaction)


if __name__ == "__main__":
    from tests.instrumentation.conftest import instrumented

    everything, made = list(recordings.interactions()), Spans()
    with instrumented(made.provider):
        print("\n".join(census(everything, providers(everything, made))))  # noqa: T201 - what it is for
