"""What activating the instrumentation adds to the start of a process, beyond what opentelemetry itself takes.

Each round starts processes one after the other: one that imports what every instrumentation imports (the API, the
instrumentor, its utilities and wrapt), and one that also imports and activates ours. The medians are compared.
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence

OPENTELEMETRY = """
import wrapt, opentelemetry.trace, opentelemetry.instrumentation.instrumentor, opentelemetry.instrumentation.utils
"""
OURS = "import spanledger_instrumentation.instrumentor as ours; ours.SpanledgerInstrumentor().instrument()"
TIMED = "import time; start = time.perf_counter(); {}; print(time.perf_counter() - start)"
LIMIT_MS = 50


def inside_ms(*statements: str) -> float:
    """Run statements in a new process; give the time that the last one took in it.

    Units: milliseconds.
    """
    *before, last = statements
    program = "\n".join([*before, TIMED.format(last)])
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    return float(ran.stdout) * 1000


def whole_ms(*statements: str) -> float:
    """Run statements in a new process; give the time from its start to its end.

    Units: milliseconds.
    """
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", "\n".join(statements)], check=True)
    return (time.perf_counter() - start) * 1000


def measure(rounds: int) -> dict[str, float]:
    """Measure side by side, interleaved."""
    inside: list[float] = []
    without: list[float] = []
    with_us: list[float] = []
    for _ in range(rounds):
        without.append(whole_ms(OPENTELEMETRY))
        with_us.append(whole_ms(OPENTELEMETRY, OURS))
        inside.append(inside_ms(OPENTELEMETRY, OURS))
    opentelemetry_ms, spanledger_ms = statistics.median(without), statistics.median(with_us)
    return {
        "added_ms": round(statistics.median(inside), 2),
        "process_without_ms": round(opentelemetry_ms, 2),
        "process_with_ms": round(spanledger_ms, 2),
        "ratio": round(spanledger_ms / opentelemetry_ms, 3),
        "limit_ms": LIMIT_MS,
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures; fail beyond the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--rounds", type=int, default=11)
    options = parser.parse_args(argv)
    found = measure(options.rounds)
    if options.json:
        print(json.dumps(found))
    else:
        print(f"activation adds {found['added_ms']} ms to the process (limit {LIMIT_MS} ms)")
        print(f"whole process: {found['process_without_ms']} ms without, {found['process_with_ms']} ms with us")
    return 0 if found["added_ms"] < LIMIT_MS else 1


if __name__ == "__main__":
    sys.exit(main())
