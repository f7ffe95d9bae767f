"""What answers, refusals and paths of Google's APIs say, where the SDK's tests do not show it."""

import json
from typing import Any

import pytest

from spanledger_instrumentation.body import read
from spanledger_instrumentation.document import Document
from spanledger_instrumentation.providers import (
    gemini,
    gemini_embeddings,
    gemini_interactions,
    openai_chat,
    routes,
    vertex_predict,
)
from spanledger_instrumentation.providers.gemini import CANDIDATES_MAX, ContentStream
from spanledger_instrumentation.providers.hosts import provider_of
from spanledger_instrumentation.providers.wire import Wire
from spanledger_instrumentation.usage import Usage
from tests.instrumentation.fixtures import load
from tests.instrumentation.providers.wires import request

PUBLISHED = "/v1/projects/p/locations/us-east5/publishers"
MODELS = f"{PUBLISHED}/google/models"


def data(value: Any) -> bytes:
    return json.dumps(value).encode()


def wire_of(path: str, host: str, content: Any) -> Wire | None:
    """The wire format of a POST, `None` where it is no call of a model."""
    provider = provider_of(host)
    for route in routes.find("POST", path.encode()):
        if route.leads(provider and provider.name, Document(data(content))):
            return route.wire
    return None


@pytest.mark.parametrize(
    ("path", "content", "wire"),
    [
        ("/v1beta/models/gemini-2.5-flash:generateContent", {}, gemini.WIRE),
        ("/v1beta/tunedModels/mine:streamGenerateContent?alt=sse", {}, gemini.WIRE),
        ("/v1beta/models/gemini-embedding-001:embedContent", {}, gemini_embeddings.WIRE),
        ("/v1beta/models/gemini-embedding-001:batchEmbedContents", {}, gemini_embeddings.WIRE),
        ("/v1beta/interactions", {"model": "m", "input": "a"}, gemini_interactions.WIRE),
        (f"{MODELS}/gemini-2.5-flash:generateContent", {}, gemini.WIRE),
        (f"{MODELS}/text-embedding-005:predict", {"instances": [{}]}, vertex_predict.EMBEDDINGS),
        (f"{MODELS}/imagen-4.0-generate-001:predict", {"instances": [{}]}, vertex_predict.IMAGES),
        (f"{PUBLISHED}/anthropic/models/claude-opus-4-5@1:rawPredict", {"max_tokens": 9}, vertex_predict.ANTHROPIC),
        (f"{PUBLISHED}/anthropic/models/c:streamRawPredict", {"max_tokens": 9}, vertex_predict.ANTHROPIC),
        (f"{PUBLISHED}/mistralai/models/mistral-medium-3:rawPredict", {"messages": []}, vertex_predict.OPENAI),
    ],
)
def test_a_path_of_google_s_is_enough_on_any_host(path: str, content: Any, wire: Wire) -> None:
    assert wire_of(path, "gateway.example", content) is wire


@pytest.mark.parametrize(
    ("path", "content"),
    [
        ("/v1beta/models/gemini-2.5-flash:countTokens", {"contents": []}),
        (f"{MODELS}/gemini-2.5-flash:computeTokens", {"contents": []}),
        (f"{PUBLISHED}/anthropic/models/count-tokens:rawPredict", {"messages": [], "model": "m"}),
        ("/v1/models/half_plus_two:predict", {"instances": [1.0]}),
        ("/crm/interactions", {"customer": 1}),
        ("/v1beta/interactions/v1_E1/cancel", {}),
    ],
)
def test_what_is_free_or_no_model_is_no_call(path: str, content: Any) -> None:
    assert wire_of(path, "gateway.example", content) is None


@pytest.mark.parametrize(
    ("url", "model", "provider", "region"),
    [
        (
            "https://generativelanguage.googleapis.com/v1beta/models/gemini-2.5-pro:generateContent",
            "gemini-2.5-pro",
            None,
            None,
        ),
        ("https://gateway.example/v1beta/tunedModels/mine:generateContent", "tunedModels/mine", None, None),
        (
            f"https://us-east5-aiplatform.googleapis.com{MODELS}/gemini-2.5-pro:generateContent",
            "gemini-2.5-pro",
            "gcp.vertex_ai",
            "us-east5",
        ),
        (
            "https://europe-west4-aiplatform.googleapis.com/v1/publishers/google/models/gemini-2.5-pro:generateContent",
            "gemini-2.5-pro",
            "gcp.vertex_ai",
            "europe-west4",
        ),
        (
            "https://aiplatform.googleapis.com/v1/projects/p/locations/global/endpoints/123:generateContent",
            "endpoints/123",
            "gcp.vertex_ai",
            "global",
        ),
    ],
)
def test_model_api_and_region_stand_in_the_path(url: str, model: str, provider: str | None, region: str | None) -> None:
    found = gemini.WIRE.read_request(request({}, url))
    names = ("gen_ai.request.model", "gen_ai.provider.name", "cloud.region")
    assert tuple(map(found.get, names)) == (model, provider, region)


