"""The hand-made wire fixtures, and what each of them says."""

from pathlib import Path

from spanledger_instrumentation.body import Body
from spanledger_instrumentation.providers import anthropic_messages, openai_chat, openai_responses
from spanledger_instrumentation.providers.wire import Wire
from spanledger_instrumentation.usage import Answer, Usage
from tests.instrumentation import openai_family

DATA = Path(__file__).parent.parent / "data"

CHAT = Usage(
    input_tokens=1200,
    output_tokens=340,
    cache_read_input_tokens=1024,
    cache_write_input_tokens=64,
    reasoning_output_tokens=128,
    audio_input_tokens=8,
    audio_output_tokens=4,
    image_input_tokens=16,
)
RESPONSE = Usage(
    input_tokens=2000,
    output_tokens=500,
    cache_read_input_tokens=1500,
    cache_write_input_tokens=300,
    cache_write_30m_input_tokens=200,
    cache_write_12h_input_tokens=100,
    reasoning_output_tokens=320,
)
MESSAGE = Usage(
    input_tokens=42600,
    output_tokens=900,
    cache_read_input_tokens=40000,
    cache_write_input_tokens=2500,
    cache_write_5m_input_tokens=500,
    cache_write_1h_input_tokens=2000,
    reasoning_output_tokens=640,
    web_search_requests=3,
)
MESSAGE_BEGUN = Usage(
    input_tokens=42600,
    output_tokens=1,
    cache_read_input_tokens=40000,
    cache_write_input_tokens=2500,
    cache_write_5m_input_tokens=500,
    cache_write_1h_input_tokens=2000,
)
_OPENAI = {"id": "chatcmpl-A1", "model": "gpt-5-2025-08-07", "service_tier": "default", "begun": True}
_RESPONSE = {"id": "resp_B1", "model": "gpt-5-2025-08-07", "service_tier": "priority", "begun": True}
_MESSAGE = {
    "id": "msg_C1",
    "model": "claude-opus-4-5-20251101",
    "service_tier": "priority",
    "details": {"anthropic.response.inference_geo": "us", "anthropic.response.speed": "fast"},
    "begun": True,
}
_BOTH = ("stop", "length")
_ENDED = {"usage_final": True, "done": True}

STREAMS: dict[str, tuple[Wire, Answer]] = {
    "openai/chat_stream.sse": (
        openai_chat.WIRE,
        Answer(**_OPENAI, usage=CHAT, finish_reasons=_BOTH, choices=2, **_ENDED),
    ),
    "openai/chat_stream_without_usage.sse": (
        openai_chat.WIRE,
        Answer(**_OPENAI, finish_reasons=_BOTH, choices=2, **_ENDED),
    ),
    "openai/response_stream.sse": (
        openai_responses.WIRE,
        Answer(**_RESPONSE, usage=RESPONSE, finish_reasons=("completed",), **_ENDED),
    ),
    "openai/response_stream_incomplete.sse": (
        openai_responses.WIRE,
        Answer(**_RESPONSE, usage=RESPONSE, finish_reasons=("max_output_tokens",), **_ENDED),
    ),
    "openai/response_stream_failed.sse": (
        openai_responses.WIRE,
        Answer(**_RESPONSE, finish_reasons=("error",), error_type="server_error", **_ENDED),
    ),
    "anthropic/message_stream.sse": (
        anthropic_messages.WIRE,
        Answer(**_MESSAGE, usage=MESSAGE, finish_reasons=("end_turn",), **_ENDED),
    ),
    "anthropic/message_stream_error.sse": (
        anthropic_messages.WIRE,
        Answer(**_MESSAGE, usage=MESSAGE_BEGUN, error_type="overloaded_error"),
    ),
    **openai_family.STREAMS,
}


def load(name: str) -> bytes:
    """Read a fixture."""
    return (DATA / name).read_bytes()


def stream_body(wire: Wire, encoding: str = "") -> Body:
    """Make the reader of a stream's bytes."""
    return Body(wire, content_type="text/event-stream; charset=utf-8", content_encoding=encoding)


def fed(body: Body, *pieces: bytes) -> Answer:
    """Feed all pieces and the end."""
    for piece in pieces:
        body.feed(piece)
    body.finish()
    return body.answer


def cut(content: bytes, places: list[int]) -> list[bytes]:
    """Cut content at these places."""
    ends = sorted({place % (len(content) + 1) for place in places} | {len(content)})
    return [content[start:end] for start, end in zip([0, *ends], ends, strict=False)]
