"""The real Anthropic SDK, with its own span (one call, one span) and with that switched off."""

import asyncio
import gc
from collections.abc import Callable, Iterator
from typing import Any

import anthropic
import pytest

from tests.instrumentation.conftest import Spans
from tests.instrumentation.fixtures import load
from tests.wire_server import Gate, Reply, WireServer, json_reply, sse_reply

MESSAGE = Reply(pieces=[load("anthropic/message.json")])
STREAM = sse_reply(load("anthropic/message_stream.sse"))
USAGE = {
    "gen_ai.usage.input_tokens": 42600,
    "gen_ai.usage.output_tokens": 900,
    "gen_ai.usage.cache_read.input_tokens": 40000,
    "gen_ai.usage.cache_write.input_tokens": 2500,
    "gen_ai.usage.reasoning.output_tokens": 640,
    "anthropic.usage.cache_creation.ephemeral_5m_input_tokens": 500,
    "anthropic.usage.cache_creation.ephemeral_1h_input_tokens": 2000,
    "spanledger.usage.web_search_requests": 3,
    "spanledger.usage.status": "reported",
}


def options(server: WireServer, spans: Spans, *, native: bool) -> dict[str, Any]:
    telemetry = {"tracer_provider": spans.provider, "traces": native}
    return {"base_url": server.url, "api_key": "test", "max_retries": 0, "open_telemetry": telemetry}


@pytest.fixture(params=[True, False], ids=["with its own span", "without"])
def native(request: pytest.FixtureRequest) -> bool:
    """Whether the SDK's own span is on."""
    return request.param


@pytest.fixture
def client(server: WireServer, spans: Spans, *, native: bool) -> Iterator[anthropic.Anthropic]:
    """A client without retries."""
    with anthropic.Anthropic(**options(server, spans, native=native)) as made:
        yield made


def create(client: Any, **more: Any) -> Any:
    messages = [{"role": "user", "content": "hello"}]
    return client.messages.create(model="claude-opus-4-5", max_tokens=100, messages=messages, **more)


def check(spans: Spans, *, native: bool) -> None:
    """Expect one span, theirs or ours, with the whole usage and what theirs lacks."""
    span, attributes = spans.one(), spans.attributes()
    assert span.instrumentation_scope is not None
    assert span.instrumentation_scope.name == ("com.anthropic.sdk.python" if native else "spanledger")
    usage = {name: value for name, value in attributes.items() if ".usage." in name}
    assert usage == USAGE
    assert attributes["gen_ai.response.finish_reasons"] == ("end_turn",)
    assert attributes["gen_ai.response.id"] == "msg_C1"
    assert attributes["anthropic.response.service_tier"] == "priority"
    assert attributes["anthropic.response.inference_geo"] == "us"
    assert attributes["anthropic.response.speed"] == "fast"
    assert attributes["gen_ai.request.model"] == "claude-opus-4-5"


def test_messages(client: anthropic.Anthropic, server: WireServer, spans: Spans, *, native: bool) -> None:
    server.reply(MESSAGE)
    assert create(client).usage.output_tokens == 900
    check(spans, native=native)


def test_a_litellm_proxy_says_what_the_call_cost(client: anthropic.Anthropic, server: WireServer, spans: Spans) -> None:
    headers = {"content-type": "application/json", "x-litellm-response-cost": "0.0031"}
    server.reply(Reply(headers=headers, pieces=[load("anthropic/message.json")]))
    create(client)
    assert spans.attributes()["gen_ai.usage.cost.amount"] == 0.0031


def test_messages_stream(client: anthropic.Anthropic, server: WireServer, spans: Spans, *, native: bool) -> None:
    server.reply(STREAM)
    assert [event.type for event in create(client, stream=True)][-1] == "message_stop"
    check(spans, native=native)


def test_the_stream_helper(client: anthropic.Anthropic, server: WireServer, spans: Spans, *, native: bool) -> None:
    server.reply(STREAM)
    messages: Any = [{"role": "user", "content": "hello"}]
    with client.messages.stream(model="claude-opus-4-5", max_tokens=100, messages=messages) as stream:
        assert stream.get_final_message().usage.output_tokens == 900
    check(spans, native=native)


@pytest.mark.parametrize("stream", [False, True])
def test_async(server: WireServer, spans: Spans, *, native: bool, stream: bool) -> None:
    server.reply(STREAM if stream else MESSAGE)

    async def main() -> None:
        async with anthropic.AsyncAnthropic(**options(server, spans, native=native)) as client:
            answer = await create(client, stream=stream)
            if stream:
                assert [event.type async for event in answer][-1] == "message_stop"

    asyncio.run(main())
    check(spans, native=native)


