"""Names of providers and models on spans -> the names that a price book may know them by.

Source: facts gathered from recorded traffic and the SDKs' own request builders; LiteLLM 1.110.2's provider labels.
"""

import re
from collections.abc import Iterable, Mapping

# OpenTelemetry's provider names -> the book's providers. Names that are equal in both need no row.
BOOK_PROVIDERS: Mapping[str, str] = {
    "aws.bedrock": "aws",
    "azure.ai.inference": "azure",
    "azure.ai.openai": "azure",
    "gcp.gemini": "google",
    "gcp.gen_ai": "google",
    "gcp.vertex_ai": "google",
    "mistral_ai": "mistral",
    "moonshot_ai": "moonshotai",
    "voyage": "voyageai",
    "x_ai": "x-ai",
}
# LiteLLM's labels, which it writes before a model's name -> the book's providers.
LITELLM_PROVIDERS: Mapping[str, str] = {
    "anthropic": "anthropic",
    "azure": "azure",
    "azure_ai": "azure",
    "azure_text": "azure",
    "bedrock": "aws",
    "bedrock_converse": "aws",
    "bedrock_mantle": "aws",
    "cerebras": "cerebras",
    "cohere": "cohere",
    "cohere_chat": "cohere",
    "deepseek": "deepseek",
    "fireworks_ai": "fireworks",
    "gemini": "google",
    "groq": "groq",
    "mistral": "mistral",
    "moonshot": "moonshotai",
    "openai": "openai",
    "openrouter": "openrouter",
    "perplexity": "perplexity",
    "text-completion-openai": "openai",
    "together_ai": "together",
    "vertex_ai": "google",
    "voyage": "voyageai",
    "xai": "x-ai",
    "zai": "zai",
}
_COMPACT_DATE = re.compile(r"-(20\d{2})(0[1-9]|1[0-2])(0[1-9]|[12]\d|3[01])(?=-|:|$)")
_PATH = re.compile(r"^(?:models/|(?:projects/.*/)?publishers/[^/]+/models/|arn:.*/)")
# LiteLLM's `bedrock/converse/...`, `bedrock/us-east-1/...`, `azure/eu/...`.
_LITELLM_ROUTE = re.compile(r"^(?:(?:converse|invoke|converse_like)/)?(?:[a-z]{2}(?:-gov)?-[a-z]+-\d/)?")
# Vertex AI's OpenAI-compatible endpoint names Gemini so, and any model may carry a version behind an @.
# Source: cloud.google.com, "Call Vertex AI models by using the OpenAI library", read 2026-11.
_GOOGLE_NAME = re.compile(r"^(?:google/)?([^/@]+)(?:@.*)?$")


def book_provider(provider: str | None, names: tuple[tuple[str, str], ...]) -> str:
    """Return the book's name of a provider; where the span says LiteLLM or nothing, its prefix of the model decides."""
    if provider is None or provider == "litellm":
        for _, name in names:
            label, slash, _ = name.partition("/")
            if slash and label.lower() in LITELLM_PROVIDERS:
                return LITELLM_PROVIDERS[label.lower()]
    return BOOK_PROVIDERS.get(provider or "", provider or "")


def references(provider_id: str, name: str) -> tuple[str, ...]:
    """Return what a model may be called in the book, the likeliest first, in lower case.

    Without the path before it (`models/`, `publishers/.../models/`, an ARN), without LiteLLM's prefix, with the dashes
    of its date, and at Google without its version.
    """
    plain = _PATH.sub("", name.lower())
    found = [plain]
    label, slash, rest = plain.partition("/")
    if slash and LITELLM_PROVIDERS.get(label) == provider_id:
        rest = _PATH.sub("", rest)
        found += [rest, _LITELLM_ROUTE.sub("", rest)]
    found += [_COMPACT_DATE.sub(r"-\1-\2-\3", reference) for reference in found]  # LiteLLM and OpenRouter drop dashes
    if provider_id == "google":
        found += [_GOOGLE_NAME.sub(r"\1", reference) for reference in found]
    return tuple(dict.fromkeys(found))


def provider_of(name: str, known: Iterable[str]) -> str | None:
    """Return the provider that a prefix of a model's name says: LiteLLM's label of it, or its name in the book."""
    label, slash, _ = name.partition("/")
    if not slash:
        return None
    return LITELLM_PROVIDERS.get(label.lower()) or next((each for each in known if each == label.lower()), None)
