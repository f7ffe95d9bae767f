"""Each instrumentation for Python, activated as its own documentation says."""

import contextlib
from pathlib import Path

# These set OpenTelemetry up by themselves.
BRING_AN_SDK = {"logfire", "langfuse", "mlflow", "openlit", "traceverde"}


def opentelemetry_sdk() -> None:
    """OpenTelemetry's SDK, as an app sets it up."""
    from opentelemetry import trace
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    trace.set_tracer_provider(provider)


def anthropic_sdk() -> None:
    """The spans that the SDK makes by itself."""


def ours() -> None:
    from spanledger_instrumentation.instrumentor import SpanledgerInstrumentor

    SpanledgerInstrumentor().instrument()


def official_openai() -> None:
    from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

    OpenAIInstrumentor().instrument()


def official_anthropic() -> None:
    from opentelemetry.instrumentation.genai.anthropic import AnthropicInstrumentor

    AnthropicInstrumentor().instrument()


def openllmetry_openai() -> None:
    from opentelemetry.instrumentation.openai import OpenAIInstrumentor

    OpenAIInstrumentor().instrument()


def openllmetry_anthropic() -> None:
    from opentelemetry.instrumentation.anthropic import AnthropicInstrumentor

    AnthropicInstrumentor().instrument()


def openllmetry_langchain() -> None:
    from opentelemetry.instrumentation.langchain import LangchainInstrumentor

    LangchainInstrumentor().instrument()


def openinference_openai() -> None:
    from openinference.instrumentation.openai import OpenAIInstrumentor

    OpenAIInstrumentor().instrument()


def openinference_anthropic() -> None:
    from openinference.instrumentation.anthropic import AnthropicInstrumentor

    AnthropicInstrumentor().instrument()


def openinference_langchain() -> None:
    from openinference.instrumentation.langchain import LangChainInstrumentor

    LangChainInstrumentor().instrument()


def official_langchain() -> None:
    from opentelemetry.instrumentation.genai.langchain import LangChainInstrumentor

    LangChainInstrumentor().instrument()


def openinference_litellm() -> None:
    from openinference.instrumentation.litellm import LiteLLMInstrumentor

    LiteLLMInstrumentor().instrument()


def openinference_llama_index() -> None:
    from openinference.instrumentation.llama_index import LlamaIndexInstrumentor

    LlamaIndexInstrumentor().instrument()


def openinference_openai_agents() -> None:
    from openinference.instrumentation.openai_agents import OpenAIAgentsInstrumentor

    OpenAIAgentsInstrumentor().instrument()


def langfuse() -> None:
    """Langfuse's client sets an SDK up; the program then imports `openai` from Langfuse."""
    from langfuse import get_client

    get_client()


def langsmith() -> None:
    """By LANGSMITH_OTEL_ENABLED, as the row's environment has it, on the SDK of the app."""


def litellm() -> None:
    import litellm

    litellm.callbacks = ["otel"]


def logfire() -> None:
    import logfire

    logfire.configure(send_to_logfire=False, console=False, inspect_arguments=False)
    with contextlib.suppress(ImportError):
        logfire.instrument_openai()
    with contextlib.suppress(ImportError):
        logfire.instrument_anthropic()


def mlflow() -> None:
    import mlflow

    mlflow.openai.autolog()
    mlflow.anthropic.autolog()


def openlit() -> None:
    import openlit

    openlit.init(disable_metrics=True, pricing_json=str(Path(__file__).parent / "openlit_prices.json"))


def pydantic_ai() -> None:
    from pydantic_ai import Agent

    Agent.instrument_all()


def strands() -> None:
    """Strands makes its spans by itself."""


def semantic_kernel() -> None:
    """By the variable that the row's environment has."""


def traceverde() -> None:
    import genai_otel

    genai_otel.instrument()
