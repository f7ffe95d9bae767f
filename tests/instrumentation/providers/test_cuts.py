"""Streams of Google, Cohere and Ollama: the same answer however their bytes are cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanledger_instrumentation import body
from spanledger_instrumentation.body import Body
from spanledger_instrumentation.providers import (
    cohere_chat,
    cohere_chat_v1,
    gemini,
    gemini_interactions,
    ollama,
)
from spanledger_instrumentation.providers.wire import Wire
from spanledger_instrumentation.usage import Answer, Usage
from tests.instrumentation.fixtures import cut, fed, load

SSE = "text/event-stream"
CONTENT = Usage(
    input_tokens=1260,
    output_tokens=340,
    cache_read_input_tokens=1000,
    reasoning_output_tokens=250,
    text_input_tokens=760,
    image_input_tokens=258,
    audio_input_tokens=32,
    video_input_tokens=10,
    text_output_tokens=90,
    text_cache_read_input_tokens=600,
    image_cache_read_input_tokens=258,
    audio_cache_read_input_tokens=32,
    video_cache_read_input_tokens=10,
    web_search_requests=2,
)
INTERACTION = Usage(
    input_tokens=809,
    output_tokens=848,
    cache_read_input_tokens=600,
    reasoning_output_tokens=808,
    text_input_tokens=700,
    image_input_tokens=100,
    text_output_tokens=40,
    text_cache_read_input_tokens=600,
    web_search_requests=2,
)
PROCESSED: dict[str, str | int | float] = {
    "spanledger.processed.input_tokens": 69,
    "spanledger.processed.output_tokens": 110,
}
_CONTENT = Answer(
    id="gem-D1",
    model="gemini-3-pro-preview",
    service_tier="standard",
    usage=CONTENT,
    finish_reasons=("STOP",),
    begun=True,
)
STREAMS: dict[str, tuple[Wire, str, Answer]] = {
    "gemini/content_stream.sse": (gemini.WIRE, SSE, _CONTENT),
    "gemini/content_stream.json": (gemini.WIRE, "application/json; charset=utf-8", _CONTENT),
    "vertex_ai/content_stream.sse": (
        gemini.WIRE,
        SSE,
        Answer(
            id="vx-F1",
            model="gemini-2.5-flash",
            service_tier="ON_DEMAND_FLEX",
            usage=Usage(
                input_tokens=8,
                output_tokens=451,
                reasoning_output_tokens=433,
                text_input_tokens=8,
                text_output_tokens=18,
            ),
            finish_reasons=("STOP",),
            begun=True,
        ),
    ),
    "gemini/interaction_stream.sse": (
        gemini_interactions.WIRE,
        SSE,
        Answer(
            id="v1_E1",
            model="gemini-3.8-flash",
            service_tier="standard",
            usage=INTERACTION,
            usage_final=True,
            finish_reasons=("completed",),
            begun=True,
            done=True,
        ),
    ),
    "gemini/interaction_stream_error.sse": (
        gemini_interactions.WIRE,
        SSE,
        Answer(id="v1_E1", model="gemini-3.8-flash", error_type="service_unavailable", begun=True),
    ),
    "cohere/chat_stream.sse": (
        cohere_chat.WIRE,
        SSE,
        Answer(
            id="co-G1",
            usage=Usage(input_tokens=7, output_tokens=109),
            usage_final=True,
            finish_reasons=("COMPLETE",),
            details=PROCESSED,
            begun=True,
            done=True,
        ),
    ),
    "cohere/chat_v1_stream.ndjson": (
        cohere_chat_v1.WIRE,
        "application/stream+json",
        Answer(
            id="co-G2",
            usage=Usage(input_tokens=7, output_tokens=109),
            usage_final=True,
            finish_reasons=("COMPLETE",),
            details=PROCESSED,
            begun=True,
            done=True,
        ),
    ),
    "ollama/chat_stream.ndjson": (
        ollama.WIRE,
        "application/x-ndjson",
        Answer(
            model="llama3",
            usage=Usage(input_tokens=17, output_tokens=63),
            usage_final=True,
            finish_reasons=("stop",),
            begun=True,
            done=True,
        ),
    ),
    "ollama/generate_stream.ndjson": (
        ollama.COMPLETIONS,
        "application/x-ndjson",
        Answer(
            model="llama3",
            usage=Usage(input_tokens=17, output_tokens=63),
            usage_final=True,
            finish_reasons=("length",),
            begun=True,
            done=True,
        ),
    ),
    "ollama/chat_stream_error.ndjson": (
        ollama.WIRE,
        "application/x-ndjson",
        Answer(model="llama3", error_type="_OTHER", begun=True),
    ),
}
NAMES = sorted(STREAMS)
PLACES = st.lists(st.integers(0, 1 << 20), max_size=12)


def reader(name: str) -> Body:
    wire, content_type, _ = STREAMS[name]
    return Body(wire, content_type=content_type, content_encoding="")


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_is_read_whole(name: str) -> None:
    assert fed(reader(name), load(name)) == STREAMS[name][2]


@pytest.mark.parametrize("name", NAMES)
def test_a_stream_that_the_client_has_read_already_is_read_as_one(name: str) -> None:
    wire, content_type, answer = STREAMS[name]
    assert body.read(wire, load(name), content_type) == answer


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_a_stream_is_read_byte_by_byte(name: str, line_end: bytes) -> None:
    content = load(name).replace(b"\r\n", b"\n").replace(b"\n", line_end)
    assert fed(reader(name), *(content[at : at + 1] for at in range(len(content)))) == STREAMS[name][2]


@given(name=st.sampled_from(NAMES), places=PLACES)
def test_any_cut_of_a_stream_gives_the_same_answer(name: str, places: list[int]) -> None:
    assert fed(reader(name), *cut(load(name), places)) == STREAMS[name][2]


@given(content=st.binary(max_size=400), places=PLACES, name=st.sampled_from(NAMES), kept=st.integers(0, 900))
def test_any_bytes_read_the_same_however_they_are_cut(content: bytes, places: list[int], name: str, kept: int) -> None:
    start = load(name)[:kept]
    assert fed(reader(name), *cut(start + content, places)) == fed(reader(name), start + content)
