"""Names on spans -> the model of the price book: every provider under its OpenTelemetry name, at genai-prices' rate."""

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import pytest
from genai_prices import calc_price
from genai_prices.types import Usage as GenaiUsage

from spanledger_exporter.prices.price_book import PriceBook
from spanledger_exporter.prices.pricing import price
from spanledger_exporter.records import Price, Usage, UsageRecord
from tests.exporter.calls import record

AT = datetime(2026, 11, 18, 12, tzinfo=UTC)
ARN = "arn:aws:bedrock:us-east-1:123456789012"


def call(provider: str, request_model: str | None, response_model: str | None = None) -> UsageRecord:
    names = {"provider": provider, "request_model": request_model, "response_model": response_model}
    return record(**names, usage=Usage(1_000_000, 0), end_ns=int(AT.timestamp()) * 10**9)


def genai_prices_pusd(provider: str, model: str) -> Decimal:
    usage = GenaiUsage(input_tokens=1_000_000, output_tokens=0)
    return calc_price(usage, model, provider_id=provider, genai_request_timestamp=AT).total_price.scaleb(12)


@pytest.mark.parametrize(
    ("provider", "model", "book_provider", "book_model"),
    [
        ("openai", "gpt-5-mini-2025-08-07", "openai", "gpt-5-mini"),
        ("anthropic", "claude-haiku-4-5-20251001", "anthropic", "claude-haiku-4-5"),
        ("azure.ai.openai", "gpt-4o-2024-11-20", "azure", "gpt-4o"),
        ("azure.ai.openai", "claude-haiku-4-5", "azure", "claude-haiku-4-5"),
        ("azure.ai.inference", "Phi-4", "azure", "phi-4"),
        ("gcp.gemini", "models/gemini-2.5-flash", "google", "gemini-2.5-flash"),
        ("gcp.gemini", "gemini-embedding-001", "google", "gemini-embedding-001"),
        ("gcp.vertex_ai", "publishers/google/models/gemini-2.5-pro", "google", "gemini-2.5-pro"),
        ("gcp.vertex_ai", "projects/p/locations/l/publishers/google/models/gemini-2.5-pro", "google", "gemini-2.5-pro"),
        ("gcp.vertex_ai", "google/gemini-2.5-flash", "google", "gemini-2.5-flash"),
        ("gcp.vertex_ai", "gemini-2.5-flash@default", "google", "gemini-2.5-flash"),
        ("gcp.vertex_ai", "claude-haiku-4-5@20251001", "google", "claude-haiku-4-5"),
        ("gcp.vertex_ai", "publishers/anthropic/models/claude-haiku-4-5@20251001", "google", "claude-haiku-4-5"),
        ("mistral_ai", "mistral-large-latest", "mistral", "mistral-large-latest"),
        ("mistral_ai", "mistral-embed", "mistral", "mistral-embed"),
        ("aws.bedrock", "us.anthropic.claude-haiku-4-5-20251001-v1:0", "aws",
         "us.anthropic.claude-haiku-4-5-20251001-v1:0"),
        ("aws.bedrock", "global.anthropic.claude-haiku-4-5-20251001-v1:0", "aws",
         "global.anthropic.claude-haiku-4-5-20251001-v1:0"),
        ("aws.bedrock", "arn:aws:bedrock:eu-west-1:1:inference-profile/eu.anthropic.claude-haiku-4-5-20251001-v1:0",
         "aws", "eu.anthropic.claude-haiku-4-5-20251001-v1:0"),
        ("aws.bedrock", "arn:aws:bedrock:us-east-1::foundation-model/amazon.nova-pro-v1:0", "aws",
         "amazon.nova-pro-v1:0"),
        ("aws.bedrock", "us.amazon.nova-lite-v1:0", "aws", "amazon.nova-lite-v1:0"),
        ("x_ai", "grok-4", "x-ai", "grok-4"),
        ("cohere", "command-a-03-2025", "cohere", "command-a"),
        ("cohere", "embed-v4.0", "cohere", "embed-v4.0"),
        ("groq", "openai/gpt-oss-120b", "groq", "openai/gpt-oss-120b"),
        ("openrouter", "anthropic/claude-sonnet-4.5", "openrouter", "anthropic/claude-sonnet-4.5"),
        ("deepseek", "deepseek-chat", "deepseek", "deepseek-chat"),
        ("together", "meta-llama/Llama-3.3-70B-Instruct-Turbo", "together", "meta-llama/Llama-3.3-70B-Instruct-Turbo"),
        ("fireworks", "accounts/fireworks/models/gpt-oss-120b", "fireworks", "accounts/fireworks/models/gpt-oss-120b"),
        ("perplexity", "sonar-pro", "perplexity", "sonar-pro"),
        ("voyage", "voyage-3.5", "voyageai", "voyage-3.5"),
        ("cerebras", "gpt-oss-120b", "cerebras", "gpt-oss-120b"),
        ("zai", "glm-4.6", "zai", "glm-4.6"),
        ("moonshot_ai", "kimi-k2", "moonshotai", "kimi-k2"),
    ],
)  # fmt: skip
def test_a_well_known_model_of_every_provider_has_the_book_s_price(
    book: PriceBook, provider: str, model: str, book_provider: str, book_model: str
) -> None:
    found = price(call(provider, model), book)
    assert found.cost_pusd == genai_prices_pusd(book_provider, book_model) > 0, found


