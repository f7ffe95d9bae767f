"""Bedrock's answers, class by class: Converse, and whatever vendor's body InvokeModel carries."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanledger_instrumentation.body import Body
from spanledger_instrumentation.document import Document
from spanledger_instrumentation.providers import bedrock_converse, bedrock_invoke, hosts, routes
from spanledger_instrumentation.providers.wire import Wire
from spanledger_instrumentation.usage import Answer, Usage, usage_status
from tests.instrumentation.amazon import chunk, message
from tests.instrumentation.fixtures import cut, fed, load
from tests.instrumentation.providers.wires import request

INPUT = {"input_tokens": 2800, "cache_read_input_tokens": 1000, "cache_write_input_tokens": 1700}
COUNTED = Usage(**INPUT, output_tokens=340)
DETAILED = Usage(**INPUT, output_tokens=340, cache_write_5m_input_tokens=500, cache_write_1h_input_tokens=1200)
ENDED = {"begun": True, "done": True, "usage_final": True}
STREAMS: dict[str, tuple[Wire, Answer]] = {
    "converse_stream": (
        bedrock_converse.WIRE,
        Answer(usage=DETAILED, finish_reasons=("end_turn",), service_tier="flex", **ENDED),
    ),
    "invoke_anthropic_stream": (
        bedrock_invoke.WIRE,
        Answer(
            id="msg_bdrk_01A",
            model="claude-sonnet-4-5-20250929",
            usage=DETAILED,
            finish_reasons=("end_turn",),
            **ENDED,
        ),
    ),
    "invoke_nova_stream": (bedrock_invoke.WIRE, Answer(usage=COUNTED, finish_reasons=("end_turn",), **ENDED)),
    "invoke_llama_stream": (
        bedrock_invoke.WIRE,
        Answer(usage=Usage(input_tokens=100, output_tokens=340), finish_reasons=("stop",), **ENDED),
    ),
}
NAMED = pytest.mark.parametrize("name", STREAMS)


def body(wire: Wire) -> Body:
    return Body(wire, content_type="application/vnd.amazon.eventstream", content_encoding="")


def streamed(wire: Wire, *pieces: bytes) -> Answer:
    return fed(body(wire), *pieces)


@NAMED
def test_a_stream_is_read_whole(name: str) -> None:
    wire, answer = STREAMS[name]
    assert streamed(wire, load(f"bedrock/{name}.bin")) == answer


@NAMED
def test_a_stream_is_read_byte_by_byte(name: str) -> None:
    wire, answer = STREAMS[name]
    content = load(f"bedrock/{name}.bin")
    assert streamed(wire, *(content[at : at + 1] for at in range(len(content)))) == answer


@NAMED
@given(places=st.lists(st.integers(min_value=0), max_size=30))
def test_a_stream_is_read_however_it_is_cut(name: str, places: list[int]) -> None:
    wire, answer = STREAMS[name]
    assert streamed(wire, *cut(load(f"bedrock/{name}.bin"), places)) == answer


@NAMED
def test_a_stream_that_ends_early_is_not_taken_for_a_whole_one(name: str) -> None:
    wire, _ = STREAMS[name]
    answer = streamed(wire, load(f"bedrock/{name}.bin")[:-20])
    assert not answer.done
    assert usage_status(answer, whole=answer.complete(), sent=True) in ("unreported", "partial", "reported")
    assert name == "invoke_anthropic_stream" or not answer.usage_final


def test_a_whole_answer_of_converse_is_read() -> None:
    answer = bedrock_converse.read_answer(Document(load("bedrock/converse.json")))
    assert answer == Answer(
        usage=DETAILED, finish_reasons=("end_turn",), service_tier="flex", begun=True, usage_final=True
    )


def test_lifetimes_that_were_not_written_are_not_zero() -> None:
    usage = {"inputTokens": 1, "outputTokens": 2, "cacheWriteInputTokens": 3, "cacheDetails": [{"ttl": "5m"}, "x"]}
    read = bedrock_converse.read_usage(usage)
    assert (read.input_tokens, read.cache_read_input_tokens) == (4, None)
    assert (read.cache_write_5m_input_tokens, read.cache_write_1h_input_tokens) == (0, None)


@pytest.mark.parametrize("wire", [bedrock_converse.WIRE, bedrock_invoke.WIRE], ids=["converse", "invoke"])
def test_an_exception_within_a_stream_is_its_error(wire: Wire) -> None:
    begun = message("messageStart", {"role": "assistant"})
    answer = streamed(wire, begun, message("throttlingException", {"message": "x"}, kind="exception"))
    assert answer.error_type == "ThrottlingException"
    assert not answer.complete()


# Shapes: the recordings of opentelemetry-instrumentation-bedrock 0.62.4 and -botocore 0.66b2, and AWS's page
# docs.aws.amazon.com/bedrock/latest/userguide/model-parameters.html (November 2026).
WHOLE: dict[str, tuple[Any, Usage | None, tuple[str, ...]]] = {
    "anthropic completion": (
        {"type": "completion", "completion": "x", "stop_reason": "stop_sequence"},
        None,
        ("stop_sequence",),
    ),
    "nova": (
        {
            "output": {"message": {"content": [{"text": "usage"}]}},
            "stopReason": "max_tokens",
            "usage": {
                "inputTokens": 100,
                "outputTokens": 340,
                "cacheReadInputTokenCount": 1000,
                "cacheWriteInputTokenCount": 1700,
            },
        },
        COUNTED,
        ("max_tokens",),
    ),
    "titan": (
        {
            "inputTextTokenCount": 28.0,
            "results": [{"tokenCount": 197.0, "completionReason": "FINISH"}, {"tokenCount": 3}],
        },
        Usage(input_tokens=28, output_tokens=200),
        ("FINISH",),
    ),
    "titan embeddings": ({"embedding": [0.1], "inputTextTokenCount": 5}, Usage(input_tokens=5), ()),
    "llama": (
        {"generation": "x", "prompt_token_count": 8, "generation_token_count": 35, "stop_reason": "stop"},
        Usage(input_tokens=8, output_tokens=35),
        ("stop",),
    ),
    "mistral": ({"outputs": [{"text": "x", "stop_reason": "length"}]}, None, ("length",)),
    "cohere command": ({"id": "1", "generations": [{"finish_reason": "COMPLETE"}], "prompt": "x"}, None, ("COMPLETE",)),
    "cohere command r": ({"response_id": "1", "text": "x", "finish_reason": "MAX_TOKENS"}, None, ("MAX_TOKENS",)),
    "cohere embed": ({"id": "1", "embeddings": [[0.1]], "texts": ["x"]}, None, ()),
    "ai21": ({"id": 1234, "completions": [{"finishReason": {"reason": "endoftext"}}]}, None, ("endoftext",)),
    "imported": (
        {
            "object": "text_completion",
            "choices": [{"index": 0, "text": "x", "finish_reason": "length"}],
            "usage": {"prompt_tokens": 6, "completion_tokens": 100, "total_tokens": 106},
        },
        Usage(input_tokens=6, output_tokens=100),
        ("length",),
    ),
    "another": ({"x": 1}, None, ()),
}


@pytest.mark.parametrize("vendor", WHOLE)
def test_a_whole_answer_of_each_vendor_is_read(vendor: str) -> None:
    content, usage, reasons = WHOLE[vendor]
    answer = bedrock_invoke.read_answer(Document(json.dumps(content).encode()))
    assert (answer.usage, answer.finish_reasons) == (usage, reasons)


def test_a_whole_answer_of_anthropic_keeps_all_its_classes() -> None:
    answer = bedrock_invoke.read_answer(Document(load("bedrock/invoke_anthropic.json")))
    head = {"x-amzn-bedrock-input-token-count": "100", "x-amzn-bedrock-service-tier": "priority"}
    bedrock_invoke.read_head(head, answer)
    assert (answer.usage, answer.service_tier, answer.id) == (DETAILED, "priority", "msg_bdrk_01A")


def test_headers_tell_what_the_body_leaves_out() -> None:
    answer = Answer()
    bedrock_invoke.read_head({}, answer)
    assert answer.usage is None
    bedrock_invoke.read_head(
        {
            "x-amzn-bedrock-input-token-count": "100",
            "x-amzn-bedrock-output-token-count": "340",
            "x-amzn-bedrock-cache-read-input-token-count": "1000",
            "x-amzn-bedrock-cache-write-input-token-count": "1700",
        },
        answer,
    )
    assert answer.usage == COUNTED


@pytest.mark.parametrize("value", ["", "-1", "1.5", "x", "9" * 30, "\u0661"])
def test_headers_that_are_no_counts_are_not_believed(value: str) -> None:
    answer = Answer()
    bedrock_invoke.read_head(
        {"x-amzn-bedrock-input-token-count": value, "x-amzn-bedrock-output-token-count": "3"}, answer
    )
    assert answer.usage is not None
    assert answer.usage.output_tokens == 3
    assert answer.usage.input_tokens in (None, 1)


def test_a_last_chunk_beyond_the_limit_is_read_from_its_ends() -> None:
    metrics = {"inputTokenCount": 28, "outputTokenCount": 188}
    for size in range(100_000, 100_008):  # the two ends of base64 are cut at any of its four characters
        last = chunk(
            {
                "outputText": "x" * size,
                "index": 0,
                "completionReason": "FINISH",
                "amazon-bedrock-invocationMetrics": metrics,
            }
        )
        assert streamed(bedrock_invoke.WIRE, last).usage == Usage(input_tokens=28, output_tokens=188)


@pytest.mark.parametrize("payload", [{}, {"bytes": "!"}, {"bytes": "AAA"}, {"bytes": 1}, {"p": "x"}, b'{"bytes":"AAAA'])
def test_a_chunk_that_wraps_nothing_is_passed_over(payload: Any) -> None:
    assert streamed(bedrock_invoke.WIRE, message("chunk", payload)) == Answer(begun=True)


def test_a_text_that_speaks_of_usage_is_none() -> None:
    said = chunk({"type": "content_block_delta", "delta": {"text": '"usage": {"input_tokens": 9}'}})
    said += chunk({"outputText": '"usage": {"inputTokens": 9}, "stop_reason": "x"', "index": 0})
    assert streamed(bedrock_invoke.WIRE, said) == Answer(begun=True)


def test_what_llama_counts_on_the_way_is_kept_when_its_stream_breaks() -> None:
    answer = streamed(bedrock_invoke.WIRE, load("bedrock/invoke_llama_stream.bin")[:-100])
    assert answer.usage == Usage(input_tokens=100, output_tokens=2)
    assert not answer.usage_final


@pytest.mark.parametrize(
    ("value", "error"),
    [
        ("ThrottlingException:http://internal.amazon.com/coral/com.amazon.bedrock/", "ThrottlingException"),
        ("com.amazon.bedrock#ValidationException", "ValidationException"),
        ("modelStreamErrorException", "ModelStreamErrorException"),
        ("a sentence of an error", None),
        ("", None),
        (None, None),
    ],
)
def test_exceptions_are_read_by_their_names(value: str | None, error: str | None) -> None:
    assert bedrock_converse.read_exception(value) == error
    assert bedrock_converse.read_error_head({} if value is None else {"x-amzn-errortype": value}) == error
    assert bedrock_converse.read_error(Document(json.dumps({"__type": value}).encode())) == error


@pytest.mark.parametrize(
    ("host", "region"),
    [
        ("bedrock-runtime.us-east-1.amazonaws.com", "us-east-1"),
        ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com", "us-gov-west-1"),
        ("bedrock-runtime.cn-north-1.amazonaws.com.cn", "cn-north-1"),
        ("bedrock-runtime.eu-central-1.api.aws", "eu-central-1"),
        ("bedrock-mantle.us-west-2.api.aws", "us-west-2"),
        ("vpce-0a1-b2c3.bedrock-runtime.us-east-1.vpce.amazonaws.com", "us-east-1"),
    ],
)
def test_hosts_of_aws_are_known_with_their_region(host: str, region: str) -> None:
    provider = hosts.provider_of(host)
    assert provider is not None
    assert provider.name == "aws.bedrock"
    assert hosts.region_of(host) == region


@pytest.mark.parametrize("host", ["s3.us-east-1.amazonaws.com", "bedrock-runtime.example.com", "127.0.0.1", ""])
def test_other_hosts_have_no_region(host: str) -> None:
    assert hosts.region_of(host) is None


URL = "https://bedrock-runtime.us-east-1.amazonaws.com/model/{}/{}"
PROFILE = "arn:aws:bedrock:us-east-1:012345678901:inference-profile/us.anthropic.claude-3-7-sonnet-20250219-v1:0"
QUOTED = PROFILE.replace(":", "%3A").replace("/", "%2F")


def found(model: str, last: str, content: Any = None, provider: str | None = "aws.bedrock") -> Wire | None:
    document = Document(json.dumps(content or {}).encode())
    candidates = routes.find("POST", f"/model/{model}/{last}".encode())
    return next((route.wire for route in candidates if route.leads(provider, document)), None)


@pytest.mark.parametrize(
    ("model", "wire"),
    [
        ("amazon.titan-embed-text-v2%3A0", bedrock_invoke.EMBEDDINGS),
        ("cohere.embed-v4%3A0", bedrock_invoke.EMBEDDINGS),
        ("amazon.nova-2-multimodal-embeddings-v1%3A0", bedrock_invoke.EMBEDDINGS),
        ("cohere.rerank-v3-5%3A0", bedrock_invoke.RERANK),
        ("amazon.nova-canvas-v1%3A0", bedrock_invoke.IMAGES),
        ("amazon.titan-image-generator-v2%3A0", bedrock_invoke.IMAGES),
        ("stability.sd3-5-large-v1%3A0", bedrock_invoke.IMAGES),
        ("anthropic.claude-sonnet-4-5-20250929-v1%3A0", bedrock_invoke.WIRE),
        (QUOTED, bedrock_invoke.WIRE),
    ],
)
def test_the_id_of_a_model_tells_its_operation(model: str, wire: Wire) -> None:
    assert found(model, "invoke") is wire
    assert found(model, "converse") is bedrock_converse.WIRE


def test_on_an_unknown_host_a_body_must_be_one_of_a_vendor() -> None:
    assert found("x", "invoke", {"instances": []}, provider=None) is None
    assert found("x", "invoke", {"anthropic_version": "bedrock-2023-05-31"}, provider=None) is bedrock_invoke.WIRE
    assert found("x", "converse-stream", {}, provider=None) is bedrock_converse.WIRE


@pytest.mark.parametrize("last", ["count-tokens", "invoke-with-bidirectional-stream"])
def test_what_costs_nothing_or_is_no_stream_of_ours_is_left_alone(last: str) -> None:
    assert found("x", last) is None
    assert routes.find("POST", b"/guardrail/x/version/1/apply") == ()
    assert routes.find("POST", b"/async-invoke") == ()


def test_a_request_to_converse_is_read() -> None:
    content = {
        "inferenceConfig": {"maxTokens": 10, "temperature": 0.5, "topP": 1},
        "additionalModelRequestFields": {"top_k": 5},
        "outputConfig": {"effort": "high", "textFormat": {"type": "json_schema"}},
    }
    made = request(content, URL.format(QUOTED, "converse-stream"), amz_sdk_request="attempt=3; max=5")
    assert bedrock_converse.streams(made)
    assert bedrock_converse.read_request(made) == {
        "gen_ai.request.model": PROFILE,
        "cloud.region": "us-east-1",
        "http.request.resend_count": 2,
        "gen_ai.request.max_tokens": 10,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.top_p": 1.0,
        "gen_ai.request.top_k": 5,
        "gen_ai.request.reasoning.level": "high",
        "gen_ai.output.type": "json",
    }


@pytest.mark.parametrize("value", ["", "attempt=1; max=5", "max=5", "attempt=x", "attempt=", "ttl=20261122T000000Z"])
def test_a_first_attempt_is_no_retry(value: str) -> None:
    made = request({}, URL.format("m", "invoke"), amz_sdk_request=value)
    assert bedrock_converse.read_place(made) == {"gen_ai.request.model": "m", "cloud.region": "us-east-1"}


@pytest.mark.parametrize(
    ("content", "tokens"),
    [
        ({"max_tokens": 10, "anthropic_version": "x"}, 10),
        ({"textGenerationConfig": {"maxTokenCount": 11}}, 11),
        ({"max_gen_len": 12}, 12),
        ({"inferenceConfig": {"maxTokens": 13}}, 13),
        ({"max_tokens_to_sample": 14}, 14),
    ],
)
def test_requests_of_the_vendors_are_read(content: Any, tokens: int) -> None:
    read = bedrock_invoke.read_request(request(content, URL.format("m", "invoke")))
    assert read["gen_ai.request.max_tokens"] == tokens


@pytest.mark.parametrize(
    ("content", "images"),
    [({"images": ["a", "b", None]}, 2), ({"artifacts": [{"base64": "a"}]}, 1), ({"images": []}, 0)],
)
def test_images_are_counted(content: Any, images: int) -> None:
    answer = bedrock_invoke.IMAGES.read_answer(Document(json.dumps(content).encode()))
    assert answer.usage == Usage(output_images=images)


@pytest.mark.parametrize(("config", "images"), [({"numberOfImages": 3}, 3), ({}, 1)])
def test_of_images_that_cannot_be_counted_those_asked_for_are_billed(config: Any, images: int) -> None:
    asked = bedrock_invoke.IMAGES.asked
    assert asked is not None
    made = request({"taskType": "TEXT_IMAGE", "imageGenerationConfig": config}, URL.format("m", "invoke"))
    assert asked(made) == Usage(output_images=images)
    assert bedrock_invoke.IMAGES.read_answer(Document(b'{"images": ["', b'"]}')).usage is None
