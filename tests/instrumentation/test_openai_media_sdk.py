"""The real OpenAI SDK beyond chat, against a real server: images, audio, moderation, older completions, Azure."""

import asyncio
import io
from collections.abc import Iterator
from typing import Any

import httpx2
import openai
import pytest

from tests.instrumentation.conftest import Spans
from tests.instrumentation.fixtures import load
from tests.wire_server import Cut, Gate, Reply, WireServer, json_reply, sse_reply

USAGE = "gen_ai.usage."
OURS = "spanledger.usage."


@pytest.fixture
def client(server: WireServer, spans: Spans) -> Iterator[openai.OpenAI]:
    """A client without retries."""
    with openai.OpenAI(base_url=server.url + "/v1", api_key="test", max_retries=0) as made:
        yield made


def answered(name: str, content_type: str = "application/json") -> Reply:
    return Reply(headers={"content-type": content_type}, pieces=[load(name)])


def usage(spans: Spans) -> dict[str, Any]:
    """The figures of the only span, by their last names."""
    found = spans.attributes()
    figures = {name: value for name, value in found.items() if name.startswith((USAGE, OURS))}
    return {name.removeprefix(USAGE).removeprefix(OURS): value for name, value in figures.items()}


def speech_file(size: int = 200_000) -> tuple[str, io.BytesIO]:
    return "speech.mp3", io.BytesIO(b"CANARY-AUDIO" * (size // 12))


def test_older_completions(client: openai.OpenAI, server: WireServer, spans: Spans) -> None:
    server.reply(answered("openai/completion.json"), sse_reply(load("openai/completion_stream.sse")))
    client.completions.create(model="gpt-3.5-turbo-instruct", prompt="hi", max_tokens=7)
    assert spans.one().name == "text_completion gpt-3.5-turbo-instruct"
    assert usage(spans) == {"input_tokens": 5, "output_tokens": 7, "status": "reported"}
    spans.clear()
    list(client.completions.create(model="gpt-3.5-turbo-instruct", prompt="hi", stream=True))
    assert usage(spans) == {"input_tokens": 5, "output_tokens": 7, "status": "reported"}
    assert spans.attributes()["gen_ai.response.finish_reasons"] == ("length",)


def test_an_image(client: openai.OpenAI, server: WireServer, spans: Spans) -> None:
    server.reply(answered("openai/image.json"))
    client.images.generate(model="gpt-image-1", prompt="CANARY", size="auto", quality="auto")
    found = spans.attributes()
    assert spans.one().name == "image_generation gpt-image-1"
    assert found["gen_ai.output.type"] == "image"
    assert (found["spanledger.image.size"], found["spanledger.image.quality"]) == ("1024x1536", "high")
    assert usage(spans) == {
        "input_tokens": 150,
        "output_tokens": 1050,
        "text.input_tokens": 50,
        "image.input_tokens": 100,
        "text.output_tokens": 50,
        "image.output_tokens": 1000,
        "status": "reported",
    }


def test_images_that_are_billed_by_number(client: openai.OpenAI, server: WireServer, spans: Spans) -> None:
    server.reply(answered("openai/image_dalle.json"))
    client.images.generate(model="dall-e-2", prompt="CANARY", n=2, size="512x512")
    assert usage(spans) == {"output_images": 2, "status": "reported"}
    assert spans.attributes()["spanledger.image.size"] == "512x512"


def test_images_too_long_to_keep_are_counted_by_the_request(
    client: openai.OpenAI, server: WireServer, spans: Spans
) -> None:
    server.reply(json_reply({"created": 1, "data": [{"b64_json": "A" * 5_000_000}]}))
    client.images.generate(model="dall-e-3", prompt="CANARY")
    assert usage(spans) == {"output_images": 1, "status": "reported"}


def test_a_long_prompt_in_a_form_is_a_prompt(client: openai.OpenAI, server: WireServer, spans: Spans) -> None:
    server.reply(answered("openai/image.json"))
    image = io.BytesIO(b"CANARY" * 10_000)
    client.images.edit(model="gpt-image-1", prompt="CANARY " * 1000, image=image, size="1024x1024")
    assert spans.attributes()["gen_ai.request.model"] == "gpt-image-1"
    assert usage(spans)["image.output_tokens"] == 1000
    assert "CANARY" not in spans.one().to_json()


@pytest.mark.parametrize("chunked", [False, True])
def test_a_form_that_only_its_sender_can_read_has_no_model(server: WireServer, spans: Spans, *, chunked: bool) -> None:
    form = b'--b\r\nContent-Disposition: form-data; name="model"\r\n\r\nwhisper-1\r\n--b--\r\n'
    server.reply(answered("openai/transcription.json"))
    headers = {"content-type": "multipart/form-data; boundary=b"}
    content: Any = iter([form]) if chunked else form
    with httpx2.Client(base_url=server.url) as plain:
        plain.post("/v1/audio/transcriptions", content=content, headers=headers)
    assert server.requests[0].body == form
    assert spans.attributes().get("gen_ai.request.model") == (None if chunked else "whisper-1")
    assert usage(spans)["audio.input_tokens"] == 140


def test_image_streams(client: openai.OpenAI, server: WireServer, spans: Spans) -> None:
    server.reply(sse_reply(load("openai/image_stream.sse")), sse_reply(load("openai/image_edit_stream.sse")))
    list(client.images.generate(model="gpt-image-1", prompt="CANARY", stream=True, partial_images=1))
    list(client.images.edit(model="gpt-image-1", prompt="CANARY", image=io.BytesIO(b"CANARY"), stream=True))
    for span in spans():
        found = dict(span.attributes or {})
        assert found["gen_ai.request.stream"] is True
        assert found["gen_ai.request.model"] == "gpt-image-1"
        assert found["gen_ai.usage.output_tokens"] == 1050
        assert found["spanledger.usage.status"] == "reported"
    assert len(spans()) == 2


def test_an_image_stream_that_breaks_off_is_unreported(client: openai.OpenAI, server: WireServer, spans: Spans) -> None:
    server.reply(sse_reply(load("openai/image_stream.sse").split(b"event: image_generation.completed")[0], Cut()))
    with pytest.raises((openai.APIConnectionError, httpx2.RemoteProtocolError)):
        list(client.images.generate(model="gpt-image-1", prompt="CANARY", stream=True, partial_images=1))
    assert usage(spans) == {"status": "unreported"}


def test_an_image_stream_that_is_left_is_not_billed_by_number(
    client: openai.OpenAI, server: WireServer, spans: Spans
) -> None:
    server.reply(sse_reply(load("openai/image_stream.sse").split(b"event: image_generation.completed")[0], Gate()))
    events: Any = client.images.generate(model="gpt-image-1", prompt="CANARY", stream=True, partial_images=1)
    next(events)
    events.close()
    assert usage(spans) == {"status": "unreported"}


@pytest.mark.parametrize("size", [12, 200_000])
def test_a_transcription(client: openai.OpenAI, server: WireServer, spans: Spans, size: int) -> None:
    server.reply(answered("openai/transcription.json"))
    client.audio.transcriptions.create(model="gpt-4o-transcribe", file=speech_file(size), prompt="CANARY")
    assert server.requests[0].body.count(b"CANARY-AUDIO") == size // 12
    assert spans.one().name == "transcription gpt-4o-transcribe"
    assert usage(spans) == {
        "input_tokens": 140,
        "output_tokens": 45,
        "text.input_tokens": 0,
        "audio.input_tokens": 140,
        "status": "reported",
    }
    assert b"CANARY" not in spans.one().to_json().encode()


@pytest.mark.parametrize(
    ("name", "seconds"),
    [("openai/transcription_duration.json", 9.0), ("openai/transcription_verbose.json", 8.470000267028809)],
)
def test_a_transcription_that_is_billed_by_time(
    client: openai.OpenAI, server: WireServer, spans: Spans, name: str, seconds: float
) -> None:
    server.reply(answered(name), answered(name))
    client.audio.transcriptions.create(model="whisper-1", file=speech_file())
    assert usage(spans) == {"input_audio_seconds": seconds, "status": "reported"}
    spans.clear()
    with pytest.deprecated_call():
        translations: Any = client.audio.translations
        translations.create(model="whisper-1", file=speech_file())
    assert usage(spans) == {"input_audio_seconds": seconds, "status": "reported"}


@pytest.mark.parametrize("response_format", ["text", "srt", "vtt"])
def test_a_transcription_as_bare_text_has_no_usage(
    client: openai.OpenAI, server: WireServer, spans: Spans, response_format: Any
) -> None:
    text = b"WEBVTT\n\n00:00.000 --> 00:01.000\nevent: CANARY\ndata: CANARY\n\n"
    server.reply(Reply(headers={"content-type": "text/plain"}, pieces=[text]))
    client.audio.transcriptions.create(model="whisper-1", file=speech_file(), response_format=response_format)
    assert usage(spans) == {"status": "unreported"}
    assert "error.type" not in spans.attributes()


@pytest.mark.parametrize("asynchronous", [False, True])
def test_a_transcription_stream(client: openai.OpenAI, server: WireServer, spans: Spans, *, asynchronous: bool) -> None:
    server.reply(sse_reply(load("openai/transcription_stream.sse")))
    options: Any = {"model": "gpt-4o-transcribe", "file": speech_file(), "stream": True}

    async def main() -> None:
        async with openai.AsyncOpenAI(base_url=server.url + "/v1", api_key="test", max_retries=0) as other:
            events: Any = await other.audio.transcriptions.create(**options)
            assert [event.type async for event in events][-1] == "transcript.text.done"

    if asynchronous:
        asyncio.run(main())
    else:
        events: Any = client.audio.transcriptions.create(**options)
        assert list(events)[-1].type == "transcript.text.done"
    found = spans.attributes()
    assert (found["gen_ai.request.model"], found["gen_ai.request.stream"]) == ("gpt-4o-transcribe", True)
    assert usage(spans)["audio.input_tokens"] == 140


@pytest.mark.parametrize("streamed", [False, True])
def test_speech_is_billed_by_what_was_said(
    client: openai.OpenAI, server: WireServer, spans: Spans, *, streamed: bool
) -> None:
    audio = bytes(range(256)) * 300
    server.reply(Reply(headers={"content-type": "audio/mpeg"}, pieces=[audio[:1000], audio[1000:]]))
    options: Any = {"model": "tts-1", "voice": "alloy", "input": "CANARY!"}
    if streamed:
        with client.audio.speech.with_streaming_response.create(**options) as response:
            assert b"".join(response.iter_bytes()) == audio
    else:
        assert client.audio.speech.create(**options).content == audio
    assert spans.one().name == "speech tts-1"
    assert usage(spans) == {"input_characters": 7, "status": "reported"}


def test_speech_that_is_not_heard_to_its_end_is_partial(
    client: openai.OpenAI, server: WireServer, spans: Spans
) -> None:
    server.reply(Reply(headers={"content-type": "audio/mpeg"}, pieces=[b"\xff\xfb" * 500, Gate()]))
    with client.audio.speech.with_streaming_response.create(model="tts-1", voice="alloy", input="hi") as response:
        next(response.iter_bytes(100))
    assert usage(spans) == {"input_characters": 2, "status": "partial"}


def test_speech_as_events_has_its_own_figures(client: openai.OpenAI, server: WireServer, spans: Spans) -> None:
    server.reply(sse_reply(load("openai/speech_stream.sse")))
    client.audio.speech.create(
        model="gpt-4o-mini-tts", voice="alloy", input="hi", extra_body={"stream_format": "sse"}
    ).read()
    assert usage(spans) == {"input_tokens": 14, "output_tokens": 101, "status": "reported"}
    assert spans.attributes()["gen_ai.request.stream"] is True


def test_a_refused_speech_costs_nothing(client: openai.OpenAI, server: WireServer, spans: Spans) -> None:
    server.reply(json_reply({"error": {"code": "invalid_voice"}}, status=400))
    with pytest.raises(openai.BadRequestError):
        client.audio.speech.create(model="tts-1", voice="x", input="hi")
    assert usage(spans) == {"status": "none"}
    assert spans.attributes()["error.type"] == "invalid_voice"


def test_moderation(client: openai.OpenAI, server: WireServer, spans: Spans) -> None:
    server.reply(answered("openai/moderation.json"))
    client.moderations.create(model="omni-moderation-latest", input="CANARY")
    assert spans.one().name == "moderation omni-moderation-latest"
    assert usage(spans) == {"status": "unreported"}, "who answers on an unknown host may bill for it"


@pytest.mark.parametrize(
    ("url", "provider"),
    [
        ("https://api.openai.com/v1", "openai"),
        ("https://mine.openai.azure.com/openai/v1", "azure.ai.openai"),
    ],
)
def test_moderation_is_free_where_openai_answers(spans: Spans, url: str, provider: str) -> None:
    answer = httpx2.Response(200, headers={"content-type": "application/json"}, content=load("openai/moderation.json"))
    transport = httpx2.MockTransport(lambda _: answer)
    with openai.OpenAI(base_url=url, api_key="test", http_client=httpx2.Client(transport=transport)) as client:
        client.moderations.create(model="omni-moderation-latest", input="CANARY")
    assert usage(spans) == {"status": "none"}
    assert spans.attributes()["gen_ai.provider.name"] == provider


def test_decisions(client: openai.OpenAI, server: WireServer, spans: Spans) -> None:
    used = {"input_tokens": 30, "output_tokens": 2, "total_tokens": 32, "input_tokens_details": {"cached_tokens": 8}}
    server.reply(json_reply({"model": "gpt-decide", "answers": [{"type": "refusal"}], "usage": used}))
    client.decisions.create(model="gpt-decide", input="CANARY", questions=[])
    assert usage(spans) == {
        "input_tokens": 30,
        "output_tokens": 2,
        "cache_read.input_tokens": 8,
        "status": "reported",
    }


def test_a_prompt_that_is_kept_elsewhere_names_no_model(
    client: openai.OpenAI, server: WireServer, spans: Spans
) -> None:
    server.reply(answered("openai/chat.json"), answered("openai/response.json"))
    client.post("/prompts/pp-1/completions", body={"variables": {"a": "CANARY"}}, cast_to=object)
    client.responses.create(prompt={"id": "pmpt_1"}, input="CANARY")
    for span in spans():
        found = dict(span.attributes or {})
        assert span.name == "chat"
        assert "gen_ai.request.model" not in found
        assert found["gen_ai.response.model"] == "gpt-5-2025-08-07"


def test_counting_tokens_is_no_call(client: openai.OpenAI, server: WireServer, spans: Spans) -> None:
    server.reply(json_reply({"object": "response.input_tokens", "input_tokens": 11}))
    client.responses.input_tokens.count(model="gpt-5", input="hi")
    assert not spans()


def test_a_litellm_proxy_says_what_the_call_cost(client: openai.OpenAI, server: WireServer, spans: Spans) -> None:
    headers = {"content-type": "application/json", "x-litellm-response-cost": "0.0031"}
    server.reply(Reply(headers=headers, pieces=[load("openai/chat.json")]))
    client.chat.completions.create(model="m", messages=[])
    assert usage(spans)["cost.amount"] == 0.0031
    assert (usage(spans)["cost.currency"], usage(spans)["cost.source"]) == ("USD", "provider")


def test_azure_s_deployment_is_the_model_that_was_asked_for(server: WireServer, spans: Spans) -> None:
    filtered = b'data: {"id":"","model":"","choices":[],"prompt_filter_results":[{"prompt_index":0}]}\n\n'
    server.reply(sse_reply(filtered + load("openai/chat_stream.sse")), answered("openai/transcription.json"))
    with openai.AzureOpenAI(
        azure_endpoint=server.url, api_key="test", api_version="2025-04-01-preview", max_retries=0
    ) as client:
        list(client.chat.completions.create(model="my-gpt", messages=[], stream=True))
        client.audio.transcriptions.create(model="my-whisper", file=speech_file())
    assert "/deployments/my-whisper/" in server.requests[1].path
    chat, transcription = (dict(span.attributes or {}) for span in spans())
    assert (chat["gen_ai.request.model"], chat["spanledger.deployment"]) == ("my-gpt", "my-gpt")
    assert chat["gen_ai.response.id"] == "chatcmpl-A1"
    assert chat["gen_ai.usage.input_tokens"] == 1200
    assert transcription["spanledger.deployment"] == "my-whisper"
