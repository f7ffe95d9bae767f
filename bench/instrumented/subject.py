"""What is measured: the instrumentations, each around a program of a few calls."""

import gc
import importlib
import tracemalloc
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from instrumented.answers import HEADERS, QUESTION, answer, events
from instrumented.floor import ByHand

OURS: Final = "ours"
INSTRUMENTORS: Final[Mapping[str, tuple[str, str]]] = {
    OURS: ("spanledger", "spanledger_instrumentation.instrumentor:SpanledgerInstrumentor"),
    "official": (
        "opentelemetry-instrumentation-genai-openai",
        "opentelemetry.instrumentation.genai.openai:OpenAIInstrumentor",
    ),
    "openllmetry": (
        "opentelemetry-instrumentation-openai",
        "opentelemetry.instrumentation.openai:OpenAIInstrumentor",
    ),
    "openinference": (
        "openinference-instrumentation-openai",
        "openinference.instrumentation.openai:OpenAIInstrumentor",
    ),
}
FLOOR: Final = "floor"
STAYS: Final = "openllmetry"
"""Its `uninstrument` leaves the wrappers where they are, so that the next `instrument` adds another layer."""
CHUNKS_MANY: Final = 220
OPEN_STREAMS: Final = 40


class Subject:
    """The measured program: the openai SDK and a bare client over a transport in memory."""

    def __init__(self, variant: str) -> None:
        self._activate(variant)
        import httpx2
        import openai

        class Stream(httpx2.SyncByteStream):
            def __init__(self, pieces: Sequence[bytes]) -> None:
                self._pieces = pieces

            def __iter__(self) -> Iterator[bytes]:
                return iter(self._pieces)

        self._pieces: Sequence[bytes] = ()
        whole = answer()

        def handle(request: Any) -> Any:
            if request.url.path == "/v1/chat/completions":
                if self._pieces:
                    streamed = {**HEADERS, "content-type": "text/event-stream; charset=utf-8"}
                    return httpx2.Response(200, headers=streamed, stream=Stream(self._pieces))
                return httpx2.Response(200, headers=HEADERS, content=whole)
            return httpx2.Response(200, headers={"content-type": "text/plain"}, content=b"ok")

        self._http = httpx2.Client(transport=httpx2.MockTransport(handle))
        self._openai = openai.OpenAI(api_key="sk-benchmark-0123456789abcdef", http_client=self._http, max_retries=0)

    def _activate(self, variant: str) -> None:
        from opentelemetry import metrics, trace
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader
        from opentelemetry.sdk.trace import SpanProcessor, TracerProvider

        provider = TracerProvider()
        provider.add_span_processor(SpanProcessor())  # takes each span and drops it
        trace.set_tracer_provider(provider)
        metrics.set_meter_provider(MeterProvider(metric_readers=[InMemoryMetricReader()]))
        if variant == FLOOR:
            self.instrumentor: Any = ByHand(provider.get_tracer("floor"), metrics.get_meter("floor"))
        else:
            module, _, name = INSTRUMENTORS[variant][1].partition(":")
            self.instrumentor = getattr(importlib.import_module(module), name)()
        self.instrumentor.instrument()

    def plain(self) -> None:
        """One call that is not streamed."""
        self._pieces = ()
        self._openai.chat.completions.create(model="gpt-4o-mini", messages=QUESTION, temperature=0.5)

    def stream(self, pieces: Sequence[bytes]) -> None:
        """One call that is streamed to its end."""
        for _ in self._open(pieces):
            pass

    def other(self) -> None:
        """A request that is no LLM call."""
        self._http.post("http://127.0.0.1:9/v1/orders", content=b"{}")

    def memory_kib(self) -> float:
        """Open many streams, read half of each; what one of them holds."""
        pieces = events(CHUNKS_MANY)
        for _ in range(3):
            self.stream(pieces)
        gc.collect()
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        opened = [iter(self._open(pieces)) for _ in range(OPEN_STREAMS)]
        for stream in opened:
            for _ in range(CHUNKS_MANY // 2):
                next(stream)
        gc.collect()
        held = tracemalloc.get_traced_memory()[0] - before
        tracemalloc.stop()
        return held / OPEN_STREAMS / 1024

    def _open(self, pieces: Sequence[bytes]) -> Any:
        self._pieces = pieces
        options: Any = {"include_usage": True}
        return self._openai.chat.completions.create(
            model="gpt-4o-mini", messages=QUESTION, stream=True, stream_options=options
        )
