"""Bodies of a hundred megabytes pass through, byte for byte, and nothing of them piles up with us."""

import gzip
import tracemalloc
import zlib
from collections.abc import Iterator
from itertools import chain, repeat
from typing import Any

import httpx2
import pytest

from spanledger_instrumentation import fence
from tests.instrumentation.conftest import Spans, instrumented

MIB = 1 << 20
PEAK_BYTES_MAX = 3 * MIB
PIECE = b"x" * (256 * 1024)
PIECES = 400
USAGE = b'"usage": {"prompt_tokens": 7, "completion_tokens": 3, "total_tokens": 10}}'


def endless_line() -> Iterator[bytes]:
    return repeat(PIECE, PIECES)


def one_event() -> Iterator[bytes]:
    head = b'data: {"id": "c1", "model": "m", "choices": [{"index": 0, "finish_reason": "stop", "delta": {"content": "'
    return chain([head], repeat(PIECE, PIECES), [b'"}}], ' + USAGE + b"\n\ndata: [DONE]\n\n"])


def event_of_many_lines() -> Iterator[bytes]:
    return chain([b"data: {\n"], repeat(b'data: "a": 1,\n' * 1000, 60), [b"\n"])


def many_events() -> Iterator[bytes]:
    return chain(
        repeat(b'data: {"choices": [{"delta": {"content": "x"}}]}\n\n' * 100, 100), [b"data: {" + USAGE + b"\n\n"]
    )


def one_document() -> Iterator[bytes]:
    return chain([b'{"id": "c1", "model": "m", "choices": [{"text": "'], repeat(PIECE, PIECES), [b'"}], ' + USAGE])


def one_element() -> Iterator[bytes]:
    return chain([b'[{"candidates": [{"text": "'], repeat(PIECE, PIECES), [b'"}]}', b"]"])


def brackets() -> Iterator[bytes]:
    return repeat(b"[" * 65536, 200)


def quotes() -> Iterator[bytes]:
    return chain([b"{"], repeat(b'"' * 65536, 200))


def backslashes() -> Iterator[bytes]:
    return chain([b'[{"'], repeat(b"\\" * 65536, 200))


BODIES: dict[str, tuple[str, Any, str | None]] = {
    "endless line": ("text/event-stream", endless_line, "unreported"),
    "one event": ("text/event-stream", one_event, "reported"),
    "an event of many lines": ("text/event-stream", event_of_many_lines, "unreported"),
    "many events": ("text/event-stream", many_events, None),
    "endless line of JSON lines": ("application/x-ndjson", endless_line, "unreported"),
    "one document": ("application/json", one_document, "reported"),
    "one element": ("application/json", one_element, None),
    "brackets": ("application/json", brackets, "unreported"),
    "quotes": ("application/json", quotes, "unreported"),
    "backslashes": ("application/json", backslashes, "unreported"),
    "no label": ("", endless_line, "unreported"),
    "event stream of Amazon": ("application/vnd.amazon.eventstream", endless_line, "unreported"),
}


class Stream(httpx2.SyncByteStream):
    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces

    def __iter__(self) -> Iterator[bytes]:
        return self._pieces


def checksum(headers: dict[str, str], pieces: Iterator[bytes], path: str = "/v1/chat/completions") -> tuple[int, int]:
    """Pass a body through a client; give its length, a checksum, and see that it took no memory."""
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, headers=headers, stream=Stream(pieces)))
    size, found = 0, 0
    with (
        httpx2.Client(transport=transport) as client,
        client.stream("POST", "http://api.test" + path, json={"stream": True}) as response,
    ):
        for chunk in response.iter_raw():
            size, found = size + len(chunk), zlib.crc32(chunk[:64] + chunk[-64:], found)
    return size, found


@pytest.mark.parametrize("name", BODIES)
def test_a_body_of_any_length_takes_no_memory(name: str) -> None:
    content_type, make, status = BODIES[name]
    spans = Spans()
    without = checksum({"content-type": content_type}, make())
    fence.FAILURES.clear()
    with instrumented(spans.provider):
        tracemalloc.start()
        try:
            within = checksum({"content-type": content_type}, make())
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert within == without
    assert peak < PEAK_BYTES_MAX
    assert not fence.FAILURES
    attributes = spans.attributes()
    assert status is None or attributes["spanledger.usage.status"] == status
    assert status != "reported" or attributes["gen_ai.usage.input_tokens"] == 7


@pytest.mark.parametrize("encoding", ["gzip", "gzip, gzip"])
def test_a_bomb_takes_no_memory(encoding: str) -> None:
    bomb = gzip.compress(bytes(100 * MIB), 1)
    bomb = gzip.compress(bomb) if "," in encoding else bomb
    headers = {"content-type": "text/event-stream", "content-encoding": encoding}
    spans = Spans()
    with instrumented(spans.provider):
        tracemalloc.start()
        try:
            checksum(headers, iter([bomb]))
            _, peak = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert peak < PEAK_BYTES_MAX
    assert spans.attributes()["spanledger.usage.status"] == "unreported"