def test_azure_has_its_own_prices_where_the_book_has_them(book: PriceBook) -> None:
    """genai-prices itself takes `azure.ai.openai` for OpenAI, which sells no Phi."""
    assert price(call("azure.ai.openai", "phi-4"), book).model == "azure/phi-4"
    assert price(call("azure.ai.openai", "gpt-4o"), book).model == "openai/gpt-4o"


def test_bedrock_s_route_decides_though_the_answer_names_the_model_alone(book: PriceBook) -> None:
    answered = "claude-haiku-4-5-20251001"
    world, region = (
        price(call("aws.bedrock", f"{route}.anthropic.claude-haiku-4-5-20251001-v1:0", answered), book)
        for route in ("global", "us")
    )
    assert (world.cost_pusd, region.cost_pusd) == (10**12, 11 * 10**11)
    unnamed = "arn:aws:bedrock:us-east-1:123456789012:application-inference-profile/abc123xyz"
    profile = price(call("aws.bedrock", unnamed, answered), book)
    assert (profile.cost_pusd, profile.match) == (11 * 10**11, "response:rule")


@pytest.mark.parametrize(
    ("provider", "model", "usd_per_mtok", "found_as"),
    [
        ("openai", "gpt-4o-2024-08-06", "2.5", "openai/gpt-4o"),
        ("openai", "gpt-4o-20240806", "2.5", "openai/gpt-4o"),
        ("openai", "GPT-4o", "2.5", "openai/gpt-4o"),
        ("openai", "chatgpt-4o-latest", "5", "openai/chatgpt-4o-latest"),
        ("openai", "gpt-5-chat-latest", "1.25", "openai/gpt-5"),
        ("openai", "gpt-5.9-nova", None, None),
        ("openai", "ft:gpt-4o-2024-08-06:acme:support:AbC123", "3.75", "openai/ft:gpt-4o"),
        ("openai", "ft:gpt-4.1-mini-2025-04-14:acme::XyZ", None, None),
        ("gcp.gemini", "models/gemini-2.5-pro", "2.5", "google/gemini-2.5-pro"),
        ("gcp.gemini", "gemini-2.5-flash-preview-09-2025", "0.3", "google/gemini-2.5-flash"),
        ("gcp.vertex_ai", "publishers/google/models/gemini-2.5-flash", "0.3", "google/gemini-2.5-flash"),
        ("gcp.vertex_ai", "publishers/anthropic/models/claude-sonnet-4-5@20250929", "6", "google/claude-sonnet-4-5"),
        ("gcp.vertex_ai", "claude-sonnet-4-5@20250929", "6", "google/claude-sonnet-4-5"),
        ("aws.bedrock", "us.anthropic.claude-sonnet-4-5-20250929-v1:0", "3.3",
         "aws/regional.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("aws.bedrock", f"{ARN}:inference-profile/us.anthropic.claude-sonnet-4-5-20250929-v1:0", "3.3",
         "aws/regional.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("aws.bedrock", f"{ARN}:application-inference-profile/abc123xyz", None, None),
        ("aws.bedrock", "anthropic.claude-sonnet-4-5-20250929-v1:0", "3.3",
         "aws/regional.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ("aws.bedrock", "global.anthropic.claude-opus-5", "5", "aws/global.anthropic.claude-opus-5"),
        ("azure.ai.openai", "my-prod-gpt4o", None, None),
        ("azure.ai.openai", "gpt-35-turbo", "0.5", "openai/gpt-3.5-turbo"),
        ("azure.ai.openai", "gpt-4o", "2.5", "openai/gpt-4o"),
        ("openrouter", "anthropic/claude-sonnet-4.5", "6", "openrouter/anthropic/claude-sonnet-4.5"),
        ("openrouter", "deepseek/deepseek-r1:free", "0", "openrouter/deepseek/deepseek-r1:free"),
        ("openrouter", "openai/gpt-4o:online", None, None),
        ("mistral_ai", "mistral-large-latest", "2", "mistral/mistral-large"),
        ("anthropic", "claude-sonnet-4-5-20250929", "6", "anthropic/claude-sonnet-4-5"),
        ("anthropic", "claude-3-5-sonnet-latest", "3", "anthropic/claude-3-5-sonnet"),
        ("anthropic", "claude-opus-4-9", None, None),
        ("openai", "text-embedding-3-small", "0.02", "openai/text-embedding-3-small"),
        ("groq", "meta-llama/llama-4-scout-17b-16e-instruct", "0.11",
         "groq/meta-llama/llama-4-scout-17b-16e-instruct"),
    ],
)  # fmt: skip
def test_thirty_names_of_traffic_have_their_price_or_none(
    book: PriceBook, provider: str, model: str, usd_per_mtok: str | None, found_as: str | None
) -> None:
    """The price of a million tokens in one prompt, so at the price of a long one where there is one."""
    found = price(call(provider, model), book)
    assert found.model == found_as
    assert found.cost_pusd == (None if usd_per_mtok is None else Decimal(usd_per_mtok) * 10**12)
    assert usd_per_mtok is not None or found.reason == "unknown_model"


@pytest.mark.parametrize(
    ("provider", "model", "found_as"),
    [
        ("azure.ai.openai", "azure/gpt-4o", "openai/gpt-4o"),
        ("azure.ai.inference", "azure_ai/Phi-4", "azure/phi-4"),
        ("aws.bedrock", "bedrock/us.anthropic.claude-haiku-4-5-20251001-v1:0",
         "aws/regional.anthropic.claude-haiku-4-5-20251001-v1:0"),
        ("aws.bedrock", "bedrock/converse/amazon.nova-pro-v1:0", "aws/amazon.nova-pro-v1:0"),
        ("aws.bedrock", "bedrock/us-east-1/amazon.nova-pro-v1:0", "aws/amazon.nova-pro-v1:0"),
        ("gcp.vertex_ai", "vertex_ai/gemini-2.5-flash", "google/gemini-2.5-flash"),
        ("gcp.vertex_ai", "vertex_ai/claude-haiku-4-5@20251001", "google/claude-haiku-4-5"),
        ("gcp.gemini", "gemini/gemini-2.5-flash", "google/gemini-2.5-flash"),
        ("openai", "openai/gpt-4o-20240806", "openai/gpt-4o"),
        ("litellm", "anthropic/claude-haiku-4-5", "anthropic/claude-haiku-4-5"),
        ("litellm", "xai/grok-4", "x-ai/grok-4-0709"),
        (None, "groq/openai/gpt-oss-120b", "groq/openai/gpt-oss-120b"),
        ("groq", "openai/gpt-oss-120b", "groq/openai/gpt-oss-120b"),
        ("openrouter", "openai/gpt-4o", "openrouter/openai/gpt-4o"),
        ("openai", "azure/gpt-4o", None),
        ("litellm", "gpt-4o", None),
    ],
)  # fmt: skip
def test_litellm_s_prefixes_name_the_provider_and_are_no_part_of_the_name(
    book: PriceBook, provider: Any, model: str, found_as: str | None
) -> None:
    assert price(call(provider, model), book).model == found_as


@pytest.mark.parametrize(
    ("provider", "model", "reason"),
    [
        ("ollama", "llama3.2", "unknown_provider"),
        ("jina", "jina-embeddings-v3", "unknown_provider"),
        ("openai", "my-own-model", "unknown_model"),
        ("aws.bedrock", "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc123xyz", "unknown_model"),
        ("azure.ai.openai", "my-prod-deployment", "unknown_model"),
        ("cohere", "rerank-v3.5", "unknown_model"),
        ("voyage", "rerank-2.5", "unknown_model"),
        ("gcp.vertex_ai", "openai/gpt-4o", "unknown_model"),
    ],
)
def test_what_is_not_in_the_book_is_unpriced(book: PriceBook, provider: str, model: str, reason: str) -> None:
    found = price(call(provider, model), book)
    assert (found.status, found.cost_pusd, found.reason) == ("unpriced", None, reason)


def test_names_of_vertex_ai_are_not_taken_for_those_of_others(book: PriceBook) -> None:
    assert isinstance(found := price(call("openrouter", "google/gemini-2.5-flash"), book), Price)
    assert found.model == "openrouter/google/gemini-2.5-flash"
