"""One call of each kind to each family of providers, answered by the wire fixtures: their own hosts, and no network."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

DATA = Path(__file__).parent / "data"
_CONTENT_TYPES = {
    ".json": "application/json",
    ".sse": "text/event-stream",
    ".ndjson": "application/x-ndjson",
    ".bin": "application/vnd.amazon.eventstream",
}
_TEXT: Mapping[str, Any] = {"messages": [{"role": "user", "content": "CANARY-INPUT"}]}
_MODEL = "https://bedrock-runtime.us-east-1.amazonaws.com/model"
_HAIKU = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
_GEMINI = "https://generativelanguage.googleapis.com/v1beta/models"
_VERTEX = "https://us-central1-aiplatform.googleapis.com/v1/projects/p/locations/us-central1/publishers/google/models"


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A request, and the fixture that answers it."""

    url: str
    fixture: str
    body: Mapping[str, Any] = field(default_factory=dict[str, Any])
    file: bytes | None = None
    """Sent beside the body, which is a form then."""
    line: Callable[[Any], Any] | None = None
    """Makes a line of a finished batch's results of the fixture; the results are fetched, then, and are three."""


def _chat(host: str, model: str, fixture: str, **body: Any) -> Call:
    return Call(url=f"https://{host}/chat/completions", fixture=fixture, body={"model": model, **_TEXT, **body})


def _said(url: str, model: str, fixture: str, **body: Any) -> Call:
    return Call(url=f"https://{url}", fixture=fixture, body={"model": model, **body})


def _anthropic_line(answer: Any) -> Any:
    return {"custom_id": "a", "result": {"type": "succeeded", "message": answer}}


def _openai_line(answer: Any) -> Any:
    return {"custom_id": "a", "response": {"status_code": 200, "body": answer}, "error": None}


