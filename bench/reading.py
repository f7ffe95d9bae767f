"""How much slower calls are committed while others read the ledger as hard as they can.

On each database, calls are appended in batches: alone, beside processes that only compute, and beside as many that read
entries and sums without a pause. A reader takes processor time as any other process does; what it costs beyond that, by
locks or by the disk, is the difference between the last two.
"""

import argparse
import json
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

sys.path.insert(0, str(Path(__file__).parent.parent))

from spanledger_exporter.ledger.database import open_database
from spanledger_exporter.ledger.filters import Filter
from spanledger_exporter.ledger.ledger import Ledger
from spanledger_exporter.ledger.reader import Reader
from spanledger_exporter.prices.genai_prices_book import packaged_book
from spanledger_exporter.prices.price_book import PriceBook
from spanledger_exporter.prices.pricing import price
from spanledger_exporter.records import PricedRecord, Profile, Usage, UsageRecord
from tests.servers import postgresql

BATCH: Final = 512
PHASES: Final = ("alone", "beside_computing", "beside_readers")
NS: Final = 10**9


def records(book: PriceBook, end_ns: int, count: int) -> list[PricedRecord]:
    """Make calls of one model, each a microsecond after the other."""
    profile = Profile(
        service="shop", environment="bench", scope="spanledger", dialect="otel", provider="openai", operation="chat",
        request_model="gpt-4o-mini", response_model="gpt-4o-mini-2024-07-18", server_address="api.openai.com",
        stream=False, outcome="ok", error_type=None, http_status=200, resend_count=None, finish_reasons="stop",
        service_tier=None, speed=None, inference_geo=None,
    )  # fmt: skip
    made: list[PricedRecord] = []
    for number in range(count):
        record = UsageRecord(
            end_ns=end_ns + number * 1000,
            span_id=secrets.token_bytes(8),
            trace_id=secrets.token_bytes(16),
            start_ns=end_ns + number * 1000 - NS,
            parent_span_id=None,
            profile=profile,
            usage_status="reported",
            usage=Usage(100 + number % 900, 20 + number % 300),
            response_id=f"chatcmpl-{secrets.token_hex(12)}",
        )
        made.append(PricedRecord(record, price(record, book), book.book_id))
    return made


def read_on(url: str) -> None:
    """Read entries and sums until killed."""
    with Reader(url) as reader:
        while True:
            for _ in reader.entries(Filter(), limit=20_000):
                pass
            reader.report(["model", "day"], Filter())


def compute_on() -> None:
    """Compute until killed."""
    number = 1
    while True:
        number = (number * 31 + 7) % 1_000_003


@contextmanager
def others(phase: str, url: str, count: int) -> Generator[None]:
    """Run the processes that a phase has beside the writer."""
    flags = {"alone": [], "beside_computing": ["--compute"], "beside_readers": ["--read"]}[phase]
    started = [subprocess.Popen([sys.executable, __file__, flag, url]) for flag in flags for _ in range(count)]
    try:
        time.sleep(2 if started else 0)  # until they have started
        yield
        assert all(process.poll() is None for process in started), "one of them has ended by itself"
    finally:
        for process in started:
            process.kill()
            process.wait()


def rate(ledger: Ledger, batches: Iterator[list[PricedRecord]], seconds: float) -> float:
    """Return the calls committed in a second; making them is not in the time."""
    calls, spent_s = 0, 0.0
    while spent_s < seconds:
        batch = next(batches)
        started_s = time.perf_counter()
        calls += len(ledger.append(batch).new)
        spent_s += time.perf_counter() - started_s
    return calls / spent_s


def measure(url: str, book: PriceBook, *, filled: int, seconds: float, rounds: int, readers: int) -> dict[str, float]:
    """Measure all phases in turn, several times, and compare the medians."""
    database = open_database(url)
    ledger = Ledger(database, cells_max=100)
    ledger.keep_book(book)

    def batches() -> Iterator[list[PricedRecord]]:
        while True:
            yield records(book, time.time_ns(), BATCH)

    made = batches()
    for _ in range(filled // BATCH):
        ledger.append(next(made))
    rates: dict[str, list[float]] = {phase: [] for phase in PHASES}
    for _ in range(rounds):
        for phase in PHASES:
            with others(phase, url, readers):
                rates[phase].append(rate(ledger, made, seconds))
    database.close()
    found = {phase: statistics.median(each) for phase, each in rates.items()}
    return {
        **{f"calls_per_s_{phase}": round(figure) for phase, figure in found.items()},
        "ratio_to_alone": round(found["beside_readers"] / found["alone"], 3),
        "ratio_to_computing": round(found["beside_readers"] / found["beside_computing"], 3),
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures of both databases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--rows", type=int, default=50_000, help="entries to begin with")
    parser.add_argument("--seconds", type=float, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--readers", type=int, default=2)
    parser.add_argument("--read", metavar="URL", help=argparse.SUPPRESS)
    parser.add_argument("--compute", metavar="URL", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.read:
        read_on(options.read)
    if options.compute:
        compute_on()
    book = packaged_book()
    figures = {"filled": options.rows, "seconds": options.seconds, "rounds": options.rounds, "readers": options.readers}
    found: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as folder:
        found["sqlite"] = measure(f"sqlite:///{folder}/ledger.db", book, **figures)
    with postgresql.running(fsync=True) as cluster, cluster.database() as url:
        found["postgresql"] = measure(url, book, **figures)
    if options.json:
        print(json.dumps(found))
    else:
        for name, each in found.items():
            print(f"{name}: {', '.join(f'{key} {value:g}' for key, value in each.items())}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
