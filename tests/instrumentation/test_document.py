import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanledger_instrumentation.document import Document

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=12,
)
TRAPS = st.sampled_from(
    ['"usage":{"input_tokens":1}', ',"usage":{"a":1}', {"usage": {"input_tokens": 1}}, [{"usage": {"a": 1}}], "\\", '"']
)


@given(before=TRAPS | VALUES, after=TRAPS | VALUES, at=st.integers(0, 400), spaced=st.booleans())
def test_a_cut_document_tells_the_truth_or_nothing(before: object, after: object, at: int, *, spaced: bool) -> None:
    usage = {"input_tokens": 7, "details": {"cached_tokens": 3}}
    answer = {"id": "r1", "output": before, "usage": usage, "tools": after}
    text = json.dumps({"response": answer, "n": 1}, indent=1 if spaced else None).encode()
    head, tail = text[: at % len(text)], text[-(at % len(text)) or -1 :]
    document = Document(head, tail)
    assert document.read("response", "usage") in (usage, None)
    assert document.read("response", "id") in ("r1", None)
    assert document.read("usage") is None


def test_the_usage_is_found_behind_a_long_output_and_before_a_schema_with_the_same_name() -> None:
    schema = {"properties": {"usage": {"input_tokens": 1}}}
    text = json.dumps(
        {"response": {"id": "r", "output": "x" * 99_999, "tools": [schema], "usage": {"n": 5}, "end": schema}}
    )
    document = Document.of(text.encode(), 1000)
    assert document.is_object
    assert document.read("response", "id") == "r"
    assert document.read("response", "usage") == {"n": 5}


def test_escaped_quotes_by_the_thousand_cost_linear_time() -> None:
    document = Document(b'{"output": "' + b'\\"' * 8_000, b'\\"' * 8_000 + b'", "usage": {"n": 5}}')
    assert document.read("usage") == {"n": 5}


@pytest.mark.parametrize(
    "content", [b"", b"no", b"[1]", b"\xff\xfe", b'{"a":' * 100_000, b'{"a": ' + b"9" * 10_000 + b"}"]
)
def test_what_is_no_json_object_has_no_members(content: bytes) -> None:
    document = Document(content)
    assert not document.is_object
    assert document.read("a") is None
    assert document.read("a", "b") is None


@pytest.mark.parametrize("members", [["model", "messages", "stream"], ["messages", "stream", "model"]])
def test_the_model_is_found_before_and_behind_what_is_long(members: list[str]) -> None:
    values = {"model": "m", "messages": [{"content": "x" * 99_999, "model": "no"}], "stream": True}
    document = Document.of(json.dumps({name: values[name] for name in members}).encode(), 1000)
    assert document.read("model") == "m"
    assert document.read("stream") is True
    assert document.has("messages")
    assert not document.has("content")


def test_a_member_of_the_user_s_metadata_behind_a_cut_is_not_read() -> None:
    document = Document.of(json.dumps({"input": "x" * 99_999, "metadata": {"effort": "secret"}}).encode(), 1000)
    assert document.read("reasoning", "effort") is None
    assert document.read("metadata") == {"effort": "secret"}


def test_among_many_members_of_one_name_in_a_tail_the_one_of_the_whole_is_read() -> None:
    content = json.dumps({"output": "x" * 99_999, "model": "it", "inputs": [{"model": "no"}] * 400}).encode()
    few = json.dumps({"output": "x" * 99_999, "model": "it", "inputs": [{"model": "no"}] * 20}).encode()
    assert Document.of(few, 1000).read("model") == "it"
    assert Document.of(content, 1000).read("model") is None  # beyond those that are looked at, it is not guessed
