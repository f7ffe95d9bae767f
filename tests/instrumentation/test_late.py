"""Batch results and background answers, fetched by the real SDKs from a real server."""

import asyncio
import gzip
import itertools
import json
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import aiohttp
import anthropic
import httpx2
import openai
import pytest
import requests
from google import genai
from opentelemetry import trace
from opentelemetry.instrumentation.utils import suppress_instrumentation

from spanledger_instrumentation import late, memory
from spanledger_instrumentation.environment_variables import (
    OTEL_INSTRUMENTATION_SPANLEDGER_EXCLUDED_HOSTS,
    OTEL_INSTRUMENTATION_SPANLEDGER_HOSTS,
)
from spanledger_instrumentation.memory import Memory
from tests.instrumentation.conftest import Spans, instrumented
from tests.instrumentation.fixtures import DATA
from tests.instrumentation.test_batches import (
    anthropic_line,
    azure_line,
    chat,
    embeddings,
    openai_line,
    response,
    succeeded,
)
from tests.wire_server import Cut, Gate, Reply, WireServer, json_reply, sse_reply

INPUT, OUTPUT = "gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens"
JSONL = {"content-type": "application/octet-stream"}
LINES = (openai_line(chat()), openai_line(chat("gpt-5-mini")), openai_line(embeddings()), openai_line({}, status=500))
RESPONSE = json.loads((DATA / "openai/response.json").read_text())
BACKGROUND = {**RESPONSE, "background": True}
QUEUED = {**BACKGROUND, "status": "queued", "usage": None}


@pytest.fixture(autouse=True)
def believed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The server counts as OpenAI's, as a host that the user names does."""
    monkeypatch.setenv(OTEL_INSTRUMENTATION_SPANLEDGER_HOSTS, "127.0.0.1=openai")


@pytest.fixture
def client(server: WireServer, spans: Spans) -> Iterator[openai.OpenAI]:
    """A client without retries."""
    with openai.OpenAI(base_url=server.url + "/v1", api_key="test", max_retries=0) as made:
        yield made


@pytest.fixture
def claude(server: WireServer, spans: Spans) -> Iterator[anthropic.Anthropic]:
    """A client without retries."""
    with anthropic.Anthropic(base_url=server.url, api_key="test", max_retries=0) as made:
        yield made


def file_of(*lines: bytes, **headers: str) -> Reply:
    return Reply(headers={**JSONL, **headers}, pieces=lines)


def figures(spans: Spans) -> list[tuple[Any, ...]]:
    found = [dict(span.attributes or {}) for span in spans()]
    return [(each["gen_ai.response.model"], each[INPUT], each["spanledger.batch.requests"]) for each in found]


SUMS = [("gpt-5", 100, 1), ("gpt-5-mini", 100, 1), ("text-embedding-3-small", 8, 1)]


def test_a_downloaded_batch_is_one_span_for_each_model(client: openai.OpenAI, server: WireServer, spans: Spans) -> None:
    server.reply(file_of(*LINES))
    assert client.files.content("file-1").read() == b"".join(LINES)
    assert figures(spans) == SUMS
    first = dict(spans()[0].attributes or {})
    assert spans()[0].name == "chat gpt-5"
    assert first["openai.response.service_tier"] == "batch"
    assert first["gen_ai.operation.name"] == "chat"
    assert first["gen_ai.provider.name"] == "openai"
    assert first["server.address"] == "127.0.0.1"
    assert first["server.port"] == server.port
    assert first["spanledger.usage.status"] == "reported"
    assert first["spanledger.batch.id"] == "file-1"
    assert first["spanledger.batch.failed_requests"] == 1
    assert first["spanledger.batch.input_tokens_max"] == 100
    assert first["gen_ai.response.id"] == "file-1/chat/gpt-5/0"
    assert "spanledger.batch.failed_requests" not in dict(spans()[1].attributes or {})


