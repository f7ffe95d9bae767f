import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanledger_instrumentation.excerpt import WHOLE_BYTES_MAX
from spanledger_instrumentation.sse import EventReader
from tests.instrumentation.fixtures import cut


def read(*pieces: bytes) -> list[tuple[bytes, bytes]]:
    events: list[tuple[bytes, bytes]] = []
    reader = EventReader(lambda data, tail: events.append((data, tail)))
    for piece in pieces:
        reader.feed(piece)
    reader.finish()
    return events


@pytest.mark.parametrize(
    ("stream", "events"),
    [
        (b"data: a\n\ndata: b\n\n", [b"a", b"b"]),
        (b"data:a\r\n\r\ndata:  b\r\n\r\n", [b"a", b" b"]),
        (b"data: a\r\rdata: b\r\r", [b"a", b"b"]),
        (b"data: a\ndata: b\ndata:\ndata: c\n\n", [b"a\nb\n\nc"]),
        (b": comment\nevent: x\nid: 1\nretry: 5\ndata: a\n\n: ping\n\n", [b"a"]),
        (b"\xef\xbb\xbfdata: a\n\n", [b"a"]),
        (b"data: never ended", [b"never ended"]),
        (b"data\n\ndatabase: x\n\n", []),
        (b"\n\n\n", []),
        (b"", []),
    ],
)
def test_events_are_read(stream: bytes, events: list[bytes]) -> None:
    assert read(stream) == [(event, b"") for event in events]
    assert read(*(stream[at : at + 1] for at in range(len(stream)))) == [(event, b"") for event in events]


LINES = st.sampled_from(
    [b"data: a", b"data:b", b"", b": c", b"event: d", b"data: " + b"x" * 50, b"data: " + b"y" * 60_000]
)
ENDS = st.sampled_from([b"\n", b"\r", b"\r\n"])


@given(lines=st.lists(st.tuples(LINES, ENDS), max_size=12), places=st.lists(st.integers(0, 1 << 20), max_size=12))
def test_any_cut_gives_the_same_events(lines: list[tuple[bytes, bytes]], places: list[int]) -> None:
    stream = b"".join(line + end for line, end in lines)
    assert read(*cut(stream, places)) == read(stream)


def test_an_over_long_event_comes_as_head_and_tail() -> None:
    ((head, tail),) = read(b"data: begin" + b"x" * 2 * WHOLE_BYTES_MAX + b"\ndata: end\n\n")
    assert head.startswith(b"beginx")
    assert tail.endswith(b"x\nend")


def test_an_event_is_given_as_soon_as_its_last_byte_is_there() -> None:
    events: list[bytes] = []
    reader = EventReader(lambda data, _: events.append(data))
    reader.feed(b"data: a\r\n\r")
    assert events == [b"a"]
