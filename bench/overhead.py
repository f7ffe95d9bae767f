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
import json
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from instrumented.subject import FLOOR, INSTRUMENTORS, OURS, STAYS
from instrumented.turns import Measured, serve

ROOT: Final = Path(__file__).parent.parent
PYTHON: Final = ROOT / ".cache" / "peers" / "bin" / "python"
LIMITS: Final = {"stream_chunk_us": 2.0, "other_request_us": 2.0, "stream_memory_kib": 64.0}
PLAIN_SHARE_MAX: Final = 0.5
"""Of the cheapest peer's cost of a plain call."""


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
