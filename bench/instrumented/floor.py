"""The floor: the span and the metrics of Spanledger for the plain call, made by hand, with nothing worked out."""

from typing import Any, Final

from instrumented.answers import ENVELOPE, HEADERS

# What Spanledger writes of the plain call, when its span starts, when it ends, and on its metrics.
STARTED: Final = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "server.address": "api.openai.com",
    "gen_ai.request.model": "gpt-4o-mini",
    "gen_ai.request.temperature": 0.5,
    "server.port": 443,
    "spanledger.api_key.hash": "0f9d1c2b3a4857665544332211000fed",
    "spanledger.api_key.last4": "cdef",
    "spanledger.request.hash": "aa9d1c2b3a4857665544332211000fed",
}
ENDED: Final = {
    "openai.response.service_tier": "default",
    "gen_ai.response.finish_reasons": ("stop",),
    "gen_ai.response.id": ENVELOPE["id"],
    "gen_ai.response.model": ENVELOPE["model"],
    "gen_ai.usage.audio.input_tokens": 0,
    "gen_ai.usage.audio.output_tokens": 0,
    "gen_ai.usage.cache_read.input_tokens": 1024,
    "gen_ai.usage.input_tokens": 1200,
    "gen_ai.usage.output_tokens": 340,
    "gen_ai.usage.reasoning.output_tokens": 128,
    "http.response.status_code": 200,
    "spanledger.organization": HEADERS["openai-organization"],
    "spanledger.processing_ms": 704.0,
    "spanledger.provider_project": HEADERS["openai-project"],
    "spanledger.rate_limit.requests.limit": 30000,
    "spanledger.rate_limit.requests.remaining": 29999,
    "spanledger.rate_limit.requests.reset_at": 1774915200.002,
    "spanledger.rate_limit.tokens.limit": 150000000,
    "spanledger.rate_limit.tokens.remaining": 149999227,
    "spanledger.rate_limit.tokens.reset_at": 1774915200.0,
    "spanledger.request_id": HEADERS["x-request-id"],
    "spanledger.usage.status": "reported",
}
MEASURED: Final = {
    "gen_ai.operation.name": "chat",
    "gen_ai.provider.name": "openai",
    "server.address": "api.openai.com",
    "gen_ai.request.model": "gpt-4o-mini",
    "server.port": 443,
    "gen_ai.response.model": ENVELOPE["model"],
}


class ByHand:
    """Record the span and the metrics of Spanledger, known beforehand, around the SDK's method."""

    def __init__(self, tracer: Any, meter: Any) -> None:
        from openai.resources.chat.completions import Completions

        self._completions: Any = Completions
        self._original = Completions.create
        self._tracer = tracer
        self._histograms = [meter.create_histogram(f"floor.{number}") for number in range(3)]

    def instrument(self) -> None:
        """Wrap the method."""
        from opentelemetry.trace import SpanKind, use_span

        tracer, original, histograms = self._tracer, self._original, self._histograms

        def create(completions: Any, *args: Any, **kwargs: Any) -> Any:
            span = tracer.start_span("chat gpt-4o-mini", kind=SpanKind.CLIENT, attributes=STARTED)
            with use_span(span):
                made = original(completions, *args, **kwargs)
            span.set_attributes(ENDED)
            span.end()
            for histogram, value in zip(histograms, (0.7, 1200, 340), strict=True):
                histogram.record(value, MEASURED)
            return made

        self._completions.create = create

    def uninstrument(self) -> None:
        """Put it back."""
        self._completions.create = self._original
