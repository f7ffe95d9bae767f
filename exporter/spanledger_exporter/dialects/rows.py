"""The dialects: how each is recognised, what its attributes are called, and what its figures mean.

One row for each family of instrumentations; docs/dialects.md shows them. A span speaks the first dialect whose scope or
keys it has. Names that a row does not list are those of the OpenTelemetry conventions (`names.py`).

Source: captures of the real instrumentations (tests/data/captures) and their source code, 2026-11.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from spanledger_exporter.dialects import documents
from spanledger_exporter.dialects.documents import Paths
from spanledger_exporter.dialects.names import Names

# Of these providers the API itself reports input without cached tokens, so whoever passes its figures on does too.
_RAW_EXCLUSIVE = frozenset({"anthropic", "aws.bedrock"})
Providers = frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One dialect.

    `rank` tells how far its figures are to be trusted beside another report of the same call: 90 and more are the
    provider's own, 40 and less leave classes out or compute them. A span is of this dialect if its scope begins with
    one of `scopes` or it has one of `keys` (an attribute, or an attribute and its value). `names` come before those of
    the conventions. `operations` are the attributes that tell what was done where no operation is named, each with its
    values; `default` is the operation of a span that has figures and says nothing at all.

    Input tokens include cached ones but for the providers in `exclusive` (`*`: all), where they are added, and for
    those in `ambiguous`, where nobody knows. `documents` are texts of figures, `answers` recorded answers, of which
    only figures and the id are read, with the paths in them. A span that did not fail and has none of `needs` is no
    call, and neither is one that has one of `ignored`.
    """

    dialect: str
    rank: int
    scopes: tuple[str, ...] = ()
    keys: tuple[str | tuple[str, str], ...] = ()
    names: Names = field(default_factory=dict[str, tuple[str, ...]])
    provider: str | None = None
    operations: Mapping[str, Mapping[str, str]] = field(default_factory=dict[str, Mapping[str, str]])
    default: str | None = None
    exclusive: Providers = frozenset()
    ambiguous: Providers = frozenset()
    documents: Mapping[str, Paths] = field(default_factory=dict[str, Paths])
    answers: Mapping[str, Paths] = field(default_factory=dict[str, Paths])
    needs: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()


_REQUEST_TYPES = {"chat": "chat", "completion": "text_completion", "embedding": "embeddings", "rerank": "rerank"}
_OPENINFERENCE_KINDS = {"LLM": "chat", "EMBEDDING": "embeddings", "RERANKER": "rerank"}
_OPENINFERENCE: Names = {
    "provider": ("llm.provider", "llm.system"),
    "response_model": ("llm.model_name", "embedding.model_name", "reranker.model_name"),
    "finish_reasons": ("llm.finish_reason",),
    "input_tokens": ("llm.token_count.prompt",),
    "output_tokens": ("llm.token_count.completion",),
    "cache_read_tokens": ("llm.token_count.prompt_details.cache_read",),
    "cache_write_tokens": ("llm.token_count.prompt_details.cache_write",),
    "input_audio_tokens": ("llm.token_count.prompt_details.audio",),
    "reasoning_tokens": ("llm.token_count.completion_details.reasoning",),
    "output_audio_tokens": ("llm.token_count.completion_details.audio",),
}
_VERCEL_OPERATIONS = {
    "ai.operationId": {
        "ai.generateText.doGenerate": "chat",
        "ai.streamText.doStream": "chat",
        "ai.generateObject.doGenerate": "chat",
        "ai.streamObject.doStream": "chat",
        "ai.embed.doEmbed": "embeddings",
        "ai.embedMany.doEmbed": "embeddings",
        "ai.rerank.doRerank": "rerank",
    }
}
_VERCEL: Names = {
    "provider": ("ai.model.provider",),
    "request_model": ("ai.model.id",),
    "response_model": ("ai.response.model",),
    "response_id": ("ai.response.id",),
    "finish_reasons": ("ai.response.finishReason",),
    "input_tokens": ("ai.usage.inputTokens", "ai.usage.promptTokens", "ai.usage.tokens"),
    "output_tokens": ("ai.usage.outputTokens", "ai.usage.completionTokens"),
    "cache_read_tokens": ("ai.usage.inputTokenDetails.cacheReadTokens", "ai.usage.cachedInputTokens"),
    "cache_write_tokens": ("ai.usage.inputTokenDetails.cacheWriteTokens",),
    "reasoning_tokens": ("ai.usage.outputTokenDetails.reasoningTokens", "ai.usage.reasoningTokens"),
}
# What genai-prices' names say that the conventions' do not.
_DETAILS: Names = {"reasoning_tokens": ("gen_ai.usage.details.reasoning_tokens",)}
_STREAMING = ("gen_ai.request.stream", "gen_ai.is_streaming", "llm.is_streaming")
_ANY_USAGE = ("gen_ai.usage.input_tokens", "gen_ai.usage.output_tokens", "gen_ai.response.id")