def test_a_batch_counts_once_however_often_it_is_downloaded(
    client: openai.OpenAI, server: WireServer, spans: Spans
) -> None:
    for _ in range(3):
        server.reply(file_of(*LINES))
        client.files.content("file-1")
    assert len(spans()) == 3
    server.reply(file_of(*LINES))
    client.files.content("file-2")
    assert len(spans()) == 6


def test_a_batch_is_read_as_it_streams(client: openai.OpenAI, server: WireServer, spans: Spans) -> None:
    server.reply(file_of(*LINES))
    with client.files.with_streaming_response.content("file-1") as streamed:
        assert b"".join(streamed.iter_bytes(100)) == b"".join(LINES)
    assert figures(spans) == SUMS


@pytest.mark.parametrize("encoding", ["identity", "gzip"])
def test_a_compressed_batch(encoding: str, client: openai.OpenAI, server: WireServer, spans: Spans) -> None:
    content = b"".join(LINES)
    server.reply(file_of(gzip.compress(content) if encoding == "gzip" else content, **{"content-encoding": encoding}))
    with client.files.with_streaming_response.content("file-1") as streamed:
        assert streamed.read() == content
    assert figures(spans) == SUMS


def test_an_async_download(server: WireServer, spans: Spans) -> None:
    async def download() -> None:
        async with openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="test", max_retries=0) as client:
            async with client.files.with_streaming_response.content("file-1") as streamed:
                assert b"".join([chunk async for chunk in streamed.iter_bytes()]) == b"".join(LINES)
            assert (await client.files.content("file-1")).content == b"".join(LINES)

    server.reply(file_of(*LINES), file_of(*LINES))
    asyncio.run(download())
    assert figures(spans) == SUMS


def test_azure(server: WireServer, spans: Spans) -> None:
    azure = openai.AzureOpenAI(base_url=server.url + "/openai", api_key="test", api_version="2026-01-01", max_retries=0)
    server.reply(file_of(azure_line(response()), azure_line(response())))
    with azure as client:
        client.files.content("file-1")
    assert server.requests[0].path.startswith("/openai/files/file-1/content?")
    assert spans.attributes()[INPUT] == 200


def test_a_broken_download_says_nothing_and_a_later_whole_one_counts(
    client: openai.OpenAI, server: WireServer, spans: Spans
) -> None:
    server.reply(file_of(*LINES[:2], Cut()))  # type: ignore[arg-type]
    with pytest.raises(openai.APIConnectionError):
        client.files.content("file-1")
    gate = Gate()
    server.reply(Reply(headers=JSONL, pieces=[*LINES[:2], gate, *LINES[2:]]))
    with client.files.with_streaming_response.content("file-1") as streamed:
        assert next(streamed.iter_bytes())
    assert not spans()
    server.reply(file_of(*LINES))
    client.files.content("file-1")
    assert figures(spans) == SUMS


def test_a_part_of_a_file_is_not_the_whole(client: openai.OpenAI, server: WireServer, spans: Spans) -> None:
    server.reply(Reply(status=206, headers=JSONL, pieces=LINES[:2]))
    client.files.content("file-1", extra_headers={"range": "bytes=0-999"})
    assert not spans()


@pytest.mark.parametrize(
    "content",
    [
        b'{"messages": [{"role": "user", "content": "hello"}]}\n' * 3,
        b"\x89PNG\r\n\x1a\n" + bytes(300_000),
        openai_line({"error": {"code": "invalid"}}, status=400) * 3,
        b"",
    ],
    ids=["fine-tuning", "image", "errors", "nothing"],
)
def test_files_that_are_no_results_make_nothing(
    content: bytes, client: openai.OpenAI, server: WireServer, spans: Spans
) -> None:
    for _ in range(2):
        server.reply(file_of(content))
    assert client.files.content("file-1").content == content
    with client.files.with_streaming_response.content("file-1") as streamed:
        assert streamed.read() == content
    assert not spans()


def test_the_batch_object_counts_nothing(client: openai.OpenAI, server: WireServer, spans: Spans) -> None:
    usage = {"input_tokens": 100, "output_tokens": 20}
    server.reply(json_reply({"id": "batch_1", "object": "batch", "status": "completed", "usage": usage}))
    assert client.batches.retrieve("batch_1").id == "batch_1"
    assert not spans()


