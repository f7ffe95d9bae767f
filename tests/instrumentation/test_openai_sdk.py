"""The real OpenAI SDK against a real server."""

import asyncio
import contextlib
import gc
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest

from tests.instrumentation.conftest import Spans
from tests.instrumentation.fixtures import load
from tests.wire_server import Cut, Gate, Reply, WireServer, json_reply, sse_reply

CHAT = Reply(pieces=[load("openai/chat.json")])
CHAT_STREAM = sse_reply(load("openai/chat_stream.sse"))
MESSAGES: Any = [{"role": "user", "content": "hello"}]
TOKENS = ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "gen_ai.usage.cache_read.input_tokens")


@pytest.fixture
def client(server: WireServer, spans: Spans) -> Iterator[openai.OpenAI]:
    """A client without retries."""
    with openai.OpenAI(base_url=server.url + "/v1", api_key="test", max_retries=0) as made:
        yield made


def tokens(spans: Spans) -> tuple[int, int, int]:
    attributes = spans.attributes()
    assert attributes["spanledger.usage.status"] == "reported"
    return tuple(attributes[name] for name in TOKENS)  # type: ignore[return-value]


def chat(client: Any, **options: Any) -> Any:
    return client.chat.completions.create(model="gpt-5", messages=MESSAGES, **options)


def test_chat(client: openai.OpenAI, server: WireServer, spans: Spans) -> None:
    server.reply(CHAT)
    answer = chat(client, max_completion_tokens=50, temperature=0.5)
    assert answer.usage.prompt_tokens == 1200
    assert tokens(spans) == (1200, 340, 1024)
    assert spans.attributes()["gen_ai.request.max_tokens"] == 50
    assert "http.request.resend_count" not in spans.attributes()


def test_chat_stream(client: openai.OpenAI, server: WireServer, spans: Spans) -> None:
    server.reply(CHAT_STREAM)
    chunks = list(chat(client, stream=True, stream_options={"include_usage": True}))
    assert chunks[-1].usage.prompt_tokens == 1200
    assert tokens(spans) == (1200, 340, 1024)
    assert spans.attributes()["gen_ai.request.stream"] is True
    assert spans.attributes()["gen_ai.response.finish_reasons"] == ("stop", "length")


def test_a_chat_stream_without_usage_is_unreported(client: openai.OpenAI, server: WireServer, spans: Spans) -> None:
    server.reply(sse_reply(load("openai/chat_stream_without_usage.sse")))
    assert list(chat(client, stream=True))
    attributes = spans.attributes()
    assert attributes["spanledger.usage.status"] == "unreported"
    assert attributes["gen_ai.response.finish_reasons"] == ("stop", "length")
    assert not any(name in attributes for name in TOKENS)


def test_responses(client: openai.OpenAI, server: WireServer, spans: Spans) -> None:
    server.reply(Reply(pieces=[load("openai/response.json")]))
    assert client.responses.create(model="gpt-5", input="hello").usage
    assert tokens(spans) == (2000, 500, 1500)
    assert spans.attributes()["openai.usage.cache_write.ttl_12h_input_tokens"] == 100
    assert spans.attributes()["openai.response.service_tier"] == "priority"


def test_responses_stream(client: openai.OpenAI, server: WireServer, spans: Spans) -> None:
    server.reply(sse_reply(load("openai/response_stream.sse")))
    events = client.responses.create(model="gpt-5", input="hello", stream=True)
    assert [event.type for event in events][-1] == "response.completed"
    assert tokens(spans) == (2000, 500, 1500)


def test_a_retrieved_response_is_not_counted_again(client: openai.OpenAI, server: WireServer, spans: Spans) -> None:
    server.reply(Reply(pieces=[load("openai/response.json")]))
    client.responses.retrieve("resp_B1")
    assert not spans()


def test_embeddings(client: openai.OpenAI, server: WireServer, spans: Spans) -> None:
    server.reply(Reply(pieces=[load("openai/embeddings.json")]))
    client.embeddings.create(model="text-embedding-3-small", input="hello", dimensions=2)
    span = spans.one()
    assert span.name == "embeddings text-embedding-3-small"
    assert spans.attributes()["gen_ai.operation.name"] == "embeddings"
    assert spans.attributes()["gen_ai.embeddings.dimension.count"] == 2
    assert spans.attributes()["gen_ai.usage.input_tokens"] == 8


def test_raw_and_streaming_responses(client: openai.OpenAI, server: WireServer, spans: Spans) -> None:
    server.reply(CHAT, CHAT, CHAT_STREAM)
    raw = chat(client.with_raw_response)
    assert raw.http_response.content == load("openai/chat.json")
    with chat(client.with_streaming_response) as response:
        assert response.read() == load("openai/chat.json")
    with chat(client.with_streaming_response, stream=True) as response:
        assert b"".join(response.iter_bytes()) == load("openai/chat_stream.sse")
    assert [dict(span.attributes or {})["gen_ai.usage.input_tokens"] for span in spans()] == [1200] * 3


@pytest.mark.parametrize("stream", [False, True])
def test_async(server: WireServer, spans: Spans, *, stream: bool) -> None:
    server.reply(CHAT_STREAM if stream else CHAT)

    async def main() -> None:
        async with openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="test", max_retries=0) as client:
            answer: Any = await chat(client, stream=stream)
            if stream:
                assert [chunk async for chunk in answer][-1].usage.prompt_tokens == 1200
            else:
                assert answer.usage.prompt_tokens == 1200

    asyncio.run(main())
    assert tokens(spans) == (1200, 340, 1024)


