"""The dialects of OpenAI's formats, told apart by their members."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanledger_instrumentation import body
from spanledger_instrumentation.document import Document
from spanledger_instrumentation.providers import (
    mistral_conversations,
    openai_audio,
    openai_chat,
    openai_images,
    openai_moderations,
    openai_responses,
    rerank,
)
from spanledger_instrumentation.providers.openai_chat import ChatStream
from spanledger_instrumentation.providers.openai_usage import read_usage
from spanledger_instrumentation.usage import Answer, Usage, usage_status
from tests.instrumentation.fixtures import RESPONSE, load
from tests.instrumentation.openai_family import GROQ, STREAMS, WHOLE

TOKENS = st.integers(min_value=0, max_value=10**9)
SOME = st.integers(min_value=1, max_value=10**9)
BESIDE_ITS_TOTAL = {"perplexity/chat.json"}


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_a_whole_answer_is_read_whole_or_cut(name: str) -> None:
    expected = WHOLE[name]
    content = load(name)
    for answer in (body.read(expected.wire, content, "application/json"), expected.wire.read_answer(Document(content))):
        assert (answer.usage, answer.model, answer.begun) == (expected.usage, expected.model, True)


def _usages(content: bytes) -> list[Any]:
    if content.lstrip().startswith(b"{"):
        return [json.loads(content).get("usage") or {}]
    events: list[Any] = [json.loads(line[5:]) for line in content.splitlines() if line.startswith(b"data: {")]
    return [event.get("usage") or (event.get("x_groq") or {}).get("usage") or {} for event in events]


@pytest.mark.parametrize("name", sorted({*WHOLE, *STREAMS} - BESIDE_ITS_TOTAL))
def test_the_total_that_is_given_is_input_and_output(name: str) -> None:
    usage = WHOLE[name].usage if name in WHOLE else STREAMS[name][1].usage
    totals = [said["total_tokens"] for said in _usages(load(name)) if "total_tokens" in said]
    if totals:
        assert usage is not None
        assert (usage.input_tokens or 0) + (usage.output_tokens or 0) == totals[-1]
    else:
        assert usage is None or usage.output_tokens is None


@given(prompt=TOKENS, completion=TOKENS, beside=SOME, way=st.sampled_from(["reasoning", "audio", "connector", "s"]))
def test_a_part_that_only_the_total_holds_is_added_where_it_belongs(
    prompt: int, completion: int, beside: int, way: str
) -> None:
    members: dict[str, Any] = {
        "reasoning": {"completion_tokens_details": {"reasoning_tokens": beside}},
        "audio": {"prompt_tokens_details": {"audio_tokens": beside}},
        "connector": {"connector_tokens": beside},
        "s": {"prompt_audio_seconds": 7},
    }[way]
    total = prompt + completion + beside
    usage = read_usage({"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": total, **members})
    assert usage.input_tokens is not None
    assert usage.output_tokens is not None
    assert usage.input_tokens + usage.output_tokens == total
    assert (usage.output_tokens == completion + beside) == (way == "reasoning")
    if way in ("audio", "s"):
        assert usage.audio_input_tokens == beside


@given(prompt=TOKENS, completion=TOKENS, part=TOKENS)
def test_a_part_that_the_totals_hold_already_is_not_added(prompt: int, completion: int, part: int) -> None:
    usage = read_usage(
        {
            "prompt_tokens": prompt + part,
            "completion_tokens": completion + part,
            "total_tokens": prompt + completion + 2 * part,
            "prompt_tokens_details": {"audio_tokens": part},
            "completion_tokens_details": {"reasoning_tokens": part},
        }
    )
    assert (usage.input_tokens, usage.output_tokens) == (prompt + part, completion + part)


def test_a_difference_that_nothing_explains_changes_nothing_but_gemini_s_is_its_thoughts() -> None:
    said = {"prompt_tokens": 20, "completion_tokens": 198, "total_tokens": 623}
    assert read_usage(said) == Usage(input_tokens=20, output_tokens=198)
    thinking = Usage(input_tokens=20, output_tokens=603, reasoning_output_tokens=405)
    assert read_usage(said, model="models/gemini-2.5-flash") == thinking


@pytest.mark.parametrize(
    ("members", "searches"),
    [
        ({"num_search_queries": 2}, 2),
        ({"tool_calls_details": {"search_web": {"invocation": 2}}}, 2),
        ({"server_tool_use": {"web_search_requests": 0}}, 0),
        ({"server_side_tool_usage_details": {"web_search_calls": 1, "x_search_calls": 3, "mcp_calls": 5}}, 4),
        ({"connectors": {"web_search": 1, "web_search_premium": 2, "code_interpreter": 4}}, 3),
        ({"connectors": {"code_interpreter": 4}}, None),
        ({"connectors": None}, None),
    ],
)
def test_searches_that_were_run(members: dict[str, Any], searches: int | None) -> None:
    assert read_usage(members).web_search_requests == searches


def test_what_connectors_gave_to_read_counts_where_there_is_no_total_either() -> None:
    usage = read_usage({"prompt_tokens": 900, "completion_tokens": 160, "connector_tokens": 5000})
    assert (usage.input_tokens, usage.output_tokens) == (5900, 160)


@pytest.mark.parametrize("mark", [{"citation_tokens": 0}, {"num_search_queries": 1}])
def test_perplexity_s_reasoning_stands_beside_its_output(mark: dict[str, Any]) -> None:
    usage = read_usage(
        {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30, "reasoning_tokens": 5, **mark}
    )
    assert (usage.output_tokens, usage.reasoning_output_tokens) == (25, 5)
    flat = read_usage({"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30, "reasoning_tokens": 5})
    assert (flat.output_tokens, flat.reasoning_output_tokens) == (20, 5)


def test_speech_and_transcriptions_of_another_shape_are_unknown() -> None:
    document = Document(b'{"jobs": 1, "duration": 5.5}')
    for wire in (openai_audio.SPEECH, openai_audio.TRANSCRIPTION):
        assert usage_status(wire.read_answer(document), whole=True, sent=True) == "unreported"
    assert openai_audio.SPEECH.read_answer(document).usage is not None  # what was asked for does not stand in for it
    assert openai_audio.SPEECH.read_answer(Document(b'{"audio_data": "Q0FOQVJZ"}')).usage is None  # here it does


def test_the_length_of_the_audio_does_not_replace_the_usage() -> None:
    said = {"text": "x", "duration": 8.47, "usage": {"type": "duration", "seconds": 9}}
    assert openai_audio.TRANSCRIPTION.read_answer(Document(json.dumps(said).encode())).usage == Usage(input_audio_s=9)


def test_a_conversation_that_has_started_is_not_done() -> None:
    stream = mistral_conversations.ConversationStream()
    assert stream.event(b'{"type": "conversation.response.started", "conversation_id": "conv_1"}', b"")
    assert not stream.answer.complete()


@pytest.mark.parametrize("said", [{"meta": {"billed_units": {"search_units": 2}}}, {"usage": {"search_units": 2}}])
def test_a_gateway_may_answer_a_rerank_with_search_units(said: dict[str, Any]) -> None:
    answer = rerank.read_answer(Document(json.dumps({"results": [], **said}).encode()))
    assert answer.usage == Usage(search_units=2)


def test_groq_s_two_usages_are_one_whichever_comes_last() -> None:
    usage = {"prompt_tokens": 120, "completion_tokens": 60, "total_tokens": 180}
    for first, second in ((1, 0), (0, 1)):
        stream = ChatStream()
        events: list[Any] = [{"id": "c", "x_groq": {"usage": usage}}, {"id": "c", "choices": [], "usage": usage}]
        for index in (first, second):
            stream.event(json.dumps(events[index]).encode(), b"")
        assert stream.answer.usage == Usage(input_tokens=120, output_tokens=60)


@pytest.mark.parametrize(
    "chunk",
    [
        b'{"id":"c","choices":[],"usage":null,"x_groq":{"usage":{"prompt_tokens":120,"completion_tokens":60}}}',
        b'{"id":"c","choices":[],"debug":{"usage":null},"usage":{"prompt_tokens":120,"completion_tokens":60}}',
    ],
)
def test_a_usage_beside_one_that_is_null_is_read(chunk: bytes) -> None:
    stream = ChatStream()
    stream.event(b'{"id":"c","choices":[{"index":0,"delta":{}}]}', b"")
    stream.event(chunk, b"")
    assert stream.answer.usage == Usage(input_tokens=120, output_tokens=60)


def test_what_groq_s_hardware_cached_is_no_usage() -> None:
    answer = openai_chat.read_answer(Document(b'{"id": "c", "x_groq": {"usage": {"dram_cached_tokens": 5}}}'))
    assert answer.usage is None
    assert openai_chat.read_answer(Document(load("groq/chat.json"))).usage == GROQ


def test_usage_in_every_chunk_is_cumulative() -> None:
    stream = ChatStream()
    for completion in (0, 1, 2):
        usage = {"prompt_tokens": 7, "completion_tokens": completion, "total_tokens": 7 + completion}
        stream.event(json.dumps({"id": "c", "choices": [{"index": 0}], "usage": usage}).encode(), b"")
    assert stream.answer.usage == Usage(input_tokens=7, output_tokens=2)


@pytest.mark.parametrize(
    ("members", "cost"),
    [
        ({"cost": 0.5}, 0.5),
        ({"cost": 0}, 0.0),
        ({"cost": {"total_cost": 0.25}}, 0.25),
        ({"cost_in_usd_ticks": 10**10}, 1.0),
        ({"cost": 0.5, "is_byok": True}, None),
        ({"cost": 0.5, "is_byok": True, "cost_details": {"upstream_inference_cost": 1}}, 1.5),
        ({"cost": -1}, None),
        ({"cost": float("nan")}, None),
        ({"cost": float("inf")}, None),
        ({"cost": True}, None),
        ({"cost": "0.5"}, None),
        ({}, None),
    ],
)
def test_the_cost_that_a_provider_states(members: dict[str, Any], cost: float | None) -> None:
    assert read_usage(members).cost_usd == cost


@pytest.mark.parametrize(
    ("headers", "cost", "cached"),
    [
        ({"x-litellm-response-cost": "0.00125"}, 0.00125, None),
        ({"x-litellm-response-cost": "0.0"}, None, None),
        ({"x-litellm-response-cost": "nan"}, None, None),
        ({"x-litellm-response-cost": "None"}, None, None),
        ({"fireworks-cached-prompt-tokens": "64"}, None, 64),
        ({"fireworks-cached-prompt-tokens": "-"}, None, None),
    ],
)
def test_what_only_the_headers_say(headers: dict[str, str], cost: float | None, cached: int | None) -> None:
    answer = Answer(usage=Usage(input_tokens=100))
    openai_chat.read_head(headers, answer)
    assert answer.usage == Usage(input_tokens=100, cost_usd=cost, cache_read_input_tokens=cached)


def test_a_header_does_not_stand_in_for_missing_figures_nor_replace_the_answer_s() -> None:
    nothing = Answer()
    openai_chat.read_head({"x-litellm-response-cost": "1"}, nothing)
    assert nothing.usage is None
    said = Answer(usage=Usage(input_tokens=5, cost_usd=2.0, cache_read_input_tokens=1))
    openai_chat.read_head({"x-litellm-response-cost": "1", "fireworks-cached-prompt-tokens": "4"}, said)
    assert said.usage == Usage(input_tokens=5, cost_usd=2.0, cache_read_input_tokens=1)


def test_writer_s_details_have_names_of_their_own() -> None:
    said = {"prompt_token_details": {"cached_tokens": 3}, "completion_token_details": {"reasoning_tokens": 4}}
    assert read_usage(said) == Usage(cache_read_input_tokens=3, reasoning_output_tokens=4)


def test_litellm_s_lifetimes_of_what_the_cache_took_are_told_apart() -> None:
    lifetimes = {"ephemeral_5m_input_tokens": 5, "ephemeral_1h_input_tokens": 15}
    details = {"cached_tokens": 40, "cache_creation_tokens": 20, "cache_creation_token_details": lifetimes}
    assert read_usage({"prompt_tokens": 100, "completion_tokens": 1, "prompt_tokens_details": details}) == Usage(
        input_tokens=100,
        output_tokens=1,
        cache_read_input_tokens=40,
        cache_write_input_tokens=20,
        cache_write_5m_input_tokens=5,
        cache_write_1h_input_tokens=15,
    )


def test_litellm_s_cache_figures_count_only_as_parts() -> None:
    inclusive = {"prompt_tokens": 100, "completion_tokens": 1, "cache_read_input_tokens": 80}
    assert read_usage(inclusive).cache_read_input_tokens == 80
    assert read_usage({**inclusive, "prompt_tokens": 20}).cache_read_input_tokens is None


def test_what_hosted_tools_used_is_told_apart_and_makes_the_figures_partial() -> None:
    answer = openai_responses.read_answer(Document(load("openai/response_tools.json")))
    assert answer.usage is not None
    assert answer.usage.web_search_requests == 3
    answer.usage.web_search_requests = None
    assert answer.usage == RESPONSE
    assert answer.details == {
        "openai.usage.image_generation.input_tokens": 60,
        "openai.usage.image_generation.output_tokens": 1056,
    }
    assert usage_status(answer, whole=True, sent=True) == "partial"


def test_tools_that_were_not_used_change_nothing() -> None:
    tools = {"web_search": {"num_requests": 0}, "image_gen": {"input_tokens": 0, "output_tokens": 0}}
    content = {"id": "r", "status": "completed", "usage": {"input_tokens": 5, "output_tokens": 1}, "tool_usage": tools}
    answer = openai_responses.read_answer(Document(json.dumps(content).encode()))
    assert answer.details == {}
    assert usage_status(answer, whole=True, sent=True) == "reported"


def test_the_second_model_that_writes_an_svg_is_told_apart_and_makes_the_figures_partial() -> None:
    answer = openai_images.read_answer(Document(load("openai/image_svg.json")))
    assert {name: value for name, value in answer.details.items() if ".svg." in name} == {
        "openai.usage.svg.model": "gpt-5-mini",
        "openai.usage.svg.input_tokens": 2000,
        "openai.usage.svg.output_tokens": 900,
        "openai.usage.svg.reasoning.output_tokens": 600,
    }
    assert usage_status(answer, whole=True, sent=True) == "partial"


def test_a_second_streamed_image_makes_the_figures_partial() -> None:
    stream = openai_images.ImageStream()
    event = load("openai/image_edit_stream.sse").split(b"data: ")[1]
    stream.event(event, b"")
    assert usage_status(stream.answer, whole=True, sent=True) == "reported"
    stream.event(event, b"")
    assert usage_status(stream.answer, whole=True, sent=True) == "partial"


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"jobs": [1]}'])
def test_an_answer_of_another_shape_has_no_images_though_they_were_asked_for(content: bytes) -> None:
    answer = openai_images.read_answer(Document(content))
    assert answer.usage is not None  # so that what was asked for does not stand in for it
    assert usage_status(answer, whole=True, sent=True) == "unreported"


def test_images_too_long_to_be_counted_are_as_many_as_were_asked_for() -> None:
    content = json.dumps({"created": 1, "data": [{"b64_json": "A" * 6_000_000}]}).encode()
    assert body.read(openai_images.WIRE, content, "application/json").usage is None


def test_the_usage_behind_long_images_is_read() -> None:
    content = json.dumps({"data": [{"b64_json": "A" * 6_000_000}], "usage": {"input_tokens": 5, "output_tokens": 9}})
    answer = body.read(openai_images.WIRE, content.encode(), "application/json")
    assert answer.usage == Usage(input_tokens=5, output_tokens=9)


def test_moderation_is_free_at_openai_and_unknown_elsewhere() -> None:
    document = Document(load("openai/moderation.json"))
    assert usage_status(openai_moderations.FREE.read_answer(document), whole=True, sent=True) == "none"
    assert usage_status(openai_moderations.WIRE.read_answer(document), whole=True, sent=True) == "unreported"


@pytest.mark.parametrize(
    ("error", "kind"),
    [({"code": 502}, "502"), ({"code": "overloaded"}, "overloaded"), ({"message": "x"}, "_OTHER"), ("x", "_OTHER")],
)
def test_an_error_in_a_stream_may_have_a_status_for_a_code(error: object, kind: str) -> None:
    stream = ChatStream()
    stream.event(json.dumps({"error": error}).encode(), b"")
    assert stream.answer.error_type == kind


def test_mistral_s_refusals_are_flat() -> None:
    flat = {"object": "error", "message": "CANARY", "type": "invalid_model", "param": None, "code": "1500"}
    assert openai_chat.WIRE.read_error(Document(json.dumps(flat).encode())) == "invalid_model"