def test_a_large_batch_that_the_client_has_read_is_summed_beside_the_app(
    client: openai.OpenAI, server: WireServer, spans: Spans
) -> None:
    count = 2 * late.INLINE_BYTES_MAX // len(LINES[0])
    server.reply(file_of(LINES[0] * count))
    client.files.content("file-1")
    spans.wait(1)
    assert spans.attributes()[INPUT] == 100 * count


PROGRAM = """
import sys
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
from spanledger_instrumentation.instrumentor import SpanledgerInstrumentor
provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
SpanledgerInstrumentor().instrument(tracer_provider=provider)
import httpx2
httpx2.get(sys.argv[1])
"""


def test_a_program_that_ends_after_its_download_has_told_of_it(server: WireServer) -> None:
    server.reply(file_of(LINES[0] * 5_000))
    url = server.url + "/v1/files/file-1/content"
    ended = subprocess.run([sys.executable, "-c", PROGRAM, url], capture_output=True, check=True, timeout=60)
    assert json.loads(ended.stdout)["attributes"]["spanledger.batch.requests"] == 5_000


def test_a_long_download_needs_little_memory(spans: Spans) -> None:
    """200 MB through a transport without a socket: what is held meanwhile does not depend on the length."""
    line = openai_line(chat(text="x" * 100_000))
    body = itertools.repeat(line, 200_000_000 // len(line))
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, content=iter(body)))
    with (
        httpx2.Client(transport=transport) as client,
        client.stream("GET", "http://127.0.0.1/v1/files/f/content") as it,
    ):
        tracemalloc.start()
        passed = sum(len(chunk) for chunk in it.iter_raw())
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert passed == 200_000_000 // len(line) * len(line)
    assert peak < 4 * 1024 * 1024
    assert spans.attributes()["spanledger.batch.requests"] == 200_000_000 // len(line)


@pytest.mark.parametrize("beta", [False, True])
def test_the_results_of_an_anthropic_batch(
    claude: anthropic.Anthropic, server: WireServer, spans: Spans, *, beta: bool
) -> None:
    lines = [succeeded(), anthropic_line({"type": "expired"}), succeeded()]
    batches = claude.beta.messages.batches if beta else claude.messages.batches
    url = f"{server.url}/v1/messages/batches/msgbatch_1/results"
    for _ in range(2):
        server.reply(json_reply({"id": "msgbatch_1", "results_url": url, "processing_status": "ended"}))
        server.reply(file_of(*lines))
        assert [entry.result.type for entry in batches.results("msgbatch_1")] == ["succeeded", "expired", "succeeded"]
    attributes = spans.attributes()
    assert attributes[INPUT] == 2 * 42600
    assert attributes["anthropic.response.service_tier"] == "batch"
    assert attributes["anthropic.response.speed"] == "fast"
    assert attributes["spanledger.batch.id"] == "msgbatch_1"
    assert attributes["spanledger.batch.failed_requests"] == 1
    assert attributes["gen_ai.response.id"].startswith("msgbatch_1/chat/claude-opus-4-5-20251101/")


def test_the_results_of_an_anthropic_batch_async(server: WireServer, spans: Spans) -> None:
    async def download() -> int:
        async with anthropic.AsyncAnthropic(base_url=server.url, api_key="test", max_retries=0) as client:
            return len([entry async for entry in await client.messages.batches.results("msgbatch_1")])

    url = f"{server.url}/v1/messages/batches/msgbatch_1/results"
    server.reply(json_reply({"id": "msgbatch_1", "results_url": url, "processing_status": "ended"}))
    server.reply(file_of(succeeded(), succeeded()))
    assert asyncio.run(download()) == 2
    assert spans.attributes()[OUTPUT] == 2 * 900