@pytest.mark.parametrize(
    ("status", "error", "kind"),
    [
        (
            429,
            {"error": {"code": "rate_limit_exceeded", "type": "requests", "message": "CANARY"}},
            "rate_limit_exceeded",
        ),
        (500, {"error": {"code": None, "type": "server_error"}}, "server_error"),
        (502, {"oops": 1}, "502"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_refusals(
    client: openai.OpenAI, server: WireServer, spans: Spans, status: int, error: Any, kind: str, *, stream: bool
) -> None:
    server.reply(json_reply(error, status=status))
    with pytest.raises(openai.APIStatusError):
        chat(client, stream=stream)
    attributes = spans.attributes()
    assert attributes["error.type"] == kind
    assert attributes["http.response.status_code"] == status
    assert attributes["spanledger.usage.status"] == "none"
    assert spans.one().status.status_code.name == "ERROR"


def test_each_retry_is_a_span_of_its_own_and_only_the_last_has_tokens(server: WireServer, spans: Spans) -> None:
    again = json_reply({"error": {"type": "server_error"}}, status=500, retry_after_ms="1")
    server.reply(again, again, CHAT)
    with openai.OpenAI(base_url=server.url + "/v1", api_key="test", max_retries=2) as client:
        chat(client)
    found = [dict(span.attributes or {}) for span in spans()]
    assert [attributes.get("http.request.resend_count") for attributes in found] == [None, 1, 2]
    assert [attributes["spanledger.usage.status"] for attributes in found] == ["none", "none", "reported"]
    assert [attributes.get("gen_ai.usage.input_tokens") for attributes in found] == [None, None, 1200]


def test_a_refused_connection(spans: Spans) -> None:
    client = openai.OpenAI(base_url="http://127.0.0.1:1/v1", api_key="test", max_retries=0)
    with client, pytest.raises(openai.APIConnectionError):
        chat(client)
    assert spans.attributes()["error.type"] == "ConnectError"
    assert spans.attributes()["spanledger.usage.status"] == "none"


def test_a_timeout_may_have_cost_something(client: openai.OpenAI, server: WireServer, spans: Spans) -> None:
    gate = Gate()

    def answer(_: Any) -> Reply:
        gate.wait(10)
        return CHAT

    server.answer = answer
    with pytest.raises(openai.APITimeoutError):
        chat(client, timeout=httpx2.Timeout(5, read=0.05))
    gate.set()
    assert spans.attributes()["error.type"] == "ReadTimeout"
    assert spans.attributes()["spanledger.usage.status"] == "unreported"


def test_an_error_in_the_middle_of_a_stream(client: openai.OpenAI, server: WireServer, spans: Spans) -> None:
    begun = load("openai/chat_stream.sse").split(b"\n\n")[0] + b"\n\n"
    server.reply(sse_reply(begun, b'data: {"error": {"code": "overloaded", "message": "CANARY"}}\n\n', Gate()))
    with pytest.raises(openai.APIError, match="CANARY"):
        list(chat(client, stream=True))
    assert spans.attributes()["error.type"] == "overloaded"
    assert spans.attributes()["spanledger.usage.status"] == "unreported"
    assert spans.attributes()["gen_ai.response.finish_reasons"] == ("error",)


def test_a_response_that_fails_in_its_stream(client: openai.OpenAI, server: WireServer, spans: Spans) -> None:
    server.reply(sse_reply(load("openai/response_stream_failed.sse")))
    list(client.responses.create(model="gpt-5", input="hello", stream=True))
    assert spans.attributes()["error.type"] == "server_error"
    assert spans.one().status.status_code.name == "ERROR"


def test_a_stream_that_breaks(client: openai.OpenAI, server: WireServer, spans: Spans) -> None:
    server.reply(sse_reply(load("openai/chat_stream.sse")[:700], Cut()))
    with pytest.raises((openai.APIConnectionError, httpx2.RemoteProtocolError)):
        list(chat(client, stream=True))
    assert spans.attributes()["error.type"] == "RemoteProtocolError"


@pytest.mark.parametrize("way", ["close", "with", "drop"])
def test_aborted_streams(client: openai.OpenAI, server: WireServer, spans: Spans, way: str) -> None:
    server.reply(sse_reply(load("openai/chat_stream.sse")[:700], Gate()))
    stream = chat(client, stream=True)
    next(stream)
    if way == "close":
        stream.close()
    elif way == "with":
        with contextlib.suppress(KeyError), stream:
            raise KeyError
    del stream
    gc.collect()
    spans.wait(1)
    assert spans.attributes()["spanledger.usage.status"] == "unreported"
    assert spans.attributes()["gen_ai.response.id"] == "chatcmpl-A1"


def test_an_async_stream_left_half_read(server: WireServer, spans: Spans, caplog: pytest.LogCaptureFixture) -> None:
    server.reply(sse_reply(load("openai/chat_stream.sse")[:700], Gate()))

    async def main() -> None:
        async with openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="test", max_retries=0) as client:
            async for _ in await chat(client, stream=True):
                break

    asyncio.run(main())
    gc.collect()
    spans.wait(1)
    assert len(spans()) == 1
    assert "detach" not in caplog.text
