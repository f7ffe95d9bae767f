"""One span of each dialect, as its instrumentations write them -> what it says.

The captures (test_captures.py) hold the dialects that can be run here; these also hold those that cannot.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import pytest

from spanledger_exporter import dialects
from spanledger_exporter.dialects.rows import ROWS
from spanledger_exporter.receiving import otlp
from spanledger_exporter.records import Usage, UsageRecord
from tests.exporter.otlp_requests import Value, request, span


def understand(scope: str, attributes: Mapping[str, Value], *, failed: bool = False) -> dialects.Understood:
    body = request(span(attributes, failed=failed), scope=scope).SerializeToString()
    return dialects.understand(otlp.decode(body, dialects.RESOURCE_ATTRIBUTES).spans)


def record(scope: str, attributes: Mapping[str, Value]) -> UsageRecord:
    (found,) = understand(scope, attributes).records
    return found


@dataclass(frozen=True, kw_only=True)
class Case:
    dialect: str
    scope: str = "somebody's"
    attributes: Mapping[str, Value]
    provider: str | None = "anthropic"
    operation: str = "chat"
    model: str | None = "claude-sonnet-4-5"
    usage: Usage
    response_id: str | None = None
    said: Mapping[str, object] = field(default_factory=dict[str, object])


OTEL: Mapping[str, Value] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "anthropic",
    "gen_ai.response.model": "claude-sonnet-4-5",
    "gen_ai.usage.input_tokens": 100,
    "gen_ai.usage.output_tokens": 20,
    "gen_ai.usage.cache_read.input_tokens": 40,
}
LEGACY: Mapping[str, Value] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.system": "anthropic",
    "gen_ai.response.model": "claude-sonnet-4-5",
    "gen_ai.usage.input_tokens": 100,
    "gen_ai.usage.output_tokens": 20,
    "gen_ai.usage.cache_read_input_tokens": 40,
}
INCLUSIVE = Usage(100, 20, 40)
EXCLUSIVE = Usage(140, 20, 40)

CASES = (
    Case(dialect="spanledger", scope="spanledger", attributes=OTEL, usage=INCLUSIVE),
    Case(dialect="anthropic_sdk", scope="com.anthropic.sdk.python", attributes=OTEL, usage=INCLUSIVE),
    Case(dialect="anthropic_sdk", scope="com.anthropic.sdk.typescript", attributes=OTEL, usage=INCLUSIVE),
    # mistralai 1.12 names no operation and no id, and mixes older names with current ones.
    Case(
        dialect="mistral_sdk",
        scope="mistralai_sdk_tracer",
        attributes={
            "gen_ai.request.model": "mistral-small-latest",
            "gen_ai.usage.prompt_tokens": 9,
            "gen_ai.usage.output_tokens": 4,
        },
        provider="mistral_ai",
        model="mistral-small-latest",
        usage=Usage(9, 4),
    ),
    Case(
        dialect="claude_code",
        attributes={
            "span.type": "llm_request",
            "model": "claude-sonnet-4-5",
            "input_tokens": 3,
            "output_tokens": 20,
            "cache_read_tokens": 40,
            "cache_creation_tokens": 7,
        },
        usage=Usage(50, 20, 40, 7),
    ),
    Case(dialect="otel", scope="opentelemetry.instrumentation.genai.anthropic", attributes=OTEL, usage=INCLUSIVE),
    Case(dialect="otel", attributes=OTEL, usage=INCLUSIVE),
    Case(dialect="alye", scope="alye", attributes=OTEL, usage=INCLUSIVE),
    Case(dialect="openllmetry", scope="opentelemetry.instrumentation.anthropic", attributes=OTEL, usage=INCLUSIVE),
    Case(dialect="openllmetry", scope="@traceloop/instrumentation-anthropic", attributes=OTEL, usage=EXCLUSIVE),
    Case(
        dialect="openllmetry",
        scope="opentelemetry.instrumentation.bedrock",
        attributes={**LEGACY, "gen_ai.system": "AWS"},
        provider="aws.bedrock",
        usage=EXCLUSIVE,
    ),
    # Cohere's figures are doubles, and there is no operation; older releases write names with capitals.
    Case(
        dialect="openllmetry",
        scope="opentelemetry.instrumentation.cohere",
        attributes={
            "llm.request.type": "chat",
            "gen_ai.system": "Cohere",
            "gen_ai.request.model": "command-r",
            "gen_ai.usage.input_tokens": 403.0,
            "gen_ai.usage.output_tokens": 7.0,
        },
        provider="cohere",
        model="command-r",
        usage=Usage(403, 7),
    ),
    Case(
        dialect="openllmetry",
        attributes={
            "llm.request.type": "embedding",
            "gen_ai.system": "OpenAI",
            "gen_ai.request.model": "text-embedding-3-small",
            "gen_ai.usage.prompt_tokens": 8,
        },
        provider="openai",
        operation="embeddings",
        model="text-embedding-3-small",
        usage=Usage(8),
    ),
    Case(
        dialect="openinference",
        scope="openinference.instrumentation.anthropic",
        attributes={
            "openinference.span.kind": "LLM",
            "llm.provider": "anthropic",
            "llm.model_name": "claude-sonnet-4-5",
            "llm.token_count.prompt": 100,
            "llm.token_count.completion": 20,
            "llm.token_count.prompt_details.cache_read": 40,
            "llm.token_count.prompt_details.cache_write": 5,
            "llm.token_count.completion_details.reasoning": 6,
            "output.value": '{"id": "msg_0123456789abcdef", "content": [{"text": "\\"id\\": \\"msg_of_a_user\\""}]}',
        },
        usage=Usage(100, 20, 40, 5, reasoning_tokens=6),
        response_id="msg_0123456789abcdef",
    ),
    Case(
        dialect="openinference",
        attributes={
            "openinference.span.kind": "RERANKER",
            "reranker.model_name": "rerank-v3.5",
            "llm.system": "cohere",
        },
        provider="cohere",
        operation="rerank",
        model="rerank-v3.5",
        usage=Usage(),
    ),
    Case(
        dialect="vercel_v4",
        scope="ai",
        attributes={
            "ai.operationId": "ai.generateText.doGenerate",
            "ai.model.provider": "anthropic.messages",
            "ai.model.id": "claude-sonnet-4-5",
            "ai.response.id": "msg_1",
            "ai.usage.promptTokens": 12,
            "ai.usage.completionTokens": 20,
            "gen_ai.usage.input_tokens": 12,
            "gen_ai.usage.output_tokens": 20,
            "ai.response.providerMetadata": '{"anthropic":{"cacheCreationInputTokens":5,"cacheReadInputTokens":40}}',
        },
        usage=Usage(57, 20, 40, 5),
        response_id="msg_1",
    ),
    Case(
        dialect="vercel",
        scope="ai",
        attributes={
            "ai.operationId": "ai.streamText.doStream",
            "ai.model.provider": "amazon-bedrock",
            "ai.model.id": "claude-sonnet-4-5",
            "ai.usage.inputTokens": 12,
            "ai.usage.outputTokens": 20,
            "ai.usage.cachedInputTokens": 40,
        },
        provider="aws.bedrock",
        usage=Usage(52, 20, 40),
        said={"stream": True},
    ),
    Case(
        dialect="vercel",
        scope="ai",
        attributes={
            "ai.operationId": "ai.generateText.doGenerate",
            "ai.model.provider": "anthropic.messages",
            "ai.model.id": "claude-sonnet-4-5",
            "ai.usage.inputTokens": 57,
            "ai.usage.outputTokens": 20,
            "ai.usage.inputTokenDetails.noCacheTokens": 12,
            "ai.usage.inputTokenDetails.cacheReadTokens": 40,
            "ai.usage.inputTokenDetails.cacheWriteTokens": 5,
            "ai.usage.outputTokenDetails.reasoningTokens": 6,
        },
        usage=Usage(57, 20, 40, 5, reasoning_tokens=6),
    ),
    Case(
        dialect="vercel",
        scope="ai",
        attributes={
            "ai.operationId": "ai.embedMany.doEmbed",
            "ai.model.provider": "openai.embedding",
            "ai.model.id": "text-embedding-3-small",
            "ai.usage.tokens": 8,
        },
        provider="openai",
        operation="embeddings",
        model="text-embedding-3-small",
        usage=Usage(8),
    ),
    Case(dialect="vercel", scope="gen_ai", attributes=OTEL, usage=INCLUSIVE),
    Case(
        dialect="logfire",
        scope="logfire.anthropic",
        attributes={
            **OTEL,
            "gen_ai.usage.raw": '{"input_tokens": 60, "cache_read_input_tokens": 40, "cache_creation": '
            '{"ephemeral_5m_input_tokens": 1, "ephemeral_1h_input_tokens": 2}}',
            "gen_ai.response.finish_reasons": '["end_turn"]',
        },
        usage=Usage(100, 20, 40, 3, cache_write_5m_tokens=1, cache_write_1h_tokens=2),
        said={"finish_reasons": "end_turn"},
    ),
    Case(
        dialect="pydantic_ai",
        scope="pydantic-ai",
        attributes={**OTEL, "gen_ai.usage.details.reasoning_tokens": 6},
        usage=Usage(100, 20, 40, reasoning_tokens=6),
    ),
    Case(
        dialect="langfuse",
        scope="langfuse-sdk",
        attributes={
            "langfuse.observation.type": "generation",
            "langfuse.observation.model.name": "gpt-5",
            "langfuse.observation.usage_details": '{"completion_tokens": 24, "prompt_tokens": 12, "total_tokens": 36, '
            '"prompt_tokens_details": {"cached_tokens": 3}, "completion_tokens_details": {"reasoning_tokens": 4}}',
        },
        provider=None,
        model="gpt-5",
        usage=Usage(12, 24, 3, reasoning_tokens=4),
    ),
    # Langfuse's own classes stand beside each other.
    Case(
        dialect="langfuse",
        scope="langfuse-sdk",
        attributes={
            "langfuse.observation.type": "generation",
            "langfuse.observation.model.name": "gpt-5",
            "langfuse.observation.usage_details": '{"input": 9, "input_cached_tokens": 3, "output": 20, '
            '"output_reasoning_tokens": 4}',
        },
        provider=None,
        model="gpt-5",
        usage=Usage(12, 24, 3, reasoning_tokens=4),
    ),
    Case(
        dialect="langsmith",
        scope="langsmith",
        attributes={
            **LEGACY,
            "langsmith.span.kind": "llm",
            "gen_ai.usage.input_token_details": "{'audio': 0, 'cache_read': 40, 'cache_creation': 5}",
            "gen_ai.usage.output_token_details": "{'audio': 0, 'reasoning': 6}",
        },
        usage=Usage(100, 20, 40, 5, reasoning_tokens=6, input_audio_tokens=0, output_audio_tokens=0),
    ),
    Case(
        dialect="mlflow",
        scope="mlflow.tracing.provider",
        attributes={
            "mlflow.spanType": '"CHAT_MODEL"',
            "mlflow.llm.provider": '"anthropic"',
            "mlflow.llm.model": '"claude-sonnet-4-5"',
            "mlflow.chat.tokenUsage": '{"input_tokens": 100, "output_tokens": 20, "cache_read_input_tokens": 40}',
            "mlflow.spanOutputs": '{"id": "msg_1", "usage": {"output_tokens_details": {"thinking_tokens": 6}}}',
        },
        usage=Usage(100, 20, 40, reasoning_tokens=6),
        response_id="msg_1",
    ),
    # Spring AI sends every attribute as a text.
    Case(
        dialect="spring_ai",
        scope="org.springframework.boot",
        attributes={**{key: str(value) for key, value in LEGACY.items()}, "gen_ai.usage.total_tokens": "120"},
        usage=EXCLUSIVE,
    ),
    Case(
        dialect="semantic_kernel",
        scope="Microsoft.SemanticKernel.Connectors.OpenAI",
        attributes={
            "gen_ai.operation.name": "chat.completions",
            "gen_ai.system": "openai",
            "gen_ai.request.model": "gpt-5",
            "gen_ai.response.prompt_tokens": 1,
            "gen_ai.usage.prompt_tokens": 12,
            "gen_ai.usage.completion_tokens": 24,
        },
        provider="openai",
        model="gpt-5",
        usage=Usage(12, 24),
    ),
    Case(
        dialect="sentry",
        attributes={
            "sentry.op": "gen_ai.chat",
            "gen_ai.system": "anthropic",
            "gen_ai.request.model": "claude-sonnet-4-5",
            "gen_ai.usage.input_tokens": 100,
            "gen_ai.usage.input_tokens.cached": 40,
            "gen_ai.usage.input_tokens.cache_write": 5,
            "gen_ai.usage.output_tokens": 20,
            "gen_ai.usage.output_tokens.reasoning": 6,
        },
        usage=Usage(100, 20, 40, 5, reasoning_tokens=6),
    ),
    Case(
        dialect="haystack",
        scope="haystack",
        attributes={
            "haystack.component.name": "llm",
            "haystack.component.type": "OpenAIChatGenerator",
            "haystack.component.output": '{"replies": [{"_role": "assistant", "_content": [{"text": "x"}], "_meta": '
            '{"model": "gpt-5", "usage": {"prompt_tokens": 12, "completion_tokens": 24}}}]}',
        },
        provider=None,
        model=None,
        usage=Usage(12, 24),
    ),
    Case(dialect="openlit", scope="openlit.instrumentation.anthropic", attributes=OTEL, usage=EXCLUSIVE),
    Case(dialect="traceverde", scope="genai_otel.instrumentors.base", attributes=OTEL, usage=EXCLUSIVE),
    Case(
        dialect="strands",
        scope="strands.telemetry.tracer",
        attributes={**LEGACY, "gen_ai.system": "strands-agents", "gen_ai.usage.prompt_tokens": 100},
        provider=None,
        usage=INCLUSIVE,
    ),
    Case(
        dialect="litellm",
        scope="litellm",
        attributes={
            "gen_ai.operation.name": "acompletion",
            "gen_ai.system": "",
            "litellm.provider.model": "anthropic/claude-sonnet-4-5",
            "gen_ai.request.model": "claude-sonnet-4-5",
            "gen_ai.usage.input_tokens": 100,
            "gen_ai.usage.output_tokens": 20,
            "gen_ai.cost.total_cost": 0.1,
            "metadata.usage_object": "{'prompt_tokens': 100, 'completion_tokens_details': {'reasoning_tokens': 6, "
            "'text_tokens': None}, 'prompt_tokens_details': {'cached_tokens': 40, 'cache_write_tokens': 5}}",
        },
        usage=Usage(100, 20, 40, 5, reasoning_tokens=6),
        said={"provider_cost_pusd": None},
    ),
    Case(dialect="otel_legacy", attributes={**LEGACY, "gen_ai.system": "openai"}, provider="openai", usage=INCLUSIVE),
    Case(dialect="otel_legacy", attributes=LEGACY, usage=INCLUSIVE, said={"ambiguity": "cache_in_input"}),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.dialect}-{case.scope}")
def test_a_span_of_each_dialect_is_understood(case: Case) -> None:
    found = record(case.scope, case.attributes)
    profile = found.profile
    assert (profile.dialect, profile.provider, profile.operation, profile.model, found.usage, found.response_id) == (
        case.dialect,
        case.provider,
        case.operation,
        case.model,
        case.usage,
        case.response_id,
    )
    said = {"ambiguity": None, **case.said}
    assert {name: getattr(profile, name, getattr(found, name, None)) for name in said} == said


def test_there_is_a_span_of_every_dialect() -> None:
    assert {case.dialect for case in CASES} == {row.dialect for row in ROWS} | {"otel_legacy"}


@pytest.mark.parametrize(
    ("scope", "attributes"),
    [
        ("ai", {"ai.operationId": "ai.generateText", "ai.model.id": "gpt-5", "ai.usage.inputTokens": 5}),
        ("ai", {"ai.operationId": "ai.toolCall", "ai.model.id": "gpt-5"}),
        ("openinference", {"openinference.span.kind": "CHAIN", "llm.token_count.prompt": 5}),
        ("openinference", {"openinference.span.kind": "AGENT", "llm.token_count.prompt": 5}),
        ("openinference.instrumentation.llama_index", {"openinference.span.kind": "LLM", "llm.model_name": "gpt-5"}),
        ("langfuse", {"langfuse.observation.type": "span"}),
        ("mlflow", {"mlflow.spanType": '"CHAIN"', "mlflow.chat.tokenUsage": '{"input_tokens": 5}'}),
        ("langsmith", {"langsmith.span.kind": "chain", "gen_ai.usage.input_tokens": 5}),
        ("litellm", {"llm.openai.id": "chatcmpl-1", "llm.openai.usage": "{'prompt_tokens': 12}"}),
        (
            "logfire.openai",
            {"gen_ai.operation.name": "chat", "gen_ai.system": "openai", "gen_ai.request.model": "gpt-5"},
        ),
        ("gen_ai", {"gen_ai.operation.name": "embeddings", "gen_ai.provider.name": "openai"}),
        ("opentelemetry.instrumentation.langchain", {"traceloop.span.kind": "task", "gen_ai.usage.input_tokens": 5}),
        ("org.springframework.boot", {"gen_ai.operation.name": "framework", "gen_ai.system": "spring_ai"}),
        ("strands", {"gen_ai.operation.name": "invoke_agent", "gen_ai.usage.input_tokens": 5}),
        ("haystack", {"haystack.component.name": "prompt", "haystack.component.type": "PromptBuilder"}),
    ],
)
def test_parents_and_steps_are_not_counted(scope: str, attributes: dict[str, Value]) -> None:
    got = understand(scope, attributes)
    assert got.records == []


def test_a_call_that_failed_needs_no_figures_to_be_one() -> None:
    attributes: dict[str, Value] = {"gen_ai.operation.name": "chat", "gen_ai.system": "openai"}
    (found,) = understand("logfire.openai", attributes, failed=True).records
    assert (found.profile.outcome, found.usage_status) == ("error", "unreported")


# -- input and cache -----------------------------------------------------------------------------------------


def test_fewer_input_than_cached_tokens_are_surely_without_them() -> None:
    found = record("somebody's", {**LEGACY, "gen_ai.usage.input_tokens": 12})
    assert (found.usage.input_tokens, found.ambiguity) == (52, None)


def test_a_total_that_adds_the_cached_tokens_tells_that_input_is_without_them() -> None:
    found = record("somebody's", {**LEGACY, "gen_ai.usage.total_tokens": 160})
    assert (found.usage.input_tokens, found.ambiguity) == (140, None)


def test_a_total_of_input_and_output_tells_nothing() -> None:
    found = record("somebody's", {**LEGACY, "gen_ai.usage.total_tokens": 120})
    assert (found.usage.input_tokens, found.ambiguity) == (100, "cache_in_input")


@pytest.mark.parametrize(("semantics", "tokens"), [("inclusive", 100), ("exclusive", 140)])
def test_a_span_that_says_how_its_figures_are_meant_is_believed(semantics: str, tokens: int) -> None:
    found = record("somebody's", {**LEGACY, "gen_ai.token.semantics": semantics})
    assert (found.usage.input_tokens, found.ambiguity) == (tokens, None)


def test_nothing_is_ambiguous_where_nothing_was_cached() -> None:
    assert record("somebody's", {**LEGACY, "gen_ai.usage.cache_read_input_tokens": 0}).ambiguity is None


def test_figures_of_who_made_the_call_are_never_corrected() -> None:
    found = record("spanledger", {**OTEL, "gen_ai.usage.input_tokens": 12})
    assert found.usage == Usage(12, 20, 40)


# -- figures that cannot be, providers, ranks ----------------------------------------------------------------


def test_a_refused_figure_is_named_with_its_reason() -> None:
    attributes = {**OTEL, "gen_ai.usage.input_tokens": math.nan, "gen_ai.usage.output_tokens": -1}
    got = understand("somebody's", attributes)
    assert got.refused == {
        dialects.Refusal("gen_ai.usage.input_tokens", "not_finite"): 1,
        dialects.Refusal("gen_ai.usage.output_tokens", "negative"): 1,
    }
    assert got.records[0].usage_status == "partial"


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (1.5, "not_whole"),
        ("1e400000000", "too_large"),
        (10**13, "too_large"),
        ("many", "no_number"),
        ("9" * 50, "no_number"),
        (True, "no_number"),
        ("-Infinity", "not_finite"),
    ],
)
def test_every_reason_is_told_apart(value: Value, reason: str) -> None:
    got = understand("somebody's", {**OTEL, "gen_ai.usage.output_tokens": value})
    assert [refusal.reason for refusal in got.refused] == [reason]


def test_a_figure_in_a_document_is_refused_like_any_other() -> None:
    attributes: dict[str, Value] = {
        "langfuse.observation.type": "generation",
        "langfuse.observation.usage_details": '{"prompt_tokens": -5, "completion_tokens": 7}',
    }
    got = understand("langfuse-sdk", attributes)
    assert got.records[0].usage == Usage(output_tokens=7)
    assert got.refused == {dialects.Refusal("langfuse.observation.usage_details", "negative"): 1}


@pytest.mark.parametrize(
    ("name", "provider"),
    [
        ("OpenAI", "openai"),
        ("openai.chat", "openai"),
        ("openai.responses", "openai"),
        ("anthropic.messages", "anthropic"),
        ("azure", "azure.ai.openai"),
        ("azure-openai.chat", "azure.ai.openai"),
        ("az.ai.openai", "azure.ai.openai"),
        ("azure.ai.inference", "azure.ai.inference"),
        ("amazon-bedrock", "aws.bedrock"),
        ("vertexai", "gcp.vertex_ai"),
        ("google.vertex.chat", "gcp.vertex_ai"),
        ("google.generative-ai", "gcp.gemini"),
        ("xai.chat", "x_ai"),
        ("mistral.chat", "mistral_ai"),
        ("None", None),
        ("", None),
        (" DeepSeek ", "deepseek"),
    ],
)
def test_providers_have_one_name_each(name: str, provider: str | None) -> None:
    assert record("somebody's", {**OTEL, "gen_ai.provider.name": name}).profile.provider == provider


def test_of_an_address_that_is_a_url_only_the_host_is_kept() -> None:
    """Semantic Kernel writes the base URL, which may hold a password."""
    found = record("semantic_kernel.x", {**LEGACY, "server.address": "https://me:secret@llm.example.com:8443/v1?k=1"})
    assert found.profile.server_address == "llm.example.com:8443"


def test_a_model_that_is_none_is_no_model() -> None:
    assert record("org.springframework.boot", {**LEGACY, "gen_ai.response.model": "none"}).profile.model is None


def test_the_richest_reports_rank_first() -> None:
    ranks = [dialects.rank(name) for name in ("spanledger", "anthropic_sdk", "otel", "openinference", "openlit")]
    assert ranks == sorted(ranks, reverse=True)
    assert len(set(ranks)) == len(ranks)
    assert dialects.rank("unheard of") == 0
