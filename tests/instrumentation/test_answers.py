"""What single answers say that no fixture has: odd shapes, and the ends of those that are not whole."""

import json
import tracemalloc
from collections.abc import Callable
from typing import Any

import pytest

from spanledger_instrumentation import body
from spanledger_instrumentation.body import Body
from spanledger_instrumentation.providers import anthropic_messages, gemini, openai_chat, openai_responses
from spanledger_instrumentation.providers.wire import Wire
from spanledger_instrumentation.usage import Answer, Usage, usage_status
from tests.instrumentation.fixtures import fed, stream_body


def events(*documents: Any) -> bytes:
    return b"".join(b"data: " + json.dumps(document).encode() + b"\n\n" for document in documents)


def choice(index: int, reason: str | None = None) -> dict[str, Any]:
    return {"id": "c1", "choices": [{"index": index, "delta": {}, "finish_reason": reason}]}


def test_an_answer_with_two_choices_is_complete_once_both_have_ended() -> None:
    stream = stream_body(openai_chat.WIRE)
    stream.feed(events(choice(0), choice(1), choice(0, "stop")))
    assert not stream.answer.complete()
    stream.feed(events(choice(1, "length")))
    assert stream.answer.complete()
    assert stream.answer.finish_reasons == ("stop", "length")


def test_a_reason_that_is_said_anew_replaces_the_first_one() -> None:
    answer = fed(stream_body(openai_chat.WIRE), events(choice(0, "stop"), choice(0, "length")))
    assert answer.finish_reasons == ("length",)


def test_choices_without_end_take_bounded_memory() -> None:
    answer = fed(stream_body(openai_chat.WIRE), events(*(choice(index, "stop") for index in range(300))))
    assert len(answer.finish_reasons) == openai_chat.CHOICES_MAX


@pytest.mark.parametrize(
    ("wire", "event"),
    [
        (anthropic_messages.WIRE, lambda usage: {"type": "message_delta", "delta": {}, "usage": usage}),
        (gemini.WIRE, lambda usage: {"usageMetadata": usage}),
    ],
    ids=["anthropic", "gemini"],
)
def test_members_of_a_usage_without_end_take_bounded_memory(wire: Wire, event: Callable[[Any], Any]) -> None:
    stream = stream_body(wire)
    stream.feed(events(event({"unheard_of": 1})))
    tracemalloc.start()
    try:
        for number in range(1000):
            stream.feed(events(event({f"unheard_of_{number}": "x" * 1000})))
        assert tracemalloc.get_traced_memory()[0] < 64 * 1024
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("error", ["overloaded", ["overloaded"], {"message": "overloaded"}])
def test_an_error_of_any_shape_in_a_stream_is_one(error: object) -> None:
    answer = fed(stream_body(openai_chat.WIRE), events({"error": error}))
    assert answer == Answer(error_type="_OTHER")


def test_what_compactions_used_is_told_apart_and_makes_the_figures_partial() -> None:
    compaction = {"type": "compaction", "input_tokens": 100, "cache_read_input_tokens": 20, "output_tokens": 7}
    usage = {
        "input_tokens": 5,
        "output_tokens": 3,
        "iterations": [compaction, {"type": "message", "input_tokens": 5, "output_tokens": 3}, compaction],
    }
    whole = body.read(anthropic_messages.WIRE, json.dumps({"id": "m", "usage": usage}).encode(), "application/json")
    delta = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}
    for answer in (whole, fed(stream_body(anthropic_messages.WIRE), events(delta, {"type": "message_stop"}))):
        assert answer.usage is not None
        assert (answer.usage.input_tokens, answer.usage.output_tokens) == (5, 3)
        assert (answer.usage.compaction_input_tokens, answer.usage.compaction_output_tokens) == (240, 14)
        assert usage_status(answer, whole=True, sent=True) == "partial"


