import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanledger_exporter.top.keys import Keyboard
from spanledger_exporter.top.view import BACKSPACE, CLEAR, ENTER, ESCAPE


def keys(*pieces: bytes) -> list[str]:
    keyboard = Keyboard()
    return [key for piece in pieces for key in keyboard.feed(piece)]


def test_characters_are_keys() -> None:
    assert keys(b"s/gpt\r") == ["s", "/", "g", "p", "t", ENTER]
    assert keys(b"\x7f\x08\x15\n\x1b") == [BACKSPACE, BACKSPACE, CLEAR, ENTER, ESCAPE]


@pytest.mark.parametrize("sequence", [b"\x1b[A", b"\x1bOP", b"\x1b[15~", b"\x1b[1;5C", b"\x1b[200~", b"\x1b[<0;5;7M"])
def test_arrows_function_keys_and_mice_are_passed_over(sequence: bytes) -> None:
    assert keys(b"a" + sequence + b"b") == ["a", "b"]


def test_a_character_in_two_pieces_is_one_key() -> None:
    assert keys("é".encode()[:1], "é".encode()[1:]) == ["é"]


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_whatever_a_terminal_sends_becomes_keys(pieces: list[bytes]) -> None:
    named = {ENTER, ESCAPE, BACKSPACE, CLEAR}
    assert all(len(key) == 1 or key in named for key in keys(*pieces))
