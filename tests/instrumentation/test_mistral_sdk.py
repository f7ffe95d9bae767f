"""The real Mistral SDK against a real server."""

from collections.abc import Iterator
from typing import Any

import pytest
from mistralai.client import Mistral
from mistralai.client.utils.retries import BackoffStrategy, RetryConfig

from tests.instrumentation.conftest import Spans
from tests.instrumentation.fixtures import load
from tests.wire_server import Reply, WireServer, sse_reply

MESSAGES: Any = [{"role": "user", "content": "hello"}]


@pytest.fixture
def client(server: WireServer, spans: Spans) -> Iterator[Mistral]:
    """A client."""
    with Mistral(server_url=server.url, api_key="test") as made:
        yield made


def figures(spans: Spans) -> dict[str, Any]:
    found = spans.attributes()
    assert found["spanledger.usage.status"] == "reported"
    parts = ("input_tokens", "output_tokens", "audio.input_tokens")
    names = [f"gen_ai.usage.{part}" for part in parts]
    names += [f"spanledger.usage.{unit}" for unit in ("input_audio_seconds", "pages", "web_search_requests")]
    return {name.split("usage.")[1]: found[name] for name in names if name in found}


def test_chat(client: Mistral, server: WireServer, spans: Spans) -> None:
    server.reply(Reply(pieces=[load("mistral/chat.json")]))
    client.chat.complete(model="mistral-large-latest", messages=MESSAGES, max_tokens=30)
    assert spans.one().name == "chat mistral-large-latest"
    assert spans.attributes()["openai.response.service_tier"] == "default"
    assert figures(spans) == {"input_tokens": 90, "output_tokens": 30}


def test_a_chat_stream(client: Mistral, server: WireServer, spans: Spans) -> None:
    server.reply(sse_reply(load("mistral/chat_stream.sse")))
    with client.chat.stream(model="mistral-large-latest", messages=MESSAGES) as events:
        assert list(events)
    assert figures(spans) == {"input_tokens": 90, "output_tokens": 30}


def test_agents_and_fill_in_the_middle(client: Mistral, server: WireServer, spans: Spans) -> None:
    server.reply(Reply(pieces=[load("mistral/chat.json")]), Reply(pieces=[load("mistral/chat.json")]))
    client.agents.complete(agent_id="ag_1", messages=MESSAGES)
    client.fim.complete(model="codestral-latest", prompt="def f(", suffix="return")
    operations = [dict(span.attributes or {})["gen_ai.operation.name"] for span in spans()]
    assert operations == ["chat", "text_completion"]
    assert [dict(span.attributes or {})["gen_ai.usage.input_tokens"] for span in spans()] == [90, 90]


def test_embeddings(client: Mistral, server: WireServer, spans: Spans) -> None:
    server.reply(Reply(pieces=[load("mistral/embeddings.json")]))
    client.embeddings.create(model="mistral-embed", inputs=["hello"], output_dimension=2)
    assert spans.attributes()["gen_ai.embeddings.dimension.count"] == 2
    assert figures(spans) == {"input_tokens": 15, "output_tokens": 0}


def test_ocr_is_billed_by_page(client: Mistral, server: WireServer, spans: Spans) -> None:
    server.reply(Reply(pieces=[load("mistral/ocr.json")]))
    client.ocr.process(
        model="mistral-ocr-latest", document={"type": "document_url", "document_url": "https://a.example/CANARY.pdf"}
    )
    assert spans.one().name == "ocr mistral-ocr-latest"
    assert figures(spans) == {"pages": 2}


def test_a_transcription(client: Mistral, server: WireServer, spans: Spans) -> None:
    server.reply(Reply(pieces=[load("mistral/transcription.json")]))
    client.audio.transcriptions.complete(
        model="voxtral-mini-latest", file={"file_name": "a.mp3", "content": b"CANARY-AUDIO" * 20_000}
    )
    assert spans.one().name == "transcription voxtral-mini-latest"
    expected = {"input_tokens": 2629, "output_tokens": 635, "audio.input_tokens": 2625, "input_audio_seconds": 203}
    assert figures(spans) == expected


def test_a_transcription_stream(client: Mistral, server: WireServer, spans: Spans) -> None:
    server.reply(sse_reply(load("mistral/transcription_stream.sse")))
    with client.audio.transcriptions.stream(
        model="voxtral-mini-latest", file={"file_name": "a.mp3", "content": b"CANARY-AUDIO"}
    ) as events:
        assert list(events)
    assert spans.attributes()["gen_ai.request.stream"] is True
    assert figures(spans)["input_tokens"] == 2629


def test_a_retry_is_a_span_of_its_own_that_says_so(client: Mistral, server: WireServer, spans: Spans) -> None:
    refused = Reply(status=429, headers={"retry-after": "0.001"}, pieces=[b"{}"])
    server.reply(refused, refused, Reply(pieces=[load("mistral/chat.json")]))
    retries = RetryConfig("backoff", BackoffStrategy(1, 10, 1.0, 60_000), retry_connection_errors=False)
    client.chat.complete(model="mistral-large-latest", messages=MESSAGES, retries=retries)
    found = [dict(span.attributes or {}) for span in spans()]
    assert [each.get("http.request.resend_count") for each in found] == [None, 1, 2]
    assert [each["spanledger.usage.status"] for each in found] == ["none", "none", "reported"]