def test_what_an_advisor_used_is_told_apart_and_makes_the_figures_partial() -> None:
    advice = {
        "type": "advisor_message",
        "model": "claude-opus-4-7",
        "input_tokens": 823,
        "cache_read_input_tokens": 100,
        "cache_creation_input_tokens": 0,
        "output_tokens": 531,
    }
    message = {"type": "message", "input_tokens": 5, "output_tokens": 3}
    usage = {"input_tokens": 5, "output_tokens": 3, "iterations": [message, advice, message, advice]}
    whole = body.read(anthropic_messages.WIRE, json.dumps({"id": "m", "usage": usage}).encode(), "application/json")
    delta = {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": usage}
    for answer in (whole, fed(stream_body(anthropic_messages.WIRE), events(delta, {"type": "message_stop"}))):
        assert answer.usage == Usage(input_tokens=5, output_tokens=3)
        assert answer.details == {
            "anthropic.usage.advisor.model": "claude-opus-4-7",
            "anthropic.usage.advisor.input_tokens": 1846,
            "anthropic.usage.advisor.output_tokens": 1062,
        }
        assert usage_status(answer, whole=True, sent=True) == "partial"


@pytest.mark.parametrize(("declined_tokens", "status"), [(0, "reported"), (7, "partial")])
def test_the_model_that_took_over_from_another_one_is_the_one_that_answered(declined_tokens: int, status: str) -> None:
    declined = {"type": "message", "model": "claude-fable-5", "input_tokens": 8, "output_tokens": declined_tokens}
    served = {
        "type": "fallback_message",
        "model": "claude-opus-5",
        "input_tokens": 412,
        "cache_read_input_tokens": 0,
        "cache_creation_input_tokens": 50,
        "cache_creation": {"ephemeral_5m_input_tokens": 50, "ephemeral_1h_input_tokens": 0},
        "output_tokens": 264,
    }
    first = {
        "input_tokens": 8,
        "cache_read_input_tokens": 400,
        "cache_creation": {"ephemeral_1h_input_tokens": 1},
        "output_tokens": 1,
        "service_tier": "standard",
    }
    last = {"input_tokens": 412, "output_tokens": 264, "iterations": [declined, served]}
    answer = fed(
        stream_body(anthropic_messages.WIRE),
        events(
            {"type": "message_start", "message": {"id": "m", "model": "claude-fable-5", "usage": first}},
            {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": last},
            {"type": "message_stop"},
        ),
    )
    assert (answer.model, answer.service_tier) == ("claude-opus-5", "standard")
    assert answer.usage == Usage(
        input_tokens=462,
        output_tokens=264,
        cache_read_input_tokens=0,
        cache_write_input_tokens=50,
        cache_write_5m_input_tokens=50,
        cache_write_1h_input_tokens=0,
    )
    assert usage_status(answer, whole=True, sent=True) == status


@pytest.mark.parametrize("kind", ["compaction", "advisor_message"])
def test_an_iteration_apart_that_tells_no_figures_makes_the_rest_partial_all_the_same(kind: str) -> None:
    content = json.dumps({"usage": {"input_tokens": 5, "iterations": [{"type": kind}]}}).encode()
    answer = body.read(anthropic_messages.WIRE, content, "application/json")
    assert usage_status(answer, whole=True, sent=True) == "partial"


@pytest.mark.parametrize("iterations", [None, [], "x", [{"type": "message", "input_tokens": 5}]])
def test_without_compactions_nothing_is_said_of_them(iterations: object) -> None:
    content = json.dumps({"usage": {"input_tokens": 5, "iterations": iterations}}).encode()
    answer = body.read(anthropic_messages.WIRE, content, "application/json")
    assert answer.usage is not None
    assert answer.usage.compaction_input_tokens is None
    assert usage_status(answer, whole=True, sent=True) == "reported"


@pytest.mark.parametrize(
    ("status", "last", "reasons", "error"),
    [
        ("incomplete", {"reason": "CANARY"}, ("incomplete",), None),
        ("failed", {"code": "CANARY"}, ("error",), "failed"),
    ],
)
def test_metadata_of_the_user_behind_a_cut_is_not_taken_for_the_answer_s(
    status: str, last: dict[str, str], reasons: tuple[str, ...], error: str | None
) -> None:
    response = {"id": "r1", "output": "x" * 99_999, "status": status, "metadata": last, "usage": {"input_tokens": 1}}
    answer = fed(stream_body(openai_responses.WIRE), events({"type": f"response.{status}", "response": response}))
    assert answer.usage is not None
    assert answer.usage.input_tokens == 1
    assert (answer.finish_reasons, answer.error_type) == (reasons, error)


@pytest.mark.parametrize("tail", [b"", b"\n"])
def test_a_whole_json_body_counts_though_its_end_is_not_waited_for(tail: bytes) -> None:
    plain = Body(openai_chat.WIRE, content_type="application/json", content_encoding="")
    content = json.dumps(choice(0, "stop") | {"usage": {"prompt_tokens": 5}}).encode()
    plain.feed(content + tail)
    plain.close()
    assert plain.answer.complete()
    assert plain.answer.usage is not None
    assert plain.answer.usage.input_tokens == 5


def test_half_a_json_body_says_nothing() -> None:
    plain = Body(openai_chat.WIRE, content_type="application/json", content_encoding="")
    plain.feed(b'{"id": "c1", "usage": {"prompt_tokens": 5}, "choices": [')
    plain.close()
    assert plain.answer == Answer()
