"""What each stage of the exporter's pipeline takes of a span, and how fast the rest would be without it.

The spans of bench/ingest.py go through the stages one after the other, in one process and without a network: decode,
understand, price, and append to a ledger on SQLite and on PostgreSQL, in groups of several requests as the committer
makes them. Processor time, the median of several rounds; of PostgreSQL only what the exporter's own process takes.

Units: microseconds of one core for one span.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "bench"))

import ingest  # noqa: E402 -- the folder of the benchmarks is no package
from traffic.spans import Tally, bodies  # noqa: E402

GROUP: Final = 8
"""Requests that one transaction gathers."""


def measure(rounds: int, databases: Sequence[str]) -> dict[str, float]:
    """Return the median of each stage."""
    from spanledger_exporter.dialects import RESOURCE_ATTRIBUTES, rank, understand
    from spanledger_exporter.ledger.database import open_database
    from spanledger_exporter.ledger.ledger import Ledger
    from spanledger_exporter.prices.genai_prices_book import packaged_book
    from spanledger_exporter.prices.pricer import Pricer
    from spanledger_exporter.receiving import otlp

    book = packaged_book()
    pricer = Pricer(book)
    taken: dict[str, list[float]] = {}

    def timed(stage: str, spans: int, work: Callable[[Any], Any], on: Any) -> Any:
        start = time.process_time()
        result = work(on)
        taken.setdefault(stage, []).append((time.process_time() - start) / spans * 1e6)
        return result

    with ExitStack() as stack:
        ledgers: dict[str, Ledger] = {}
        for name, url in urls(databases, stack).items():
            ledgers[name] = Ledger(open_database(url), cells_max=10_000, rank=rank)
            ledgers[name].keep_book(book)
            stack.callback(ledgers[name].close)
        first, base_ns = 0, time.time_ns() - 3600 * 10**9
        for _ in range(rounds + 1):  # the first warms up
            count = ingest.BATCH * GROUP
            requests = list(bodies(first, count, ingest.BATCH, base_ns, Tally()))
            first += count
            batches = timed(
                "decode", count, lambda raws: [otlp.decode(raw, RESOURCE_ATTRIBUTES) for raw in raws], requests
            )
            spans = [batch.spans for batch in batches]
            understood = timed("understand", count, lambda groups: [understand(group) for group in groups], spans)
            records = [record for each in understood for record in each.records]
            priced = timed("price", count, priced_by(pricer), records)
            for name, ledger in ledgers.items():
                timed(f"append_{name}", count, ledger.append, priced)
    return {stage: round(statistics.median(values[1:]), 2) for stage, values in taken.items()}


def priced_by(pricer: Any) -> Callable[[Any], Any]:
    """Return what the pipeline does with records."""
    from spanledger_exporter.records import PricedRecord

    return lambda records: [PricedRecord(record, pricer.price(record), pricer.book.book_id) for record in records]


def urls(databases: Sequence[str], stack: ExitStack) -> dict[str, str]:
    """Return a fresh database of each kind."""
    from tests.servers import postgresql

    found: dict[str, str] = {}
    if "sqlite" in databases:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="spanledger-bench-"))
        found["sqlite"] = f"sqlite:///{folder}/ledger.db"
    if "postgresql" in databases:
        found["postgresql"] = stack.enter_context(stack.enter_context(postgresql.running(fsync=True)).database())
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--on", choices=ingest.TARGETS, help="one database only")
    options = parser.parse_args(argv)
    stages = measure(options.rounds, [options.on] if options.on else list(ingest.TARGETS))
    if options.json:
        print(json.dumps(stages))
        return 0
    for name in ingest.TARGETS:
        if f"append_{name}" not in stages:
            continue
        of_one = {stage: us for stage, us in stages.items() if not stage.startswith("append") or stage.endswith(name)}
        whole = sum(of_one.values())
        print(f"{name}: {whole:.1f} us a span, without gRPC")
        for stage, us in of_one.items():
            print(
                f"  {stage:<20}{us:>7.2f} us  {us / whole:>4.0%}   without it {whole / (whole - us):.2f} times as fast"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
