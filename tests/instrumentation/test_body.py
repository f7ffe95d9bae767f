import gzip
import tracemalloc
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanledger_instrumentation import body
from spanledger_instrumentation.body import Body
from spanledger_instrumentation.encoding import UnknownEncodingError
from spanledger_instrumentation.providers import openai_chat, openai_embeddings
from spanledger_instrumentation.usage import Answer
from tests.instrumentation.fixtures import CHAT, STREAMS, cut, fed, load, stream_body

NAMES = sorted(STREAMS)
PLACES = st.lists(st.integers(0, 1 << 20), max_size=12)
LINE_ENDS = st.sampled_from([b"\n", b"\r\n", b"\r"])


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_is_read_whole(name: str) -> None:
    wire, answer = STREAMS[name]
    assert fed(stream_body(wire), load(name)) == answer


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_a_stream_is_read_byte_by_byte(name: str, line_end: bytes) -> None:
    wire, answer = STREAMS[name]
    content = load(name).replace(b"\n", line_end)
    assert fed(stream_body(wire), *(content[at : at + 1] for at in range(len(content)))) == answer


@given(name=st.sampled_from(NAMES), places=PLACES, line_end=LINE_ENDS)
def test_any_cut_of_a_stream_gives_the_same_answer(name: str, places: list[int], line_end: bytes) -> None:
    wire, answer = STREAMS[name]
    assert fed(stream_body(wire), *cut(load(name).replace(b"\n", line_end), places)) == answer


@given(name=st.sampled_from(NAMES), places=PLACES, encoding=st.sampled_from(["gzip", "deflate", "gzip, deflate"]))
def test_any_cut_of_an_encoded_stream_gives_the_same_answer(name: str, places: list[int], encoding: str) -> None:
    wire, answer = STREAMS[name]
    encoded = load(name)
    for step in encoding.split(", "):
        encoded = gzip.compress(encoded) if step == "gzip" else zlib.compress(encoded)
    assert fed(stream_body(wire, encoding), *cut(encoded, places)) == answer


@given(content=st.binary(max_size=400), places=PLACES, name=st.sampled_from(NAMES))
def test_any_bytes_read_the_same_however_they_are_cut(content: bytes, places: list[int], name: str) -> None:
    wire, _ = STREAMS[name]
    start = load(name)[:200]
    whole = fed(stream_body(wire), start + content)
    assert fed(stream_body(wire), *cut(start + content, places)) == whole


@given(places=PLACES)
def test_plain_json_is_read_however_it_is_cut(places: list[int]) -> None:
    plain = Body(openai_chat.WIRE, content_type="application/json", content_encoding="")
    answer = fed(plain, *cut(load("openai/chat.json"), places))
    assert answer.usage == CHAT
    assert answer.complete()


@pytest.mark.parametrize("content_type", ["application/json", ""])
def test_an_event_stream_that_is_labelled_as_something_else_is_read_all_the_same(content_type: str) -> None:
    wire, answer = STREAMS["openai/chat_stream.sse"]
    content = b"\n\n" + load("openai/chat_stream.sse")
    assert fed(Body(wire, content_type=content_type, content_encoding=""), *cut(content, [1, 2, 3, 9])) == answer
    assert body.read(wire, content, content_type) == answer


def test_an_event_longer_than_the_bound_is_still_understood() -> None:
    wire, answer = STREAMS["openai/response_stream.sse"]
    long = load("openai/response_stream.sse").replace(b'CANARY-OUTPUT \\"usage', b"x" * 300_000 + b'\\"usage')
    assert len(long) > 300_000
    for pieces in ([long], cut(long, list(range(0, len(long), 1000)))):
        assert fed(stream_body(wire), *pieces) == answer


def test_an_endless_line_takes_bounded_memory() -> None:
    wire, _ = STREAMS["openai/chat_stream.sse"]
    endless = stream_body(wire)
    for _ in range(400):
        endless.feed(b"x" * 10_000)
    held = endless._events._line  # type: ignore[union-attr]
    assert len(held) < 64 * 1024


def test_long_vectors_are_skipped_and_the_usage_behind_them_is_read() -> None:
    vectors = b'{"object": "list", "model": "m", "data": [' + b"0.123456789, " * 50_000 + b"1.0], "
    content = vectors + b'"usage": {"prompt_tokens": 8, "total_tokens": 8}}'
    answer = body.read(openai_embeddings.WIRE, content, "application/json")
    assert answer.usage is not None
    assert (answer.model, answer.usage.input_tokens) == ("m", 8)


@pytest.mark.parametrize("content", [b"", b"{}", b"[1]", b"null", b"<html>", b'{"usage": 5}', b'{"usage": {"x": "y"}}'])
def test_an_unknown_shape_has_no_figures(content: bytes) -> None:
    answer = body.read(openai_chat.WIRE, content, "application/json")
    assert answer.usage is None or not answer.usage.known()
    assert answer == Answer(usage=answer.usage, done=answer.done, usage_final=answer.usage_final)


def test_an_encoding_that_nothing_can_decode_is_refused() -> None:
    with pytest.raises(UnknownEncodingError, match="lzma"):
        stream_body(openai_chat.WIRE, "lzma")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_a_stream_is_read_event_by_event_with_empty_chunks_between(name: str, line_end: bytes) -> None:
    wire, answer = STREAMS[name]
    events = [event + 2 * line_end for event in load(name).rstrip().replace(b"\n", line_end).split(2 * line_end)]
    assert fed(stream_body(wire), *(piece for event in events for piece in (event, b""))) == answer


@given(
    name=st.sampled_from(NAMES),
    repeated=st.lists(st.tuples(st.integers(0, 30), st.integers(1, 4)), max_size=6),
    places=PLACES,
)
def test_repeated_events_read_the_same_however_they_are_cut(
    name: str, repeated: list[tuple[int, int]], places: list[int]
) -> None:
    wire, _ = STREAMS[name]
    events = [event + b"\n\n" for event in load(name).rstrip().split(b"\n\n")]
    for place, times in repeated:
        at = place % len(events)
        events[at:at] = [events[at]] * times
    whole = fed(stream_body(wire), b"".join(events))
    assert fed(stream_body(wire), *events) == whole
    assert fed(stream_body(wire), *cut(b"".join(events), places)) == whole


LONG = b"data: " + b"x" * 48_000


@pytest.mark.parametrize(
    "pieces",
    [
        [b"data: {}\n\n"] * 1000,
        [LONG],
        [b"data: " + b"x" * 400_000, *[b"y" * 15_000] * 9],
        [LONG + b"\n", LONG],
        [LONG + b"\n" + LONG + b"\n", LONG],
    ],
    ids=["events", "a long line", "an endless line", "two long lines", "three long lines"],
)
def test_an_open_stream_holds_at_most_64_kib(pieces: list[bytes]) -> None:
    wire, _ = STREAMS["anthropic/message_stream.sse"]
    stream_body(wire).feed(b"data: {}\n\n")
    tracemalloc.start()
    try:
        held = stream_body(wire)
        for piece in pieces:
            held.feed(piece)
        assert tracemalloc.get_traced_memory()[0] < 64 * 1024
    finally:
        tracemalloc.stop()
