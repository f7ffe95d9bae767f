"""What is hidden never reaches the buffer of aiohttp's stream, however the body comes and however it is read."""

import asyncio
from typing import Any

import aiohttp
from aiohttp.base_protocol import BaseProtocol
from hypothesis import given, settings
from hypothesis import strategies as st

from spanledger_instrumentation.clients.aiohttp_content import content_type
from spanledger_instrumentation.clients.aiohttp_hiding import hide
from spanledger_instrumentation.injection import Injection
from spanledger_instrumentation.providers import openai_chat
from tests.instrumentation.fixtures import cut, load, stream_body

STREAM = load("openai/chat_stream.sse")
EXTRA = STREAM.split(b"\n\n")[-3] + b"\n\n"
HIDDEN = STREAM.replace(EXTRA, b"")
CONTENT = content_type(aiohttp.StreamReader)
NAMES = ("readany", "readline", "readchunk", "read of 7", "read of 300")
PLACES = st.lists(st.integers(0, len(STREAM)), max_size=40)


class Following:
    """What hides, and nothing else of a call."""

    ended = True

    def __init__(self) -> None:
        self._injection = Injection(openai_chat.WIRE, "host", b"", known=True)
        self._injection.answered({})
        self._body = stream_body(openai_chat.WIRE)

    def feed(self, chunk: bytes) -> bytes:
        self._body.feed(chunk)
        return self._injection.feed(chunk, self._body.answer)

    def finish(self) -> bytes:
        return self._injection.finish()

    release = finish


async def read(content: Any, name: str) -> bytes:
    method, _, size = name.partition(" of ")
    part: Any = await getattr(content, method)(*([int(size)] if size else []))
    return part[0] if isinstance(part, tuple) else part


def put(stream: Any, piece: bytes, *, chunked: bool) -> None:
    """Feed a piece as aiohttp's parser does."""
    if chunked:
        stream.begin_http_chunk_receiving()
    stream.feed_data(piece, len(piece))
    if chunked:
        stream.end_http_chunk_receiving()


def content_of(stream: Any) -> tuple[Any, Any]:
    following: Any = Following()
    return CONTENT(stream, following, is_fed=True), following


async def seen_of(places: list[int], before: int, names: list[str], *, chunked: bool) -> bytes:
    """Feed a stream, some of it before it is known what to hide, and read it as it comes."""
    loop = asyncio.get_running_loop()
    protocol = BaseProtocol(loop)
    protocol.transport = asyncio.Transport()
    stream: Any = aiohttp.StreamReader(protocol, 2**16, loop=loop)
    content, following = content_of(stream)
    pieces = cut(STREAM, places)
    for piece in pieces[:before]:
        put(stream, piece, chunked=chunked)
    hide(stream, content, following)

    async def feed() -> None:
        for piece in pieces[before:]:
            put(stream, piece, chunked=chunked)
            await asyncio.sleep(0)
        stream.feed_eof()

    fed = asyncio.ensure_future(feed())
    found, number = b"", 0
    while not content.at_eof():
        found += await read(content, names[number % len(names)])
        number += 1
    await fed
    assert stream.total_bytes == len(found)
    return found


@settings(deadline=None)
@given(
    places=PLACES,
    before=st.integers(0, 12),
    names=st.lists(st.sampled_from(NAMES), min_size=1, max_size=4),
    chunked=st.booleans(),
)
def test_any_cut_read_in_any_way_hides_the_same(
    places: list[int], before: int, names: list[str], *, chunked: bool
) -> None:
    assert asyncio.run(seen_of(places, before, names, chunked=chunked)) == HIDDEN


def test_a_chunk_that_is_hidden_whole_has_no_end_either() -> None:
    async def ends() -> list[tuple[bytes, bool]]:
        loop = asyncio.get_running_loop()
        found: list[tuple[bytes, bool]] = []
        for at_once in (True, False):
            stream: Any = aiohttp.StreamReader(BaseProtocol(loop), 2**16, loop=loop)
            content, following = content_of(stream)
            if not at_once:
                hide(stream, content, following)
            for piece in (HIDDEN[:-14], EXTRA, HIDDEN[-14:]):
                put(stream, piece, chunked=True)
            stream.feed_eof()
            if at_once:
                hide(stream, content, following)
            found += [part async for part in content.iter_chunks()]
        return found

    assert asyncio.run(ends()) == [(HIDDEN[:-14], True), (HIDDEN[-14:], True)] * 2
