"""Tokens of streams without final figures are estimated on request, and never taken for reported ones."""

import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from spanledger_instrumentation import fence
from spanledger_instrumentation.estimate import BYTES_MAX, MODELS_MAX, Estimate, Ratios
from spanledger_instrumentation.settings import load
from spanledger_instrumentation.usage import Usage
from tests.instrumentation.conftest import Spans, instrumented
from tests.instrumentation.fixtures import load as load_fixture
from tests.wire_server import Gate, WireServer, json_reply, sse_reply

VARIABLE = "OTEL_INSTRUMENTATION_SPANLEDGER_ESTIMATE"
STREAM = load_fixture("openai/chat_stream.sse")
MESSAGES = load_fixture("anthropic/message_stream.sse")
INPUT, OUTPUT = "spanledger.estimate.input_tokens", "spanledger.estimate.output_tokens"
USAGE = Usage(input_tokens=100, output_tokens=50)


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[Spans]:
    """The spans of a process that estimates."""
    monkeypatch.setenv(VARIABLE, "true")
    fence.FAILURES.clear()
    found = Spans()
    with instrumented(found.provider):
        yield found
    assert not fence.FAILURES


def test_an_estimate_follows_the_ratio_of_all_completed_calls() -> None:
    ratios = Ratios()
    ratios.learn("m", USAGE, 1000, 5000)
    ratios.learn("m", Usage(input_tokens=300, output_tokens=150), 1000, 5000)
    assert ratios.estimate("m", 500, 1000) == (100, 20)
    assert ratios.estimate("m", 500, None) == (100, None)
    assert ratios.estimate("m", 0, 0) == (0, 0)


def test_nothing_is_estimated_of_what_no_completed_call_shows() -> None:
    ratios = Ratios()
    assert ratios.estimate("m", 500, 1000) == (None, None)
    ratios.learn("m", Usage(output_tokens=5), 1000, None)
    ratios.learn("m", USAGE, 0, 0)
    assert ratios.estimate("m", 500, 1000) == (None, None)


def test_what_is_old_weighs_less() -> None:
    ratios = Ratios()
    ratios.learn("m", Usage(input_tokens=BYTES_MAX), BYTES_MAX + 1, None)
    for _ in range(40):
        ratios.learn("m", Usage(input_tokens=BYTES_MAX // 4), BYTES_MAX, None)
    estimated, _ = ratios.estimate("m", 1000, None)
    assert estimated == 250


def test_models_are_kept_up_to_a_bound_the_last_ones_seen() -> None:
    ratios = Ratios()
    for number in range(MODELS_MAX):
        ratios.learn(number, USAGE, 1000, 5000)
    ratios.learn(0, USAGE, 1000, 5000)
    ratios.learn("new", USAGE, 1000, 5000)
    assert ratios.estimate(0, 1000, None) == (100, None)
    assert ratios.estimate(1, 1000, None) == (None, None)


def test_an_estimate_adds_to_what_is_known_and_never_falls_below_it() -> None:
    ratios = Ratios()
    Estimate("m", 1000, streaming=True, ratios=ratios).settle("reported", USAGE, 5000)
    call = Estimate("m", 2000, streaming=True, ratios=ratios)
    assert call.settle("unreported", None, 1000) == {INPUT: 200, OUTPUT: 10}
    assert call.settle("unreported", None, None) == {INPUT: 200}
    assert call.settle("partial", Usage(input_tokens=7, output_tokens=30), 1000) == {OUTPUT: 30}
    assert call.settle("none", None, 1000) == {}
    assert Estimate("m", 2000, streaming=False, ratios=ratios).settle("unreported", None, 1000) == {}


def test_the_bytes_of_an_answer_that_is_no_stream_say_nothing_of_streams() -> None:
    ratios = Ratios()
    Estimate("m", 1000, streaming=False, ratios=ratios).settle("reported", USAGE, 5000)
    call = Estimate("m", 1000, streaming=True, ratios=ratios)
    assert call.settle("unreported", None, 1000) == {INPUT: 100}


@pytest.mark.parametrize(("value", "estimate"), [("", False), ("true", True), ("false", False), ("maybe", False)])
def test_it_is_off_unless_asked_for(value: str, *, estimate: bool) -> None:
    assert load({VARIABLE: value}).estimate is estimate


def run(server: WireServer, model: str, *, whole: bool, path: str = "/v1/chat/completions") -> None:
    content = STREAM if path.endswith("completions") else MESSAGES
    pieces: tuple[Any, ...] = (content,) if whole else (content[: len(content) // 2], Gate())
    server.reply(sse_reply(*pieces))
    body = {"model": model, "messages": [], "stream": True, "max_tokens": 9}
    with httpx2.Client(base_url=server.url) as client, client.stream("POST", path, json=body) as response:
        next(response.iter_raw())


def test_an_aborted_stream_is_estimated_once_its_model_has_completed_one(server: WireServer, spans: Spans) -> None:
    for whole in (False, True, False):
        run(server, "estimated-1", whole=whole)
    first, second, third = (dict(span.attributes or {}) for span in spans())
    assert not {INPUT, OUTPUT} & {*first, *second}
    assert third["spanledger.usage.status"] == "unreported"
    assert third[INPUT] == 1200
    assert third[OUTPUT] == round(340 * (len(STREAM) // 2) / len(STREAM))
    assert not [name for name in third if name.startswith("gen_ai.usage.")]


def test_figures_that_a_broken_off_stream_reported_stay_beside_the_estimate(server: WireServer, spans: Spans) -> None:
    run(server, "estimated-2", whole=True, path="/v1/messages")
    run(server, "estimated-2", whole=False, path="/v1/messages")
    attributes = dict(spans()[-1].attributes or {})
    assert attributes["spanledger.usage.status"] == "partial"
    assert attributes["gen_ai.usage.output_tokens"] == 1
    assert attributes[OUTPUT] > 1
    assert INPUT not in attributes


def test_a_plain_call_teaches_what_the_input_costs(server: WireServer, spans: Spans) -> None:
    server.reply(json_reply(json.loads(load_fixture("openai/chat.json"))))
    body = {"model": "estimated-3", "messages": [], "stream": None, "max_tokens": 9}
    with httpx2.Client(base_url=server.url) as client:
        client.post("/v1/chat/completions", json=body)
    run(server, "estimated-3", whole=False)
    attributes = dict(spans()[-1].attributes or {})
    assert attributes[INPUT] == 1200
    assert OUTPUT not in attributes
