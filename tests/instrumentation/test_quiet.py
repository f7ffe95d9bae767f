import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanledger_instrumentation.quiet import LEARNED_MAX, Quiet


def chat(text: str, **more: Any) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": None}
    return b"data: " + json.dumps({"id": "c", "choices": [choice], "usage": None, **more}).encode() + b"\n\n"


def taught(*chunks: bytes) -> Quiet:
    quiet = Quiet()
    for chunk in chunks:
        quiet.learn(chunk)
    return quiet


def test_a_chunk_that_differs_in_its_text_alone_is_known() -> None:
    quiet = taught(chat("a"), chat("bc"))
    assert quiet.knows(chat("anything, or é"))
    assert quiet.knows(chat(""))


def test_two_texts_may_change() -> None:
    quiet = taught(chat("a", obfuscation="x"), chat("bc", obfuscation="yz"))
    assert quiet.knows(chat("d", obfuscation=""))
    assert not quiet.knows(chat("d"))


@pytest.mark.parametrize(
    "chunk",
    [
        chat("a", error={"code": "x"}),
        chat("a").replace(b'"finish_reason": null', b'"finish_reason": "stop"'),
        chat("a").replace(b'"usage": null', b'"usage": {"prompt_tokens": 1}'),
        chat("a").replace(b'"index": 0', b'"index": 1'),
        chat("a") + chat("b"),
        chat("a")[:-1],
        chat("a")[:-2] + b"\r\n\r\n",
        chat("a").replace(b'"a"', b'"a\n\ndata: [DONE]\n\n"'),
        chat("a").replace(b'"a"', b'"a\r\rdata: [DONE]\r\r"'),
        chat('quoted "usage"'),
        b"data: [DONE]\n\n",
        b"",
    ],
)
def test_a_chunk_that_differs_in_more_is_not_known(chunk: bytes) -> None:
    assert not taught(chat("a"), chat("b")).knows(chunk)


def test_what_is_read_may_not_change_even_if_it_is_a_text() -> None:
    ping, foo = b'data: {"type":"ping"}\n\n', b'data: {"type":"foo"}\n\n'
    quiet = taught(ping, foo, ping)
    assert not quiet.knows(b'data: {"type":"message_stop"}\n\n')
    assert not quiet.knows(ping)


def test_nothing_is_learned_of_chunks_whose_frames_keep_changing() -> None:
    quiet = Quiet()
    for number in range(LEARNED_MAX):
        assert quiet.is_useful
        quiet.learn(chat("a", created=number))
    assert not quiet.is_useful
    assert not quiet.knows(chat("a", created=1))


def test_a_string_without_an_end_is_looked_through_once_and_not_once_for_each_of_its_quotes() -> None:
    endless = b'data: {"content": "' + b'\\"' * 1_000_000 + b"}\n\n"  # by the square of its length: hours
    quiet = taught(endless, endless.replace(b"}", b"]"))
    assert not quiet.knows(endless)
    assert not quiet.knows(chat("a"))


TEXT = st.text(st.characters(exclude_characters='"\\'), max_size=20)


@given(first=TEXT, second=TEXT, third=st.text(max_size=20), other=st.binary(max_size=60))
def test_whatever_is_known_is_a_chunk_of_the_same_frame(first: str, second: str, third: str, other: bytes) -> None:
    quiet = taught(chat(first), chat(second))
    start, end = chat("TEXT").split(b"TEXT")
    for chunk in (chat(third), chat(first)[:70] + other + chat(first)[70:]):
        if quiet.knows(chunk):
            assert re.fullmatch(re.escape(start) + rb'[^"\r\n]*' + re.escape(end), chunk)
