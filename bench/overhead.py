"""What an instrumentation adds to the CPU time of a call, a stream chunk and a request that is no LLM call.

One process for each instrumentation, in the environment of tests/peers: the openai SDK over a transport in memory,
spans and metrics recorded by the OpenTelemetry SDK and then dropped. A process measures itself with its instrumentation
and without, in turns of some milliseconds, since two processes differ by more than what is to be measured, by the mere
place of their memory; and the processes take turns, so that a slow moment of the machine hits all alike. OpenLLMetry,
which cannot be taken off again, is compared with another process. A round is the median of the differences of its
turns; what is reported is the median of the rounds. A chunk is the difference between a long stream and a short one,
divided by the chunks between them.

One more process shows the floor: the OpenTelemetry SDK's own work for the span and the metrics that Spanledger
records of the plain call, made by hand around the call, with nothing read and nothing worked out.
"""

import argparse
import gc
import importlib
import json
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

ROOT: Final = Path(__file__).parent.parent
PYTHON: Final = ROOT / ".cache" / "peers" / "bin" / "python"

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
CHUNKS_FEW, CHUNKS_MANY = 20, 220
TURNS: Final = 7
PLAIN_CALLS, STREAMS, OTHER_REQUESTS = 8, 1, 60
WARM_UP_CALLS: Final = 1100
"""More than Spanledger lets wait for a collection of the metrics, so that these are paid for in what is measured."""
OPEN_STREAMS: Final = 40
LIMITS: Final = {"stream_chunk_us": 2.0, "other_request_us": 2.0, "stream_memory_kib": 64.0}
PLAIN_SHARE_MAX: Final = 0.5
"""Of the cheapest peer's cost of a plain call."""

# -- in the measured process -----------------------------------------------------------------------------------------

