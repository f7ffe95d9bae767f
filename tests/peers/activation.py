"""Each peer, activated as its own documentation says. Runs in the environment of the peers, never under pytest."""

from collections.abc import Callable
from typing import Any

from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider


def sdk(processor: SpanProcessor, reader: InMemoryMetricReader) -> None:
    """Set OpenTelemetry up as an app does."""
    provider = TracerProvider()
    provider.add_span_processor(processor)
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider(metric_readers=[reader]))


def by_logfire(processor: SpanProcessor, reader: InMemoryMetricReader) -> None:
    """Let Logfire set it up."""
    import logfire

    logfire.configure(
        send_to_logfire=False,
        console=False,
        inspect_arguments=False,
        additional_span_processors=[processor],
        metrics=logfire.MetricsOptions(additional_readers=[reader]),
    )


def nobody() -> None:
    """Only the SDKs themselves."""


def official() -> None:
    """The instrumentations of opentelemetry-python-genai."""
    from opentelemetry.instrumentation.genai.anthropic import AnthropicInstrumentor
    from opentelemetry.instrumentation.genai.openai import OpenAIInstrumentor

    OpenAIInstrumentor().instrument()
    AnthropicInstrumentor().instrument()


def openllmetry() -> None:
    """Traceloop's."""
    from opentelemetry.instrumentation.anthropic import AnthropicInstrumentor
    from opentelemetry.instrumentation.openai import OpenAIInstrumentor

    OpenAIInstrumentor().instrument()
    AnthropicInstrumentor().instrument()


def openinference() -> None:
    """Arize's."""
    from openinference.instrumentation.anthropic import AnthropicInstrumentor
    from openinference.instrumentation.openai import OpenAIInstrumentor

    OpenAIInstrumentor().instrument()
    AnthropicInstrumentor().instrument()


def logfire() -> None:
    """Pydantic's, which suppresses the instrumentations below it."""
    import logfire

    logfire.instrument_openai()
    logfire.instrument_anthropic()


def httpx() -> None:
    """The official one of the HTTP client."""
    from opentelemetry.instrumentation.httpx import HTTPX2ClientInstrumentor

    HTTPX2ClientInstrumentor().instrument()


PEERS: dict[str, Callable[[], None]] = {
    "nobody": nobody,
    "official": official,
    "openllmetry": openllmetry,
    "openinference": openinference,
    "logfire": logfire,
    "httpx": httpx,
}


def activate(names: list[str], processor: SpanProcessor, reader: InMemoryMetricReader) -> None:
    """Set OpenTelemetry up, then activate these peers in this order."""
    (by_logfire if "logfire" in names else sdk)(processor, reader)
    for name in names:
        if name != "ours":
            PEERS[name]()


def activate_ours() -> Any:
    """Activate ours, as the loader does."""
    from spanledger_instrumentation.instrumentor import SpanledgerInstrumentor

    instrumentor = SpanledgerInstrumentor()
    instrumentor.instrument()
    return instrumentor
