"""The real boto3 and AnthropicBedrock against a local server: usage, retries, errors and streams, one span a call."""

import json
from collections.abc import Iterator
from typing import Any

import anthropic
import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError, EventStreamError, ReadTimeoutError

from tests.instrumentation.amazon import message
from tests.instrumentation.conftest import Spans, instrumented
from tests.instrumentation.fixtures import load
from tests.wire_server import Cut, Gate, Reply, WireServer, json_reply

MODEL = "us.anthropic.claude-sonnet-4-5-20250929-v1:0"
MESSAGES = [{"role": "user", "content": [{"text": "CANARY"}]}]
INVOKED = json.dumps({"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, "messages": []})
CONVERSE = json.loads(load("bedrock/converse.json"))
HEAD = {"content-type": "application/vnd.amazon.eventstream", "x-amzn-requestid": "r-1"}
USAGE = {
    "gen_ai.usage.input_tokens": 2800,
    "gen_ai.usage.output_tokens": 340,
    "gen_ai.usage.cache_read.input_tokens": 1000,
    "gen_ai.usage.cache_write.input_tokens": 1700,
    "anthropic.usage.cache_creation.ephemeral_5m_input_tokens": 500,
    "anthropic.usage.cache_creation.ephemeral_1h_input_tokens": 1200,
    "spanledger.usage.status": "reported",
}


@pytest.fixture
def runtime(server: WireServer) -> Iterator[Any]:
    client = runtime_of(server)
    yield client
    client.close()


def runtime_of(server: WireServer) -> Any:
    return boto3.client(
        "bedrock-runtime",
        region_name="us-east-1",
        endpoint_url=server.url,
        aws_access_key_id="AKIDEXAMPLE",
        aws_secret_access_key="secret",
        config=Config(retries={"mode": "standard", "max_attempts": 3}, read_timeout=2),
    )


def stream(name: str, *cuts: Any) -> Reply:
    content = load(f"bedrock/{name}.bin")
    return Reply(headers=HEAD, pieces=cuts or [content[at : at + 97] for at in range(0, len(content), 97)])


def has_usage(spans: Spans) -> bool:
    attributes = spans.attributes()
    return {name: attributes.get(name) for name in USAGE} == USAGE


def test_converse(server: WireServer, spans: Spans, runtime: Any) -> None:
    server.reply(json_reply(CONVERSE))
    answer = runtime.converse(modelId=MODEL, messages=MESSAGES, inferenceConfig={"maxTokens": 50})
    assert answer["usage"] == CONVERSE["usage"]
    assert has_usage(spans)
    attributes = spans.attributes()
    assert spans.one().name == f"chat {MODEL}"
    assert attributes["gen_ai.provider.name"] == "aws.bedrock"
    assert attributes["gen_ai.request.max_tokens"] == 50
    assert attributes["gen_ai.response.finish_reasons"] == ("end_turn",)
    assert attributes["spanledger.response.service_tier"] == "flex"
    assert "gen_ai.request.stream" not in attributes
    assert "CANARY" not in str(attributes)


def test_converse_stream(server: WireServer, spans: Spans, runtime: Any) -> None:
    server.reply(stream("converse_stream"))
    answer = runtime.converse_stream(modelId=MODEL, messages=MESSAGES)
    events = list(answer["stream"])
    assert events[-1]["metadata"]["usage"] == CONVERSE["usage"]
    assert has_usage(spans)
    assert spans.attributes()["gen_ai.request.stream"] is True
    assert spans.attributes()["gen_ai.response.time_to_first_chunk"] > 0


def test_invoke_model(server: WireServer, spans: Spans, runtime: Any) -> None:
    server.reply(json_reply(json.loads(load("bedrock/invoke_anthropic.json"))))
    answer = runtime.invoke_model(modelId=MODEL, body=INVOKED)
    assert json.loads(answer["body"].read())["id"] == "msg_bdrk_01A"
    assert has_usage(spans)
    assert spans.attributes()["gen_ai.response.id"] == "msg_bdrk_01A"


def test_invoke_model_by_its_headers(server: WireServer, spans: Spans, runtime: Any) -> None:
    head = {f"x_amzn_bedrock_{part}_token_count": count for part, count in (("input", "9"), ("output", "112"))}
    body = {"generations": [{"text": "x", "finish_reason": "COMPLETE"}]}
    server.reply(json_reply(body, 200, x_amzn_bedrock_service_tier="priority", **head))
    answer = runtime.invoke_model(modelId="cohere.command-text-v14", body=json.dumps({"prompt": "x"}))
    assert [json.loads(line) for line in answer["body"].iter_lines()] == [body]
    attributes = spans.attributes()
    assert (attributes["gen_ai.usage.input_tokens"], attributes["gen_ai.usage.output_tokens"]) == (9, 112)
    assert attributes["spanledger.response.service_tier"] == "priority"


def test_invoke_model_with_response_stream(server: WireServer, spans: Spans, runtime: Any) -> None:
    server.reply(stream("invoke_anthropic_stream"))
    answer = runtime.invoke_model_with_response_stream(modelId=MODEL, body=INVOKED)
    events = [json.loads(event["chunk"]["bytes"]) for event in answer["body"]]
    assert events[-1]["amazon-bedrock-invocationMetrics"]["outputTokenCount"] == 297
    assert has_usage(spans)


def test_embeddings(server: WireServer, spans: Spans, runtime: Any) -> None:
    server.reply(json_reply({"embedding": [0.1] * 20_000}, x_amzn_bedrock_input_token_count="7"))
    body = json.dumps({"inputText": "x", "dimensions": 512})
    runtime.invoke_model(modelId="amazon.titan-embed-text-v2:0", body=body)["body"].read()
    attributes = spans.attributes()
    assert spans.one().name == "embeddings amazon.titan-embed-text-v2:0"
    assert (attributes["gen_ai.usage.input_tokens"], attributes["gen_ai.embeddings.dimension.count"]) == (7, 512)


def test_an_app_sees_the_same_with_and_without_us(server: WireServer) -> None:
    def see() -> Any:
        server.reply(json_reply(CONVERSE), *(stream(name) for name in ("converse_stream", "invoke_nova_stream")))
        client = runtime_of(server)
        whole = client.converse(modelId=MODEL, messages=MESSAGES)
        events = list(client.converse_stream(modelId=MODEL, messages=MESSAGES)["stream"])
        chunks = list(client.invoke_model_with_response_stream(modelId=MODEL, body=INVOKED)["body"])
        client.close()
        return whole["output"], events, chunks

    spans = Spans()
    without = see()
    with instrumented(spans.provider):
        assert see() == without
    assert len(spans()) == 3


def test_attempts_that_are_repeated_carry_no_usage(server: WireServer, spans: Spans, runtime: Any) -> None:
    throttled = json_reply({"message": "Too many requests"}, 429, x_amzn_errortype="ThrottlingException:http://x/")
    server.reply(throttled, json_reply(CONVERSE))
    runtime.converse(modelId=MODEL, messages=MESSAGES)
    first, second = (dict(span.attributes or {}) for span in spans())
    assert (first["error.type"], first["spanledger.usage.status"]) == ("ThrottlingException", "none")
    assert "http.request.resend_count" not in first
    assert "gen_ai.usage.input_tokens" not in first
    assert second["http.request.resend_count"] == 1
    assert second["gen_ai.usage.input_tokens"] == 2800


def test_a_refusal_raises_the_same_and_says_why(server: WireServer, spans: Spans, runtime: Any) -> None:
    head = {"x_amzn_errortype": "ValidationException:http://internal.amazon.com/coral/com.amazon.bedrock/"}
    server.reply(json_reply({"message": "The provided model identifier is invalid."}, 400, **head))
    with pytest.raises(ClientError, match="ValidationException"):
        runtime.converse_stream(modelId="does-not-exist", messages=MESSAGES)
    attributes = spans.attributes()
    assert (attributes["error.type"], attributes["http.response.status_code"]) == ("ValidationException", 400)


def test_an_exception_within_a_stream_raises_the_same(server: WireServer, spans: Spans, runtime: Any) -> None:
    begun = message("messageStart", {"role": "assistant"})
    failed = message("modelStreamErrorException", {"message": "x"}, kind="exception")
    server.reply(stream("converse_stream", begun, failed))
    events = runtime.converse_stream(modelId=MODEL, messages=MESSAGES)["stream"]
    with pytest.raises(EventStreamError, match="modelStreamErrorException"):
        list(events)
    events.close()
    attributes = spans.attributes()
    assert attributes["error.type"] == "ModelStreamErrorException"
    assert attributes["spanledger.usage.status"] == "unreported"


def test_a_stream_that_is_closed_half_way_is_unreported(server: WireServer, spans: Spans, runtime: Any) -> None:
    server.reply(stream("converse_stream", load("bedrock/converse_stream.bin")[:400], Gate()))
    events = runtime.converse_stream(modelId=MODEL, messages=MESSAGES)["stream"]
    assert "messageStart" in next(iter(events))
    events.close()
    attributes = spans.attributes()
    assert attributes["spanledger.usage.status"] == "unreported"
    assert attributes["gen_ai.response.finish_reasons"] == ("error",)


def test_a_stream_that_breaks_raises_the_same(server: WireServer, spans: Spans, runtime: Any) -> None:
    server.reply(stream("converse_stream", load("bedrock/converse_stream.bin")[:400], Cut()))
    with pytest.raises(Exception, match=r"prematurely|broken"):
        list(runtime.converse_stream(modelId=MODEL, messages=MESSAGES)["stream"])
    assert spans.attributes()["error.type"] == "ProtocolError"


def test_a_timeout_within_a_stream_raises_the_same(server: WireServer, spans: Spans, runtime: Any) -> None:
    server.reply(stream("converse_stream", load("bedrock/converse_stream.bin")[:400], Gate()))
    with pytest.raises(Exception, match=r"timed out|Read timeout") as raised:
        list(runtime.converse_stream(modelId=MODEL, messages=MESSAGES)["stream"])
    assert "Timeout" in type(raised.value).__name__ or isinstance(raised.value, ReadTimeoutError)
    assert spans.attributes()["error.type"] == "ReadTimeoutError"


@pytest.fixture
def claude(server: WireServer) -> Iterator[anthropic.AnthropicBedrock]:
    with anthropic.AnthropicBedrock(
        aws_access_key="AKIDEXAMPLE",
        aws_secret_key="secret",
        aws_region="us-east-1",
        base_url=server.url,
        max_retries=0,
    ) as client:
        yield client


def test_the_sdk_of_anthropic(server: WireServer, spans: Spans, claude: anthropic.AnthropicBedrock) -> None:
    server.reply(json_reply(json.loads(load("bedrock/invoke_anthropic.json"))))
    answer = claude.messages.create(model=MODEL, max_tokens=9, messages=[{"role": "user", "content": "x"}])
    assert answer.usage.output_tokens == 340
    assert has_usage(spans)
    assert spans.attributes()["gen_ai.request.model"] == MODEL


def test_a_stream_of_the_sdk_of_anthropic(server: WireServer, spans: Spans, claude: anthropic.AnthropicBedrock) -> None:
    server.reply(stream("invoke_anthropic_stream"))
    with claude.messages.stream(model=MODEL, max_tokens=9, messages=[{"role": "user", "content": "x"}]) as answer:
        assert answer.get_final_message().usage.output_tokens == 340
    assert has_usage(spans)
    assert spans.attributes()["gen_ai.provider.name"] == "aws.bedrock"
