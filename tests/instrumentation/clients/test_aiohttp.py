"""aiohttp: the app sees what it would see without us, and each request is one call, however its answer is read."""

import asyncio
import gc
import gzip
import io
import json
import zlib
from collections.abc import Awaitable, Callable
from typing import Any
from unittest import mock

import aiohttp
import pytest

from spanledger_instrumentation import fence
from tests.instrumentation.conftest import Spans, instrumented
from tests.instrumentation.fixtures import cut, load
from tests.wire_server import Cut, Gate, Reply, WireServer, json_reply, sse_reply

PATH = "/v1/chat/completions"
BODY = {"model": "gpt-5", "messages": [], "stream": True}
STREAM = load("openai/chat_stream.sse")
HALF = STREAM[: len(STREAM) // 2]
MESSAGE = json.loads(load("anthropic/message.json"))
ENCODINGS: dict[str, Callable[[bytes], bytes]] = {"identity": bytes, "gzip": gzip.compress, "deflate": zlib.compress}


async def read_by(content: Any, name: str, *args: Any) -> list[bytes]:
    pieces: list[bytes] = []
    while piece := await getattr(content, name)(*args):
        pieces.append(piece)
    return pieces


async def read_exactly(response: Any) -> Any:
    pieces: list[bytes] = []
    try:
        while True:
            pieces.append(await response.content.readexactly(100))
    except asyncio.IncompleteReadError as error:
        return [*pieces, error.partial]


READERS: dict[str, Callable[[Any], Awaitable[Any]]] = {
    "read": lambda response: response.read(),
    "text": lambda response: response.text(),
    "content read": lambda response: response.content.read(),
    "read of 7": lambda response: read_by(response.content, "read", 7),
    "readline": lambda response: read_by(response.content, "readline"),
    "readuntil": lambda response: read_by(response.content, "readuntil", b"}"),
    "readexactly": read_exactly,
}
ITERATORS: dict[str, Callable[[Any], Any]] = {
    "lines": lambda response: response.content,
    "iter_chunked": lambda response: response.content.iter_chunked(64),
    "iter_any": lambda response: response.content.iter_any(),
    "iter_chunks": lambda response: response.content.iter_chunks(),
}


async def collected(response: Any, name: str) -> Any:
    return [piece async for piece in ITERATORS[name](response)]


def whole(seen: Any) -> Any:
    """Join pieces that depend on when they arrived."""
    if isinstance(seen, list) and seen and isinstance(seen[0], tuple):
        return b"".join(piece for piece, _ in seen)
    return b"".join(seen) if isinstance(seen, list) else seen


def reported(spans: Spans) -> bool:
    attributes = spans.attributes()
    return attributes["spanledger.usage.status"] == "reported" and attributes["gen_ai.usage.output_tokens"] == 340


WAYS = [
    (encoding, reader, decompress)
    for encoding in ENCODINGS
    for reader in (*READERS, *ITERATORS)
    for decompress in (True, False)
    if decompress or reader != "text" or encoding == "identity"  # compressed bytes are no text
]


@pytest.mark.parametrize(("encoding", "reader", "decompress"), WAYS)
def test_an_app_sees_the_same_with_and_without_us(
    server: WireServer, encoding: str, reader: str, *, decompress: bool
) -> None:
    encoded = ENCODINGS[encoding](STREAM)
    reply = sse_reply(*cut(encoded, list(range(0, len(encoded), 61))), content_encoding=encoding)

    async def see() -> Any:
        server.reply(reply)
        session = aiohttp.ClientSession(server.url, auto_decompress=decompress)
        async with session, session.post(PATH, json=BODY) as response:
            seen = await (READERS[reader](response) if reader in READERS else collected(response, reader))
            assert isinstance(response.content, aiohttp.StreamReader)
            return whole(seen), response.content.at_eof(), response.content.total_bytes, list(response.headers)

    spans = Spans()
    without = asyncio.run(see())
    with instrumented(spans.provider):
        assert asyncio.run(see()) == without
    assert reported(spans)


def test_the_chunks_are_those_that_the_server_sent(server: WireServer, spans: Spans) -> None:
    first, second = Gate(), Gate()

    async def see() -> list[tuple[bytes, bool]]:
        server.reply(sse_reply(HALF, first, STREAM[len(HALF) :], second))
        async with aiohttp.ClientSession(server.url) as session, session.post(PATH, json=BODY) as response:
            seen: list[tuple[bytes, bool]] = []
            async for chunk in response.content.iter_chunks():
                seen.append(chunk)
                first.set() if len(seen) == 1 else second.set()
            return seen

    seen = asyncio.run(see())
    assert [data for data, _ in seen if data] == [HALF, STREAM[len(HALF) :]]
    assert [ends for _, ends in seen].count(True) >= 2  # the end of a chunk may come by itself
    assert reported(spans)


async def post(server: WireServer, **kwargs: Any) -> bytes:
    async with aiohttp.ClientSession() as session, session.post(server.url + PATH, **kwargs) as response:
        return await response.read()


@pytest.mark.parametrize(
    "body",
    [
        {"json": BODY},
        {"data": json.dumps(BODY)},
        {"data": json.dumps(BODY).encode()},
        {"data": aiohttp.JsonPayload(BODY)},
    ],
    ids=["json", "str", "bytes", "payload"],
)
def test_a_body_that_is_all_there_is_read(server: WireServer, spans: Spans, body: Any) -> None:
    server.reply(sse_reply(STREAM))
    assert asyncio.run(post(server, **body)) == STREAM
    assert server.requests[0].json() == BODY
    assert spans.attributes()["gen_ai.request.model"] == "gpt-5"


def test_json_goes_out_as_the_session_writes_it(server: WireServer, spans: Spans) -> None:
    async def see() -> Any:
        session = aiohttp.ClientSession(server.url, json_serialize=lambda value: json.dumps(value, indent=3))
        async with session, session.post(PATH, json=BODY) as response:
            return await response.read()

    server.reply(sse_reply(STREAM))
    assert asyncio.run(see()) == STREAM
    assert server.requests[0].body == json.dumps(BODY, indent=3).encode()
    assert server.requests[0].headers["content-type"] == "application/json"
    assert reported(spans)


def test_json_that_cannot_be_written_raises_the_same(server: WireServer, spans: Spans) -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        asyncio.run(post(server, json=object()))
    assert fence.FAILURES.pop("begin") == 1
    assert not spans()


def test_a_file_is_left_alone(server: WireServer, spans: Spans) -> None:
    server.reply(sse_reply(STREAM))
    content = json.dumps(BODY).encode()
    assert asyncio.run(post(server, data=io.BytesIO(content))) == STREAM
    assert server.requests[0].body == content
    assert reported(spans)


def test_the_fields_of_a_form_are_read(server: WireServer, spans: Spans) -> None:
    async def see() -> Any:
        form = aiohttp.FormData()
        form.add_field("model", "gpt-4o-transcribe")
        form.add_field("file", io.BytesIO(b"sound"), filename="a.wav")
        async with (
            aiohttp.ClientSession(server.url) as session,
            session.post("/v1/audio/transcriptions", data=form) as response,
        ):
            return await response.json()

    server.reply(json_reply({"text": "x", "usage": {"type": "duration", "seconds": 3}}))
    assert asyncio.run(see())["text"] == "x"
    assert spans.attributes()["gen_ai.request.model"] == "gpt-4o-transcribe"


def test_a_relative_path_is_joined_to_the_url_of_the_session(server: WireServer, spans: Spans) -> None:
    async def see() -> Any:
        async with (
            aiohttp.ClientSession(server.url + "/v1/", headers={"x-stainless-retry-count": "2"}) as session,
            session.post("messages", json={"model": "claude-opus-4-5", "max_tokens": 9}) as response,
        ):
            return await response.json()

    server.reply(json_reply(MESSAGE))
    assert asyncio.run(see()) == MESSAGE
    attributes = spans.attributes()
    assert attributes["gen_ai.usage.output_tokens"] == 900
    assert attributes["http.request.resend_count"] == 2


def test_redirects_are_one_call(server: WireServer, spans: Spans) -> None:
    server.reply(Reply(status=307, headers={"location": PATH}), sse_reply(STREAM))
    assert asyncio.run(post(server, json=BODY)) == STREAM
    assert len(server.requests) == 2
    assert reported(spans)


def test_a_refusal_that_is_raised_is_reported_with_its_status(server: WireServer, spans: Spans) -> None:
    server.reply(json_reply({"error": {"code": "rate_limit_exceeded"}}, 429))
    with pytest.raises(aiohttp.ClientResponseError) as raised:
        asyncio.run(post(server, json=BODY, raise_for_status=True))
    assert raised.value.status == 429
    attributes = spans.attributes()
    assert (attributes["http.response.status_code"], attributes["error.type"]) == (429, "429")
    assert attributes["spanledger.usage.status"] == "none"


def test_a_refusal_that_is_read_is_reported_with_its_error(server: WireServer, spans: Spans) -> None:
    server.reply(json_reply({"error": {"code": "rate_limit_exceeded"}}, 429))
    assert b"rate_limit" in asyncio.run(post(server, json=BODY))
    assert spans.attributes()["error.type"] == "rate_limit_exceeded"


def test_an_answer_without_a_body_ends_its_call(server: WireServer, spans: Spans) -> None:
    server.reply(Reply(headers={}))
    assert asyncio.run(post(server, json=BODY)) == b""
    assert spans.attributes()["spanledger.usage.status"] == "unreported"


@pytest.mark.parametrize("how", ["close", "release", "context"])
def test_turning_away_half_way_keeps_what_is_known(server: WireServer, spans: Spans, how: str) -> None:
    async def see() -> None:
        async with aiohttp.ClientSession(server.url) as session:
            response = await session.post(PATH, json=BODY)
            assert await response.content.readany() == HALF
            assert not spans()
            if how == "context":
                async with response:
                    pass
            else:
                getattr(response, how)()
            attributes = spans.attributes()
            assert attributes["gen_ai.response.id"] == "chatcmpl-A1"
            assert "error.type" not in attributes

    server.reply(sse_reply(HALF, Gate()))
    asyncio.run(see())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # aiohttp's own: "Unclosed connection"
def test_a_dropped_response_ends_its_call(server: WireServer, spans: Spans) -> None:
    async def see() -> None:
        async with aiohttp.ClientSession(server.url) as session:
            response = await session.post(PATH, json=BODY)
            assert await response.content.readany() == HALF
            del response  # its connection holds it until the session closes

    server.reply(sse_reply(HALF, Gate()))
    asyncio.run(see())
    gc.collect()
    spans.wait(1)
    assert spans.attributes()["spanledger.usage.status"] == "unreported"


def test_a_broken_stream_raises_the_same_and_says_so(server: WireServer, spans: Spans) -> None:
    server.reply(sse_reply(HALF, Cut()))
    with pytest.raises(aiohttp.ClientPayloadError):
        asyncio.run(post(server, json=BODY))
    assert spans.attributes()["error.type"] == "ClientPayloadError"


def test_a_timeout_raises_the_same_and_says_so(server: WireServer, spans: Spans) -> None:
    server.reply(sse_reply(HALF, Gate()))
    with pytest.raises(TimeoutError):
        asyncio.run(post(server, json=BODY, timeout=aiohttp.ClientTimeout(sock_read=0.2)))
    assert spans.attributes()["error.type"] == "SocketTimeoutError"


def test_a_refused_connection_raises_the_same(spans: Spans) -> None:
    async def see() -> None:
        async with aiohttp.ClientSession() as session:
            await session.post("http://127.0.0.1:1" + PATH, json=BODY)

    with pytest.raises(aiohttp.ClientConnectorError):
        asyncio.run(see())
    attributes = spans.attributes()
    assert (attributes["error.type"], attributes["spanledger.usage.status"]) == ("ClientConnectorError", "none")


def test_a_cancelled_read_may_go_on(server: WireServer, spans: Spans) -> None:
    gate = Gate()

    async def see() -> bytes:
        async with aiohttp.ClientSession(server.url) as session, session.post(PATH, json=BODY) as response:
            begun = await response.content.readany()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(response.content.readany(), 0.05)
            gate.set()
            return begun + await response.content.read()

    server.reply(sse_reply(HALF, gate, STREAM[len(HALF) :]))
    assert asyncio.run(see()) == STREAM
    assert reported(spans)


def test_a_cancelled_task_says_so(server: WireServer, spans: Spans) -> None:
    async def see() -> None:
        begun = asyncio.Event()

        async def read() -> None:
            async with aiohttp.ClientSession(server.url) as session, session.post(PATH, json=BODY) as response:
                await response.content.readany()
                begun.set()
                await response.read()

        task = asyncio.create_task(read())
        await begun.wait()
        await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    server.reply(sse_reply(HALF, Gate()))
    asyncio.run(see())
    assert spans.attributes()["error.type"] == "CancelledError"


@pytest.mark.usefixtures("spans")
def test_a_mock_that_an_app_s_test_puts_in_place_can_be_awaited_as_without_us() -> None:
    with mock.patch.object(aiohttp.ClientSession, "_request") as stub:
        assert isinstance(stub, mock.AsyncMock)


def test_calls_at_once_are_kept_apart(server: WireServer, spans: Spans) -> None:
    def answer(request: Any) -> Reply:
        usage = {"prompt_tokens": int(request.json()["model"]), "completion_tokens": 1}
        return json_reply({"choices": [{"index": 0, "finish_reason": "stop"}], "usage": usage})

    async def see() -> None:
        async with aiohttp.ClientSession(server.url) as session:

            async def one(number: int) -> None:
                async with session.post(PATH, json={"model": str(number)}) as response:
                    await response.json()

            await asyncio.gather(*map(one, range(40)))

    server.answer = answer
    asyncio.run(see())
    said = [(span.attributes or {}) for span in spans()]
    assert sorted(int(str(each["gen_ai.request.model"])) for each in said) == list(range(40))
    assert all(each["gen_ai.request.model"] == str(each["gen_ai.usage.input_tokens"]) for each in said)


def test_other_requests_are_left_alone(server: WireServer, spans: Spans) -> None:
    async def see() -> Any:
        async with aiohttp.ClientSession(server.url) as session:
            async with session.post("/v1/chat", json=BODY) as response:
                assert type(response.content) is aiohttp.StreamReader
            async with session.get(PATH) as response:
                return await response.json()

    server.reply(json_reply({}), json_reply({}))
    assert asyncio.run(see()) == {}
    assert not spans()