def test_results_that_nobody_reads_to_the_end_count_nothing(
    claude: anthropic.Anthropic, server: WireServer, spans: Spans
) -> None:
    url = f"{server.url}/v1/messages/batches/msgbatch_1/results"
    server.reply(json_reply({"id": "msgbatch_1", "results_url": url, "processing_status": "ended"}))
    server.reply(file_of(succeeded(), succeeded()))
    results = claude.messages.batches.results("msgbatch_1")
    assert next(results)
    results.close()
    assert not spans()


def statuses(spans: Spans) -> Sequence[tuple[Any, Any]]:
    found = [dict(span.attributes or {}) for span in spans()]
    return [(each["spanledger.usage.status"], each.get(INPUT)) for each in found]


def test_a_background_response_counts_at_its_first_finished_poll(
    client: openai.OpenAI, server: WireServer, spans: Spans
) -> None:
    working = {**QUEUED, "status": "in_progress"}
    server.reply(*map(json_reply, (QUEUED, QUEUED, working, BACKGROUND, BACKGROUND)))
    made = client.responses.create(model="gpt-5", input="hello", background=True)
    for _ in range(4):
        client.responses.retrieve(made.id)
    assert statuses(spans) == [("unreported", None), ("reported", 2000)]
    post, poll = spans()
    assert (post.attributes or {})["gen_ai.response.id"] == (poll.attributes or {})["gen_ai.response.id"] == "resp_B1"
    assert (poll.attributes or {})["gen_ai.response.finish_reasons"] == ("completed",)
    assert poll.name == "chat gpt-5-2025-08-07"
    assert poll.start_time < poll.end_time  # type: ignore[operator]


def test_a_background_response_of_another_process_counts_too(
    client: openai.OpenAI, server: WireServer, spans: Spans
) -> None:
    server.reply(json_reply(BACKGROUND))
    client.responses.retrieve("resp_B1")
    assert statuses(spans) == [("reported", 2000)]


def test_a_retrieved_response_that_was_not_made_in_the_background_counts_nothing(
    client: openai.OpenAI, server: WireServer, spans: Spans
) -> None:
    server.reply(json_reply(RESPONSE), json_reply(RESPONSE))
    client.responses.create(model="gpt-5", input="hello")
    client.responses.retrieve("resp_B1")
    assert statuses(spans) == [("reported", 2000)]


def events(answer: dict[str, Any]) -> Reply:
    created = {"type": "response.created", "response": {**answer, "status": "in_progress", "usage": None}}
    last = {"type": "response.completed", "response": answer}
    return sse_reply(*(b"data: " + json.dumps(event).encode() + b"\n\n" for event in (created, last)))


def test_a_background_response_that_was_streamed_counts_once(
    client: openai.OpenAI, server: WireServer, spans: Spans
) -> None:
    server.reply(events(BACKGROUND), json_reply(BACKGROUND))
    list(client.responses.create(model="gpt-5", input="hello", background=True, stream=True))
    client.responses.retrieve("resp_B1")
    assert statuses(spans) == [("reported", 2000)]


def test_a_stream_that_was_left_is_counted_where_it_is_taken_up_again(
    client: openai.OpenAI, server: WireServer, spans: Spans
) -> None:
    server.reply(events(BACKGROUND), events(BACKGROUND))
    stream = client.responses.create(model="gpt-5", input="hello", background=True, stream=True)
    assert next(stream).type == "response.created"
    stream.close()
    assert len(list(client.responses.retrieve("resp_B1", stream=True, starting_after=0))) == 2
    assert statuses(spans)[-1] == ("reported", 2000)
    assert len(spans()) == 2


@pytest.mark.parametrize("answer", [BACKGROUND, RESPONSE], ids=["in the background", "not"])
def test_a_retrieved_stream(answer: dict[str, Any], client: openai.OpenAI, server: WireServer, spans: Spans) -> None:
    server.reply(events(answer))
    assert len(list(client.responses.retrieve("resp_B1", stream=True))) == 2
    assert len(spans()) == (1 if answer is BACKGROUND else 0)


