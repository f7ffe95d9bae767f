"""The pinned packages of each environment: the latest that install together, in November 2026."""

# This checkout, as it is.
OURS = "spanledger"

SDK = ("opentelemetry-sdk==1.45.2", "opentelemetry-exporter-otlp-proto-http==1.45.2")
VENDORS = ("openai==3.57.0", "anthropic==2.14.0")
INSTRUMENTED = (
    *SDK,
    *VENDORS,
    "openinference-instrumentation-anthropic==3.1.0",
    "openinference-instrumentation-openai==0.1.66",
    "opentelemetry-instrumentation-anthropic==0.62.4",
    "opentelemetry-instrumentation-genai-anthropic==1.3b0",
    "opentelemetry-instrumentation-genai-openai==1.3b0",
    "opentelemetry-instrumentation-openai==0.62.4",
    OURS,
)

LANGCHAIN = (
    *SDK,
    "langchain==1.5.2",
    "langchain-anthropic==1.7.10",
    "langchain-openai==1.7.4",
    "openinference-instrumentation-langchain==0.1.80",
    "openinference-instrumentation-openai==0.1.66",
    "opentelemetry-instrumentation-genai-langchain==1.3b0",
    "opentelemetry-instrumentation-langchain==0.62.4",
    "opentelemetry-instrumentation-openai==0.62.4",
)
LITELLM = (
    *SDK,
    "litellm==1.110.2",
    "openinference-instrumentation-litellm==0.1.51",
    "opentelemetry-instrumentation-openai==0.62.4",
)
GATEWAY = (*SDK, "litellm[proxy]==1.108.7", "opentelemetry-instrumentation-openai==0.62.4")
LOGFIRE = (*SDK, *VENDORS, "logfire==5.4.0", "opentelemetry-instrumentation-genai-openai==1.3b0")
LANGFUSE = (*SDK, "langfuse==5.0.4", "openai==3.57.0")
LANGSMITH = (*SDK, "langsmith[otel]==0.15.1", "openai==3.57.0")
MLFLOW = (*SDK, *VENDORS, "mlflow==3.17.2")
OPENLIT = ("openlit==1.45.0", "openai==2.54.0", "anthropic==0.125.0")
PYDANTIC_AI = (*SDK, "pydantic-ai-slim[anthropic,openai]==2.68.0")
STRANDS = ("strands-agents[openai,otel]==1.62.0", "opentelemetry-exporter-otlp-proto-http==1.45.1")

NODE_SDK = (
    "@opentelemetry/api@1.10.0",
    "@opentelemetry/exporter-trace-otlp-proto@0.301.1",
    "@opentelemetry/instrumentation@0.301.1",
    "@opentelemetry/resources@2.12.0",
    "@opentelemetry/sdk-trace-node@2.12.0",
)
NODE_OPENAI = (
    *NODE_SDK,
    "@arizeai/openinference-instrumentation-openai@4.2.7",
    "@opentelemetry/instrumentation-openai@0.22.0",
    "@traceloop/instrumentation-openai@0.27.0",
    "openai@6.49.0",  # the last that the official one and OpenLLMetry know
)
NODE_OPENAI_7 = (*NODE_SDK, "@arizeai/openinference-instrumentation-openai@4.2.7", "openai@7.59.0")
NODE_ANTHROPIC = (*NODE_SDK, "@anthropic-ai/sdk@1.14.0", "@arizeai/openinference-instrumentation-anthropic@0.2.8")
# OpenLLMetry breaks the newer ones as it patches what they no longer have.
NODE_ANTHROPIC_0 = (*NODE_SDK, "@anthropic-ai/sdk@0.137.0", "@traceloop/instrumentation-anthropic@0.27.0")
VERCEL_4 = (*NODE_SDK, "ai@4.3.19", "@ai-sdk/anthropic@1.2.12", "@ai-sdk/openai@1.3.24", "zod@3.25.76")
VERCEL_5 = (*NODE_SDK, "ai@5.0.277", "@ai-sdk/anthropic@2.0.112", "@ai-sdk/openai@2.0.131", "zod@4.6.7")
VERCEL_6 = (*NODE_SDK, "ai@6.0.326", "@ai-sdk/anthropic@3.0.140", "@ai-sdk/openai@3.0.141", "zod@4.6.7")
VERCEL_7 = (
    *NODE_SDK,
    "ai@7.0.173",
    "@ai-sdk/anthropic@4.0.105",
    "@ai-sdk/openai@4.0.118",
    "@ai-sdk/otel@1.0.173",
    "zod@4.6.7",
)

LLAMA_INDEX = (
    *SDK,
    "llama-index-llms-openai==0.8.3",
    "openinference-instrumentation-llama-index==4.6.1",
)
OPENAI_AGENTS = (*SDK, "openai-agents==0.24.0", "openinference-instrumentation-openai-agents==2.6.0")
SEMANTIC_KERNEL = (*SDK, "semantic-kernel==1.45.0")
TRACEVERDE = (*SDK, *VENDORS, "genai-otel-instrument==1.42.0")
OURS_LANGCHAIN = (*LANGCHAIN, OURS)
OURS_LITELLM = (*LITELLM, OURS)
OURS_PYDANTIC_AI = (*PYDANTIC_AI, OURS)
PYDANTIC_AI_OVER = (*PYDANTIC_AI, "opentelemetry-instrumentation-openai==0.62.4")
AGENTS_OVER = (*OPENAI_AGENTS, "openinference-instrumentation-openai==0.1.66")
SPRING_AI = ("spring-boot:4.0.7", "spring-ai:2.0.1")
