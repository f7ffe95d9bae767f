"""A stream's call ends exactly once, in whatever way the stream does: with threads, asyncio and trio."""

import contextlib
import gc
import json
import subprocess
import sys
import threading
import warnings
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel
import httpx
import httpx2
import openai
import pytest
import requests
from opentelemetry import context

from spanledger_instrumentation import fence
from tests.instrumentation.conftest import Spans, until
from tests.instrumentation.fixtures import load
from tests.wire_server import Cut, Gate, Reply, WireServer, sse_reply

BENCH = Path(__file__).parent.parent.parent / "bench"
PATH = "/v1/chat/completions"
BODY = {"model": "gpt-5", "messages": [], "stream": True}
STREAM = load("openai/chat_stream.sse")
HALF = STREAM[: len(STREAM) // 2]
LIBRARIES = pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
BACKENDS = pytest.mark.parametrize("backend", ["asyncio", "trio"])


CLIENTS_OWN = pytest.mark.filterwarnings("ignore:Async generator '(http|openai):ResourceWarning")
"""Of trio, whose warnings of what an app leaves half-read are about the generators of the client, and never of ours."""


class AppError(Exception):
    """An error of the app's own."""


def fresh(pieces: tuple[bytes | type[Gate | Cut], ...]) -> Reply:
    """Make a reply with gates of its own."""
    return sse_reply(*(piece if isinstance(piece, bytes) else piece() for piece in pieces))


async def ended(spans: Spans) -> None:
    """Collect garbage until the call has ended."""
    with anyio.fail_after(60):  # a whole heap is collected each time, by one of two busy processes
        while not spans():
            gc.collect()
            await anyio.lowlevel.checkpoint()


# -- the ways of a sync app ------------------------------------------------------------------------------------------


def stop_at_the_terminal_event(response: Any) -> None:
    for line in response.iter_lines():
        if line == "data: [DONE]":
            break
    response.close()


def read_to_the_end(response: Any) -> None:
    response.read()
    response.close()
    response.close()


def close_early(response: Any) -> None:
    next(response.iter_bytes())
    response.close()


def close_unread(response: Any) -> None:
    response.close()


def fail_in_between(response: Any) -> None:
    with contextlib.suppress(AppError), contextlib.closing(response):
        for _ in response.iter_bytes():
            raise AppError


def leave_a_generator_half_way(response: Any) -> None:
    chunks = response.iter_text()
    next(chunks)
    chunks.close()


def drop(response: Any) -> None:
    del response


def read_until_it_breaks(response: Any) -> None:
    with pytest.raises((httpx.RemoteProtocolError, httpx2.RemoteProtocolError)):
        response.read()


def lose_patience(response: Any) -> None:
    """Shorten the client's patience once the head is there, which may take its time: the body never comes."""
    response.request.extensions["timeout"]["read"] = 0.05


def read_until_it_times_out(response: Any) -> None:
    lose_patience(response)
    with pytest.raises((httpx.ReadTimeout, httpx2.ReadTimeout)):
        response.read()


SYNC: dict[str, tuple[tuple[bytes | type[Gate | Cut], ...], Callable[[Any], None], str]] = {
    "terminal event": ((STREAM, Gate), stop_at_the_terminal_event, "reported"),
    "end of body": ((STREAM,), read_to_the_end, "reported"),
    "close": ((HALF, Gate), close_early, "unreported"),
    "close unread": ((HALF, Gate), close_unread, "unreported"),
    "the app's error": ((HALF, Gate), fail_in_between, "unreported"),
    "generator": ((HALF, Gate), leave_a_generator_half_way, "unreported"),
    "garbage": ((HALF, Gate), drop, "unreported"),
    "error": ((HALF, Cut), read_until_it_breaks, "unreported"),
    "timeout": ((HALF, Gate), read_until_it_times_out, "unreported"),
}


@LIBRARIES
@pytest.mark.parametrize("way", SYNC)
def test_a_call_ends_once(
    library: Any, server: WireServer, spans: Spans, caplog: pytest.LogCaptureFixture, way: str
) -> None:
    pieces, read, status = SYNC[way]
    server.reply(fresh(pieces))
    before = context.get_current()
    with library.Client(base_url=server.url, timeout=60) as client:
        read(client.send(client.build_request("POST", PATH, json=BODY), stream=True))
        until(lambda: len(spans()) >= 1 or gc.collect() < 0)
    assert spans.attributes()["spanledger.usage.status"] == status
    assert context.get_current() == before
    assert "detach" not in caplog.text


# -- the ways of an async app ----------------------------------------------------------------------------------------


async def stop_at_the_terminal_event_async(response: Any) -> None:
    async for line in response.aiter_lines():
        if line == "data: [DONE]":
            break
    await response.aclose()


async def read_to_the_end_async(response: Any) -> None:
    await response.aread()
    await response.aclose()
    await response.aclose()


async def close_early_async(response: Any) -> None:
    await anext(response.aiter_bytes())
    await response.aclose()


async def close_unread_async(response: Any) -> None:
    await response.aclose()


async def fail_in_between_async(response: Any) -> None:
    with contextlib.suppress(AppError):
        async with contextlib.aclosing(response):
            async for _ in response.aiter_bytes():
                raise AppError


async def cancel(response: Any) -> None:
    with anyio.CancelScope() as scope:
        async for _ in response.aiter_bytes():
            scope.cancel()
    assert scope.cancelled_caught


async def cancel_from_outside(response: Any) -> None:
    first = anyio.Event()

    async def read() -> None:
        async for _ in response.aiter_bytes():
            first.set()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(read)
        await first.wait()
        tasks.cancel_scope.cancel()


async def leave_a_generator_half_way_async(response: Any) -> None:
    chunks = response.aiter_text()
    await anext(chunks)
    await chunks.aclose()


async def drop_async(response: Any) -> None:
    del response


async def read_until_it_breaks_async(response: Any) -> None:
    with pytest.raises((httpx.RemoteProtocolError, httpx2.RemoteProtocolError)):
        await response.aread()


async def read_until_it_times_out_async(response: Any) -> None:
    lose_patience(response)
    with pytest.raises((httpx.ReadTimeout, httpx2.ReadTimeout)):
        await response.aread()


ASYNC: dict[str, tuple[tuple[bytes | type[Gate | Cut], ...], Callable[[Any], Awaitable[None]], str]] = {
    "terminal event": ((STREAM, Gate), stop_at_the_terminal_event_async, "reported"),
    "end of body": ((STREAM,), read_to_the_end_async, "reported"),
    "close": ((HALF, Gate), close_early_async, "unreported"),
    "close unread": ((HALF, Gate), close_unread_async, "unreported"),
    "the app's error": ((HALF, Gate), fail_in_between_async, "unreported"),
    "cancellation": ((HALF, Gate), cancel, "unreported"),
    "cancellation from outside": ((HALF, Gate), cancel_from_outside, "unreported"),
    "generator": ((HALF, Gate), leave_a_generator_half_way_async, "unreported"),
    "garbage": ((HALF, Gate), drop_async, "unreported"),
    "error": ((HALF, Cut), read_until_it_breaks_async, "unreported"),
    "timeout": ((HALF, Gate), read_until_it_times_out_async, "unreported"),
}


@CLIENTS_OWN
@LIBRARIES
@BACKENDS
@pytest.mark.parametrize("way", ASYNC)
def test_an_async_call_ends_once(
    library: Any, server: WireServer, spans: Spans, caplog: pytest.LogCaptureFixture, backend: str, way: str
) -> None:
    pieces, read, status = ASYNC[way]
    server.reply(fresh(pieces))

    async def main() -> None:
        before = context.get_current()
        async with library.AsyncClient(base_url=server.url, timeout=60) as client:
            await read(await client.send(client.build_request("POST", PATH, json=BODY), stream=True))
            await ended(spans)
        assert context.get_current() == before

    anyio.run(main, backend=backend)
    assert spans.attributes()["spanledger.usage.status"] == status
    assert "detach" not in caplog.text


@LIBRARIES
@BACKENDS
def test_an_iterator_that_is_left_half_way_warns_of_nothing_of_ours(
    library: Any, server: WireServer, spans: Spans, backend: str
) -> None:
    server.reply(sse_reply(HALF, Gate()))

    async def main() -> None:
        async with library.AsyncClient(base_url=server.url) as client:
            response = await client.send(client.build_request("POST", PATH, json=BODY), stream=True)
            chunks = response.aiter_bytes()
            await anext(chunks)
            del chunks, response
            await ended(spans)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        anyio.run(main, backend=backend)
    assert not [warning for warning in caught if "spanledger" in str(warning.message)]
    assert len(spans()) == 1


@CLIENTS_OWN
@BACKENDS
def test_the_sdk_s_own_stream_ends_once_when_it_is_left_half_way(
    server: WireServer, spans: Spans, backend: str
) -> None:
    server.reply(sse_reply(HALF, Gate()))

    async def main() -> None:
        async with openai.AsyncOpenAI(api_key="x", base_url=server.url + "/v1", max_retries=0) as client:
            stream = await client.chat.completions.create(model="m", messages=[], stream=True)
            async with stream:
                async for _ in stream:
                    break

    anyio.run(main, backend=backend)
    assert spans.attributes()["spanledger.usage.status"] == "unreported"


def test_a_generator_that_is_never_finished_by_its_loop_ends_its_call(
    server: WireServer, spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    server.reply(sse_reply(HALF, Gate()))
    left: list[Any] = []

    async def chunks() -> AsyncIterator[bytes]:
        client = httpx2.AsyncClient(base_url=server.url)
        async with client, client.stream("POST", PATH, json=BODY) as response:
            async for chunk in response.aiter_bytes():
                yield chunk

    async def main() -> None:
        left.append(chunks())
        await anext(left[0])

    anyio.run(main)
    left.clear()
    gc.collect()
    spans.wait(1)
    assert len(spans()) == 1
    assert "detach" not in caplog.text


@pytest.mark.parametrize("library", [httpx, requests], ids=["httpx", "requests"])
@pytest.mark.parametrize("fails", [False, True], ids=["cut", "error"])
def test_figures_of_half_a_stream_are_partial_though_the_client_has_read_it_all(
    server: WireServer, spans: Spans, library: Any, fails: bool
) -> None:
    failing = load("anthropic/message_stream_error.sse")
    server.reply(sse_reply(failing if fails else failing[: failing.index(b"event: error")]))
    library.post(f"{server.url}/v1/messages", json={"model": "claude", "max_tokens": 5, "stream": True})
    attributes = spans.attributes()
    assert attributes["gen_ai.usage.output_tokens"] == 1
    assert attributes["spanledger.usage.status"] == "partial"
    assert attributes["gen_ai.response.finish_reasons"] == ("error",)


def test_figures_before_what_cannot_be_decoded_are_partial(server: WireServer, spans: Spans) -> None:
    begun = load("anthropic/message_stream.sse").partition(b"event: content_block_start")[0]
    gzip = zlib.compressobj(wbits=zlib.MAX_WBITS | 16)
    encoded = gzip.compress(begun) + gzip.flush(zlib.Z_FULL_FLUSH)
    server.reply(sse_reply(encoded, b"\xff" * 64, content_encoding="gzip"))
    body = {"model": "claude", "max_tokens": 5, "stream": True}
    with (
        pytest.raises(httpx.DecodingError),
        httpx.stream("POST", f"{server.url}/v1/messages", json=body) as response,
    ):
        response.read()
    fence.FAILURES.clear()  # our own decoder failed as the client's did
    attributes = spans.attributes()
    assert attributes["gen_ai.usage.output_tokens"] == 1
    assert attributes["spanledger.usage.status"] == "partial"


def test_a_stream_that_is_closed_by_another_thread_ends_once(server: WireServer, spans: Spans) -> None:
    gate = Gate()
    server.reply(sse_reply(HALF, gate, STREAM[len(HALF) :]))
    with httpx2.Client(base_url=server.url) as client:
        response = client.send(client.build_request("POST", PATH, json=BODY), stream=True)
        next(response.iter_raw())
        threads = [threading.Thread(target=response.stream.close) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        gate.set()
    until(lambda: len(spans()) == 1)


def test_thousands_of_aborted_streams_leave_nothing_behind() -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "error", BENCH / "leaks.py", "--json", "--count", "4000"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    found = json.loads(ran.stdout)
    found.pop("seconds")
    assert found == {
        "streams": 4000,
        "spans_not_ended": 0,
        "spans_ended_twice": 0,
        "objects_left": 0,
        "failures": 0,
    }
    assert "detach" not in ran.stderr
