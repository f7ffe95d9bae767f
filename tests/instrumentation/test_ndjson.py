from hypothesis import given
from hypothesis import strategies as st

from spanledger_instrumentation.excerpt import HEAD_BYTES_MAX, TAIL_BYTES_MAX
from spanledger_instrumentation.ndjson import LineReader
from tests.instrumentation.fixtures import cut

PLACES = st.lists(st.integers(0, 1 << 20), max_size=12)


def lines(*pieces: bytes) -> list[tuple[bytes, bytes]]:
    found: list[tuple[bytes, bytes]] = []
    reader = LineReader(lambda head, tail: found.append((head, tail)))
    for piece in pieces:
        reader.feed(piece)
    reader.finish()
    return found


def test_each_line_is_told_once_and_blank_ones_are_not() -> None:
    assert lines(b'{"a":1}\n\n\r\n{"b":', b'2}\r\n{"c"', b":3}") == [
        (b'{"a":1}', b""),
        (b'{"b":2}\r', b""),
        (b'{"c":3}', b""),
    ]


@given(content=st.binary(max_size=200).map(lambda content: content.replace(b"0", b"\n")), places=PLACES)
def test_any_bytes_read_the_same_however_they_are_cut(content: bytes, places: list[int]) -> None:
    assert lines(*cut(content, places)) == lines(content)


@given(places=PLACES)
def test_of_a_long_line_head_and_tail_are_kept(places: list[int]) -> None:
    long = b'{"text":"' + b"x" * 200_000 + b'","done":true}'
    assert lines(*cut(long + b"\n{}\n", places)) == [
        (long[:HEAD_BYTES_MAX], long[-TAIL_BYTES_MAX:]),
        (b"{}", b""),
    ]
