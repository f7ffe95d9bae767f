"""What answers and paths of Cohere say, where the SDK's tests do not show it."""

import json
from typing import Any

import pytest

from spanledger_instrumentation import body
from spanledger_instrumentation.body import Body
from spanledger_instrumentation.document import Document
from spanledger_instrumentation.providers import cohere_chat, cohere_chat_v1, cohere_embed, routes
from spanledger_instrumentation.providers.wire import Wire
from spanledger_instrumentation.usage import Usage
from tests.instrumentation.fixtures import fed, load


def data(value: Any) -> bytes:
    return json.dumps(value).encode()


def wire_of(path: str, provider: str | None, content: Any) -> Wire | None:
    """The wire format of a POST, `None` where it is no call of a model."""
    found = routes.find("POST", path.encode())
    return next((route.wire for route in found if route.leads(provider, Document(data(content)))), None)


@pytest.mark.parametrize(
    ("path", "wire"),
    [
        ("/v2/chat", cohere_chat.WIRE),
        ("/v1/chat", cohere_chat_v1.WIRE),
        ("/v1/generate", cohere_chat_v1.COMPLETIONS),
        ("/v1/embed", cohere_embed.WIRE),
        ("/v2/embed", cohere_embed.WIRE),
        ("/v1/rerank", cohere_embed.RERANK),
        ("/v2/rerank", cohere_embed.RERANK),
        ("/v2/parse", cohere_embed.PARSE),
        ("/v1/tokenize", None),
        ("/v1/detokenize", None),
        ("/v1/check-api-key", None),
    ],
)
def test_on_cohere_s_hosts_the_path_is_enough(path: str, wire: Wire | None) -> None:
    assert wire_of(path, "cohere", {}) is wire


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/v1/chat", {"message": "hi"}),
        ("/v1/chat", {"message": "hi", "model": "m"}),
        ("/v2/chat", {"messages": []}),
        ("/v1/generate", {"prompt": "a", "model": "m"}),
        ("/v1/embed", {"texts": ["a"]}),
        ("/v2/embed", {"model": "m", "input": "a"}),
        ("/v2/parse", {"model": "m", "document": {"type": "image_url"}}),
    ],
)
def test_services_of_others_with_such_paths_are_left_alone(path: str, content: Any) -> None:
    assert wire_of(path, None, content) is None


def test_a_gateway_s_request_is_known_by_its_shape() -> None:
    assert wire_of("/v2/chat", None, {"model": "m", "messages": [], "stream": False}) is cohere_chat.WIRE
    assert wire_of("/v1/chat", None, {"model": "m", "message": "a", "stream": False}) is cohere_chat_v1.WIRE


def test_without_billed_units_nothing_is_guessed() -> None:
    usage = {"tokens": {"input_tokens": 69, "output_tokens": 110}}
    answer = cohere_chat.WIRE.read_answer(Document(data({"id": "c", "finish_reason": "COMPLETE", "usage": usage})))
    assert (answer.usage, answer.details) == (None, {})


def test_the_cached_part_is_told_where_all_that_was_processed_is_billed() -> None:
    counts = {"input_tokens": 69, "output_tokens": 5}
    usage = {"billed_units": counts, "tokens": counts, "cached_tokens": 64}
    answer = cohere_chat.WIRE.read_answer(Document(data({"usage": usage})))
    assert answer.usage == Usage(input_tokens=69, output_tokens=5, cache_read_input_tokens=64)
    assert not answer.details


@pytest.mark.parametrize("reason", ["ERROR", "TIMEOUT", "ERROR_TOXIC"])
def test_a_chat_may_end_in_an_error(reason: str) -> None:
    answer = cohere_chat.WIRE.read_answer(Document(data({"finish_reason": reason})))
    assert (answer.finish_reasons, answer.error_type) == ((reason,), reason)


def test_the_figures_behind_a_long_conversation_are_found() -> None:
    *begun, last = load("cohere/chat_v1_stream.ndjson").splitlines(keepends=True)
    end = json.loads(last)
    end["response"]["chat_history"] = [{"role": "USER", "message": '"meta":{' * 20_000}]
    answer = body.read(cohere_chat_v1.WIRE, b"".join(begun) + data(end), "application/stream+json")
    assert answer.usage == Usage(input_tokens=7, output_tokens=109)
    assert answer.done


def test_the_first_api_streams_server_sent_events_on_request() -> None:
    lines = load("cohere/chat_v1_stream.ndjson").splitlines()
    events = b"".join(b"data: " + line + b"\n\n" for line in lines)
    reader = Body(cohere_chat_v1.WIRE, content_type="text/event-stream", content_encoding="")
    assert fed(reader, events).usage == Usage(input_tokens=7, output_tokens=109)


def test_a_refusal_is_never_named_by_its_message() -> None:
    assert cohere_chat.WIRE.read_error(Document(b'{"message":"too_many_tokens"}')) is None
