"""Whatever raises around us, at any point, the app does not notice: it is counted, and logged once."""

import asyncio
import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import httpx2
import pytest
from opentelemetry import context, trace
from opentelemetry.metrics import MeterProvider as ApiMeterProvider
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import Sampler

from spanledger_instrumentation import fence
from spanledger_instrumentation.instrumentor import SpanledgerInstrumentor
from tests.instrumentation.conftest import Spans, instrumented
from tests.instrumentation.fixtures import load
from tests.instrumentation.fuzz.apps import APPS, Exchange

LIBRARIES = pytest.mark.parametrize("library", [httpx, httpx2], ids=["httpx", "httpx2"])
URL = "http://api.openai.com/v1/chat/completions"
STREAM = load("openai/chat_stream.sse")
HALF = len(STREAM) // 2


class UnspeakableError(Exception):
    """Cannot even be printed."""

    def __str__(self) -> str:
        raise UnspeakableError


ERRORS: dict[str, Exception] = {
    "RuntimeError": RuntimeError("ours"),
    "MemoryError": MemoryError(),
    "RecursionError": RecursionError(),
    "StopIteration": StopIteration(5),
    "StopAsyncIteration": StopAsyncIteration(),
    "TimeoutError": TimeoutError(),
    "unspeakable": UnspeakableError(),
}


