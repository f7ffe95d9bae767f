import json

import pytest

from spanledger_instrumentation.document import Document
from spanledger_instrumentation.providers import routes


@pytest.mark.parametrize(
    ("target", "provider", "operation"),
    [
        (b"/v1/chat/completions", "openai", "chat"),
        (b"/openai/deployments/d/chat/completions?api-version=1", "openai", "chat"),
        (b"//v1//chat//completions/", "openai", "chat"),
        (b"/v1/responses", "openai", "chat"),
        (b"/v1/embeddings", "openai", "embeddings"),
        (b"/v1/messages?beta=true", "anthropic", "chat"),
        (b"/proxy/anthropic/v1/messages", "anthropic", "chat"),
    ],
)
def test_calls_of_models_are_recognised(target: bytes, provider: str, operation: str) -> None:
    route = routes.find(target)
    assert route is not None
    assert (route.wire.provider, route.wire.operation) == (provider, operation)


@pytest.mark.parametrize(
    "target",
    [
        b"/",
        b"",
        b"*",
        b"/v1/completions",
        b"/completions",
        b"/v1/messages/count_tokens",
        b"/v1/messages/batches",
        b"/v1/responses/resp_1",
        b"/v1/responses/resp_1/cancel",
        b"/v1/responses/input_tokens",
        b"/v1/threads/t/messages",
        b"/search?q=/v1/messages",
        b"/v1/moderations",
    ],
)
def test_other_requests_are_not(target: bytes) -> None:
    assert routes.find(target) is None


@pytest.mark.parametrize(
    ("host", "body", "leads"),
    [
        ("api.openai.com", None, True),
        ("eu.api.openai.com", None, True),
        ("survey.example.com", {"answers": [1]}, False),
        ("survey.example.com", None, False),
        ("notapi.openai.com.example", None, False),
        ("vllm.example.com", {"model": "m", "input": "x"}, True),
    ],
)
def test_a_common_path_needs_a_known_host_or_the_right_body(host: str, body: object, *, leads: bool) -> None:
    route = routes.find(b"/v1/responses")
    assert route is not None
    assert route.leads(host, Document(b"" if body is None else json.dumps(body).encode())) is leads
