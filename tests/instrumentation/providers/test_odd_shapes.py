"""Any JSON at all, made of the words that the OpenAI family uses: it is read without an error, and never guessed at."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from spanledger_instrumentation.document import Document
from spanledger_instrumentation.providers.wire import Wire
from spanledger_instrumentation.usage import FIGURES
from tests.instrumentation.fixtures import load
from tests.instrumentation.openai_family import STREAMS, WHOLE
from tests.instrumentation.providers.wires import request

WIRES = list(
    {id(wire): wire for wire in [*(one.wire for one in WHOLE.values()), *(one for one, _ in STREAMS.values())]}.values()
)


def _words(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value) | {word for inner in value.values() for word in _words(inner)}
    if isinstance(value, list):
        return {word for inner in value for word in _words(inner)}
    return {value} if isinstance(value, str) else set()


WORDS = sorted(set().union(*(_words(json.loads(load(name))) for name in WHOLE)) | {"error", "x_groq", "tool_usage"})
LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.sampled_from([2**53 - 1, 2**63 - 1])
    | st.sampled_from(WORDS)
    | st.sampled_from(["", "\ud800", "1"])
)
JSON = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(WORDS), inner, max_size=6),
    max_leaves=20,
)
OBJECTS = st.dictionaries(st.sampled_from(WORDS), JSON, max_size=8)


def _mutated(document: Any, places: list[int], value: Any) -> Any:
    """Put a value somewhere else into a document that makes sense."""
    if not places or not isinstance(document, dict | list) or not document:
        return value
    keys = sorted(document) if isinstance(document, dict) else range(len(document))
    key: Any = keys[places[0] % len(keys)]
    copy: Any = document.copy()
    copy[key] = _mutated(document[key], places[1:], value)
    return copy


def _check(wire: Wire, value: Any) -> None:
    data = json.dumps(value).encode()
    answers = [wire.read_answer(Document(data)), wire.read_answer(Document(data[: len(data) // 2], data[-8:]))]
    wire.read_error(Document(data))
    if wire.stream is not None:
        stream = wire.stream()
        stream.event(data, b"")
        stream.event(data[: len(data) // 2], data[-8:])
        answers.append(stream.answer)
    for answer in answers:
        if answer.usage is not None:
            figures = [getattr(answer.usage, name) for name in FIGURES]
            assert all(figure is None or 0 <= figure < 2**63 for figure in figures)


@given(wire=st.sampled_from(WIRES), value=JSON | OBJECTS)
def test_any_answer_is_read(wire: Wire, value: Any) -> None:
    _check(wire, value)


@given(name=st.sampled_from(sorted(WHOLE)), places=st.lists(st.integers(0, 20), min_size=1, max_size=4), value=JSON)
def test_an_answer_with_something_odd_in_it_is_read(name: str, places: list[int], value: Any) -> None:
    _check(WHOLE[name].wire, _mutated(json.loads(load(name)), places, value))


@given(wire=st.sampled_from(WIRES), value=OBJECTS, path=st.text(max_size=60))
def test_any_request_is_read(wire: Wire, value: Any, path: str) -> None:
    asked = request(value, f"https://a.services.ai.azure.com/{path.replace('[', '').replace(']', '')}")
    wire.read_request(asked)
    assert wire.streams(asked) in (True, False)
    if wire.asked is not None:
        wire.asked(asked)
