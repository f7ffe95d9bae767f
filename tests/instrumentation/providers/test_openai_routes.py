"""Which requests are calls in OpenAI's formats, on the hosts of those who speak them and on any other."""

from typing import Any

import pytest

from spanledger_instrumentation.providers import routes
from spanledger_instrumentation.providers.hosts import provider_of
from tests.instrumentation.providers.test_routes import LONG, operation


@pytest.mark.parametrize(
    ("path", "host", "owner", "name"),
    [
        ("/v1/completions", "api.openai.com", "openai", "text_completion"),
        ("/openai/deployments/d/completions?api-version=1", "mine.openai.azure.com", "openai", "text_completion"),
        ("/openai/v1/chat/completions", "mine.openai.azure.com", "openai", "chat"),
        ("/openai/responses?api-version=1", "mine.openai.azure.com", "openai", "chat"),
        ("//openai//deployments/d//chat/completions", "mine.cognitiveservices.azure.com", "openai", "chat"),
        ("/models/chat/completions", "mine.services.ai.azure.com", "openai", "chat"),
        ("/models/embeddings", "mine.services.ai.azure.com", "openai", "embeddings"),
        ("/v1/images/generations", "api.openai.com", "openai", "image_generation"),
        ("/v1/images/edits", "api.openai.com", "openai", "image_generation"),
        ("/v1/images/variations", "api.openai.com", "openai", "image_generation"),
        ("/openai/deployments/d/images/generations", "mine.openai.azure.com", "openai", "image_generation"),
        ("/v1/audio/transcriptions", "api.openai.com", "openai", "transcription"),
        ("/v1/audio/translations", "api.openai.com", "openai", "transcription"),
        ("/openai/v1/audio/speech", "api.groq.com", "openai", "speech"),
        ("/v1/moderations", "api.openai.com", "openai", "moderation"),
        ("/v1/responses", "api.x.ai", "openai", "chat"),
        ("/v1/images/generations", "us-east-1.api.x.ai", "openai", "image_generation"),
        ("/chat/completions", "api.perplexity.ai", "openai", "chat"),
        ("/inference/v1/completions", "api.fireworks.ai", "openai", "text_completion"),
        ("/openai/v1/chat/completions", "bedrock-runtime.us-west-2.amazonaws.com", "openai", "chat"),
        ("/v1/responses", "bedrock-mantle.us-east-1.api.aws", "openai", "chat"),
        ("/v1beta/openai/embeddings", "generativelanguage.googleapis.com", "openai", "embeddings"),
        ("/v1/fim/completions", "api.mistral.ai", "openai", "text_completion"),
        ("/v1/fim/completions", "codestral.mistral.ai", "openai", "text_completion"),
        ("/v1/agents/completions", "api.eu.mistral.ai", "openai", "chat"),
        ("/v1/ocr", "api.mistral.ai", "mistral_ai", "ocr"),
        ("/v1/audio/transcriptions", "api.mistral.ai", "openai", "transcription"),
        ("/v1/chat/moderations", "api.mistral.ai", "openai", "moderation"),
        ("/v1/conversations", "api.mistral.ai", "mistral_ai", "chat"),
        ("/v1/conversations/conv_1", "api.mistral.ai", "mistral_ai", "chat"),
        ("/v1/conversations/conv_1/restart", "api.mistral.ai", "mistral_ai", "chat"),
        ("/v1/embeddings", "api.voyageai.com", "openai", "embeddings"),
        ("/v1/multimodalembeddings", "api.voyageai.com", "openai", "embeddings"),
        ("/v1/contextualizedembeddings", "api.voyageai.com", "openai", "embeddings"),
        ("/v1/contextualizedembeddings", "api.perplexity.ai", "openai", "embeddings"),
        ("/v1/agent", "api.perplexity.ai", "openai", "chat"),
        ("/v1/sonar", "api.perplexity.ai", "openai", "chat"),
        ("/v1/embeddings", "ai.mongodb.com", "openai", "embeddings"),
        ("/v1/rerank", "ai.mongodb.com", "cohere", "rerank"),
        ("/v1/rerank", "api.voyageai.com", "cohere", "rerank"),
        ("/v1/rerank", "api.jina.ai", "cohere", "rerank"),
        ("/v1/rerank", "api.together.xyz", "cohere", "rerank"),
        ("/api/v1/rerank", "openrouter.ai", "cohere", "rerank"),
        ("/v1/prompts/pp-1/completions", "api.portkey.ai", "openai", "chat"),
        ("/v1/chat", "api.writer.com", "openai", "chat"),
    ],
)
def test_on_the_host_of_a_provider_a_path_is_enough(path: str, host: str, owner: str, name: str) -> None:
    assert operation(path, host, None) == (owner, name)


