"""What is captured: a program, and the instrumentations and versions that it runs with."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tests.captures.packages import (
    AGENTS_OVER,
    GATEWAY,
    INSTRUMENTED,
    LANGCHAIN,
    LANGFUSE,
    LANGSMITH,
    LITELLM,
    LLAMA_INDEX,
    LOGFIRE,
    MLFLOW,
    NODE_ANTHROPIC,
    NODE_ANTHROPIC_0,
    NODE_OPENAI,
    NODE_OPENAI_7,
    OPENAI_AGENTS,
    OPENLIT,
    OURS_LANGCHAIN,
    OURS_LITELLM,
    OURS_PYDANTIC_AI,
    PYDANTIC_AI,
    PYDANTIC_AI_OVER,
    SEMANTIC_KERNEL,
    SPRING_AI,
    STRANDS,
    TRACEVERDE,
    VERCEL_4,
    VERCEL_5,
    VERCEL_6,
    VERCEL_7,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One capture. `packages` are as the language's package client takes them; all that are named are pinned.

    `instrumentations` are functions of the language's `instrumentations` module, activated in this order.
    """

    name: str
    language: str
    packages: tuple[str, ...]
    program: str
    instrumentations: tuple[str, ...]
    environment: Mapping[str, str] = field(default_factory=dict[str, str])


def _python(name: str, packages: tuple[str, ...], program: str, instrumentations: str, **environment: str) -> Row:
    return Row(
        name=name,
        language="python",
        packages=packages,
        program=f"{program}.py",
        instrumentations=tuple(instrumentations.split()),
        environment=environment,
    )


def _node(name: str, packages: tuple[str, ...], program: str, instrumentations: str, **environment: str) -> Row:
    return Row(
        name=name,
        language="node",
        packages=packages,
        program=f"{program}.cjs",
        instrumentations=tuple(instrumentations.split()),
        environment=environment,
    )


def _java(name: str, packages: tuple[str, ...], program: str) -> Row:
    return Row(name=name, language="java", packages=packages, program=program, instrumentations=(program,))


# The SDK of Anthropic makes spans of its own, unless it is told not to.
ALONE = {"ANTHROPIC_OPEN_TELEMETRY": "false"}
SEMANTIC_KERNEL_SETTINGS = {"SEMANTICKERNEL_EXPERIMENTAL_GENAI_ENABLE_OTEL_DIAGNOSTICS": "true"}
LITELLM_SETTINGS = {"LITELLM_LOCAL_MODEL_COST_MAP": "True"}
LANGFUSE_KEYS = {"LANGFUSE_PUBLIC_KEY": "pk-lf-capture", "LANGFUSE_SECRET_KEY": "sk-lf-capture"}
LANGSMITH_SETTINGS = {
    "LANGSMITH_TRACING": "true",
    "LANGSMITH_OTEL_ENABLED": "true",
    "LANGSMITH_OTEL_ONLY": "true",
    "LANGSMITH_API_KEY": "ls-capture",
}

