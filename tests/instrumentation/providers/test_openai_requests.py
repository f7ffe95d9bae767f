"""What the requests of the OpenAI family put on a span."""

from typing import Any

import pytest

from spanledger_instrumentation import form
from spanledger_instrumentation.providers import (
    mistral_conversations,
    mistral_ocr,
    openai_audio,
    openai_chat,
    openai_completions,
    openai_embeddings,
    openai_images,
    openai_moderations,
    openai_responses,
    rerank,
)
from spanledger_instrumentation.providers.wire import Wire
from spanledger_instrumentation.usage import Usage
from tests.instrumentation.providers.wires import request

ALL = [
    mistral_conversations.WIRE,
    mistral_ocr.WIRE,
    openai_audio.SPEECH,
    openai_audio.TRANSCRIPTION,
    openai_chat.WIRE,
    openai_completions.WIRE,
    openai_embeddings.WIRE,
    openai_images.WIRE,
    openai_moderations.FREE,
    openai_responses.WIRE,
    rerank.WIRE,
]
AZURE = "https://mine.openai.azure.com/openai/deployments/my-gpt/chat/completions?api-version=2025-01-01"


def read(wire: Wire, **members: Any) -> dict[str, Any]:
    return wire.read_request(request(members))


@pytest.mark.parametrize("wire", ALL)
def test_no_text_of_the_user_is_read(wire: Wire) -> None:
    texts = ("prompt", "input", "inputs", "instructions", "query", "document", "suffix", "user", "agent_id", "messages")
    found = read(wire, model="m", **dict.fromkeys(texts, "CANARY"))
    assert found.pop("gen_ai.request.model") == "m"
    assert "CANARY" not in str(found)


def test_completions() -> None:
    found = read(openai_completions.WIRE, model="m", prompt="CANARY", max_tokens=5, temperature=0, n=2, seed=1)
    assert found == {
        "gen_ai.request.model": "m",
        "gen_ai.request.max_tokens": 5,
        "gen_ai.request.temperature": 0.0,
        "gen_ai.request.choice.count": 2,
        "gen_ai.request.seed": 1,
    }


def test_images() -> None:
    found = read(openai_images.WIRE, model="dall-e-3", prompt="CANARY", n=2, size="1024x1792", quality="hd")
    assert found == {
        "gen_ai.request.model": "dall-e-3",
        "gen_ai.request.choice.count": 2,
        "gen_ai.output.type": "image",
        "spanledger.image.size": "1024x1792",
        "spanledger.image.quality": "hd",
    }
    assert read(openai_images.WIRE, size="CANARY", quality="a whole sentence") == {"gen_ai.output.type": "image"}


@pytest.mark.parametrize(("n", "images"), [(None, 1), (3, 3), (0, 1), (-1, 1), ("3", 1), (10**9, 1)])
def test_as_many_images_are_billed_as_are_asked_for(n: object, images: int) -> None:
    assert openai_images.asked(request({"prompt": "x", "n": n})) == Usage(output_images=images)


def test_speech_is_billed_by_the_characters_that_are_sent() -> None:
    assert openai_audio.SPEECH.asked is not None
    assert openai_audio.SPEECH.asked(request({"input": "Grüße 👋"})) == Usage(input_characters=7)
    assert openai_audio.SPEECH.asked(request({})) is None
    assert read(openai_audio.SPEECH, model="tts-1") == {"gen_ai.request.model": "tts-1", "gen_ai.output.type": "speech"}


@pytest.mark.parametrize(
    ("members", "streams"),
    [({"stream_format": "sse"}, True), ({"stream": True}, True), ({"stream_format": "audio"}, False)],
)
def test_speech_streams_events_only_if_asked(members: dict[str, Any], *, streams: bool) -> None:
    assert openai_audio.SPEECH.streams(request(members)) is streams


def test_transcriptions_are_asked_for_with_a_form() -> None:
    fields = form.document([("model", "whisper-1"), ("temperature", "0.5"), ("stream", "true"), ("prompt", "CANARY")])
    asked = request({})
    asked = type(asked)(host="", segments=("audio",), query="", document=fields, headers={})
    assert openai_audio.TRANSCRIPTION.streams(asked)
    assert openai_audio.TRANSCRIPTION.read_request(asked) == {
        "gen_ai.request.model": "whisper-1",
        "gen_ai.request.temperature": 0.5,
        "gen_ai.output.type": "text",
    }


def test_annotated_pages_cost_more() -> None:
    found = read(mistral_ocr.WIRE, model="m", document={}, bbox_annotation_format={"type": "json_schema"})
    assert found["spanledger.request.annotated"] is True
    assert "spanledger.request.annotated" not in read(mistral_ocr.WIRE, model="m", document_annotation_format=None)


def test_conversations() -> None:
    found = read(
        mistral_conversations.WIRE,
        inputs="CANARY",
        model="m",
        completion_args={"max_tokens": 5, "temperature": 0.5, "random_seed": 3, "response_format": {"type": "text"}},
    )
    assert found == {
        "gen_ai.request.model": "m",
        "gen_ai.request.max_tokens": 5,
        "gen_ai.request.temperature": 0.5,
        "gen_ai.request.seed": 3,
        "gen_ai.output.type": "text",
    }


@pytest.mark.parametrize("wire", ALL)
def test_azure_s_deployment_stands_in_the_path(wire: Wire) -> None:
    found = wire.read_request(request({"messages": []}, AZURE))
    assert (found["gen_ai.request.model"], found["spanledger.deployment"]) == ("my-gpt", "my-gpt")
    named = wire.read_request(request({"model": "gpt-5"}, AZURE))
    assert (named["gen_ai.request.model"], named["spanledger.deployment"]) == ("gpt-5", "my-gpt")


def test_an_engine_in_the_path_is_a_model_and_no_deployment() -> None:
    found = openai_completions.WIRE.read_request(request({}, "https://a.example/v1/engines/davinci/completions"))
    assert found == {"gen_ai.request.model": "davinci"}


@pytest.mark.parametrize(
    ("url", "name"),
    [
        ("https://mine.services.ai.azure.com/models/chat/completions", "azure.ai.inference"),
        ("https://mine.services.ai.azure.com/openai/v1/chat/completions", None),
        ("https://llm.example.com/models/chat/completions", None),
    ],
)
def test_azure_s_model_inference_is_told_apart(url: str, name: str | None) -> None:
    assert openai_chat.WIRE.read_request(request({}, url)).get("gen_ai.provider.name") == name
