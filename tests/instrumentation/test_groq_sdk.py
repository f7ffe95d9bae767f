"""The real Groq SDK, which speaks httpx, against a real server."""

from collections.abc import Iterator
from typing import Any

import groq
import pytest

from tests.instrumentation.conftest import Spans
from tests.instrumentation.fixtures import load
from tests.wire_server import Reply, WireServer, sse_reply

MESSAGES: Any = [{"role": "user", "content": "hello"}]


@pytest.fixture
def client(server: WireServer, spans: Spans) -> Iterator[groq.Groq]:
    """A client without retries."""
    with groq.Groq(base_url=server.url, api_key="test", max_retries=0) as made:
        yield made


def tokens(spans: Spans) -> tuple[int, ...]:
    found = spans.attributes()
    assert found["spanledger.usage.status"] == "reported"
    names = ("input_tokens", "output_tokens", "cache_read.input_tokens", "reasoning.output_tokens")
    return tuple(found[f"gen_ai.usage.{name}"] for name in names)


def test_chat(client: groq.Groq, server: WireServer, spans: Spans) -> None:
    server.reply(Reply(pieces=[load("groq/chat.json")]))
    client.chat.completions.create(model="groq/compound", messages=MESSAGES)
    assert tokens(spans) == (120, 60, 100, 30)


@pytest.mark.parametrize("name", ["groq/chat_stream.sse", "groq/chat_stream_with_usage.sse"])
def test_a_stream_is_counted_once(client: groq.Groq, server: WireServer, spans: Spans, name: str) -> None:
    server.reply(sse_reply(load(name)))
    list(client.chat.completions.create(model="openai/gpt-oss-120b", messages=MESSAGES, stream=True))
    assert tokens(spans) == (120, 60, 100, 30)


def test_a_transcription(client: groq.Groq, server: WireServer, spans: Spans) -> None:
    server.reply(Reply(pieces=[load("openai/transcription_verbose.json")]))
    client.audio.transcriptions.create(model="whisper-large-v3", file=("a.mp3", b"CANARY"))
    assert spans.one().name == "transcription whisper-large-v3"
    assert spans.attributes()["spanledger.usage.input_audio_seconds"] == 8.470000267028809
