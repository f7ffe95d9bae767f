import json
from typing import Any

import pytest

from spanledger_instrumentation.document import Document
from spanledger_instrumentation.providers import routes
from spanledger_instrumentation.providers.hosts import provider_of

LONG = "x" * 99_999


def operation(path: str, host: str, body: Any, whole_bytes_max: int = 1000) -> tuple[str, str] | None:
    """The wire format's owner and operation of a POST, `None` where it is no call of a model."""
    document = Document.of(b"" if body is None else json.dumps(body).encode(), whole_bytes_max)
    provider = provider_of(host)
    for route in routes.find("POST", path.encode()):
        if route.leads(provider and provider.name, document):
            return route.wire.provider, route.wire.operation
    return None


@pytest.mark.parametrize(
    ("path", "host", "owner", "name"),
    [
        ("/v1/chat/completions", "api.openai.com", "openai", "chat"),
        ("/v1/chat/completions", "anywhere.example", "openai", "chat"),
        ("/openai/deployments/d/chat/completions?api-version=1", "mine.openai.azure.com", "openai", "chat"),
        ("//v1//chat//completions/", "api.openai.com", "openai", "chat"),
        ("/v1/responses", "api.openai.com", "openai", "chat"),
        ("/v1/responses", "eu.api.openai.com", "openai", "chat"),
        ("/v1/responses/compact", "mine.openai.azure.com", "openai", "chat"),
        ("/v1/embeddings", "api.openai.com", "openai", "embeddings"),
        ("/v1/messages?beta=true", "api.anthropic.com", "anthropic", "chat"),
    ],
)
def test_on_the_host_of_a_provider_a_path_is_enough(path: str, host: str, owner: str, name: str) -> None:
    assert operation(path, host, None) == (owner, name)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/responses", {"model": "m", "input": "hi"}),
        ("/v1/responses", {"prompt": {"id": "p"}, "input": "hi"}),
        ("/v1/responses/compact", {"model": "m", "input": "hi"}),
        ("/v1/embeddings", {"model": "m", "input": "hi"}),
        ("/proxy/anthropic/v1/messages", {"model": "m", "max_tokens": 9}),
        ("/v1/messages", {"model": "m", "messages": [LONG], "max_tokens": 9}),
        ("/v1/messages", {"messages": [LONG], "model": "m", "max_tokens": 9}),
        ("/v1/messages", {"model": "m", "system": LONG, "max_tokens": 9, "messages": [LONG]}),
        ("/v1/embeddings", {"model": "m", "input": LONG}),
    ],
)
def test_on_another_host_the_body_must_have_the_members_of_the_format(path: str, body: Any) -> None:
    assert operation(path, "anywhere.example", body) is not None


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/responses", None),
        ("/v1/responses", {"prompt": "How did you like it?"}),
        ("/v1/responses", {"model": "survey", "answers": []}),
        ("/v1/embeddings", {"model": "m"}),
        ("/v1/messages", {"message_type": "text", "text": "hi", "to": "447", "from": "1", "channel": "whatsapp"}),
        ("/v1/messages", {"model": "m", "text": "hi"}),
        ("/v1/messages", {"text": LONG, "to": "447", "context": {"model": "m", "max_tokens": 9}}),
    ],
)
def test_other_services_with_the_same_path_are_left_alone(path: str, body: Any) -> None:
    assert operation(path, "api.nexmo.com", body) is None
    assert operation(path, "notapi.openai.com.example", body) is None


@pytest.mark.parametrize(
    "target",
    [
        b"/",
        b"",
        b"*",
        b"/v1/messages/count_tokens",
        b"/v1/messages/batches",
        b"/v1/responses/resp_1/input_items",
        b"/v1/responses/input_tokens",
        b"/v1/threads/t/messages",
        b"/search?q=/v1/messages",
    ],
)
def test_other_requests_are_no_calls(target: bytes) -> None:
    assert not routes.find("POST", target)
