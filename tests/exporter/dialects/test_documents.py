"""Texts of figures -> figures and ids, whatever else is in them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanledger_exporter.dialects import documents

PATHS = {"id": documents.ID, "usage.input": "input_tokens", "usage.details.cached": "cache_read_tokens"}


@pytest.mark.parametrize(
    "text",
    [
        '{"id": "abc", "usage": {"input": 5, "details": {"cached": 2}}}',
        "{'id': 'abc', 'usage': {'input': 5, 'details': {'cached': 2}}}",
        '{"x": [1, {"id": "no"}], "id":"abc","usage":{"input":5,"details":{"cached":2,"y":null}}, "z": tru',
        '{"id": "abc", "usage": {"input": "5", "details": {"cached": 2}}}',
        "Answer(id='abc', usage=Usage(input=5, details=Details(cached=2)))",
        '{"text": "\\"id\\": \\"no\\", \\\\", "id": "abc", "usage": {"input": 5, "details": {"cached": 2}}, "cut": "of',
    ],
)
def test_figures_and_the_id_are_found_at_their_places(text: str) -> None:
    assert documents.read(text, PATHS) == {documents.ID: "abc", "input_tokens": "5", "cache_read_tokens": "2"}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "plain words",
        '{"id": abc}',
        '{"id": ["abc"]}',
        '{"id": 5}',
        '{"usage": {"input": null}}',
        '{"nested": {"id": "abc"}}',
        "[" * 100_000,
        "{" * 100_000,
        '{"id": "' + "x" * 300 + '"}',
        '{"a": 1, ' * 20_000,
        "'" * 15_999,
        "\\" * 15_999,
    ],
)
def test_what_is_elsewhere_or_another_thing_is_not_taken(text: str) -> None:
    assert documents.read(text, PATHS) == {}


def test_of_two_figures_of_one_class_the_one_that_is_not_zero_counts() -> None:
    paths = {"a": "input_tokens", "b": "input_tokens"}
    assert documents.read('{"a": 0, "b": 7}', paths) == documents.read('{"b": 7, "a": 0}', paths)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=12,
)


@given(st.dictionaries(st.sampled_from(["a", "b", "text", "id"]), VALUES), st.integers(0, 10**9))
def test_a_figure_is_found_whatever_stands_beside_it(beside: dict[str, object], figure: int) -> None:
    paths = {"usage.input": "input_tokens"}
    said = {**beside, "usage": {"input": figure}}
    assert documents.read(json.dumps(said), paths) == {"input_tokens": str(figure)}
    assert documents.read(json.dumps(said, ensure_ascii=False), paths) == {"input_tokens": str(figure)}
    assert documents.read(repr(said), paths) == {"input_tokens": str(figure)}


@given(st.text())
def test_any_text_is_gone_through(text: str) -> None:
    assert set(documents.read(text, PATHS)) <= {documents.ID, "input_tokens", "cache_read_tokens"}