def test_an_interaction_names_its_model_in_the_body() -> None:
    body = {"model": "models/gemini-3.8-flash", "input": "a", "generation_config": {"thinking_level": "low"}}
    url = "https://aiplatform.googleapis.com/v1beta1/projects/p/locations/us-east5/interactions"
    assert gemini_interactions.WIRE.read_request(request(body, url)) == {
        "gen_ai.provider.name": "gcp.vertex_ai",
        "cloud.region": "us-east5",
        "gen_ai.request.model": "gemini-3.8-flash",
        "gen_ai.request.reasoning.level": "low",
    }


def test_the_members_of_a_request_may_be_written_either_way() -> None:
    url = "https://gateway.example/v1beta/models/m:generateContent"
    snake = {"max_output_tokens": 5, "top_p": 0.5, "candidate_count": 2, "thinking_config": {"thinking_level": "HIGH"}}
    camel = {"maxOutputTokens": 5, "topP": 0.5, "candidateCount": 2, "thinkingConfig": {"thinkingLevel": "HIGH"}}
    wanted = {
        "gen_ai.request.model": "m",
        "gen_ai.request.max_tokens": 5,
        "gen_ai.request.top_p": 0.5,
        "gen_ai.request.choice.count": 2,
        "gen_ai.request.reasoning.level": "high",
    }
    assert gemini.WIRE.read_request(request({"generation_config": snake}, url)) == wanted
    assert gemini.WIRE.read_request(request({"generationConfig": camel}, url)) == wanted


@pytest.mark.parametrize(
    ("host", "path", "name"),
    [
        ("generativelanguage.googleapis.com", "/v1beta/openai/chat/completions", "gcp.gemini"),
        ("us-central1-aiplatform.googleapis.com", "/v1/projects/p/endpoints/openapi/chat/completions", "gcp.vertex_ai"),
    ],
)
def test_openai_s_format_on_google_s_hosts_has_google_s_name(host: str, path: str, name: str) -> None:
    assert wire_of(path, host, {}) is openai_chat.WIRE
    provider = provider_of(host)
    assert provider is not None
    assert provider.name == name


@pytest.mark.parametrize("wrapped", [False, True])
def test_a_refusal_is_named_by_its_status_also_in_an_array(wrapped: bool) -> None:
    refusal = {"error": {"code": 429, "message": "a prompt", "status": "RESOURCE_EXHAUSTED"}}
    document = Document(data([refusal] if wrapped else refusal))
    assert gemini.WIRE.read_error(document) == "RESOURCE_EXHAUSTED"


@pytest.mark.parametrize("content", [b"[]", b"[1]", b"[", b'["error"]', b"{}", b"", b'[{"error":"text"}]'])
def test_a_refusal_of_another_shape_is_not_named(content: bytes) -> None:
    assert gemini.WIRE.read_error(Document(content)) is None


def test_a_prompt_that_was_blocked_says_why() -> None:
    answer = gemini.WIRE.read_answer(Document(load("gemini/content_blocked.json")))
    assert (answer.finish_reasons, answer.usage) == (("PROHIBITED_CONTENT",), Usage(input_tokens=8))
    assert answer.complete()


def test_figures_that_come_late_or_not_at_all_are_never_nothing() -> None:
    stream = ContentStream()
    for usage in (
        {"trafficType": "ON_DEMAND"},
        {"promptTokenCount": 10, "candidatesTokenCount": 3},
        {"promptTokenCount": 10, "toolUsePromptTokenCount": 5},
        None,
    ):
        stream.event(data({"candidates": [{"content": {}}], "usageMetadata": usage}), b"")
    assert stream.answer.usage == Usage(input_tokens=15, output_tokens=3)
    assert stream.answer.service_tier == "ON_DEMAND"
    assert not stream.answer.complete()


def test_chunks_without_any_figure_leave_the_usage_unreported() -> None:
    stream = ContentStream()
    stream.event(data({"usageMetadata": {"trafficType": "ON_DEMAND"}}), b"")
    assert stream.answer.usage is None
    assert stream.answer.begun


def test_each_candidate_ends_for_itself() -> None:
    stream = ContentStream()
    stream.event(data({"candidates": [{"index": 0, "finishReason": "STOP"}, {"index": 1}]}), b"")
    assert not stream.answer.complete()
    stream.event(data({"candidates": [{"index": 1, "finishReason": "MAX_TOKENS"}]}), b"")
    assert stream.answer.finish_reasons == ("STOP", "MAX_TOKENS")
    assert stream.answer.complete()


