"""What a call can use at most, from its request."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanledger_instrumentation.bound import AMOUNT_MAX, Rates, Size, amounts, cost_usd_micro, size_of
from spanledger_instrumentation.document import Document
from spanledger_instrumentation.providers import routes
from spanledger_instrumentation.providers.routes import segments
from spanledger_instrumentation.providers.wire import Request

REQUESTS: list[tuple[str, dict[str, Any], int | None, int]] = [
    ("/v1/chat/completions", {"max_completion_tokens": 7, "max_tokens": 900, "n": 3}, 7, 3),
    ("/v1/chat/completions", {"max_tokens": 9}, 9, 1),
    ("/v1/chat/completions", {}, None, 1),
    ("/v1/responses", {"max_output_tokens": 11, "input": "x"}, 11, 1),
    ("/v1/messages", {"max_tokens": 12}, 12, 1),
    (
        "/v1beta/models/gemini:generateContent",
        {"generationConfig": {"maxOutputTokens": 13, "candidateCount": 2}},
        13,
        2,
    ),
    ("/v1beta/interactions", {"generation_config": {"max_output_tokens": 14}, "input": "x"}, 14, 1),
    ("/v2/chat", {"max_tokens": 15, "messages": [], "stream": False}, 15, 1),
    ("/v1/chat", {"max_tokens": 16, "message": "x", "stream": False}, 16, 1),
    ("/api/chat", {"options": {"num_predict": 17}, "messages": []}, 17, 1),
    ("/api/chat", {"options": {"num_predict": -1}, "messages": []}, None, 1),
    ("/model/amazon.nova/converse", {"inferenceConfig": {"maxTokens": 18}}, 18, 1),
    ("/v1/completions", {"max_tokens": 19, "n": 2, "prompt": "x", "best_of": 5}, 19, 5),
    ("/v1/embeddings", {"input": "x"}, 0, 1),
    ("/v1/images/generations", {"prompt": "x", "n": 4}, None, 4),
]


@pytest.mark.parametrize(("path", "body", "allowed", "answers"), REQUESTS)
def test_every_wire_format_says_how_much_it_allows(
    path: str, body: dict[str, Any], allowed: int | None, answers: int
) -> None:
    content = json.dumps({"model": "m", **body}).encode()
    document = Document(content)
    wire = next(route.wire for route in routes.find("POST", path.encode()) if route.leads(None, document))
    request = Request(host="h", segments=segments(path.encode()), query="", document=document, headers={})
    attributes = {"gen_ai.operation.name": wire.operation, **wire.read_request(request)}
    size = size_of(attributes, len(content), document.read("best_of"))
    assert size == Size(len(content), allowed, answers)


@given(st.integers(0, 10**6), st.integers(0, 2**63 - 1), st.integers(1, 128), st.integers(0, 10**15))
def test_no_bound_is_more_than_the_exporter_takes_or_less_than_what_it_bounds(
    sent: int, allowed: int, answers: int, rate: int
) -> None:
    rates, size = Rates(rate, rate, rate), Size(sent, allowed, answers)
    found = amounts(rates, size)
    assert all(0 <= amount <= AMOUNT_MAX for amount in found.values())
    assert found["tokens"] == min(sent + min(allowed * answers, AMOUNT_MAX), AMOUNT_MAX)
    used = min(allowed, 1000)
    assert cost_usd_micro(rates, sent, used) <= found["usd"]


@given(st.integers(0, 10**9), st.integers(0, 10**9), st.integers(0, 10**9))
def test_a_part_of_a_micro_usd_counts_as_a_whole_one(inputs: int, outputs: int, rate: int) -> None:
    found = cost_usd_micro(Rates(rate, rate), inputs, outputs)
    exact = rate * (inputs + outputs)
    assert found * 10**6 >= min(exact, AMOUNT_MAX * 10**6)
    assert (found - 1) * 10**6 < exact or not exact


def test_a_request_that_allows_any_number_is_taken_to_ask_for_what_the_exporter_says() -> None:
    assert amounts(Rates(0, 10**6, output_tokens=500), Size(1, None, 2))["usd"] == 1000
    assert amounts(Rates(0, 10**6), Size(1, None))["usd"] == 16384


@pytest.mark.parametrize("limit", [True, "9", -1, 1.5, None, 10**30])
def test_what_is_no_limit_is_taken_for_none(limit: object) -> None:
    attributes: Any = {"gen_ai.operation.name": "chat", "gen_ai.request.max_tokens": limit}
    assert size_of(attributes, 1).allowed_tokens is None
