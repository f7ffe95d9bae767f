"""The hand-made fixtures of those who speak OpenAI's formats, and what each of them says."""

from dataclasses import dataclass
from typing import Any

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
from spanledger_instrumentation.usage import Answer, Usage

_ENDED: Any = {"begun": True, "usage_final": True, "done": True}
_STOPPED: Any = {"finish_reasons": ("stop",), **_ENDED}

GROQ = Usage(input_tokens=120, output_tokens=60, cache_read_input_tokens=100, reasoning_output_tokens=30)
DEEPSEEK = Usage(input_tokens=1100, output_tokens=400, cache_read_input_tokens=1024, reasoning_output_tokens=350)
X_AI = Usage(
    input_tokens=200,
    output_tokens=350,
    cache_read_input_tokens=128,
    reasoning_output_tokens=300,
    text_input_tokens=180,
    audio_input_tokens=0,
    image_input_tokens=20,
    audio_output_tokens=0,
    search_sources=4,
    cost_usd=0.0025,
)
PERPLEXITY = Usage(
    input_tokens=33 + 20016,
    output_tokens=7163 + 73997,
    reasoning_output_tokens=73997,
    web_search_requests=18,
    cost_usd=0.409,
)
OPENROUTER = Usage(
    input_tokens=500,
    output_tokens=100,
    cache_read_input_tokens=300,
    cache_write_input_tokens=100,
    reasoning_output_tokens=40,
    audio_input_tokens=0,
    video_input_tokens=0,
    image_output_tokens=0,
    web_search_requests=1,
    cost_usd=0.0042,
)
MISTRAL = Usage(input_tokens=90, output_tokens=30, cache_read_input_tokens=64)
VOXTRAL = Usage(input_tokens=395, output_tokens=10, audio_input_tokens=375, input_audio_s=30)
TRANSCRIBED = Usage(input_tokens=2629, output_tokens=635, audio_input_tokens=2625, input_audio_s=203)
CONVERSATION = Usage(input_tokens=188 + 7112, output_tokens=55, web_search_requests=1)
COMPLETION = Usage(input_tokens=5, output_tokens=7)
IMAGE = Usage(
    input_tokens=150,
    output_tokens=1050,
    text_input_tokens=50,
    image_input_tokens=100,
    text_output_tokens=50,
    image_output_tokens=1000,
)
IMAGE_STREAMED = Usage(input_tokens=150, output_tokens=1050, text_input_tokens=50, image_input_tokens=100)
HEARD = Usage(input_tokens=140, output_tokens=45, text_input_tokens=0, audio_input_tokens=140)
_IN_CONVERSATION: Any = {"model": "mistral-medium-latest", "details": {"gen_ai.conversation.id": "conv_M1"}}
_PORTRAIT: Any = {"spanledger.image.size": "1024x1024", "spanledger.image.quality": "high"}

