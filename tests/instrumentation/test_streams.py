"""Streams reach the app unchanged and undelayed, and end exactly once, however they end."""

import asyncio
import contextlib
import gc
import gzip
import pickle
import zlib
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import httpx
import httpx2
import pytest
from opentelemetry import trace

from tests.instrumentation.conftest import Spans, instrumented, until
from tests.instrumentation.fixtures import cut, load
from tests.wire_server import Cut, Gate, Reply, WireServer, sse_reply

PATH = "/v1/chat/completions"
BODY = {"model": "gpt-5", "messages": [], "stream": True}
MESSAGES = BODY | {"max_tokens": 9}
STREAM = load("openai/chat_stream.sse")
PIECES = [piece for piece in cut(STREAM, list(range(0, len(STREAM), 61))) if piece]
HALF = STREAM[: len(STREAM) // 2]
LIBRARIES = pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
READERS: dict[str, Callable[[Any], Any]] = {
    "iter_raw": lambda response: list(response.iter_raw()),
    "iter_bytes": lambda response: list(response.iter_bytes()),
    "iter_bytes of 7": lambda response: list(response.iter_bytes(7)),
    "iter_text": lambda response: list(response.iter_text()),
    "iter_lines": lambda response: list(response.iter_lines()),
    "read": lambda response: response.read(),
}


@contextlib.contextmanager
def opened(library: Any, server: WireServer) -> Iterator[Any]:
    with library.Client(base_url=server.url) as client, client.stream("POST", PATH, json=BODY) as response:
        yield response


def reported(spans: Spans) -> bool:
    attributes = spans.attributes()
    return attributes["spanledger.usage.status"] == "reported" and attributes["gen_ai.usage.output_tokens"] == 340


ENCODINGS: dict[str, Callable[[bytes], bytes]] = {"identity": bytes, "gzip": gzip.compress, "deflate": zlib.compress}


@LIBRARIES
@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize("reader", READERS)
def test_an_app_sees_the_same_with_and_without_us(library: Any, server: WireServer, encoding: str, reader: str) -> None:
    encoded = ENCODINGS[encoding](STREAM)
    reply = sse_reply(*cut(encoded, list(range(0, len(encoded), 61))), content_encoding=encoding)

    def see() -> Any:
        server.reply(reply)
        with opened(library, server) as response:
            seen = READERS[reader](response)
            return seen, response.num_bytes_downloaded, response.is_closed, response.elapsed is not None

    spans = Spans()
    without = see()
    with instrumented(spans.provider):
        assert see() == without
    assert reported(spans)


ASYNC_READERS: dict[str, Callable[[Any], AsyncIterator[Any]]] = {
    "aiter_raw": lambda response: response.aiter_raw(),
    "aiter_bytes": lambda response: response.aiter_bytes(),
    "aiter_lines": lambda response: response.aiter_lines(),
}


@LIBRARIES
@pytest.mark.parametrize("reader", ASYNC_READERS)
def test_an_async_app_sees_the_same_with_and_without_us(library: Any, server: WireServer, reader: str) -> None:
    async def see() -> Any:
        server.reply(sse_reply(*PIECES))
        client = library.AsyncClient(base_url=server.url)
        async with client, client.stream("POST", PATH, json=BODY) as response:
            return [part async for part in ASYNC_READERS[reader](response)]

    spans = Spans()
    without = asyncio.run(see())
    with instrumented(spans.provider):
        assert asyncio.run(see()) == without
    assert reported(spans)


@LIBRARIES
def test_each_chunk_arrives_before_the_next_one_is_sent(library: Any, server: WireServer, spans: Spans) -> None:
    gates = [Gate() for _ in PIECES]
    server.reply(sse_reply(*(part for pair in zip(PIECES, gates, strict=True) for part in pair)))
    with opened(library, server) as response:
        for gate, chunk, sent in zip(gates, response.iter_raw(), PIECES, strict=True):
            assert chunk == sent
            gate.set()
    assert reported(spans)


@LIBRARIES
def test_the_span_ends_at_the_last_event_not_at_the_end_of_the_body(
    library: Any, server: WireServer, spans: Spans
) -> None:
    gate = Gate()
    server.reply(sse_reply(STREAM, gate, b": more\n\n"))
    with opened(library, server) as response:
        chunks = response.iter_raw()
        assert next(chunks) == STREAM
        assert reported(spans)
        gate.set()
        assert list(chunks) == [b": more\n\n"]
    assert len(spans()) == 1


@LIBRARIES
def test_a_stream_that_the_app_closes_early_keeps_what_is_known(library: Any, server: WireServer, spans: Spans) -> None:
    server.reply(sse_reply(HALF, Gate()))
    with opened(library, server) as response:
        next(response.iter_bytes())
    attributes = spans.attributes()
    assert attributes["gen_ai.response.id"] == "chatcmpl-A1"
    assert attributes["gen_ai.response.finish_reasons"] == ("error",)
    assert attributes["spanledger.usage.status"] == "unreported"
    assert attributes["gen_ai.response.time_to_first_chunk"] > 0
    assert "error.type" not in attributes
    assert "gen_ai.usage.input_tokens" not in attributes


@LIBRARIES
def test_figures_of_a_stream_that_ended_early_are_partial(library: Any, server: WireServer, spans: Spans) -> None:
    begun = load("anthropic/message_stream.sse").partition(b"event: message_delta")[0]
    server.reply(sse_reply(begun, Gate()))
    with (
        library.Client(base_url=server.url) as client,
        client.stream("POST", "/v1/messages", json=MESSAGES) as response,
    ):
        next(response.iter_bytes())
    attributes = spans.attributes()
    assert attributes["spanledger.usage.status"] == "partial"
    assert attributes["gen_ai.usage.input_tokens"] == 42600
    assert attributes["gen_ai.response.finish_reasons"] == ("error",)


@LIBRARIES
def test_a_stream_that_breaks_raises_the_client_s_own_error(library: Any, server: WireServer, spans: Spans) -> None:
    server.reply(sse_reply(HALF, Cut()))
    with pytest.raises(library.RemoteProtocolError), opened(library, server) as response:
        response.read()
    attributes = spans.attributes()
    assert attributes["error.type"] == "RemoteProtocolError"
    assert attributes["spanledger.usage.status"] == "unreported"
    assert spans.one().status.status_code.name == "ERROR"


@LIBRARIES
def test_a_stream_that_stops_in_the_middle_without_an_error_is_marked(
    library: Any, server: WireServer, spans: Spans
) -> None:
    server.reply(sse_reply(HALF))
    with opened(library, server) as response:
        assert response.read() == HALF
    assert spans.attributes()["gen_ai.response.finish_reasons"] == ("error",)
    assert spans.attributes()["spanledger.usage.status"] == "unreported"


@LIBRARIES
def test_a_stream_of_an_unknown_shape_is_unreported_and_nothing_is_guessed(
    library: Any, server: WireServer, spans: Spans
) -> None:
    server.reply(sse_reply(b'data: {"tokens": 5}\n\n'))
    with opened(library, server) as response:
        response.read()
    assert spans.attributes()["spanledger.usage.status"] == "unreported"
    assert not [name for name in spans.attributes() if name.startswith(("gen_ai.usage", "gen_ai.response.finish"))]


@LIBRARIES
def test_a_response_that_is_dropped_ends_its_span(library: Any, server: WireServer, spans: Spans) -> None:
    server.reply(sse_reply(HALF, Gate()))
    with library.Client(base_url=server.url) as client:
        response = client.send(client.build_request("POST", PATH, json=BODY), stream=True)
        assert not spans()
        del response
        gc.collect()
        spans.wait(1)
    assert spans.attributes()["spanledger.usage.status"] == "unreported"


@LIBRARIES
def test_an_abandoned_generator_ends_its_span_once(library: Any, server: WireServer, spans: Spans) -> None:
    server.reply(sse_reply(HALF, Gate()))
    with library.Client(base_url=server.url) as client:
        response = client.send(client.build_request("POST", PATH, json=BODY), stream=True)
        chunks = response.iter_bytes()
        next(chunks)
        del chunks, response
        gc.collect()
        spans.wait(1)
    assert len(spans()) == 1


@LIBRARIES
def test_a_cancelled_task_ends_its_span(
    library: Any, server: WireServer, spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    server.reply(sse_reply(HALF, Gate()))

    async def main() -> None:
        first = asyncio.Event()

        async def read() -> None:
            client = library.AsyncClient(base_url=server.url)
            async with client, client.stream("POST", PATH, json=BODY) as response:
                async for _ in response.aiter_bytes():
                    first.set()

        task = asyncio.create_task(read())
        await first.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
    assert spans.attributes()["error.type"] == "CancelledError"
    assert "detach" not in caplog.text


@LIBRARIES
def test_a_request_cancelled_before_its_answer_ends_its_span(
    library: Any, server: WireServer, spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    gate = Gate()

    def answer(_: Any) -> Reply:
        gate.wait(10)
        return Reply()

    server.answer = answer

    async def main() -> None:
        async with library.AsyncClient(base_url=server.url) as client:
            task = asyncio.create_task(client.post(PATH, json=BODY))
            await asyncio.to_thread(until, lambda: server.requests)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(main())
    gate.set()
    assert spans.attributes()["error.type"] == "CancelledError"
    assert spans.attributes()["spanledger.usage.status"] == "unreported"
    assert "detach" not in caplog.text


def test_a_coroutine_that_is_dropped_while_it_waits_ends_its_span(
    spans: Spans, caplog: pytest.LogCaptureFixture
) -> None:
    class Never(httpx2.AsyncBaseTransport):
        async def handle_async_request(self, request: Any) -> Any:
            await asyncio.Future()

    async def main() -> Any:
        client = httpx2.AsyncClient(transport=Never())
        sending = client.post("http://x" + PATH, json=BODY)
        sending.send(None)
        return sending

    asyncio.run(main()).close()
    assert spans.attributes()["error.type"] == "GeneratorExit"
    assert "detach" not in caplog.text


@LIBRARIES
def test_nothing_stays_current_after_a_call(library: Any, server: WireServer, spans: Spans) -> None:
    server.reply(sse_reply(*PIECES))
    before = trace.get_current_span()
    with opened(library, server) as response:
        for _ in response.iter_raw():
            assert trace.get_current_span() is before
    assert trace.get_current_span() is before


@LIBRARIES
def test_a_response_can_be_pickled(library: Any, server: WireServer, spans: Spans) -> None:
    server.reply(sse_reply(*PIECES))
    with opened(library, server) as response:
        response.read()
    assert pickle.loads(pickle.dumps(response)).content == STREAM


@LIBRARIES
def test_an_unread_json_answer_over_a_streaming_request_is_read_when_the_app_reads_it(
    library: Any, server: WireServer, spans: Spans
) -> None:
    server.reply(Reply(pieces=cut(load("openai/chat.json"), [1, 100, 700])))
    with opened(library, server) as response:
        assert not spans()
        assert response.read() == load("openai/chat.json")
    assert reported(spans)


def test_a_body_that_cannot_be_decoded_reaches_the_app_as_it_is(server: WireServer) -> None:
    from spanledger_instrumentation import fence

    fence.FAILURES.clear()
    spans = Spans()
    server.reply(sse_reply(b"not gzip", content_encoding="gzip"))
    with instrumented(spans.provider), opened(httpx2, server) as response:
        assert b"".join(response.iter_raw()) == b"not gzip"
    assert spans.attributes()["spanledger.usage.status"] == "unreported"
    assert "gen_ai.response.finish_reasons" not in spans.attributes()
    assert fence.FAILURES == {"feed": 1}
    fence.FAILURES.clear()