ROWS = (
    # One instrumentation at a time.
    _python("official-openai", INSTRUMENTED, "openai_calls", "official_openai"),
    _python("official-anthropic", INSTRUMENTED, "anthropic_calls", "official_anthropic", **ALONE),
    _python("openllmetry-openai", INSTRUMENTED, "openai_calls", "openllmetry_openai"),
    _python("openllmetry-anthropic", INSTRUMENTED, "anthropic_calls", "openllmetry_anthropic", **ALONE),
    _python("openinference-openai", INSTRUMENTED, "openai_calls", "openinference_openai"),
    _python("openinference-anthropic", INSTRUMENTED, "anthropic_calls", "openinference_anthropic", **ALONE),
    _python("anthropic-sdk", INSTRUMENTED, "anthropic_calls", "anthropic_sdk"),
    _python("ours-openai", INSTRUMENTED, "openai_calls", "ours"),
    _python("ours-anthropic", INSTRUMENTED, "anthropic_calls", "ours", **ALONE),
    _python("openllmetry-langchain", LANGCHAIN, "langchain_calls", "openllmetry_langchain", **ALONE),
    _python("openinference-langchain", LANGCHAIN, "langchain_calls", "openinference_langchain", **ALONE),
    _python("official-langchain", LANGCHAIN, "langchain_calls", "official_langchain", **ALONE),
    _python("logfire-openai", LOGFIRE, "openai_calls", "logfire"),
    _python("logfire-anthropic", LOGFIRE, "anthropic_calls", "logfire", **ALONE),
    _python("pydantic-ai", PYDANTIC_AI, "pydantic_ai_calls", "pydantic_ai", **ALONE),
    _python("litellm", LITELLM, "litellm_calls", "litellm", **LITELLM_SETTINGS),
    _python("openlit-openai", OPENLIT, "openai_calls", "openlit"),
    _python("openlit-anthropic", OPENLIT, "anthropic_calls", "openlit"),
    _python("langfuse", LANGFUSE, "langfuse_calls", "langfuse", **LANGFUSE_KEYS),
    _python("langsmith", LANGSMITH, "langsmith_calls", "langsmith", **LANGSMITH_SETTINGS),
    _python("mlflow-openai", MLFLOW, "openai_calls", "mlflow"),
    _python("mlflow-anthropic", MLFLOW, "anthropic_calls", "mlflow", **ALONE),
    _python("strands", STRANDS, "strands_calls", "strands"),
    _node("node-official-openai", NODE_OPENAI, "openai_calls", "official_openai"),
    _node("node-openinference-openai", NODE_OPENAI_7, "openai_calls", "openinference_openai"),
    _node("node-openllmetry-openai", NODE_OPENAI, "openai_calls", "openllmetry_openai"),
    _node("node-anthropic-sdk", NODE_ANTHROPIC, "anthropic_calls", "anthropic_sdk"),
    _node("node-openinference-anthropic", NODE_ANTHROPIC, "anthropic_calls", "openinference_anthropic", **ALONE),
    _node("node-openllmetry-anthropic", NODE_ANTHROPIC_0, "anthropic_calls", "openllmetry_anthropic", **ALONE),
    _node("node-vercel-4", VERCEL_4, "vercel_calls", "vercel"),
    _node("node-vercel-5", VERCEL_5, "vercel_calls", "vercel"),
    _node("node-vercel-6", VERCEL_6, "vercel_calls", "vercel"),
    _node("node-vercel-7", VERCEL_7, "vercel_calls", "vercel_otel"),
    _python("openinference-llama-index", LLAMA_INDEX, "llama_index_calls", "openinference_llama_index"),
    _python("openinference-openai-agents", OPENAI_AGENTS, "openai_agents_calls", "openinference_openai_agents"),
    _python("semantic-kernel", SEMANTIC_KERNEL, "semantic_kernel_calls", "semantic_kernel", **SEMANTIC_KERNEL_SETTINGS),
    _python("traceverde-openai", TRACEVERDE, "openai_calls", "traceverde"),
    _python("traceverde-anthropic", TRACEVERDE, "anthropic_calls", "traceverde", **ALONE),
    _java("java-spring-ai", SPRING_AI, "spring-ai"),
    # Two at a time.
    _python(
        "openinference-langchain-and-openai",
        LANGCHAIN,
        "langchain_calls",
        "openinference_langchain openinference_openai",
        **ALONE,
    ),
    _python(
        "openinference-langchain-and-openllmetry",
        LANGCHAIN,
        "langchain_calls",
        "openinference_langchain openllmetry_openai",
        **ALONE,
    ),
    _python("openllmetry-langchain-and-anthropic-sdk", LANGCHAIN, "langchain_calls", "openllmetry_langchain"),
    _python("logfire-and-official", LOGFIRE, "openai_calls", "logfire official_openai"),
    _python("logfire-and-anthropic-sdk", LOGFIRE, "anthropic_calls", "logfire"),
    _python("litellm-and-openinference", LITELLM, "litellm_calls", "litellm openinference_litellm", **LITELLM_SETTINGS),
    # In Node.js the later one takes the earlier one's wrapper off, so each call is told once, by either.
    _node("node-official-and-openllmetry", NODE_OPENAI, "openai_calls", "official_openai openllmetry_openai"),
    _node("node-openinference-and-anthropic-sdk", NODE_ANTHROPIC, "anthropic_calls", "openinference_anthropic"),
    _python("official-and-anthropic-sdk", INSTRUMENTED, "anthropic_calls", "official_anthropic"),
    _python("openllmetry-and-anthropic-sdk", INSTRUMENTED, "anthropic_calls", "openllmetry_anthropic"),
    _python("openinference-and-anthropic-sdk", INSTRUMENTED, "anthropic_calls", "openinference_anthropic"),
    _python("openinference-and-openllmetry", INSTRUMENTED, "openai_calls", "openinference_openai openllmetry_openai"),
    _python("ours-and-anthropic-sdk", INSTRUMENTED, "anthropic_calls", "ours"),
    _python("ours-and-openllmetry", INSTRUMENTED, "openai_calls", "ours openllmetry_openai"),
    _python("ours-and-openinference", INSTRUMENTED, "openai_calls", "ours openinference_openai"),
    _python("official-and-openllmetry", INSTRUMENTED, "openai_calls", "official_openai openllmetry_openai"),
    _python("pydantic-ai-and-openllmetry", PYDANTIC_AI_OVER, "pydantic_ai_calls", "pydantic_ai openllmetry_openai"),
    _python(
        "openai-agents-and-openai",
        AGENTS_OVER,
        "openai_agents_calls",
        "openinference_openai_agents openinference_openai",
    ),
    _python("openllmetry-and-gateway", GATEWAY, "gateway_calls", "openllmetry_openai", **LITELLM_SETTINGS),
    _python("ours-and-official", INSTRUMENTED, "openai_calls", "ours official_openai"),
    _python("ours-and-langchain", OURS_LANGCHAIN, "langchain_calls", "ours openinference_langchain", **ALONE),
    _python("ours-and-litellm", OURS_LITELLM, "litellm_calls", "ours litellm", **LITELLM_SETTINGS),
    _python("ours-and-pydantic-ai", OURS_PYDANTIC_AI, "pydantic_ai_calls", "ours pydantic_ai", **ALONE),
)
