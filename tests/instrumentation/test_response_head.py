"""The ids by which a provider knows a call, as its answers' headers have them."""

import contextlib
from typing import Any

import anthropic
import httpx2
import pytest
from opentelemetry.trace import SpanKind

from spanledger_instrumentation import response_head
from tests.instrumentation.conftest import Spans
from tests.instrumentation.fixtures import load
from tests.instrumentation.test_rate_limits import AZURE, MISTRAL, NOW, OPENAI
from tests.wire_server import Gate, Reply, WireServer, sse_reply


def ids(headers: dict[str, str], provider: str) -> dict[str, Any]:
    found = response_head.read(headers, provider, NOW)
    return {name: value for name, value in found.items() if ".rate_limit." not in name}


@pytest.mark.parametrize(
    ("provider", "headers", "expected"),
    [
        (
            "openai",
            OPENAI,
            {
                "spanledger.request_id": "req_27be",
                "spanledger.organization": "traceloop",
                "spanledger.provider_project": "proj_x",
                "spanledger.processing_ms": 704.0,
            },
        ),
        (
            "azure.ai.openai",
            AZURE,
            {
                "spanledger.request_id": "9f6b",
                "spanledger.deployment": "gpt-5-prod",
                "cloud.region": "East US 2",
            },
        ),
        ("mistral_ai", MISTRAL, {"spanledger.request_id": "0198"}),
        (
            "anthropic",
            {"request-id": "req_1", "anthropic-organization-id": "o1", "anthropic-workspace-id": "w1"},
            {"anthropic.request.id": "req_1", "anthropic.organization.id": "o1", "anthropic.workspace.id": "w1"},
        ),
        ("minimax", {"request-id": "r1"}, {"spanledger.request_id": "r1"}),
        (
            "groq",
            {"x-groq-region": "bom", "x-request-id": "req_01"},
            {"cloud.region": "bom", "spanledger.request_id": "req_01"},
        ),
        ("aws.bedrock", {"x-amzn-requestid": "r1"}, {"spanledger.request_id": "r1"}),
        ("x_ai", {"x-metrics-e2e-ms": "87.5"}, {"spanledger.processing_ms": 87.5}),
        ("openai", {"apim-request-id": "a1", "x-request-id": "x1"}, {"spanledger.request_id": "x1"}),
    ],
)
def test_ids(provider: str, headers: dict[str, str], expected: dict[str, Any]) -> None:
    assert ids(headers, provider) == expected


@pytest.mark.parametrize("value", ["", "x" * 1000, "a\nb"])
def test_what_is_no_id_is_left_out(value: str) -> None:
    assert not ids({"x-request-id": value, "openai-organization": value, "openai-processing-ms": value}, "openai")


def test_headers_that_say_nothing_give_nothing() -> None:
    assert not response_head.read({"content-type": "application/json", "date": "x"}, "openai", NOW)


MESSAGE: Any = {"model": "claude-opus-4-5", "max_tokens": 9, "messages": [{"role": "user", "content": "x"}]}


def test_the_span_of_a_call_has_them(server: WireServer, spans: Spans) -> None:
    headers = {"request-id": "req_1", "anthropic-ratelimit-requests-limit": "50"}
    server.reply(
        Reply(headers={"content-type": "application/json", **headers}, pieces=[load("anthropic/message.json")])
    )
    with anthropic.Anthropic(base_url=server.url, api_key="test") as client:
        client.messages.create(**MESSAGE)
    assert spans.attributes()["anthropic.request.id"] == "req_1"
    assert spans.attributes()["spanledger.rate_limit.requests.limit"] == 50


def test_the_span_of_somebody_else_has_them_as_soon_as_the_head_is_there(server: WireServer, spans: Spans) -> None:
    server.reply(sse_reply(load("anthropic/message_stream.sse"), Gate(), request_id="req_1"))
    outer = spans.provider.get_tracer("theirs").start_as_current_span(
        "chat", kind=SpanKind.CLIENT, attributes={"gen_ai.operation.name": "chat"}
    )
    with httpx2.Client(base_url=server.url) as client, contextlib.ExitStack() as opened:
        with outer:
            request = client.build_request("POST", "/v1/messages", json={**MESSAGE, "stream": True})
            opened.callback(client.send(request, stream=True).close)
        assert dict(spans()[0].attributes or {})["anthropic.request.id"] == "req_1"