# As the API answers: recorded in March 2026 in the test suite of opentelemetry-instrumentation-openai 0.62.4.
HEADERS: Final = {
    "content-type": "application/json",
    "openai-organization": "traceloop",
    "openai-processing-ms": "704",
    "openai-project": "proj_tzz1TbPPOXaf6j9tEkVUBIAa",
    "openai-version": "2020-10-01",
    "x-ratelimit-limit-requests": "30000",
    "x-ratelimit-limit-tokens": "150000000",
    "x-ratelimit-remaining-requests": "29999",
    "x-ratelimit-remaining-tokens": "149999227",
    "x-ratelimit-reset-requests": "2ms",
    "x-ratelimit-reset-tokens": "0s",
    "x-request-id": "req_27be8f4c3a1d4a5e9f0b6c7d8e9f0a1b",
}
USAGE: Final = {
    "prompt_tokens": 1200,
    "completion_tokens": 340,
    "total_tokens": 1540,
    "prompt_tokens_details": {"cached_tokens": 1024, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 128,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}
ENVELOPE: Final = {"id": "chatcmpl-B1x2y3z4", "created": 1774915200, "model": "gpt-4o-mini-2024-07-18"}
QUESTION: Final[list[Any]] = [{"role": "user", "content": "What is the answer to the ultimate question? " * 20}]


def answer() -> bytes:
    """A chat completion of ordinary length."""
    message = {"role": "assistant", "content": "It is forty-two, as far as anybody knows. " * 20, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    body = {**ENVELOPE, "object": "chat.completion", "choices": [choice], "usage": USAGE, "service_tier": "default"}
    return json.dumps(body).encode()


def events(count: int) -> list[bytes]:
    """A stream of this many chunks with text, as the API sends them: compact, one event in each piece."""
    head = {
        **ENVELOPE,
        "object": "chat.completion.chunk",
        "service_tier": "default",
        "system_fingerprint": "fp_44add55e",
    }

    def event(choices: list[Any], usage: object) -> bytes:
        return (
            b"data: "
            + json.dumps({**head, "choices": choices, "usage": usage}, separators=(",", ":")).encode()
            + b"\n\n"
        )

    def delta(text: dict[str, str], reason: str | None = None) -> bytes:
        return event([{"index": 0, "delta": text, "logprobs": None, "finish_reason": reason}], None)

    return [
        *(delta({"content": f" word{number}"}) for number in range(count)),
        delta({}, "stop"),
        event([], USAGE),
        b"data: [DONE]\n\n",
    ]


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


def cpu_us(work: Callable[[], object], times: int) -> float:
    """The CPU time of one run of the work.

    Units: microseconds.
    """
    start = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - start) / times * 1e6


class Measured(NamedTuple):
    """CPU time with and without the instrumentation, and the difference; medians over some turns."""

    with_it: float
    without: float
    added: float


def measured(subject: Subject, measure: Callable[[], float], *, stays: bool) -> Measured:
    """Measure with the instrumentation and without, in turns; one that stays is only measured with itself."""
    turns: list[Measured] = []
    gc.collect()
    gc.disable()  # a collection that falls into one turn by chance would be charged to it
    for _ in range(TURNS):
        with_it = measure()
        without = 0.0 if stays else _without(subject, measure)
        turns.append(Measured(with_it, without, with_it - without))
    gc.enable()
    return Measured._make(statistics.median(values) for values in zip(*turns, strict=True))


def _without(subject: Subject, measure: Callable[[], float]) -> float:
    subject.instrumentor.uninstrument()
    measure()  # what is looked up once after a change is looked up here
    taken = measure()
    subject.instrumentor.instrument()
    measure()
    return taken


def serve(variant: str) -> None:
    """Measure whenever a line comes in, until the input ends."""
    subject = Subject(variant)
    few, many = events(CHUNKS_FEW), events(CHUNKS_MANY)
    cpu_us(subject.plain, WARM_UP_CALLS)
    for work in (subject.other, lambda: subject.stream(many)):
        cpu_us(work, 30)

    def chunk_us() -> float:
        longer = cpu_us(lambda: subject.stream(many), STREAMS) - cpu_us(lambda: subject.stream(few), STREAMS)
        return longer / (CHUNKS_MANY - CHUNKS_FEW)

    measures: dict[str, Callable[[], float]] = {
        "plain": lambda: cpu_us(subject.plain, PLAIN_CALLS),
        "chunk": chunk_us,
        "other": lambda: cpu_us(subject.other, OTHER_REQUESTS),
    }
    for line in sys.stdin:
        if line.strip() == "memory":
            with_it = subject.memory_kib()
            subject.instrumentor.uninstrument()
            print(json.dumps({"memory": with_it - subject.memory_kib()}), flush=True)
            continue
        found = {kind: measured(subject, measure, stays=variant == STAYS) for kind, measure in measures.items()}
        print(json.dumps(found), flush=True)


# -- in the measuring process ----------------------------------------------------------------------------------------


class Worker:
    """A measured process."""

    def __init__(self, variant: str) -> None:
        command = [str(PYTHON), __file__, "--worker", variant]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, what: str) -> dict[str, Any]:
        """Have it measure once."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(what + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise SystemExit("a measured process ended early; what it said stands above")
        return json.loads(line)

    def stop(self) -> None:
        """End it."""
        self._process.communicate()


def measure(rounds: int, *, progress: bool) -> dict[str, Any]:
    """Measure all of them side by side."""
    workers = {variant: Worker(variant) for variant in (FLOOR, *INSTRUMENTORS)}
    added: dict[str, dict[str, list[float]]] = {"plain": {}, "chunk": {}, "other": {}}
    for number in range(rounds):
        if progress:
            print(f"\rround {number + 1} of {rounds}", end="", file=sys.stderr, flush=True)
        found = {variant: worker.ask("round") for variant, worker in workers.items()}
        for kind, by_variant in added.items():
            for variant in workers:
                value = Measured(*found[variant][kind])
                without = Measured(*found[OURS][kind]).without
                by_variant.setdefault(variant, []).append(value.with_it - without if variant == STAYS else value.added)
    if progress:
        print(file=sys.stderr)
    memory_kib = workers[OURS].ask("memory")["memory"]
    for worker in workers.values():
        worker.stop()

    def medians(kind: str) -> dict[str, float]:
        return {variant: round(statistics.median(values), 2) for variant, values in added[kind].items()}

    plain, chunk = medians("plain"), medians("chunk")
    return {
        "plain_call_us": {variant: plain[variant] for variant in INSTRUMENTORS},
        "stream_chunk_us": {variant: chunk[variant] for variant in INSTRUMENTORS},
        "other_request_us": medians("other")[OURS],
        "other_request_noise_us": medians("other")[FLOOR],
        "stream_memory_kib": round(memory_kib, 2),
        "plain_call_floor_us": plain[FLOOR],
        "versions": versions(),
    }


def versions() -> dict[str, str]:
    """The versions of all that was measured."""
    packages = ["openai", "httpx2", "opentelemetry-sdk", *(package for package, _ in INSTRUMENTORS.values())]
    code = "import importlib.metadata as m, json, sys; print(json.dumps({p: m.version(p) for p in sys.argv[1:]}))"
    ran = subprocess.run([str(PYTHON), "-c", code, *packages], capture_output=True, text=True, check=True)
    return {"python": ".".join(map(str, sys.version_info[:3])), **json.loads(ran.stdout)}


def missed(found: Mapping[str, Any]) -> list[str]:
    """Name the targets that were not met."""
    plain, chunk = found["plain_call_us"], found["stream_chunk_us"]
    best = min(value for variant, value in plain.items() if variant != OURS)
    checks = {
        f"a plain call costs {plain[OURS]} us, the best peer's {best}": plain[OURS] <= PLAIN_SHARE_MAX * best,
        f"a stream chunk costs {chunk[OURS]} us": chunk[OURS] <= LIMITS["stream_chunk_us"],
        f"another request costs {found['other_request_us']} us": found["other_request_us"]
        <= LIMITS["other_request_us"],
        f"an open stream holds {found['stream_memory_kib']} KiB": found["stream_memory_kib"]
        <= LIMITS["stream_memory_kib"],
    }
    return [said for said, met in checks.items() if not met]


def table(found: Mapping[str, Any]) -> Iterator[str]:
    """The figures for a person to read."""
    plain, chunk = found["plain_call_us"], found["stream_chunk_us"]
    yield f"{'added CPU, us':<16}{'plain call':>12}{'x ours':>9}{'chunk':>9}{'x ours':>9}"
    for variant in plain:
        times = [f"{values[variant] / values[OURS]:.1f}" for values in (plain, chunk)]
        yield f"{variant:<16}{plain[variant]:>12}{times[0]:>9}{chunk[variant]:>9}{times[1]:>9}"
    yield f"of ours, a plain call's span and metrics in the OpenTelemetry SDK itself: {found['plain_call_floor_us']}"
    yield (
        f"a request that is no LLM call: {found['other_request_us']} us"
        f" (measured where nothing is added: {found['other_request_noise_us']} us)"
    )
    yield f"an open stream holds {found['stream_memory_kib']} KiB"
    yield ", ".join(f"{name} {version}" for name, version in found["versions"].items())


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures; fail where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--worker", choices=(FLOOR, *INSTRUMENTORS), help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.worker:
        serve(options.worker)
        return 0
    if not PYTHON.exists():
        parser.error("the environment of the other instrumentations is not there yet: run `make setup`")
    found = measure(options.rounds, progress=not options.json and sys.stderr.isatty())
    print(json.dumps(found) if options.json else "\n".join(table(found)))
    failures = missed(found)
    for failure in failures:
        print(f"target missed: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
