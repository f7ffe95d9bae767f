"""What instrumentations call providers -> their current OpenTelemetry names."""

# Older names and those of SDKs -> the current one (semantic conventions up to 1.36 and the attribute registry of 2026;
# Vercel AI SDK 4-7 `provider` of its models, LiteLLM 1.110 `LlmProviders`, OpenInference's `LLMProviderValues`).
PROVIDER_NAMES = {
    "xai": "x_ai",
    "vertex_ai": "gcp.vertex_ai",
    "vertexai": "gcp.vertex_ai",
    "google.vertex": "gcp.vertex_ai",
    "google-vertex": "gcp.vertex_ai",
    "gemini": "gcp.gemini",
    "google": "gcp.gemini",
    "google-gla": "gcp.gemini",
    "google-genai": "gcp.gemini",
    "google_genai": "gcp.gemini",
    "google_generativeai": "gcp.gemini",
    "az.ai.openai": "azure.ai.openai",
    "azure": "azure.ai.openai",
    "azure-openai": "azure.ai.openai",
    "azure_openai": "azure.ai.openai",
    "azureopenai": "azure.ai.openai",
    "az.ai.inference": "azure.ai.inference",
    "azure_ai": "azure.ai.inference",
    "mistral": "mistral_ai",
    "mistralai": "mistral_ai",
    "bedrock": "aws.bedrock",
    "amazon-bedrock": "aws.bedrock",
    "amazon_bedrock": "aws.bedrock",
    "bedrock_converse": "aws.bedrock",
    "aws": "aws.bedrock",
    "together_ai": "together",
    "togetherai": "together",
    "fireworks_ai": "fireworks",
    "cohere_chat": "cohere",
    "watsonx": "ibm.watsonx.ai",
}
# Names whose dots are their own; of all others only what stands before the first dot names the provider
# ("openai.chat" and "anthropic.messages" are the Vercel AI SDK's, "openai/gpt-5" is LiteLLM's).
_DOTTED = frozenset(
    {
        "aws.bedrock",
        "azure.ai.inference",
        "azure.ai.openai",
        "gcp.gemini",
        "gcp.gen_ai",
        "gcp.vertex_ai",
        "ibm.watsonx.ai",
    }
)


# What frameworks say of themselves where the provider should stand.
_NO_PROVIDERS = frozenset(
    {"", "none", "unknown", "_other", "strands-agents", "langchain", "spring_ai", "haystack", "llamaindex", "litellm"}
)


def provider_of(name: str | None) -> str | None:
    """Return the provider's current name; one that nobody knows stays as it is, in small letters."""
    folded = name.strip().lower().partition("/")[0] if name is not None else ""
    if folded in _NO_PROVIDERS:
        return None
    if folded in _DOTTED:
        return folded
    for length in (3, 2, 1):
        head = ".".join(folded.split(".", length)[:length])
        if head in PROVIDER_NAMES:
            return PROVIDER_NAMES[head]
    return folded.partition(".")[0]
