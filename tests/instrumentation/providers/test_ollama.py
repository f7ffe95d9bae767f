"""What answers and paths of Ollama say, where the SDK's tests do not show it."""

import json
from typing import Any

import pytest

from spanledger_instrumentation.document import Document
from spanledger_instrumentation.providers import ollama, openai_embeddings, routes
from spanledger_instrumentation.providers.wire import Wire
from spanledger_instrumentation.usage import Usage
from tests.instrumentation.providers.wires import request

CHAT = {"model": "llama3", "messages": []}


def wire_of(path: str, provider: str | None, content: Any) -> Wire | None:
    """The wire format of a POST, `None` where it is no call of a model."""
    document = Document(json.dumps(content).encode())
    found = routes.find("POST", path.encode())
    return next((route.wire for route in found if route.leads(provider, document)), None)


@pytest.mark.parametrize(
    ("path", "content", "wire"),
    [
        ("/api/chat", CHAT, ollama.WIRE),
        ("/ollama/api/chat", CHAT, ollama.WIRE),
        ("/api/generate", {"model": "m", "prompt": "a"}, ollama.COMPLETIONS),
        ("/api/embed", {"model": "m", "input": ["a"]}, ollama.EMBEDDINGS),
        ("/api/embeddings", {"model": "m", "prompt": "a"}, ollama.EMBEDDINGS),
        ("/api/embeddings", {"model": "m", "input": "a"}, openai_embeddings.WIRE),
    ],
)
def test_on_any_host_the_body_must_have_the_members_of_the_format(path: str, content: Any, wire: Wire) -> None:
    assert wire_of(path, None, content) is wire


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/api/chat", {"id": "x", "messages": [], "trigger": "submit-message"}),
        ("/api/chat", {"message": "hi"}),
        ("/api/generate", {"report": 1}),
        ("/api/generate", {"model": "llama3", "keep_alive": 0}),
        ("/api/embed", {"url": "https://video.example"}),
        ("/api/pull", {"model": "llama3"}),
        ("/chat", CHAT),
    ],
)
def test_services_of_others_with_such_paths_are_left_alone(path: str, content: Any) -> None:
    assert wire_of(path, None, content) is None


@pytest.mark.parametrize(("said", "streams"), [({}, True), ({"stream": True}, True), ({"stream": False}, False)])
def test_a_request_streams_unless_it_says_no(said: Any, streams: bool) -> None:
    assert ollama.WIRE.streams(request(CHAT | said)) is streams
    assert not ollama.EMBEDDINGS.streams(request(CHAT | said))


def test_a_schema_is_a_wish_for_json() -> None:
    assert ollama.WIRE.read_request(request(CHAT | {"format": {"type": "object"}}))["gen_ai.output.type"] == "json"
    assert "gen_ai.output.type" not in ollama.WIRE.read_request(request(CHAT | {"format": ""}))


def test_a_count_of_nothing_is_nothing_and_a_missing_one_is_unknown() -> None:
    answer = ollama.WIRE.read_answer(Document(b'{"model":"m","done":true,"prompt_eval_count":0}'))
    assert answer.usage == Usage(input_tokens=0)
    assert answer.complete()
    assert ollama.WIRE.read_answer(Document(b'{"model":"m","done":true}')).usage is None


@pytest.mark.parametrize("error", ["model 'a prompt' not found", {"message": "x"}, None, 7])
def test_a_refusal_is_never_named_by_its_text(error: Any) -> None:
    assert ollama.WIRE.read_error(Document(json.dumps({"error": error}).encode())) is None
