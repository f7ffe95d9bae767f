"""A server, an instrumentation that is taken back, and the spans that it made; all fresh for each test."""

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from spanledger_instrumentation import fence, injection
from spanledger_instrumentation.instrumentor import SpanledgerInstrumentor
from tests import wire_server
from tests.wire_server import WireServer


class Spans:
    """The spans that were exported."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def __call__(self) -> Sequence[ReadableSpan]:
        return self._exporter.get_finished_spans()

    def one(self) -> ReadableSpan:
        """Give the only span."""
        (span,) = self()
        return span

    def attributes(self) -> dict[str, Any]:
        """Give the attributes of the only span."""
        return dict(self.one().attributes or {})

    def clear(self) -> None:
        """Forget them."""
        self._exporter.clear()

    def wait(self, count: int) -> None:
        """Wait until so many have been exported, for ends that come from another thread."""
        until(lambda: len(self()) >= count)


def until(condition: Callable[[], bool], timeout_s: float = 10) -> None:
    """Wait for a condition with a deadline."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            pytest.fail("the condition did not come true in time")
        time.sleep(0.001)


@contextlib.contextmanager
def instrumented(provider: TracerProvider) -> Iterator[SpanledgerInstrumentor]:
    """Instrument for the length of the block."""
    instrumentor = SpanledgerInstrumentor()
    instrumentor.instrument(tracer_provider=provider)
    try:
        yield instrumentor
    finally:
        if instrumentor.is_instrumented_by_opentelemetry:
            instrumentor.uninstrument()


@pytest.fixture
def server() -> Iterator[WireServer]:
    """A provider."""
    with wire_server.running() as running:
        yield running


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Every host is asked for the usage of its streams, as if for the first time."""
    monkeypatch.setenv("OTEL_INSTRUMENTATION_SPANLEDGER_INCLUDE_USAGE", "always")
    injection.HOSTS.clear()
    yield
    injection.HOSTS.clear()


@pytest.fixture
def spans() -> Iterator[Spans]:
    """The spans of an instrumented process; at the end no fence may have held anything back."""
    fence.FAILURES.clear()
    found = Spans()
    with instrumented(found.provider):
        yield found
    assert not fence.FAILURES
    found.provider.shutdown()