def test_candidates_and_searches_without_end_take_bounded_memory() -> None:
    stream = ContentStream()
    for index in range(1000):
        grounding = {"webSearchQueries": [f"{index}-{number}" for number in range(10)]}
        candidate = {"index": index, "finishReason": "STOP", "groundingMetadata": grounding}
        stream.event(data({"candidates": [candidate], "usageMetadata": {"promptTokenCount": 1}}), b"")
    assert len(stream.answer.finish_reasons) == CANDIDATES_MAX


def test_a_candidate_of_another_shape_is_left_out() -> None:
    stream = ContentStream()
    for candidate in ({"index": 0}, {"index": []}, {"index": {}}, 7, None):
        stream.event(data({"candidates": [candidate], "usageMetadata": {"promptTokenCount": 1}}), b"")
    assert stream.answer.usage == Usage(input_tokens=1)


@pytest.mark.parametrize(
    ("model", "searches"),
    [("gemini-3-pro-preview", 2), ("models/gemini-2.5-flash", 1), ("gemma-4", None), (None, None)],
)
def test_searches_are_billed_by_query_from_gemini_3_on_and_by_prompt_before(
    model: str | None, searches: int | None
) -> None:
    grounding = {"webSearchQueries": ["a", "", "b", "a", 7]}
    content = {
        "candidates": [{"finishReason": "STOP", "groundingMetadata": grounding}],
        "usageMetadata": {"promptTokenCount": 1},
        "modelVersion": model,
    }
    usage = gemini.WIRE.read_answer(Document(data(content))).usage
    assert usage == Usage(input_tokens=1, web_search_requests=searches)


def test_an_error_in_a_stream_is_named() -> None:
    stream = ContentStream()
    assert stream.event(data({"error": {"code": 503, "status": "UNAVAILABLE", "message": "x"}}), b"")
    assert (stream.answer.error_type, stream.answer.begun) == ("UNAVAILABLE", False)


def test_the_figures_of_an_answer_with_a_long_image_are_found_behind_it() -> None:
    chunk = {
        "candidates": [{"content": {"parts": [{"inlineData": {"data": "x" * 300_000}}]}, "finishReason": "STOP"}],
        "usageMetadata": {"promptTokenCount": 9, "candidatesTokenCount": 1290},
        "responseId": "gem-1",
    }
    for content in (b"data: " + data(chunk) + b"\n\n", data([chunk])):
        kind = "text/event-stream" if content.startswith(b"data") else "application/json"
        answer = read(gemini.WIRE, content, kind)
        assert (answer.id, answer.usage) == ("gem-1", Usage(input_tokens=9, output_tokens=1290))


def test_an_interaction_in_the_background_is_only_begun() -> None:
    answer = gemini_interactions.WIRE.read_answer(Document(load("gemini/interaction_pending.json")))
    assert (answer.pending, answer.usage, answer.finish_reasons) == (True, None, ())
    done = gemini_interactions.WIRE.read_answer(Document(load("gemini/interaction.json")))
    assert not done.pending


@pytest.mark.parametrize(
    ("status", "reasons", "error"),
    [
        ("failed", ("error",), "failed"),
        ("cancelled", ("error",), "cancelled"),
        ("requires_action", ("requires_action",), None),
        ("incomplete", ("incomplete",), None),
    ],
)
def test_how_an_interaction_ended(status: str, reasons: tuple[str, ...], error: str | None) -> None:
    answer = gemini_interactions.WIRE.read_answer(Document(data({"id": "i", "status": status})))
    assert (answer.finish_reasons, answer.error_type, answer.pending) == (reasons, error, False)


@pytest.mark.parametrize("content", [{}, {"predictions": "none"}, {"predictions": [1, {"embeddings": []}]}])
def test_predictions_of_another_shape_are_not_guessed(content: Any) -> None:
    embedded = vertex_predict.EMBEDDINGS.read_answer(Document(data(content))).usage
    assert embedded is not None
    assert not embedded.known()
    if not isinstance(content.get("predictions"), list):
        assert vertex_predict.IMAGES.read_answer(Document(data(content))).usage is None


def test_the_characters_of_embeddings_are_found_behind_long_vectors() -> None:
    content = {
        "predictions": [{"embeddings": {"values": [0.125] * 20_000}}],
        "metadata": {"billableCharacterCount": 36},
    }
    answer = vertex_predict.EMBEDDINGS.read_answer(Document.of(data(content), 1000))
    assert answer.usage == Usage(input_characters=36)
