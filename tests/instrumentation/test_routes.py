import json
from typing import Any

import pytest

from spanledger_instrumentation.document import Document
from spanledger_instrumentation.providers import routes

CHAT, RESPONSES, COMPACT = b"/v1/chat/completions", b"/v1/responses", b"/v1/responses/compact"
EMBEDDINGS, MESSAGES = b"/v1/embeddings", b"/v1/messages?beta=true"
LONG = "x" * 99_999


def leads(path: bytes, host: str, body: Any, whole_bytes_max: int = 1000) -> bool:
    route = routes.find(path)
    assert route is not None
    return route.leads(host, Document.of(json.dumps(body).encode(), whole_bytes_max))


@pytest.mark.parametrize(
    ("path", "host"),
    [
        (CHAT, "anywhere.example"),
        (RESPONSES, "api.openai.com"),
        (COMPACT, "mine.openai.azure.com"),
        (EMBEDDINGS, "api.openai.com"),
        (MESSAGES, "api.anthropic.com"),
    ],
)
def test_on_the_host_of_its_owner_a_path_is_enough(path: bytes, host: str) -> None:
    assert leads(path, host, {})


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (RESPONSES, {"model": "m", "input": "hi"}),
        (RESPONSES, {"prompt": {"id": "p"}, "input": "hi"}),
        (COMPACT, {"model": "m", "input": "hi"}),
        (EMBEDDINGS, {"model": "m", "input": "hi"}),
        (MESSAGES, {"model": "m", "max_tokens": 9}),
        (MESSAGES, {"model": "m", "messages": [LONG], "max_tokens": 9}),
        (MESSAGES, {"messages": [LONG], "model": "m", "max_tokens": 9}),
        (MESSAGES, {"model": "m", "system": LONG, "max_tokens": 9, "messages": [LONG]}),
        (EMBEDDINGS, {"model": "m", "input": LONG}),
    ],
)
def test_on_another_host_the_body_must_have_the_members_of_the_format(path: bytes, body: Any) -> None:
    assert leads(path, "anywhere.example", body)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (RESPONSES, {"prompt": "How did you like it?"}),
        (RESPONSES, {"model": "survey", "answers": []}),
        (EMBEDDINGS, {"model": "m"}),
        (MESSAGES, {"message_type": "text", "text": "hi", "to": "447", "from": "1", "channel": "whatsapp"}),
        (MESSAGES, {"model": "m", "text": "hi"}),
        (MESSAGES, {"text": LONG, "to": "447", "context": {"model": "m", "max_tokens": 9}}),
    ],
)
def test_other_services_with_the_same_path_are_left_alone(path: bytes, body: Any) -> None:
    assert not leads(path, "api.nexmo.com", body)
