"""What whole answers and refusals say, and the corners of streams that no fixture has."""

import json
from typing import Any

import pytest

from spanledger_instrumentation.document import Document
from spanledger_instrumentation.providers import (
    anthropic_messages,
    openai_audio,
    openai_chat,
    openai_embeddings,
    openai_responses,
)
from spanledger_instrumentation.providers.openai_chat import ChatStream
from spanledger_instrumentation.providers.openai_responses import ResponseStream
from spanledger_instrumentation.providers.wire import Wire
from spanledger_instrumentation.usage import Usage
from tests.instrumentation.fixtures import CHAT, MESSAGE, RESPONSE, load


def data(value: Any) -> bytes:
    return json.dumps(value).encode()


@pytest.mark.parametrize(
    ("wire", "fixture", "usage", "reasons"),
    [
        (openai_chat.WIRE, "openai/chat.json", CHAT, ("stop", "length")),
        (openai_responses.WIRE, "openai/response.json", RESPONSE, ("completed",)),
        (openai_embeddings.WIRE, "openai/embeddings.json", Usage(input_tokens=8), ()),
        (anthropic_messages.WIRE, "anthropic/message.json", MESSAGE, ("end_turn",)),
    ],
)
def test_a_whole_answer_is_read(wire: Wire, fixture: str, usage: Usage, reasons: tuple[str, ...]) -> None:
    answer = wire.read_answer(Document(load(fixture)))
    assert (answer.usage, answer.finish_reasons, answer.usage_final) == (usage, reasons, True)
    assert answer.model is not None


@pytest.mark.parametrize(
    ("wire", "error", "kind"),
    [
        (openai_chat.WIRE, {"error": {"code": "model_not_found", "type": "invalid_request_error"}}, "model_not_found"),
        (openai_chat.WIRE, {"error": {"code": None, "type": "server_error"}}, "server_error"),
        (openai_chat.WIRE, {"error": {"code": 429, "type": None}}, None),
        (openai_chat.WIRE, {"error": {"code": "a whole sentence, perhaps a prompt"}}, None),
        (openai_chat.WIRE, {"error": "text"}, None),
        (anthropic_messages.WIRE, {"type": "error", "error": {"type": "rate_limit_error"}}, "rate_limit_error"),
        (anthropic_messages.WIRE, {}, None),
    ],
)
def test_a_refusal_is_named_by_its_code_never_by_its_message(wire: Wire, error: object, kind: str | None) -> None:
    assert wire.read_error(Document(data(error))) == kind


def test_the_last_usage_that_is_not_null_wins() -> None:
    stream = ChatStream()
    for usage in ({"prompt_tokens": 5, "completion_tokens": 1}, {"prompt_tokens": 5, "completion_tokens": 2}, None):
        stream.event(data({"id": "c", "choices": [], "usage": usage}), b"")
    assert stream.answer.usage == Usage(input_tokens=5, output_tokens=2)
    assert not stream.answer.usage_final


def test_whole_numbers_may_come_as_floats_and_nonsense_does_not_count() -> None:
    usage = {"prompt_tokens": 5.0, "completion_tokens": -1, "prompt_tokens_details": {"cached_tokens": True}}
    answer = openai_chat.WIRE.read_answer(Document(data({"usage": usage})))
    assert answer.usage == Usage(input_tokens=5)


@pytest.mark.parametrize("beyond", [2**53, 2**63 - 1, 10**400, 1e300, float("inf")])
def test_a_figure_that_nothing_can_have_used_does_not_count(beyond: float) -> None:
    usage = {"input_tokens": 5, "cache_read_input_tokens": beyond, "output_tokens": beyond}
    answer = anthropic_messages.WIRE.read_answer(Document(data({"usage": usage})))
    assert answer.usage == Usage(input_tokens=5)
    speech = openai_audio.TRANSCRIPTION.read_answer(Document(data({"text": "", "duration": float("inf")})))
    assert speech.usage is None


@pytest.mark.parametrize(
    ("wire", "event"),
    [
        (openai_chat.WIRE, {"error": {"code": "rate_limited", "message": "x"}}),
        (openai_responses.WIRE, {"type": "error", "code": "rate_limited", "message": "x", "sequence_number": 1}),
        (openai_responses.WIRE, {"type": "error", "error": {"code": "rate_limited"}}),
        (anthropic_messages.WIRE, {"type": "error", "error": {"type": "rate_limited"}}),
    ],
)
def test_an_error_in_a_stream_is_named(wire: Wire, event: object) -> None:
    assert wire.stream is not None
    stream = wire.stream()
    assert stream.event(data(event), b"")
    assert stream.answer.error_type == "rate_limited"
    assert not stream.answer.complete()


def test_a_chunk_of_text_is_not_parsed() -> None:
    stream = ChatStream()
    stream.event(data({"id": "c", "model": "m", "choices": []}), b"")
    assert not stream.event(b'{"id":"c","choices":[{"index":0,"delta":{"content":"x"},"finish_reason":null}]}', b"")


@pytest.mark.parametrize("name", ["response.output_text.delta", "response.output_item.done", "something.new"])
def test_other_events_of_a_response_change_nothing(name: str) -> None:
    assert not ResponseStream().event(data({"type": name, "response": {"usage": {"input_tokens": 1}}}), b"")
    quoted = {"type": name, "delta": "x", "quote": ["response.completed"], "response": {"usage": {"input_tokens": 1}}}
    assert not ResponseStream().event(data(quoted), b"")


@pytest.mark.parametrize("status", ["queued", "in_progress"])
def test_a_response_in_the_background_has_no_figures_yet(status: str) -> None:
    answer = openai_responses.WIRE.read_answer(Document(data({"id": "r", "status": status, "usage": None})))
    assert (answer.usage, answer.finish_reasons, answer.error_type) == (None, (), None)


def test_an_unknown_part_of_the_input_stays_unknown() -> None:
    answer = anthropic_messages.WIRE.read_answer(Document(data({"usage": {"output_tokens": 3, "input_tokens": None}})))
    assert answer.usage == Usage(output_tokens=3)
