from hypothesis import given
from hypothesis import strategies as st

from spanledger_instrumentation.excerpt import HEAD_BYTES_MAX, TAIL_BYTES_MAX, WHOLE_BYTES_MAX, Excerpt
from tests.instrumentation.fixtures import cut

LENGTHS = st.one_of(
    st.integers(0, 4 * WHOLE_BYTES_MAX),
    st.sampled_from([WHOLE_BYTES_MAX - 1, WHOLE_BYTES_MAX, WHOLE_BYTES_MAX + 1]),
)


@given(length=LENGTHS, places=st.lists(st.integers(0, 1 << 20), max_size=20))
def test_head_and_tail_do_not_depend_on_the_pieces(length: int, places: list[int]) -> None:
    content = (b"0123456789abcdef" * (length // 16 + 1))[:length]
    excerpt = Excerpt()
    for piece in cut(content, places):
        excerpt.append(piece)
        assert len(excerpt) <= WHOLE_BYTES_MAX + TAIL_BYTES_MAX
    if length <= WHOLE_BYTES_MAX:
        assert (excerpt.head, excerpt.tail, excerpt.is_cut) == (content, b"", False)
    else:
        assert (excerpt.head, excerpt.tail) == (content[:HEAD_BYTES_MAX], content[-TAIL_BYTES_MAX:])


def test_a_cut_part_keeps_its_own_tail() -> None:
    excerpt = Excerpt()
    excerpt.append(b"begin ")
    excerpt.append_cut(b"head", b"tail")
    excerpt.append(b" end")
    assert (excerpt.head, excerpt.tail, excerpt.is_cut) == (b"begin head", b"tail end", True)
    excerpt.clear()
    assert len(excerpt) == 0