ROWS: tuple[Row, ...] = (
    Row(dialect="spanledger", rank=100, scopes=("spanledger",)),
    Row(dialect="anthropic_sdk", rank=95, scopes=("com.anthropic.sdk",)),
    Row(dialect="mistral_sdk", rank=95, scopes=("mistralai_sdk_tracer",), provider="mistral_ai", default="chat"),
    Row(
        dialect="claude_code",
        rank=90,
        keys=(("span.type", "llm_request"), ("span.type", "claude_code.llm_request")),
        provider="anthropic",
        names={
            "request_model": ("model",),
            "input_tokens": ("input_tokens",),
            "output_tokens": ("output_tokens",),
            "cache_read_tokens": ("cache_read_tokens",),
            "cache_write_tokens": ("cache_creation_tokens",),
        },
        operations={"span.type": {"llm_request": "chat", "claude_code.llm_request": "chat"}},
        exclusive=frozenset({"*"}),
    ),
    # The official instrumentations, beneath the same first words as OpenLLMetry's.
    Row(
        dialect="otel",
        rank=80,
        scopes=(
            "opentelemetry.instrumentation.genai",
            "opentelemetry.instrumentation.openai_v2",
            "opentelemetry.instrumentation.google_genai",
            "opentelemetry.instrumentation.botocore",
            "opentelemetry.util.genai",
            "@opentelemetry/",
            "io.opentelemetry.",
        ),
    ),
    # LangSmith, LiteLLM and others write names of OpenLLMetry and OpenInference beside their own: theirs come first.
    Row(
        dialect="litellm",
        rank=40,
        scopes=("litellm",),
        keys=("litellm.call_type",),
        names={"provider": ("gen_ai.provider.name", "gen_ai.system", "litellm.provider.model"), "stream": _STREAMING},
        operations={"llm.request.type": _REQUEST_TYPES},
        documents={"metadata.usage_object": documents.PROVIDER},
    ),
    Row(
        dialect="langsmith",
        rank=50,
        scopes=("langsmith",),
        keys=("langsmith.span.kind",),
        names={
            "stream": ("gen_ai.request.stream", "langsmith.request.streaming"),
            "service_tier": ("gen_ai.response.service_tier",),
        },
        operations={"langsmith.span.kind": {"llm": "chat", "embedding": "embeddings"}},
        documents={
            "gen_ai.usage.input_token_details": documents.LANGCHAIN_INPUT,
            "gen_ai.usage.output_token_details": documents.LANGCHAIN_OUTPUT,
            "langsmith.metadata.usage_metadata": documents.LANGCHAIN,
        },
    ),
    Row(
        dialect="langfuse",
        rank=45,
        scopes=("langfuse",),
        keys=("langfuse.observation.type",),
        names={"response_model": ("langfuse.observation.model.name",)},
        operations={"langfuse.observation.type": {"generation": "chat", "embedding": "embeddings"}},
        documents={"langfuse.observation.usage_details": {**documents.PROVIDER, **documents.LANGFUSE}},
    ),
    Row(
        dialect="mlflow",
        rank=45,
        scopes=("mlflow",),
        keys=("mlflow.spanType",),
        names={"provider": ("mlflow.llm.provider",), "response_model": ("mlflow.llm.model",)},
        operations={
            "mlflow.spanType": {
                "CHAT_MODEL": "chat",
                "LLM": "chat",
                "EMBEDDING": "embeddings",
                "RERANKER": "rerank",
            }
        },
        documents={"mlflow.chat.tokenUsage": documents.MLFLOW},
        answers={"mlflow.spanOutputs": documents.ANSWER},
    ),
    Row(dialect="pydantic_ai", rank=75, scopes=("pydantic-ai",), names=_DETAILS),
    Row(
        dialect="logfire",
        rank=65,
        scopes=("logfire",),
        names=_DETAILS,
        documents={"gen_ai.usage.raw": documents.PROVIDER},
        # The span of a stream ends before the stream does; its figures and ids come on a second one.
        needs=(*_ANY_USAGE, "gen_ai.usage.raw"),
    ),
    Row(dialect="openlit", rank=35, scopes=("openlit",), exclusive=_RAW_EXCLUSIVE),
    Row(dialect="traceverde", rank=30, scopes=("genai_otel",), exclusive=_RAW_EXCLUSIVE),
    Row(dialect="alye", rank=70, scopes=("alye",)),
    Row(dialect="strands", rank=50, scopes=("strands",)),
    Row(
        dialect="semantic_kernel",
        rank=50,
        scopes=("semantic_kernel", "Microsoft.SemanticKernel"),
        ambiguous=_RAW_EXCLUSIVE,
    ),
    Row(
        dialect="spring_ai",
        rank=50,
        scopes=("org.springframework", "spring-ai", "io.micrometer"),
        keys=("spring.ai.kind",),
        exclusive=_RAW_EXCLUSIVE,
    ),
    Row(
        dialect="sentry",
        rank=45,
        scopes=("sentry",),
        keys=("sentry.op",),
        names={
            "request_model": ("gen_ai.request.model", "ai.model_id"),
            "input_tokens": ("gen_ai.usage.input_tokens", "ai.prompt_tokens.used"),
            "output_tokens": ("gen_ai.usage.output_tokens", "ai.completion_tokens.used"),
            "cache_read_tokens": ("gen_ai.usage.input_tokens.cached",),
            "cache_write_tokens": ("gen_ai.usage.input_tokens.cache_write",),
            "reasoning_tokens": ("gen_ai.usage.output_tokens.reasoning",),
        },
        operations={
            "sentry.op": {
                "gen_ai.chat": "chat",
                "gen_ai.request": "chat",
                "gen_ai.responses": "chat",
                "gen_ai.messages": "chat",
                "gen_ai.generate_content": "generate_content",
                "gen_ai.generate_text": "chat",
                "gen_ai.stream_text": "chat",
                "gen_ai.text_completion": "text_completion",
                "gen_ai.embeddings": "embeddings",
                "gen_ai.embed": "embeddings",
                "gen_ai.rerank": "rerank",
            }
        },
    ),
    Row(
        dialect="haystack",
        rank=20,
        keys=("haystack.component.type",),
        operations={"haystack.component.type": documents.HAYSTACK_COMPONENTS},
        answers={"haystack.component.output": documents.HAYSTACK},
    ),
    Row(
        dialect="vercel_v4",
        rank=55,
        keys=("ai.usage.promptTokens",),
        names=_VERCEL,
        operations=_VERCEL_OPERATIONS,
        exclusive=_RAW_EXCLUSIVE,
        answers={"ai.response.providerMetadata": documents.VERCEL},
    ),
    # Version 6 gives the parts of the input and includes them; version 5 passes on what the provider says.
    Row(
        dialect="vercel",
        rank=65,
        keys=("ai.usage.inputTokenDetails.noCacheTokens", "ai.usage.inputTokenDetails.cacheReadTokens"),
        names=_VERCEL,
        operations=_VERCEL_OPERATIONS,
        answers={"ai.response.providerMetadata": documents.VERCEL},
    ),
    Row(
        dialect="vercel",
        rank=65,
        keys=("ai.operationId",),
        names=_VERCEL,
        operations=_VERCEL_OPERATIONS,
        exclusive=_RAW_EXCLUSIVE,
        answers={"ai.response.providerMetadata": documents.VERCEL},
    ),
    # Version 7 writes the conventions' names. The outer span of an embedding has no figures.
    Row(dialect="vercel", rank=65, scopes=("gen_ai",), needs=_ANY_USAGE),
    # LlamaIndex's spans are of every method of a model, also of those that call nobody.
    Row(
        dialect="openinference",
        rank=60,
        scopes=("openinference.instrumentation.llama_index",),
        names=_OPENINFERENCE,
        operations={"openinference.span.kind": _OPENINFERENCE_KINDS},
        answers={"output.value": documents.ANSWER_ID},
        needs=("llm.token_count.prompt", "llm.token_count.completion", "llm.token_count.total"),
    ),
    Row(
        dialect="openinference",
        rank=60,
        keys=("openinference.span.kind",),
        names=_OPENINFERENCE,
        operations={"openinference.span.kind": _OPENINFERENCE_KINDS},
        answers={"output.value": documents.ANSWER_ID},
    ),
    Row(
        dialect="openllmetry",
        rank=55,
        scopes=("@traceloop/",),
        names={"stream": _STREAMING},
        operations={"llm.request.type": _REQUEST_TYPES},
        default="chat",
        exclusive=_RAW_EXCLUSIVE,
        ignored=("traceloop.span.kind",),
    ),
    Row(
        dialect="openllmetry",
        rank=55,
        scopes=("opentelemetry.instrumentation.bedrock",),
        names={"stream": _STREAMING},
        operations={"llm.request.type": _REQUEST_TYPES},
        default="chat",
        exclusive=_RAW_EXCLUSIVE,
        ignored=("traceloop.span.kind",),
    ),
    Row(
        dialect="openllmetry",
        rank=55,
        scopes=("opentelemetry.instrumentation.",),
        keys=("llm.request.type",),
        names={"stream": _STREAMING},
        operations={"llm.request.type": _REQUEST_TYPES},
        default="chat",
        ignored=("traceloop.span.kind",),
    ),
    # Nobody that we know: the names alone.
    Row(dialect="otel", rank=75, keys=("gen_ai.provider.name",)),
    Row(dialect="otel_legacy", rank=50, ambiguous=_RAW_EXCLUSIVE),
)