def test_raw_response(client: anthropic.Anthropic, server: WireServer, spans: Spans, *, native: bool) -> None:
    server.reply(MESSAGE)
    assert create(client.with_raw_response).http_response.content == load("anthropic/message.json")
    check(spans, native=native)


def test_a_refusal(client: anthropic.Anthropic, server: WireServer, spans: Spans, *, native: bool) -> None:
    server.reply(json_reply({"type": "error", "error": {"type": "rate_limit_error", "message": "x"}}, status=429))
    with pytest.raises(anthropic.RateLimitError):
        create(client)
    assert spans.attributes()["error.type"] == "rate_limit_error"
    assert spans.attributes()["http.response.status_code"] == 429
    assert spans.attributes().get("spanledger.usage.status") == (None if native else "none")


def test_a_retry_leaves_no_trace_of_the_failed_attempt_on_the_outer_span(server: WireServer, spans: Spans) -> None:
    server.reply(json_reply({"type": "error"}, status=500, retry_after_ms="1"), MESSAGE)
    with anthropic.Anthropic(**options(server, spans, native=True) | {"max_retries": 1}) as client:
        create(client)
    check(spans, native=True)
    assert "error.type" not in spans.attributes()
    assert spans.attributes()["http.response.status_code"] == 200
    assert spans.attributes()["http.request.resend_count"] == 1
    assert spans.one().status.status_code.name == "OK"


def test_an_error_in_the_middle_of_a_stream(
    client: anthropic.Anthropic, server: WireServer, spans: Spans, *, native: bool
) -> None:
    server.reply(sse_reply(load("anthropic/message_stream_error.sse"), Gate()))
    with pytest.raises(anthropic.APIError):
        list(create(client, stream=True))
    attributes = spans.attributes()
    assert attributes["error.type"] == "overloaded_error"
    assert attributes["spanledger.usage.status"] == "partial"
    assert attributes["gen_ai.usage.input_tokens"] == 42600


BEGUN = load("anthropic/message_stream.sse").partition(b"event: message_delta")[0]


def closed(client: Any) -> None:
    stream = create(client, stream=True)
    next(iter(stream))
    stream.close()


def dropped(client: Any) -> None:
    next(iter(create(client, stream=True)))
    gc.collect()


def raw(client: Any) -> None:
    messages: Any = [{"role": "user", "content": "hello"}]
    options: Any = {"model": "claude-opus-4-5", "max_tokens": 100, "messages": messages, "stream": True}
    with client.messages.with_streaming_response.create(**options) as response:
        next(response.iter_lines())


@pytest.mark.parametrize("abort", [closed, dropped, raw])
def test_an_aborted_stream(
    client: anthropic.Anthropic,
    server: WireServer,
    spans: Spans,
    caplog: pytest.LogCaptureFixture,
    abort: Callable[[Any], None],
    *,
    native: bool,
) -> None:
    server.reply(sse_reply(BEGUN, Gate()))
    abort(client)
    spans.wait(1)
    check_aborted(spans)
    assert not caplog.text


def test_an_aborted_async_stream(
    server: WireServer, spans: Spans, caplog: pytest.LogCaptureFixture, *, native: bool
) -> None:
    server.reply(sse_reply(BEGUN, Gate()))

    async def main() -> None:
        async with anthropic.AsyncAnthropic(**options(server, spans, native=native)) as client:
            stream = await create(client, stream=True)
            await anext(aiter(stream))
            await stream.close()

    asyncio.run(main())
    check_aborted(spans)
    assert not caplog.text


def check_aborted(spans: Spans) -> None:
    attributes = spans.attributes()
    assert attributes["gen_ai.usage.input_tokens"] == 42600
    assert attributes["anthropic.usage.cache_creation.ephemeral_1h_input_tokens"] == 2000
    assert attributes["spanledger.usage.status"] == "partial"


def test_counting_tokens_is_no_call(client: anthropic.Anthropic, server: WireServer, spans: Spans) -> None:
    server.reply(json_reply({"input_tokens": 5}))
    client.messages.count_tokens(model="claude-opus-4-5", messages=[{"role": "user", "content": "hello"}])
    assert not [span for span in spans() if "spanledger.usage.status" in (span.attributes or {})]
