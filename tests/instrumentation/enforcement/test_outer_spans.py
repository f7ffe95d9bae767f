"""Budgets under the spans of other instrumentations, without spans, and in clients that are built on another."""

from typing import Any

import httpx2
import openai
import pytest
import requests
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import SpanKind

from spanledger_instrumentation.instrumentor import SpanledgerInstrumentor
from tests.instrumentation.conftest import Spans, instrumented
from tests.instrumentation.enforcement.lease_server import Budget, LeaseServer
from tests.wire_server import WireServer, json_reply

PATH = "/v1/chat/completions"
BODY: Any = {"model": "gpt-5-mini", "messages": [], "max_tokens": 1000}
ANSWER = {"id": "c", "model": "gpt-5-mini", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 40}}


@pytest.fixture
def budget(lender: LeaseServer) -> Budget:
    lender.budgets = [Budget("b", 100_000)]
    return lender.budgets[0]


def outer(spans: Spans) -> Any:
    tracer = spans.provider.get_tracer("another")
    named = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-5-mini"}
    return tracer.start_as_current_span("chat gpt-5-mini", kind=SpanKind.CLIENT, attributes=named)


def settled(lender: LeaseServer) -> tuple[int, int]:
    SpanledgerInstrumentor().uninstrument()
    assert not lender.open()
    return lender.used("b"), sum(lease.calls for lease in lender.leases.values())


def test_the_outer_span_names_the_lease_of_the_attempt_that_succeeded(
    lender: LeaseServer, budget: Budget, server: WireServer, spans: Spans
) -> None:
    server.reply(json_reply({"error": {"type": "overloaded"}}, 500, retry_after_ms="1"), json_reply(ANSWER))
    with outer(spans), openai.OpenAI(base_url=server.url + "/v1", api_key="key") as client:
        client.chat.completions.create(**BODY)
    (lease_id,) = spans.attributes()["spanledger.budget.leases"]
    assert lease_id in lender.leases
    assert settled(lender) == (40, 1)  # as many calls as there are spans to tell of them


def test_under_an_outer_span_a_refusal_is_the_sdks_error_and_takes_nothing(
    lender: LeaseServer, server: WireServer, spans: Spans
) -> None:
    lender.budgets = [Budget("b", 0)]
    with (
        pytest.raises(openai.APIStatusError, match='"b" has too little left'),
        outer(spans),
        openai.OpenAI(base_url=server.url + "/v1", api_key="key") as client,
    ):
        client.chat.completions.create(**BODY)
    assert not server.requests
    assert "spanledger.budget.leases" not in spans.attributes()
    assert spans.one().events[0].name == "exception"


def test_a_client_that_is_built_on_another_takes_one_lease(
    lender: LeaseServer, budget: Budget, server: WireServer, spans: Spans
) -> None:
    server.reply(json_reply(ANSWER))
    assert requests.post(server.url + PATH, json=BODY, timeout=10).status_code == 200
    assert settled(lender) == (40, 1)


def test_a_call_whose_span_is_not_sampled_is_held_and_settled_all_the_same(
    monkeypatch: pytest.MonkeyPatch, lender: LeaseServer, budget: Budget, server: WireServer
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_ENDPOINT", lender.url)
    provider = TracerProvider(sampler=ALWAYS_OFF)
    server.reply(json_reply(ANSWER))
    with instrumented(provider), httpx2.Client() as client:
        assert client.post(server.url + PATH, json=BODY).status_code == 200
        assert settled(lender) == (40, 1)
    provider.shutdown()
