"""How long a page of ten thousand series takes to make, and what somebody who reads it each second costs the ingest.

A real exporter, `spanledger serve` on SQLite, is filled with calls of ever more services until its page has that many
series, each histogram with its exemplars. The page is then read several times, as Prometheus' text and as OpenMetrics.
Last, spans are sent as bench/ingest.py does, in turns with and without a reader that asks for the page each second, far
more often than Prometheus does.

Units: seconds by the clock, spans a second.
"""

import argparse
import json
import statistics
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "bench"))

import ingest  # noqa: E402 -- the folder of the benchmarks is no package
from traffic.spans import MODELS  # noqa: E402

from tests.exporter.otlp_requests import CHAT, body, span  # noqa: E402

SERIES: Final = 10_000
FORMATS: Final = {
    "text": "text/plain;version=0.0.4",
    "openmetrics": "application/openmetrics-text;version=1.0.0",
}
SCRAPE_S_MAX: Final = 0.3
EVERY_S: Final = 1.0
SERVICES_A_REQUEST: Final = 50


def page(address: str, accept: str) -> str:
    """Read the page of metrics in a format."""
    asked = urllib.request.Request(f"http://{address}/metrics", headers={"accept": accept})
    with urllib.request.urlopen(asked, timeout=60) as answer:
        return answer.read().decode()


def series_of(text: str) -> int:
    """Count the series of a page."""
    return sum(not line.startswith("#") for line in text.splitlines())


def fill(addresses: dict[str, str], least: int) -> int:
    """Send calls of ever more services until the page has so many series; return how many it has."""
    services = 0
    while (found := series_of(page(addresses["metrics"], FORMATS["text"]))) < least:
        for service in range(services, services + SERVICES_A_REQUEST):
            made = (
                {**CHAT, "gen_ai.request.model": model, "gen_ai.response.model": model,
                 "gen_ai.response.id": f"chatcmpl-{service:08}{model}", "gen_ai.response.time_to_first_chunk": 0.25}
                for model in MODELS
            )  # fmt: skip
            sent = body(*(span(each, end_ns=time.time_ns()) for each in made), service=f"bench-{service}")
            headers = {"content-type": "application/x-protobuf"}
            request = urllib.request.Request(f"http://{addresses['http']}/v1/traces", data=sent, headers=headers)
            urllib.request.urlopen(request, timeout=60).close()
        services += SERVICES_A_REQUEST
    return found


@contextmanager
def reader(address: str) -> Generator[list[float]]:
    """Read the page each second meanwhile, and note how long each time took."""
    taken: list[float] = []
    over = threading.Event()

    def run() -> None:
        while not over.is_set():
            started = time.perf_counter()
            page(address, FORMATS["openmetrics"])
            taken.append(time.perf_counter() - started)
            over.wait(max(EVERY_S - taken[-1], 0))

    thread = threading.Thread(target=run)
    thread.start()
    try:
        yield taken
    finally:
        over.set()
        thread.join()


def measure(series: int, reads: int, rounds: int, spans: int, folder: Path) -> dict[str, Any]:
    """Measure both on one exporter."""
    bench = ingest.Bench(f"sqlite:///{folder / 'ledger.db'}", folder)
    address = bench.addresses["metrics"]
    found: dict[str, Any] = {"series": fill(bench.addresses, series)}
    for name, accept in FORMATS.items():
        taken: list[float] = []
        for _ in range(reads):
            started = time.perf_counter()
            text = page(address, accept)
            taken.append(time.perf_counter() - started)
        found |= {f"{name}_s": round(statistics.median(taken), 4), f"{name}_bytes": len(text)}
    bench.send(spans)  # warms up
    alone: list[float] = []
    beside: list[float] = []
    under_load: list[float] = []
    for _ in range(rounds):
        alone.append(bench.send(spans).spans_per_s)
        with reader(address) as times:
            beside.append(bench.send(spans).spans_per_s)
        under_load += times
    bench.stop()
    return found | {
        "spans_per_s": round(statistics.median(alone)),
        "spans_per_s_beside_a_reader": round(statistics.median(beside)),
        "share": round(statistics.median(other / one for one, other in zip(alone, beside, strict=True)), 3),
        "openmetrics_s_under_load": round(statistics.median(under_load), 4),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures; fail where a page takes too long."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--series", type=int, default=SERIES)
    parser.add_argument("--reads", type=int, default=11)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--spans", type=int, default=20_000)
    options = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="spanledger-bench-") as folder:
        found = measure(options.series, options.reads, options.rounds, options.spans, Path(folder))
    print(json.dumps(found) if options.json else json.dumps(found, indent=2))
    slow = [name for name in FORMATS if found[f"{name}_s"] > SCRAPE_S_MAX]
    for name in slow:
        print(f"target missed: {name} takes {found[f'{name}_s']} s, not {SCRAPE_S_MAX}", file=sys.stderr)
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
