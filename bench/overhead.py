"""What an instrumentation adds to the CPU time of a call, a stream chunk and a request that is no LLM call.

One process for each instrumentation, and one without any, all of them in the environment of tests/peers: the openai
SDK over a transport in memory, spans and metrics recorded by the OpenTelemetry SDK and then dropped. The processes take
turns within every round, so that a slow moment of the machine hits all alike; what is reported is the median over the
rounds of the difference to the process without any in the same round.
"""

import argparse
import gc
import importlib
import importlib.metadata
import json
import statistics
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

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
NONE: Final = "none"
CHUNKS_FEW, CHUNKS_MANY = 20, 220
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
        *(delta({"content": " word"}) for _ in range(count)),
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
        if variant != NONE:
            module, _, name = INSTRUMENTORS[variant][1].partition(":")
            getattr(importlib.import_module(module), name)().instrument()

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


def cpu_us(work: Callable[[], object], times: int) -> float:
    """The CPU time of one run of the work.

    Units: microseconds.
    """
    gc.collect()
    gc.disable()  # a collection that falls into one process's turn by chance would be charged to it
    start = time.process_time()
    for _ in range(times):
        work()
    taken = time.process_time() - start
    gc.enable()
    return taken / times * 1e6


def serve(variant: str) -> None:
    """Measure whenever a line comes in, until the input ends."""
    subject = Subject(variant)
    few, many = events(CHUNKS_FEW), events(CHUNKS_MANY)
    for work in (subject.plain, subject.other, lambda: subject.stream(many)):
        cpu_us(work, 30)
    for line in sys.stdin:
        if line.strip() == "memory":
            print(json.dumps({"memory": subject.memory_kib()}), flush=True)
            continue
        chunk = cpu_us(lambda: subject.stream(many), 6) - cpu_us(lambda: subject.stream(few), 6)
        found = {
            "plain": cpu_us(subject.plain, 30),
            "chunk": chunk / (CHUNKS_MANY - CHUNKS_FEW),
            "other": cpu_us(subject.other, 200),
        }
        print(json.dumps(found), flush=True)


# -- in the measuring process ----------------------------------------------------------------------------------------


class Worker:
    """A measured process."""

    def __init__(self, variant: str) -> None:
        command = [str(PYTHON), __file__, "--worker", variant]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, what: str) -> dict[str, float]:
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
    workers = {variant: Worker(variant) for variant in (NONE, *INSTRUMENTORS)}
    added: dict[str, dict[str, list[float]]] = {"plain": {}, "chunk": {}, "other": {}}
    for number in range(rounds):
        if progress:
            print(f"\rround {number + 1} of {rounds}", end="", file=sys.stderr, flush=True)
        found = {variant: worker.ask("round") for variant, worker in workers.items()}
        for kind, by_variant in added.items():
            for variant in INSTRUMENTORS:
                by_variant.setdefault(variant, []).append(found[variant][kind] - found[NONE][kind])
    if progress:
        print(file=sys.stderr)
    memory = {variant: workers[variant].ask("memory")["memory"] for variant in (NONE, OURS)}
    for worker in workers.values():
        worker.stop()

    def medians(kind: str) -> dict[str, float]:
        return {variant: round(statistics.median(values), 2) for variant, values in added[kind].items()}

    return {
        "plain_call_us": medians("plain"),
        "stream_chunk_us": medians("chunk"),
        "other_request_us": medians("other")[OURS],
        "stream_memory_kib": round(memory[OURS] - memory[NONE], 2),
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
    yield f"a request that is no LLM call: {found['other_request_us']} us"
    yield f"an open stream holds {found['stream_memory_kib']} KiB"
    yield ", ".join(f"{name} {version}" for name, version in found["versions"].items())


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures; fail where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--worker", choices=(NONE, *INSTRUMENTORS), help=argparse.SUPPRESS)
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