def test_a_cancelled_response_counts_once(client: openai.OpenAI, server: WireServer, spans: Spans) -> None:
    cancelled = {**BACKGROUND, "status": "cancelled"}
    server.reply(*map(json_reply, (QUEUED, cancelled, cancelled)))
    client.responses.create(model="gpt-5", input="hello", background=True)
    client.responses.cancel("resp_B1")
    client.responses.retrieve("resp_B1")
    assert statuses(spans) == [("unreported", None), ("reported", 2000)]
    assert (spans()[1].attributes or {})["error.type"] == "cancelled"


def test_a_response_that_was_cancelled_before_it_used_anything_counts_nothing_more(
    client: openai.OpenAI, server: WireServer, spans: Spans
) -> None:
    server.reply(*map(json_reply, (QUEUED, {**QUEUED, "status": "cancelled"})))
    client.responses.create(model="gpt-5", input="hello", background=True)
    client.responses.cancel("resp_B1")
    assert statuses(spans) == [("unreported", None)]


def test_polls_that_fail_make_nothing(client: openai.OpenAI, server: WireServer, spans: Spans) -> None:
    server.reply(json_reply({"error": {"code": "not_found"}}, status=404))
    with pytest.raises(openai.NotFoundError):
        client.responses.retrieve("resp_B1")
    assert not spans()