CALLS = (
    Call(
        url="https://api.anthropic.com/v1/messages/batches/msgbatch_1/results",
        fixture="anthropic/message.json",
        line=_anthropic_line,
    ),
    Call(url="https://api.openai.com/v1/files/file-1/content", fixture="openai/chat.json", line=_openai_line),
    _said("api.openai.com/v1/images/generations", "gpt-image-1", "openai/image.json", prompt="CANARY-INPUT"),
    _said("api.openai.com/v1/images/generations", "dall-e-3", "openai/image_dalle.json", prompt="CANARY-INPUT"),
    Call(
        url="https://api.openai.com/v1/audio/transcriptions",
        fixture="openai/transcription_duration.json",
        body={"model": "whisper-1"},
        file=b"CANARY-INPUT",
    ),
    Call(
        url="https://api.groq.com/openai/v1/audio/transcriptions",
        fixture="openai/transcription_verbose.json",
        body={"model": "whisper-large-v3", "response_format": "verbose_json"},
        file=b"CANARY-INPUT",
    ),
    _said("api.openai.com/v1/moderations", "omni-moderation-latest", "openai/moderation.json", input="CANARY-INPUT"),
    _said("api.openai.com/v1/completions", "gpt-3.5-turbo-instruct", "openai/completion.json", prompt="CANARY-INPUT"),
    Call(
        url="https://shop.openai.azure.com/openai/deployments/prod/chat/completions?api-version=2024-10-21",
        fixture="openai/chat.json",
        body=_TEXT,
    ),
    Call(url=f"{_GEMINI}/gemini-2.5-flash:generateContent", fixture="gemini/content.json", body={"contents": []}),
    Call(
        url=f"{_GEMINI}/gemini-2.5-flash:streamGenerateContent?alt=sse",
        fixture="gemini/content_stream.sse",
        body={"contents": []},
    ),
    Call(url=f"{_VERTEX}/text-embedding-005:predict", fixture="vertex_ai/embeddings.json", body={"instances": []}),
    Call(
        url=f"{_VERTEX}/gemini-2.5-flash:streamGenerateContent?alt=sse",
        fixture="vertex_ai/content_stream.sse",
        body={"contents": []},
    ),
    _chat("api.mistral.ai/v1", "mistral-large-latest", "mistral/chat.json"),
    _chat("api.mistral.ai/v1", "voxtral-small-latest", "mistral/chat_audio.json"),
    _said("api.mistral.ai/v1/ocr", "mistral-ocr-latest", "mistral/ocr.json", document={"type": "document_url"}),
    _said(
        "api.mistral.ai/v1/ocr", "mistral-ocr-latest", "mistral/ocr.json", document={},
        document_annotation_format={"type": "json_schema"},
    ),
    _said("api.mistral.ai/v1/embeddings", "mistral-embed", "mistral/embeddings.json", input="CANARY-INPUT"),
    _said("api.mistral.ai/v1/moderations", "mistral-moderation-latest", "mistral/moderation.json", input="CANARY"),
    _said("api.cohere.com/v2/chat", "command-a-03-2025", "cohere/chat.json", stream=False, **_TEXT),
    _said("api.cohere.com/v2/embed", "embed-v4.0", "cohere/embed_images.json", input_type="image", images=["data:"]),
    _said("api.cohere.com/v2/rerank", "rerank-v3.5", "cohere/rerank.json", query="CANARY-INPUT", documents=["a"]),
    _chat("api.groq.com/openai/v1", "openai/gpt-oss-120b", "groq/chat.json"),
    _chat("openrouter.ai/api/v1", "anthropic/claude-sonnet-4.5", "openrouter/chat_stream.sse", stream=True),
    _chat("api.deepseek.com", "deepseek-reasoner", "deepseek/chat.json"),
    _chat("api.x.ai/v1", "grok-4", "x_ai/chat.json"),
    _said("api.x.ai/v1/images/generations", "grok-2-image", "x_ai/image.json", prompt="CANARY-INPUT"),
    _chat("api.together.xyz/v1", "meta-llama/Llama-3.3-70B-Instruct-Turbo", "together/chat.json"),
    _chat("api.fireworks.ai/inference/v1", "accounts/fireworks/models/gpt-oss-120b", "openai/chat.json"),
    _chat("api.perplexity.ai", "sonar-deep-research", "perplexity/chat.json"),
    _said("api.voyageai.com/v1/embeddings", "voyage-3.5", "voyage/embeddings.json", input="CANARY-INPUT"),
    _said("api.jina.ai/v1/rerank", "jina-reranker-v3", "jina/rerank.json", query="CANARY-INPUT", documents=["a"]),
    Call(url="http://127.0.0.1:11434/api/chat", fixture="ollama/chat.json", body={"model": "llama3", **_TEXT}),
    Call(url=f"{_MODEL}/{_HAIKU}/converse", fixture="bedrock/converse.json", body=_TEXT),
    Call(url=f"{_MODEL}/{_HAIKU}/converse-stream", fixture="bedrock/converse_stream.bin", body=_TEXT),
    Call(
        url=f"{_MODEL}/{_HAIKU}/invoke",
        fixture="bedrock/invoke_anthropic.json",
        body={"anthropic_version": "bedrock-2023-05-31", "max_tokens": 9, **_TEXT},
    ),
    _said(
        "proxy.example.com/v1/messages", "claude-haiku-4-5", "anthropic/message_stream.sse", max_tokens=9, stream=True,
        **_TEXT,
    ),
)  # fmt: skip


def make_calls() -> None:
    """Make all of them through a client whose transport answers from the fixtures."""
    for call in CALLS:
        answer = _answer(call)
        with httpx.Client(transport=httpx.MockTransport(lambda _, answer=answer: answer)) as client:
            if call.line is not None:
                client.get(call.url)
            elif call.file is not None:
                client.post(call.url, data=dict(call.body), files={"file": call.file})
            else:
                client.post(call.url, json=dict(call.body))


def _answer(call: Call) -> httpx.Response:
    fixture = DATA / call.fixture
    content, kind = fixture.read_bytes(), _CONTENT_TYPES[fixture.suffix]
    if call.line is not None:
        content, kind = 3 * (json.dumps(call.line(json.loads(content))).encode() + b"\n"), "application/x-jsonl"
    return httpx.Response(200, headers={"content-type": kind}, content=content)
