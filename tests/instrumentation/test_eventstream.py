"""Amazon's event stream: every message once, the same for every cut, and never a byte too much held."""

import json
import random
import struct
import tracemalloc
import zlib
from typing import Any

import pytest
from botocore.eventstream import EventStreamBuffer
from hypothesis import given
from hypothesis import strategies as st

from spanledger_instrumentation.eventstream import HEADERS_BYTES_MAX, MessageReader
from spanledger_instrumentation.excerpt import HEAD_BYTES_MAX, TAIL_BYTES_MAX, WHOLE_BYTES_MAX
from tests.instrumentation.amazon import chunk, message
from tests.instrumentation.fixtures import DATA, cut

STREAMS = sorted((DATA / "bedrock").glob("*.bin"))


def read(*pieces: bytes) -> list[tuple[bytes, bytes]]:
    seen: list[tuple[bytes, bytes]] = []
    reader = MessageReader(lambda data, tail: seen.append((data, tail)))
    for piece in pieces:
        reader.feed(piece)
    reader.finish()
    return seen


def objects(*pieces: bytes) -> list[Any]:
    return [json.loads(data) for data, _ in read(*pieces)]


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
def test_it_reads_what_botocore_reads(path: Any) -> None:
    buffer = EventStreamBuffer()
    buffer.add_data(path.read_bytes())
    expected = [{":event-type": each.headers[":event-type"], **json.loads(each.payload)} for each in buffer]
    assert objects(path.read_bytes()) == expected


@pytest.mark.parametrize("path", STREAMS, ids=lambda path: path.stem)
@given(places=st.lists(st.integers(min_value=0, max_value=10_000), max_size=40))
def test_every_cut_reads_the_same(path: Any, places: list[int]) -> None:
    content = path.read_bytes()
    assert read(*cut(content, places)) == read(content)


@pytest.mark.parametrize("size", [0, 1, 3, HEAD_BYTES_MAX, WHOLE_BYTES_MAX - 200, WHOLE_BYTES_MAX, 200_000])
def test_events_of_any_size_are_read_byte_by_byte_as_whole(size: int) -> None:
    stream = message("a", {"text": "x" * size, "usage": 1}) + message("b", {})
    whole = read(stream)
    assert whole == read(*(stream[at : at + 1] for at in range(len(stream))))
    assert len(whole) == 2
    data, tail = whole[0]
    assert data.startswith(b'{":event-type":"a","text"')
    assert (tail or data).endswith(b'"usage":1}')
    assert len(data) <= WHOLE_BYTES_MAX + 100
    assert len(tail) <= TAIL_BYTES_MAX


@pytest.mark.parametrize("payload", [b"", b"{}", b" { } ", b"[1]", b"text", b"\x00\xff"])
def test_a_payload_that_has_no_members_is_an_event_all_the_same(payload: bytes) -> None:
    assert objects(message("initial-response", payload)) == [{":event-type": "initial-response"}]


def test_exceptions_and_errors_say_that_they_are() -> None:
    exception = message("throttlingException", {"message": "slow down"}, kind="exception")
    assert objects(exception) == [{":exception-type": "throttlingException", "message": "slow down"}]
    assert objects(framed({":message-type": "error", ":error-code": "InternalError"}, b"")) == [
        {":exception-type": "InternalError"}
    ]


def framed(headers: dict[str, str], payload: bytes, raw: bytes = b"") -> bytes:
    block = raw + b"".join(
        bytes([len(name)]) + name.encode() + struct.pack("!BH", 7, len(value)) + value.encode()
        for name, value in headers.items()
    )
    prelude = struct.pack("!II", 16 + len(block) + len(payload), len(block))
    begun = prelude + struct.pack("!I", zlib.crc32(prelude)) + block + payload
    return begun + struct.pack("!I", zlib.crc32(begun))


def test_headers_of_every_type_are_passed_over() -> None:
    values = {0: b"", 1: b"", 2: b"1", 3: b"12", 4: b"1234", 5: b"12345678", 6: b"\x00\x02ab", 8: b"12345678"}
    values |= {9: b"0123456789abcdef"}
    raw = b"".join(b"\x01h" + bytes([kind]) + value for kind, value in values.items())
    assert objects(framed({":event-type": "a"}, b'{"b":1}', raw)) == [{":event-type": "a", "b": 1}]


@pytest.mark.parametrize("raw", [b"\x01h\x63", b"\x05h", b"\x01h\x07\x00", b"\xff"])
def test_headers_that_make_no_sense_leave_the_event_unnamed(raw: bytes) -> None:
    assert objects(framed({}, b'{"b":1}', raw) + message("a", {})) == [
        {":event-type": "", "b": 1},
        {":event-type": "a"},
    ]


def test_a_message_that_is_not_whole_is_none() -> None:
    content = message("a", {"b": 1})
    for end in range(len(content)):
        assert read(content[:end]) == []


@pytest.mark.parametrize("at", [0, 5, 9, 20, -8, -1])
def test_nothing_is_read_from_a_broken_message_on(at: int) -> None:
    broken = bytearray(message("b", {"c": 1}))
    broken[at] ^= 1
    stream = message("a", {}) + bytes(broken) + message("d", {})
    assert objects(stream) == [{":event-type": "a"}]
    assert objects(*(stream[place : place + 1] for place in range(len(stream)))) == [{":event-type": "a"}]


def test_lengths_beyond_the_limits_are_not_believed() -> None:
    for total, headers in ((2**32 - 1, 10), (HEADERS_BYTES_MAX + 100, HEADERS_BYTES_MAX + 1), (15, 0), (20, 10)):
        prelude = struct.pack("!II", total, headers)
        assert read(prelude + struct.pack("!I", zlib.crc32(prelude)), message("a", {})) == []


def test_a_message_of_many_megabytes_is_held_in_little_memory() -> None:
    content = message("a", {"text": "x" * 20_000_000, "usage": 7})
    reader = MessageReader(lambda _, __: None)
    pieces = [content[at : at + 16_384] for at in range(0, len(content), 16_384)]
    tracemalloc.start()
    for piece in pieces:
        reader.feed(piece)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 256 * 1024


@given(st.binary(max_size=400))
def test_any_bytes_are_taken(content: bytes) -> None:
    read(content)
    read(message("a", {}), content, chunk({}))


def test_noise_within_a_stream_is_taken() -> None:
    noise = random.Random(7)
    stream = (DATA / "bedrock" / "converse_stream.bin").read_bytes()
    for _ in range(2000):
        content = bytearray(stream)
        content[noise.randrange(len(content))] = noise.randrange(256)
        read(*cut(bytes(content), [noise.randrange(len(content)) for _ in range(4)]))
