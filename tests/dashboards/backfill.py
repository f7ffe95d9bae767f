"""Calls of the past -> what Prometheus would have of them by now, had it scraped all the time.

The exporter's own metrics are moved call by call on the time line and read at each scrape, so that names, labels and
values are those of the code. Each day it was started anew under another name, as a Kubernetes Deployment does, but for
the last day, which belongs to an exporter that still runs. `promtool` makes blocks of that, which Prometheus takes for
its own.

Source: prometheus.io/docs/prometheus/2.42/storage, "Backfilling from OpenMetrics format".
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.samples import Sample

from spanledger_exporter.dialects import RESOURCE_ATTRIBUTES, understand
from spanledger_exporter.ledger.cells import Cell, cell_of
from spanledger_exporter.ledger.rollups import Sums, sums_of
from spanledger_exporter.metrics.histograms import CallMetrics
from spanledger_exporter.metrics.spend import SpendMetrics
from spanledger_exporter.prices.genai_prices_book import packaged_book
from spanledger_exporter.prices.pricer import Pricer
from spanledger_exporter.receiving import otlp
from spanledger_exporter.records import PricedRecord
from tests.dashboards.calls import DAY_S, DAYS, HOUR_S
from tests.servers.prometheus import promtool

STEP_S: Final = 300
"""Between two scrapes of the last week; before, an hour, for panels look at those times from afar."""
_FINE_S: Final = 7 * DAY_S
_COARSE_S: Final = HOUR_S
_SINCE_START_S: Final = DAY_S  # histograms begin with the process, which is a day old
# Prometheus makes blocks of two hours unless told otherwise, and promtool reads the text once for each.
_BLOCK: Final = "486h"


class Entry(NamedTuple):
    """A call as the ledger has it: what moves the counters."""

    end_s: float
    priced: PricedRecord
    cell: Cell
    sums: Sums


def entries(bodies: Sequence[bytes]) -> list[Entry]:
    """Read OTLP requests as the exporter does, up to what it would commit, in the order of the calls' ends."""
    book = packaged_book()
    pricer = Pricer(book)
    found: list[Entry] = []
    for body in bodies:
        for record in understand(otlp.decode(body, RESOURCE_ATTRIBUTES).spans).records:
            priced = PricedRecord(record, pricer.price(record), book.book_id)
            found.append(Entry(record.end_ns / 1e9, priced, cell_of(priced), sums_of(priced)))
    return sorted(found, key=lambda entry: entry.end_s)


def write(folder: Path, past: Sequence[Entry], until_s: int, instance: str) -> None:
    """Write a Prometheus' data folder as it would be at a time; `instance` is what has run for a day by then."""
    text = folder / "history.openmetrics"
    with text.open("w") as file:
        file.writelines(_lines(past, until_s, instance))
        file.write("# EOF\n")
    promtool("tsdb", "create-blocks-from", "openmetrics", f"--max-block-duration={_BLOCK}", text, folder / "prometheus")
    text.unlink()


def _lines(past: Sequence[Entry], until_s: int, instance: str) -> Iterator[str]:
    heads: dict[tuple[str, frozenset[tuple[str, str]]], str] = {}
    for at_s, sample in _samples(past, until_s):
        key = (sample.name, frozenset(sample.labels.items()))
        if (head := heads.get(key)) is None:
            labels = "".join(f'{name}="{value}",' for name, value in sample.labels.items())
            head = heads[key] = f'{sample.name}{{{labels}job="spanledger",instance='
        days = (until_s - at_s) // _SINCE_START_S
        yield f'{head}"{f"gone-{days}:9464" if days else instance}"}} {sample.value!r} {at_s}\n'


def _samples(past: Sequence[Entry], until_s: int) -> Iterator[tuple[int, Sample]]:
    now_s = 0
    registry = CollectorRegistry()
    # What is new is shown as 0 once: the clock stands still while Prometheus is not looking.
    spend = SpendMetrics(registry, {}, hold_s=1, clock_s=lambda: now_s)
    calls = CallMetrics(registry)
    waiting = iter(past)
    entry = next(waiting, None)
    for at_s in _scrapes(until_s):
        now_s = at_s
        new: list[Entry] = []
        while entry is not None and entry.end_s <= at_s:
            new.append(entry)
            entry = next(waiting, None)
        for each in new:
            spend.add({each.cell: each.sums})
        recent = [each for each in new if each.end_s > until_s - _SINCE_START_S]
        calls.observe([each.priced for each in recent], [each.cell for each in recent])
        for family in registry.collect():
            yield from ((at_s, sample) for sample in family.samples if not sample.name.endswith("_created"))


def _scrapes(until_s: int) -> Iterator[int]:
    begin_s, fine_s = until_s - DAYS * DAY_S, until_s - _FINE_S
    yield from range(_next(begin_s, _COARSE_S), fine_s, _COARSE_S)
    yield from range(_next(fine_s, STEP_S), until_s, STEP_S)
    yield until_s


def _next(at_s: int, step_s: int) -> int:
    return -(-at_s // step_s) * step_s
