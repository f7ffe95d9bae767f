import json
from typing import Any

from hypothesis import example, given
from hypothesis import strategies as st

from spanledger_instrumentation.excerpt import HEAD_BYTES_MAX, TAIL_BYTES_MAX
from spanledger_instrumentation.json_array import ElementReader
from tests.instrumentation.fixtures import cut

JSON = st.recursive(
    st.none() | st.integers() | st.text(st.sampled_from('"\\{}[],:a é\n')),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)
PLACES = st.lists(st.integers(0, 1 << 20), max_size=12)


def elements(*pieces: bytes) -> list[tuple[bytes, bytes]]:
    found: list[tuple[bytes, bytes]] = []
    reader = ElementReader(lambda head, tail: found.append((head, tail)))
    for piece in pieces:
        reader.feed(piece)
    reader.finish()
    return found


@given(value=st.lists(JSON, max_size=6), indent=st.sampled_from([None, 1]), places=PLACES)
@example(value=['"]', {"a": '\\"}'}], indent=None, places=list(range(40)))
def test_objects_and_arrays_of_an_array_are_told_one_by_one(
    value: list[Any], indent: int | None, places: list[int]
) -> None:
    content = json.dumps(value, indent=indent, ensure_ascii=False).encode()
    told = [(json.loads(head), tail) for head, tail in elements(*cut(content, places))]
    assert told == [(each, b"") for each in value if isinstance(each, dict | list)]


@given(content=st.binary(max_size=200), places=PLACES)
def test_any_bytes_read_the_same_however_they_are_cut(content: bytes, places: list[int]) -> None:
    content = b'[{"a":"' + content
    assert elements(*cut(content, places)) == elements(content)


@given(places=PLACES)
def test_of_a_long_element_head_and_tail_are_kept(places: list[int]) -> None:
    content = b'[{"image":"' + b"x" * 200_000 + b'","usage":1},{}]'
    (head, tail), short = elements(*cut(content, places))
    assert (head, tail) == (content[1 : HEAD_BYTES_MAX + 1], content[:-4][-TAIL_BYTES_MAX:])
    assert short == (b"{}", b"")


def test_an_element_that_is_left_open_is_not_told() -> None:
    assert elements(b'[{"a":1},{"b":') == [(b'{"a":1}', b"")]