STREAMS: dict[str, tuple[Wire, Answer]] = {
    "groq/chat_stream.sse": (
        openai_chat.WIRE,
        Answer(id="chatcmpl-G1", model="openai/gpt-oss-120b", usage=GROQ, **_STOPPED),
    ),
    "groq/chat_stream_with_usage.sse": (
        openai_chat.WIRE,
        Answer(id="chatcmpl-G1", model="openai/gpt-oss-120b", usage=GROQ, **_STOPPED),
    ),
    "x_ai/chat_stream.sse": (openai_chat.WIRE, Answer(id="xai-1", model="grok-4", usage=X_AI, **_STOPPED)),
    "perplexity/chat_stream.sse": (
        openai_chat.WIRE,
        Answer(
            id="pplx-1",
            model="sonar",
            usage=Usage(input_tokens=8, output_tokens=20, cost_usd=0.006),
            finish_reasons=("stop",),
            begun=True,
        ),
    ),
    "openrouter/chat_stream.sse": (
        openai_chat.WIRE,
        Answer(id="gen-1", model="anthropic/claude-sonnet-4.5", usage=OPENROUTER, **_STOPPED),
    ),
    "openrouter/chat_stream_error.sse": (
        openai_chat.WIRE,
        Answer(id="gen-2", model="openai/gpt-5", finish_reasons=("error",), error_type="502", begun=True),
    ),
    "mistral/chat_stream.sse": (
        openai_chat.WIRE,
        Answer(id="cmpl-M1", model="mistral-large-latest", service_tier="default", usage=MISTRAL, **_STOPPED),
    ),
    "mistral/transcription_stream.sse": (
        openai_audio.TRANSCRIPTION,
        Answer(model="voxtral-mini-2507", usage=TRANSCRIBED, **_ENDED),
    ),
    "mistral/speech_stream.sse": (
        openai_audio.SPEECH,
        Answer(usage=Usage(input_tokens=12, output_tokens=88), **_ENDED),
    ),
    "mistral/conversation_stream.sse": (
        mistral_conversations.WIRE,
        Answer(usage=CONVERSATION, **_IN_CONVERSATION, **_ENDED),
    ),
    "mistral/conversation_stream_error.sse": (
        mistral_conversations.WIRE,
        Answer(details={"gen_ai.conversation.id": "conv_M1"}, error_type="3000", begun=True),
    ),
    "openai/completion_stream.sse": (
        openai_completions.WIRE,
        Answer(id="cmpl-A1", model="gpt-3.5-turbo-instruct", usage=COMPLETION, finish_reasons=("length",), **_ENDED),
    ),
    "openai/image_stream.sse": (
        openai_images.WIRE,
        Answer(usage=IMAGE_STREAMED, details=_PORTRAIT, finish_reasons=("completed",), begun=True),
    ),
    "openai/image_edit_stream.sse": (
        openai_images.WIRE,
        Answer(usage=IMAGE_STREAMED, details=_PORTRAIT, finish_reasons=("completed",), begun=True),
    ),
    "openai/transcription_stream.sse": (openai_audio.TRANSCRIPTION, Answer(usage=HEARD, **_ENDED)),
    "openai/speech_stream.sse": (
        openai_audio.SPEECH,
        Answer(usage=Usage(input_tokens=14, output_tokens=101), **_ENDED),
    ),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Whole:
    """What a whole answer says."""

    wire: Wire
    usage: Usage | None
    model: str | None = None


WHOLE: dict[str, Whole] = {
    "groq/chat.json": Whole(wire=openai_chat.WIRE, usage=GROQ, model="groq/compound"),
    "deepseek/chat.json": Whole(wire=openai_chat.WIRE, usage=DEEPSEEK, model="deepseek-reasoner"),
    "x_ai/chat.json": Whole(wire=openai_chat.WIRE, usage=X_AI, model="grok-4"),
    "x_ai/image.json": Whole(wire=openai_images.WIRE, usage=Usage(output_images=2, cost_usd=0.14)),
    "perplexity/chat.json": Whole(wire=openai_chat.WIRE, usage=PERPLEXITY, model="sonar-deep-research"),
    "perplexity/response.json": Whole(
        wire=openai_responses.WIRE,
        usage=Usage(
            input_tokens=900,
            output_tokens=120,
            cache_read_input_tokens=512,
            cache_write_input_tokens=0,
            reasoning_output_tokens=20,
            web_search_requests=2,
            cost_usd=0.013,
        ),
        model="sonar-pro",
    ),
    "openrouter/chat_byok.json": Whole(
        wire=openai_chat.WIRE, usage=Usage(input_tokens=10, output_tokens=5, cost_usd=0.0021), model="openai/gpt-5"
    ),
    "openrouter/rerank.json": Whole(
        wire=rerank.WIRE, usage=Usage(input_tokens=21, cost_usd=0.001), model="cohere/rerank-v3.5"
    ),
    "mistral/chat.json": Whole(wire=openai_chat.WIRE, usage=MISTRAL, model="mistral-large-latest"),
    "mistral/chat_audio.json": Whole(wire=openai_chat.WIRE, usage=VOXTRAL, model="voxtral-small-latest"),
    "mistral/transcription.json": Whole(wire=openai_audio.TRANSCRIPTION, usage=TRANSCRIBED, model="voxtral-mini-2507"),
    "mistral/ocr.json": Whole(wire=mistral_ocr.WIRE, usage=Usage(pages=2), model="mistral-ocr-latest"),
    "mistral/conversation.json": Whole(
        wire=mistral_conversations.WIRE, usage=CONVERSATION, model="mistral-medium-latest"
    ),
    "mistral/embeddings.json": Whole(
        wire=openai_embeddings.WIRE, usage=Usage(input_tokens=15, output_tokens=0), model="mistral-embed"
    ),
    "mistral/moderation.json": Whole(
        wire=openai_moderations.WIRE, usage=Usage(input_tokens=9, output_tokens=0), model="mistral-moderation-latest"
    ),
    "together/chat.json": Whole(
        wire=openai_chat.WIRE,
        usage=Usage(input_tokens=300, output_tokens=20, cache_read_input_tokens=256),
        model="meta-llama/Llama-3.3-70B",
    ),
    "together/rerank.json": Whole(
        wire=rerank.WIRE, usage=Usage(input_tokens=40, output_tokens=0), model="Salesforce/Llama-Rank-V1"
    ),
    "voyage/embeddings.json": Whole(wire=openai_embeddings.WIRE, usage=Usage(input_tokens=10), model="voyage-3.5"),
    "voyage/multimodal_embeddings.json": Whole(
        wire=openai_embeddings.WIRE, usage=Usage(input_tokens=3576, text_input_tokens=5), model="voyage-multimodal-3"
    ),
    "voyage/rerank.json": Whole(wire=rerank.WIRE, usage=Usage(input_tokens=26), model="rerank-2.5"),
    "jina/embeddings.json": Whole(
        wire=openai_embeddings.WIRE, usage=Usage(input_tokens=12), model="jina-embeddings-v4"
    ),
    "jina/rerank.json": Whole(wire=rerank.WIRE, usage=Usage(input_tokens=815), model="jina-reranker-v3"),
    "openai/completion.json": Whole(wire=openai_completions.WIRE, usage=COMPLETION, model="gpt-3.5-turbo-instruct"),
    "openai/image.json": Whole(wire=openai_images.WIRE, usage=IMAGE),
    "openai/image_svg.json": Whole(wire=openai_images.WIRE, usage=IMAGE),
    "openai/image_dalle.json": Whole(wire=openai_images.WIRE, usage=Usage(output_images=2)),
    "openai/transcription.json": Whole(wire=openai_audio.TRANSCRIPTION, usage=HEARD),
    "openai/transcription_duration.json": Whole(wire=openai_audio.TRANSCRIPTION, usage=Usage(input_audio_s=9)),
    "openai/transcription_verbose.json": Whole(
        wire=openai_audio.TRANSCRIPTION, usage=Usage(input_audio_s=8.470000267028809)
    ),
    "openai/moderation.json": Whole(wire=openai_moderations.FREE, usage=None, model="omni-moderation-latest"),
}