@pytest.fixture(autouse=True)
def failures(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> Iterator[Counter[str]]:
    """What the fences have held back, from none."""
    monkeypatch.setenv("OTEL_INSTRUMENTATION_SPANLEDGER_INCLUDE_USAGE", "off")  # see test_injected
    caplog.set_level(logging.DEBUG, logger="spanledger_instrumentation")
    fence.FAILURES.clear()
    yield fence.FAILURES
    fence.FAILURES.clear()


# -- what OpenTelemetry may do to us ---------------------------------------------------------------------------------


def raising(error: Exception) -> Callable[..., Any]:
    def fail(*_: Any, **__: Any) -> Any:
        raise error

    return fail


def by_class(base: type[Any], *methods: str) -> Callable[[Exception], Any]:
    """Make an object whose methods raise, and that is otherwise what it should be."""
    return lambda error: type("Raising", (base,), {name: raising(error) for name in methods})


def with_processor(*methods: str) -> Callable[[Exception], TracerProvider]:
    def make(error: Exception) -> TracerProvider:
        provider = TracerProvider()
        provider.add_span_processor(by_class(SpanProcessor, *methods)(error)())
        return provider

    return make


def with_sampler(error: Exception) -> TracerProvider:
    sampler = {"should_sample": raising(error), "get_description": lambda _: "raising"}
    return TracerProvider(sampler=type("Raising", (Sampler,), sampler)())


def with_ids(error: Exception) -> TracerProvider:
    return TracerProvider(id_generator=by_class(RandomIdGenerator, "generate_span_id")(error)())


def with_tracer(*methods: str) -> Callable[[Exception], Any]:
    """Give spans of which everything but the named methods works."""

    def make(error: Exception) -> Any:
        class Raising(trace.NonRecordingSpan):
            def is_recording(self) -> bool:
                return True

        for name in methods:
            setattr(Raising, name, raising(error))
        span = Raising(trace.SpanContext(1, 2, is_remote=False))

        class Tracer(trace.Tracer):
            def start_span(self, *_: Any, **__: Any) -> trace.Span:
                return span

            start_as_current_span = raising(error)

        class Provider(trace.TracerProvider):
            def get_tracer(self, *_: Any, **__: Any) -> trace.Tracer:
                return Tracer()

        return Provider()

    return make


TRACERS: dict[str, Callable[[Exception], Any]] = {
    "get_tracer": lambda error: by_class(trace.TracerProvider, "get_tracer")(error)(),
    "on_start": with_processor("on_start"),
    "on_end": with_processor("on_end"),
    "sampler": with_sampler,
    "id generator": with_ids,
    "set_attributes": with_tracer("set_attributes", "set_attribute"),
    "end": with_tracer("end"),
    "set_status": with_tracer("set_status"),
    "is_recording": with_tracer("is_recording"),
    "get_span_context": with_tracer("get_span_context"),
    "all of a span": with_tracer("set_attributes", "set_attribute", "end", "set_status", "is_recording"),
}


def exchange(reading: str, *, whole: bool = True, refused: bool = False) -> Exchange:
    framing = f"content-length: {len(STREAM)}".encode()
    head = b"HTTP/1.1 429 Wait" if refused else b"HTTP/1.1 200 OK"
    head += b"\r\ncontent-type: text/event-stream\r\n" + framing + b"\r\n\r\n"
    pieces = (head, STREAM[:HALF], STREAM[HALF:]) if whole else (head, STREAM[:HALF])
    return Exchange(url=URL, body=b'{"model": "m", "messages": [], "stream": true}', pieces=pieces, reading=reading)


def hold(app: str, tracers: Any = None, meters: ApiMeterProvider | None = None, *, times: int = 2) -> None:
    """See the same with and without us, more than once, whole answers and broken ones."""
    tried = [exchange("raw"), exchange("all"), exchange("lines", whole=False), exchange("read", refused=True)]
    without = [APPS[app](each) for each in tried]
    before = context.get_current()
    instrumentor = SpanledgerInstrumentor()
    instrumentor.instrument(tracer_provider=tracers, meter_provider=meters)
    try:
        for _ in range(times):
            assert [APPS[app](each) for each in tried] == without
            assert context.get_current() == before
    finally:
        instrumentor.uninstrument()


def logged_once(caplog: pytest.LogCaptureFixture) -> bool:
    records = [record for record in caplog.records if record.name == "spanledger_instrumentation.fence"]
    entry_points = [record.args[0] for record in records if isinstance(record.args, tuple)]
    return Counter(entry_points) == Counter(dict.fromkeys(fence.FAILURES, 1)) and len(records) > 0


@pytest.mark.parametrize("raises", TRACERS)
@pytest.mark.parametrize("app", APPS)
def test_a_tracer_that_raises_is_not_noticed(
    caplog: pytest.LogCaptureFixture, failures: Counter[str], app: str, raises: str
) -> None:
    hold(app, TRACERS[raises](ERRORS["RuntimeError"]))
    assert sum(failures.values()) >= 4
    assert logged_once(caplog)


@pytest.mark.parametrize("error", ERRORS)
@pytest.mark.parametrize("raises", ["on_start", "on_end", "set_attributes"])
@pytest.mark.parametrize("app", ["httpx2", "httpx2 async", "aiohttp", "urllib3"])
def test_an_exception_of_any_kind_is_not_noticed(
    caplog: pytest.LogCaptureFixture, failures: Counter[str], app: str, raises: str, error: str
) -> None:
    # What cannot be printed is a matter between the app's logging and pytest's, which insists on printing it.
    caplog.handler.setLevel(logging.CRITICAL if error == "unspeakable" else logging.DEBUG)
    hold(app, TRACERS[raises](ERRORS[error]))
    assert sum(failures.values()) >= 8
    assert error == "unspeakable" or logged_once(caplog)


def _meters(*methods: str) -> Callable[[Exception, InMemoryMetricReader], ApiMeterProvider]:
    def make(error: Exception, reader: InMemoryMetricReader) -> ApiMeterProvider:
        real = MeterProvider([reader])

        class Provider(ApiMeterProvider):
            def get_meter(self, *args: Any, **kwargs: Any) -> Any:
                if "get_meter" in methods:
                    raise error
                meter = real.get_meter(*args, **kwargs)
                for name in methods:
                    if name.startswith("create"):
                        setattr(meter, name, raising(error))
                if "record" in methods:
                    made = meter.create_histogram

                    def create_histogram(*args: Any, **kwargs: Any) -> Any:
                        histogram = made(*args, **kwargs)
                        histogram.record = raising(error)  # type: ignore[method-assign]
                        return histogram

                    meter.create_histogram = create_histogram  # type: ignore[method-assign]
                return meter

        return Provider()

    return make


METERS = {
    "get_meter": _meters("get_meter"),
    "instruments": _meters("create_histogram", "create_observable_counter", "create_counter"),
    "record": _meters("record"),
}


@pytest.mark.parametrize("raises", METERS)
@pytest.mark.parametrize("app", ["httpx2", "aiohttp", "requests"])
def test_a_meter_that_raises_is_not_noticed_and_spans_are_made_all_the_same(
    caplog: pytest.LogCaptureFixture, failures: Counter[str], app: str, raises: str
) -> None:
    spans, reader = Spans(), InMemoryMetricReader()
    hold(app, spans.provider, METERS[raises](ERRORS["RuntimeError"], reader))
    reader.get_metrics_data()
    assert failures
    assert logged_once(caplog)
    assert len(spans()) == 8


class RaisingHandler(logging.Handler):
    def emit(self, record: logging.LogRecord) -> None:
        raise RuntimeError("a log handler of the app's")


def test_logging_that_raises_is_not_noticed(failures: Counter[str]) -> None:
    logger, handler = logging.getLogger("spanledger_instrumentation"), RaisingHandler()
    logger.addHandler(handler)
    try:
        hold("httpx2", TRACERS["on_start"](ERRORS["RuntimeError"]))
        hold("httpx2 async", TRACERS["on_end"](ERRORS["RuntimeError"]))
    finally:
        logger.removeHandler(handler)
    assert failures


class Interrupting(SpanProcessor):
    """Ctrl-C while we are at work is the app's, not ours to hold back."""

    def on_start(self, span: Span, parent_context: Any = None) -> None:
        raise KeyboardInterrupt


def test_what_ends_the_program_is_not_held_back(failures: Counter[str]) -> None:
    provider = TracerProvider()
    provider.add_span_processor(Interrupting())
    with instrumented(provider), pytest.raises(KeyboardInterrupt):
        APPS["httpx2"](exchange("raw"))
    assert not failures


# -- what the client's objects may do to us --------------------------------------------------------------------------


def spoil(request: Any, name: str, error: Exception) -> None:
    """Let one attribute of a request raise from now on; the client itself gets it from where it was."""

    class Fragile(type(request)):  # type: ignore[misc]
        pass

    setattr(Fragile, name, property(raising(error), lambda *_: None))
    request.__class__ = Fragile


@LIBRARIES
@pytest.mark.parametrize("attribute", ["content", "headers", "url", "method", "stream"])
@pytest.mark.parametrize("error", ["RuntimeError", "MemoryError", "unspeakable"])
def test_a_request_that_raises_when_it_is_looked_at_is_sent_as_ever(
    library: Any, caplog: pytest.LogCaptureFixture, attribute: str, error: str
) -> None:
    caplog.handler.setLevel(logging.CRITICAL)

    def see() -> Any:
        transport = library.MockTransport(lambda _: library.Response(200, content=load("openai/chat.json")))
        with library.Client(transport=transport) as client:
            request = client.build_request("POST", URL, json={"model": "m"})
            spoil(request, attribute, ERRORS[error])
            try:
                return client.send(request).content
            except Exception as raised:  # noqa: BLE001 - whatever the app sees
                return type(raised), raised is ERRORS[error]

    without = see()
    with instrumented(Spans().provider):
        assert see() == without


class OddStream:
    """A body in chunks of any type, which ends in any way."""

    def __init__(self, chunks: list[Any], error: BaseException | None) -> None:
        self._chunks, self._error = chunks, error

    def __iter__(self) -> Iterator[Any]:
        yield from self._chunks
        if self._error is not None:
            raise self._error

    async def __aiter__(self) -> Any:
        for chunk in self._chunks:
            yield chunk
        if self._error is not None:
            raise self._error


class OddError(BaseException):
    """No `Exception`, as the cancellation of some frameworks."""


CHUNKS: dict[str, list[Any]] = {
    "bytes": [STREAM[:HALF], b"", STREAM[HALF:]],
    "bytearrays": [bytearray(STREAM[:HALF]), bytearray(STREAM[HALF:])],
    "views": [memoryview(STREAM)[:HALF], memoryview(STREAM)[HALF:]],
    "texts": [STREAM.decode()],
    "nothing": [],
}
ENDS: dict[str, BaseException | None] = {
    "end": None,
    "error": ValueError("x"),
    "odd error": OddError("x"),
    "exit": SystemExit(3),
    "interrupt": KeyboardInterrupt(),
    "memory": MemoryError(),
    "unspeakable": UnspeakableError(),
}


@LIBRARIES
@pytest.mark.parametrize("end", ENDS)
@pytest.mark.parametrize("chunks", CHUNKS)
def test_a_body_of_odd_chunks_with_an_odd_end_passes_as_it_is(
    library: Any, failures: Counter[str], chunks: str, end: str
) -> None:
    def see() -> Any:
        stream = type("Stream", (OddStream, library.SyncByteStream), {})(CHUNKS[chunks], ENDS[end])
        head = {"content-type": "text/event-stream"}
        transport = library.MockTransport(lambda _: library.Response(200, headers=head, stream=stream))
        seen: list[Any] = []
        with library.Client(transport=transport) as client:
            response = client.send(client.build_request("POST", URL, json={"stream": True}), stream=True)
            try:
                seen += [
                    (type(chunk), bytes(chunk, "utf-8") if isinstance(chunk, str) else bytes(chunk))
                    for chunk in response.stream
                ]
            except BaseException as error:  # noqa: BLE001 - whatever the app sees
                seen.append((type(error), error is ENDS[end]))
            response.close()
        return seen

    without = see()
    spans = Spans()
    with instrumented(spans.provider):
        assert see() == without
    assert spans.one().end_time is not None
    assert not failures or chunks in ("views", "texts")


@LIBRARIES
@pytest.mark.parametrize("end", ENDS)
def test_an_async_body_with_an_odd_end_passes_as_it_is(library: Any, end: str) -> None:
    async def see() -> Any:
        stream = type("Stream", (OddStream, library.AsyncByteStream), {})(CHUNKS["bytes"], ENDS[end])
        head = {"content-type": "text/event-stream"}
        transport = library.MockTransport(lambda _: library.Response(200, headers=head, stream=stream))
        seen: list[Any] = []
        async with library.AsyncClient(transport=transport) as client:
            response = await client.send(client.build_request("POST", URL, json={"stream": True}), stream=True)
            try:
                async for chunk in response.stream:
                    seen.append(chunk)  # noqa: PERF401 - what came before an error is seen, too
            except BaseException as error:  # noqa: BLE001 - whatever the app sees
                seen.append((type(error), error is ENDS[end]))
            await response.aclose()
        return seen

    without = asyncio.run(see())
    spans = Spans()
    with instrumented(spans.provider):
        assert asyncio.run(see()) == without
    assert len(spans()) == 1


# -- at the edge of the stack ----------------------------------------------------------------------------------------

OURS_FRAMES_MAX = 120
"""Calls that we may need on top of what the client needs; far less than any app has left."""


def at_depth(left: int, act: Callable[[], Any]) -> Any:
    """Act where only so many more nested calls are possible."""
    depth, frame = 0, sys._getframe()
    while frame is not None:
        depth, frame = depth + 1, frame.f_back  # type: ignore[assignment]

    def down(more: int) -> Any:
        if more > 0:
            return down(more - 1)
        try:
            return act()
        except RecursionError:
            return RecursionError

    return down(sys.getrecursionlimit() - depth - left)


def test_at_the_edge_of_the_stack_nothing_is_broken_for_long(failures: Counter[str]) -> None:
    spans = Spans()
    transport = httpx2.MockTransport(lambda _: httpx2.Response(200, content=load("openai/chat.json")))
    with httpx2.Client(transport=transport) as client:

        def ask() -> Any:
            return client.post(URL, content=b'{"model": "m"}').content

        needed = next(left for left in range(10, 900) if at_depth(left, ask) is not RecursionError)
        with instrumented(spans.provider):
            before = context.get_current()
            for left in range(10, needed + OURS_FRAMES_MAX):
                assert at_depth(left, ask) in (RecursionError, load("openai/chat.json"))
                assert context.get_current() == before
            assert at_depth(needed + OURS_FRAMES_MAX, ask) == load("openai/chat.json")
            spans.clear()
            failures.clear()
            ask()
            assert spans.attributes()["gen_ai.usage.input_tokens"] == 1200
