"""With `include_usage` asked for on the app's behalf: it sees every byte but those of the one hidden chunk."""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider

from spanledger_instrumentation import fence, injection
from tests.instrumentation.conftest import Spans, instrumented
from tests.instrumentation.fixtures import cut, load
from tests.instrumentation.fuzz.apps import APPS, READINGS, Exchange
from tests.instrumentation.fuzz.exchanges import bounded, exchanges

LIBRARIES = pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
URL = "http://api.openai.com/v1/chat/completions"
BODY = b'{"model": "m", "stream": true}'
PLAIN = load("openai/chat_stream_without_usage.sse")
LAST = b"data: [DONE]\n\n"
EXTRA = b'data: {"id": "chatcmpl-A1", "choices": [], "usage": {"prompt_tokens": 7, "completion_tokens": 3}}\n\n'


@pytest.fixture(autouse=True)
def always(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ask every host, as if for the first time."""
    monkeypatch.setenv("OTEL_INSTRUMENTATION_SPANLEDGER_INCLUDE_USAGE", "always")
    injection.HOSTS.clear()
    fence.FAILURES.clear()
    yield
    fence.FAILURES.clear()
    injection.HOSTS.clear()


def provider(library: Any, stream: bytes, places: list[int], line_end: bytes = b"\n") -> Any:
    """Answer as OpenAI does: with one more chunk where the request asks for it."""

    def answer(request: Any) -> Any:
        try:
            asked = json.loads(request.read())["stream_options"]["include_usage"]
        except (ValueError, LookupError, TypeError):
            asked = False
        assert int(request.headers["content-length"]) == len(request.content)
        content = (stream.replace(LAST, EXTRA + LAST) if asked else stream).replace(b"\n", line_end)
        body = type("Stream", (library.SyncByteStream,), {"__iter__": lambda _: iter(cut(content, places))})()
        return library.Response(200, headers={"content-type": "text/event-stream"}, stream=body)

    return library.MockTransport(answer)


def read(response: Any) -> bytes:
    return b"".join(response.iter_raw())


READERS: dict[str, Callable[[Any], Any]] = {
    "raw": read,
    "lines": lambda response: list(response.iter_lines()),
    "text": lambda response: "".join(response.iter_text()),
    "read": lambda response: response.read(),
    "stream": lambda response: b"".join(response.stream),
}
ENDS = [match.end() for match in re.finditer(b"\n\n", PLAIN)]
PLACES = st.integers(0, len(PLAIN) * 2) | st.sampled_from(ENDS)
"""Where to cut: anywhere, and often at the end of an event, as servers do."""
OPTIONS: list[Any] = [
    {},
    {"stream_options": None},
    {"stream_options": {}},
    {"stream_options": {"include_usage": True}},
    {"stream_options": {"include_usage": False}},
    {"stream_options": {"include_obfuscation": False}},
    {"stream_options": "x"},
]


@LIBRARIES
def test_an_app_sees_what_it_asked_for_whatever_the_cut(library: Any) -> None:
    @bounded(80)
    @given(
        places=st.lists(PLACES, max_size=30),
        options=st.sampled_from(OPTIONS),
        reader=st.sampled_from(sorted(READERS)),
        line_end=st.sampled_from([b"\n", b"\r\n", b"\r"]),
        stop=st.integers(0, len(PLAIN)) | st.none(),
    )
    def holds(places: list[int], options: Any, reader: str, line_end: bytes, stop: int | None) -> None:
        def see() -> Any:
            transport = provider(library, PLAIN[:stop], places, line_end)
            with library.Client(transport=transport, trust_env=False, verify=False) as client:
                request = client.build_request("POST", URL, json={"model": "m", "stream": True, **options})
                before = (request.content, request.headers.raw)
                response = client.send(request, stream=True)
                seen = READERS[reader](response)
                response.close()
                assert (request.content, request.headers.raw) == before
                return seen

        without = see()
        spans = Spans()
        with instrumented(spans.provider):
            assert see() == without
        assert len(spans()) == 1
        assert not fence.FAILURES

    holds()


@pytest.mark.parametrize("app", [app for app in APPS if "httpx" not in app])
def test_an_app_over_another_client_sees_the_stream_that_it_would_have_got(app: str) -> None:
    @bounded(100)
    @given(
        places=st.lists(PLACES, max_size=30),
        framing=st.sampled_from(["chunked", "close", "broken"]),
        reading=st.sampled_from(READINGS),
        line_end=st.sampled_from([b"\n", b"\r\n", b"\r"]),
        tail=st.sampled_from([LAST, b"", b": bye\n\n"]) | st.integers(0, len(PLAIN)),
        pieces=st.lists(st.integers(0, 3000), max_size=6),
    )
    def holds(
        places: list[int], framing: str, reading: str, line_end: bytes, tail: bytes | int, pieces: list[int]
    ) -> None:
        shown = PLAIN.replace(LAST, b"")
        plain, asked = (shown[:tail],) * 2 if isinstance(tail, int) else (shown + tail, shown + EXTRA + tail)

        def exchange(stream: bytes) -> Exchange:
            answer = framed(stream.replace(b"\n", line_end), framing, places)
            return Exchange(url=URL, body=BODY, pieces=tuple(filter(None, cut(answer, pieces))), reading=reading)

        without = APPS[app](exchange(plain))
        injection.HOSTS.clear()
        spans = Spans()
        with instrumented(spans.provider):
            within = APPS[app](exchange(asked))
        assert joined(within) == joined(without)
        if reading == "sevens":
            assert all(len(part) <= 7 for part in within[2:] if isinstance(part, bytes) and part != BODY)
        assert len(spans()) == 1
        assert not fence.FAILURES

    holds()


def framed(stream: bytes, framing: str, places: list[int]) -> bytes:
    """Give the answer of a server that sends this stream."""
    lines = [b"HTTP/1.1 200 OK", b"content-type: text/event-stream"]
    if framing == "close":
        return b"\r\n".join([*lines, b"", stream])
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in cut(stream, places) if part)
    end = b"0\r\n\r\n" if framing == "chunked" else b""
    return b"\r\n".join([*lines, b"transfer-encoding: chunked", b"", chunks + end])


@pytest.mark.parametrize("app", APPS)
def test_an_answer_of_any_kind_loses_nothing_but_a_chunk_of_usage(app: str) -> None:
    @bounded(60)
    @given(exchanges())
    def holds(exchange: Exchange) -> None:
        asked = Exchange(url=URL, body=BODY, pieces=exchange.pieces, reading=exchange.reading)
        if b'"usage"' in b"".join(asked.pieces):
            return
        injection.HOSTS.clear()
        without = APPS[app](asked)
        with instrumented(Spans().provider):
            within = APPS[app](asked)
        assert joined(within) == joined(without)

    holds()


def joined(seen: list[object]) -> list[object]:
    """What is held back for a moment may come in other pieces, never in another order."""
    found: list[object] = []
    for each in seen:
        if isinstance(each, tuple):  # aiohttp's, which say besides whether an HTTP chunk ends
            each = each[0]  # noqa: PLW2901
        elif isinstance(each, list):  # an exception, which may tell how much it has read of what is hidden, too
            each = [re.sub(r"\d+ bytes read", "", str(part)) for part in each]  # noqa: PLW2901
        if isinstance(each, bytes | str) and found and type(found[-1]) is type(each):
            found[-1] += each  # type: ignore[operator]
        elif each not in (b"", ""):
            found.append(each)
    return found


@LIBRARIES
def test_the_chunk_stays_hidden_behind_a_last_event_that_is_long(library: Any) -> None:
    last = b'{"index": 0, "delta": {"content": "' + b"x" * 30_000 + b'"}, "finish_reason": "stop"}'
    stream = b'data: {"choices": [' + last + b"]}\n\n" + LAST
    transport = provider(library, stream, list(range(0, 60_000, 1000)))
    with (
        instrumented(TracerProvider()),
        library.Client(transport=transport) as client,
        client.stream("POST", URL, json={"stream": True}) as response,
    ):
        assert read(response) == stream


class OuterSpan(trace.NonRecordingSpan):
    """Somebody else's span of this call, on which nothing can be written."""

    attributes = {"gen_ai.operation.name": "chat"}  # noqa: RUF012 - as the SDK's spans have them

    def is_recording(self) -> bool:
        return True

    def set_attribute(self, key: str, value: Any) -> None:
        raise RuntimeError("it is theirs")


@LIBRARIES
def test_the_chunk_stays_hidden_where_an_outer_span_cannot_be_written_on(library: Any) -> None:
    outer = OuterSpan(trace.SpanContext(1, 2, is_remote=False))
    with (
        instrumented(TracerProvider()),
        trace.use_span(outer),
        library.Client(transport=provider(library, PLAIN, [50, 700, 1500])) as client,
        client.stream("POST", URL, json={"stream": True}) as response,
    ):
        assert read(response) == PLAIN
    assert set(fence.FAILURES) == {"write", "end"}


@LIBRARIES
def test_a_request_that_cannot_be_changed_is_sent_as_it_was(library: Any) -> None:
    class Frozen(library.Headers):
        def __setitem__(self, name: str, value: str) -> None:
            if name.lower() == "content-length":
                raise TypeError("frozen")
            super().__setitem__(name, value)

    sent: list[Any] = []

    def answer(request: Any) -> Any:
        sent.append((request.content, request.headers.raw, b"".join(request.stream)))
        return library.Response(200, json={})

    with library.Client(transport=library.MockTransport(answer)) as client:
        request = client.build_request("POST", URL, json={"stream": True})
        request.headers.__class__ = Frozen
        client.send(request)
        with instrumented(TracerProvider()):
            client.send(request)
    assert sent[0] == sent[1]
    assert fence.FAILURES["begin"] == 1