@pytest.mark.parametrize(
    ("path", "body", "name"),
    [
        ("/v1/completions", {"model": "m", "prompt": "hi"}, "text_completion"),
        ("/v1/completions", {"model": "m", "prompt": LONG}, "text_completion"),
        ("/v1/decisions", {"model": "m", "input": "hi", "questions": []}, "chat"),
        ("/proxy/v1/fim/completions", {"model": "m", "prompt": "hi", "suffix": "x"}, "text_completion"),
        ("/openai/deployments/d/completions", {"prompt": "hi"}, "text_completion"),
        ("/v1/agents/completions", {"agent_id": "ag", "messages": []}, "chat"),
        ("/v1/prompts/pp-1/completions", {"variables": {"a": "b"}}, "chat"),
        ("/v1/images/generations", {"prompt": "a cat"}, "image_generation"),
        ("/v1/audio/speech", {"model": "m", "input": "hi", "voice": "v"}, "speech"),
        ("/v1/audio/transcriptions", None, "transcription"),
        ("/v1/moderations", {"model": "m", "input": "hi"}, "moderation"),
        ("/rerank", {"model": "m", "query": "q", "documents": ["d"]}, "rerank"),
        ("/v2/rerank", {"model": "m", "query": "q", "documents": [LONG]}, "rerank"),
        ("/v1/ocr", {"model": "m", "document": {"type": "document_url"}}, "ocr"),
    ],
)
def test_on_another_host_the_body_must_have_the_members_of_the_format(path: str, body: Any, name: str) -> None:
    found = operation(path, "anywhere.example", body)
    assert found is not None
    assert found[1] == name


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"task": "done"}),
        ("/v1/decisions", {"model": "m", "input": "hi"}),
        ("/courses/7/completions", {"model": "m", "student": "s"}),
        ("/v1/prompts/pp-1/completions", {"text": "hi"}),
        ("/v1/agents/completions", {"agent_id": "ag"}),
        ("/v1/chat", {"model": "m", "messages": []}),
        ("/v1/images/generations", {"template": "x"}),
        ("/v1/audio/speech", {"text": "hi"}),
        ("/forum/moderations", {"post": 5, "action": "hide"}),
        ("/v1/rerank", {"query": "q", "items": []}),
        ("/v1/ocr", {"image": "x"}),
        ("/v1/conversations", {"inputs": "hi", "model": "m"}),
        ("/v1/conversations/conv_1", {"inputs": "hi"}),
        ("/v1/multimodalembeddings", {"inputs": []}),
        ("/v1/contextualizedembeddings", {"inputs": []}),
        ("/v1/agent", {"model": "m", "input": "hi"}),
        ("/v1/sonar", {"model": "m", "messages": []}),
    ],
)
def test_other_services_with_the_same_path_are_left_alone(path: str, body: Any) -> None:
    assert operation(path, "api.intercom.io", body) is None


@pytest.mark.parametrize(
    ("path", "host"),
    [
        ("/v1/conversations", "api.openai.com"),
        ("/v1/conversations/conv_1", "api.openai.com"),
        ("/v1/conversations/conv_1/items", "api.mistral.ai"),
        ("/v1/responses/input_tokens", "api.openai.com"),
        ("/v1/audio/voices", "api.openai.com"),
        ("/v1/files", "api.openai.com"),
        ("/v1/batches", "api.openai.com"),
        ("/v1/images", "api.openai.com"),
        ("/v1/agents", "api.mistral.ai"),
        ("/v1/classifications", "api.mistral.ai"),
    ],
)
def test_what_only_counts_stores_or_lists_is_no_call(path: str, host: str) -> None:
    assert operation(path, host, None) is None


@pytest.mark.parametrize(
    ("host", "name"),
    [
        ("api.openai.com", "openai"),
        ("EU.api.OpenAI.com", "openai"),
        ("mine.openai.azure.com", "azure.ai.openai"),
        ("mine.openai.azure.us", "azure.ai.openai"),
        ("mine.privatelink.openai.azure.com", "azure.ai.openai"),
        ("mine.cognitiveservices.azure.com", "azure.ai.openai"),
        ("mine.services.ai.azure.com", "azure.ai.openai"),
        ("mine.eastus.models.ai.azure.com", "azure.ai.inference"),
        ("models.inference.ai.azure.com", "azure.ai.inference"),
        ("aiplatform.googleapis.com", "gcp.vertex_ai"),
        ("us-central1-aiplatform.googleapis.com", "gcp.vertex_ai"),
        ("aiplatform.eu.rep.googleapis.com", "gcp.vertex_ai"),
        ("generativelanguage.googleapis.com", "gcp.gemini"),
        ("storage.googleapis.com", None),
        ("bedrock-runtime.us-east-1.amazonaws.com", "aws.bedrock"),
        ("bedrock-runtime-fips.us-gov-west-1.amazonaws.com", "aws.bedrock"),
        ("bedrock-runtime.cn-north-1.amazonaws.com.cn", "aws.bedrock"),
        ("bedrock-mantle.us-east-1.api.aws", "aws.bedrock"),
        ("vpce-0a.bedrock-runtime.us-east-1.vpce.amazonaws.com", "aws.bedrock"),
        ("sqs.us-east-1.amazonaws.com", None),
        ("mine.s3.amazonaws.com", None),
        ("api.us.mistral.ai", "mistral_ai"),
        ("api.together.ai", "together"),
        ("audio-prod.us-virginia-1.direct.fireworks.ai", "fireworks"),
        ("api.moonshot.cn", "moonshot_ai"),
        ("notapi.openai.com", None),
        ("api.openai.com.example", None),
        ("localhost", None),
        ("127.0.0.1", None),
        ("", None),
    ],
)
def test_a_host_has_the_provider_that_answers_there(host: str, name: str | None) -> None:
    provider = provider_of(host)
    assert (provider and provider.name) == name


def test_a_member_of_another_collection_is_no_call() -> None:
    assert routes.find("POST", b"/v1/orders/7") == ()
    assert routes.find("POST", b"/v1/conversations/7/8") == ()