def test_on_a_host_that_nobody_knows_only_what_this_process_waits_for_counts(
    server: WireServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(OTEL_INSTRUMENTATION_SPANLEDGER_HOSTS)
    spans = Spans()
    with instrumented(spans.provider), openai.OpenAI(base_url=server.url, api_key="test", max_retries=0) as client:
        server.reply(json_reply({**BACKGROUND, "id": "resp_other"}), file_of(*LINES))
        client.responses.retrieve("resp_other")
        client.files.content("file-1")
        assert not spans()
        server.reply(json_reply(QUEUED), json_reply(BACKGROUND))
        client.responses.create(model="gpt-5", input="hello", background=True)
        client.responses.retrieve("resp_B1")
        assert statuses(spans) == [("unreported", None), ("reported", 2000)]


def test_an_excluded_host_is_not_looked_at(server: WireServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(OTEL_INSTRUMENTATION_SPANLEDGER_EXCLUDED_HOSTS, "127.0.0.1")
    spans = Spans()
    with instrumented(spans.provider), openai.OpenAI(base_url=server.url, api_key="test", max_retries=0) as client:
        server.reply(file_of(*LINES))
        client.files.content("file-1")
    assert not spans()


def test_suppressed_downloads_are_not_reported(client: openai.OpenAI, server: WireServer, spans: Spans) -> None:
    server.reply(file_of(*LINES), file_of(*LINES))
    with suppress_instrumentation():
        client.files.content("file-1")
    assert not spans()
    client.files.content("file-1")
    assert figures(spans) == SUMS


def test_a_late_span_stands_below_what_is_around_it_and_leaves_that_alone(
    client: openai.OpenAI, server: WireServer, spans: Spans
) -> None:
    server.reply(json_reply(BACKGROUND))
    tracer = spans.provider.get_tracer("app")
    with tracer.start_as_current_span("fetch", attributes={"gen_ai.operation.name": "chat"}) as around:
        client.responses.retrieve("resp_B1")
        assert trace.get_current_span() is around
    poll, outer = spans()
    assert poll.parent is not None
    assert outer.context is not None
    assert poll.parent.span_id == outer.context.span_id
    assert INPUT not in (outer.attributes or {})


@pytest.fixture
def gemini(server: WireServer, spans: Spans) -> Iterator[genai.Client]:
    """A client without retries."""
    options = genai.types.HttpOptions(base_url=server.url, retry_options=genai.types.HttpRetryOptions(attempts=1))
    with genai.Client(api_key="test", http_options=options) as made:
        yield made


INTERACTION = {
    "id": "v1_abc",
    "model": "gemini-3-pro",
    "status": "completed",
    "created": "2026-11-01T00:00:00Z",
    "updated": "2026-11-01T00:01:00Z",
    "object": "interaction",
    "role": "model",
    "steps": [],
    "usage": {"total_input_tokens": 50, "total_output_tokens": 20, "total_thought_tokens": 5, "total_tokens": 75},
}
IN_PROGRESS = {name: value for name, value in INTERACTION.items() if name != "usage"} | {"status": "in_progress"}


def test_a_background_interaction_counts_at_its_first_finished_poll(
    gemini: genai.Client, server: WireServer, spans: Spans
) -> None:
    server.reply(*map(json_reply, (IN_PROGRESS, IN_PROGRESS, INTERACTION, INTERACTION)))
    made = gemini.interactions.create(model="gemini-3-pro", input="hello", background=True)
    for _ in range(3):
        gemini.interactions.get(made.id)
    assert statuses(spans) == [("unreported", None), ("reported", 50)]
    assert (spans()[1].attributes or {})[OUTPUT] == 25
    assert (spans()[1].attributes or {})["gen_ai.response.id"] == "v1_abc"


def test_an_interaction_that_was_not_made_in_the_background_counts_nothing_when_it_is_fetched(
    gemini: genai.Client, server: WireServer, spans: Spans
) -> None:
    server.reply(json_reply(INTERACTION), json_reply(INTERACTION))
    gemini.interactions.create(model="gemini-3-pro", input="hello")
    gemini.interactions.get("v1_abc")
    assert statuses(spans) == [("reported", 50)]


@pytest.mark.parametrize("fetch", ["requests", "aiohttp", "httpx", "httpx stream"])
def test_any_client_may_download(fetch: str, server: WireServer, spans: Spans) -> None:
    async def with_aiohttp(url: str) -> bytes:
        async with aiohttp.ClientSession() as session, session.get(url) as answer:
            return await answer.read()

    def with_httpx(url: str) -> bytes:
        with httpx2.stream("GET", url) as answer:
            return b"".join(answer.iter_raw())

    clients = {
        "requests": lambda url: requests.get(url, timeout=10).content,
        "aiohttp": lambda url: asyncio.run(with_aiohttp(url)),
        "httpx": lambda url: httpx2.get(url).content,
        "httpx stream": with_httpx,
    }
    server.reply(file_of(*LINES))
    assert clients[fetch](server.url + "/v1/files/file-1/content") == b"".join(LINES)
    assert figures(spans) == SUMS


def test_a_task_that_was_begun_while_a_call_was_sent_may_fetch_later(server: WireServer, spans: Spans) -> None:
    tasks: list[asyncio.Task[Any]] = []

    async def run() -> None:
        sent = asyncio.Event()
        async with openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="test", max_retries=0) as client:

            async def poll() -> None:
                await sent.wait()
                await client.responses.retrieve("resp_B1")

            async def hook(_: Any) -> None:
                tasks.append(asyncio.create_task(poll()))

            http = httpx2.AsyncClient(event_hooks={"request": [hook]})
            async with client.with_options(http_client=http) as hooked:
                await hooked.responses.create(model="gpt-5", input="hello")
            sent.set()
            await tasks[0]

    server.reply(json_reply({**RESPONSE, "id": "resp_other"}), json_reply(BACKGROUND))
    asyncio.run(run())
    assert statuses(spans) == [("reported", 2000), ("reported", 2000)]


def test_of_threads_that_meet_one_is_the_first() -> None:
    ids, start = Memory(), threading.Barrier(8)

    def count(_: int) -> list[bool]:
        start.wait(10)
        return [ids.first(number) for number in range(500)]

    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(count, range(8)))
    assert [sum(each) for each in zip(*found, strict=True)] == [1] * 500


def test_memory_forgets_the_oldest() -> None:
    ids = Memory()
    for number in range(memory.IDS_MAX + 1):
        assert ids.first(number)
        ids.expect(number)
    assert not ids.first(memory.IDS_MAX)
    assert ids.first(0)
    assert not ids.expects(0)
    assert ids.expects(1)
