"""How long calls took, as Prometheus histograms that are counted since the exporter's start.

Every call is observed, so an observation is an addition in a list and no more: the client library's own histogram takes
ten times as long to find its child and its bucket.
"""

import threading
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from itertools import accumulate
from typing import Final

from prometheus_client import CollectorRegistry
from prometheus_client.core import HistogramMetricFamily
from prometheus_client.registry import Collector

from spanledger_exporter.ledger.cells import Cell
from spanledger_exporter.records import PricedRecord

_LABELS: Final = ("provider", "model", "operation")
_BOUNDS_S: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
"""Those that the GenAI conventions give for durations.

Source: semantic-conventions-genai, docs/gen-ai/gen-ai-metrics.md, 2026-11.
"""
_BOUNDS_NS: Final = tuple(round(bound * 1e9) for bound in _BOUNDS_S)
_NAMES: Final = (*map(str, _BOUNDS_S), "+Inf")


class _Histogram:
    """Observations of one set of labels: how many fell into each bucket, and what they add up to, in nanoseconds."""

    __slots__ = ("buckets", "sum_ns")

    def __init__(self) -> None:
        self.buckets = [0] * len(_NAMES)
        self.sum_ns = 0


class DurationMetrics(Collector):
    """The duration of calls, and the time to the first chunk of those that were streamed."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._lock = threading.Lock()
        self._durations: dict[tuple[str, str, str], _Histogram] = {}
        self._first_chunks: dict[tuple[str, str, str], _Histogram] = {}
        registry.register(self)

    def observe(self, calls: Sequence[PricedRecord], cells: Sequence[Cell]) -> None:
        """Add new entries under the labels of their cells; a call that ends before it starts has no duration."""
        with self._lock:
            for (record, _, _), cell in zip(calls, cells, strict=True):
                labels = (cell.provider, cell.model, cell.operation)
                start_ns, end_ns, first_chunk_ns = record.start_ns, record.end_ns, record.time_to_first_chunk_ns
                if start_ns and start_ns <= end_ns:
                    _observe(self._durations, labels, end_ns - start_ns)
                if first_chunk_ns is not None:
                    _observe(self._first_chunks, labels, first_chunk_ns)

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """Return the histograms as they stand now."""
        duration, first_chunk = self.describe()
        with self._lock:
            for family, found in ((duration, self._durations), (first_chunk, self._first_chunks)):
                for labels, histogram in found.items():
                    counts = accumulate(histogram.buckets)
                    family.add_metric(labels, list(zip(_NAMES, counts, strict=True)), histogram.sum_ns / 1e9)
        return duration, first_chunk

    def describe(self) -> Sequence[HistogramMetricFamily]:
        """Return the metrics without samples."""
        return (
            HistogramMetricFamily(
                "genai_call_duration_seconds", "Time from a call's start to its end.", labels=_LABELS
            ),
            HistogramMetricFamily(
                "genai_time_to_first_chunk_seconds",
                "Time from a streaming call's start to the first chunk of its answer.",
                labels=_LABELS,
            ),
        )


def _observe(found: dict[tuple[str, str, str], _Histogram], labels: tuple[str, str, str], ns: int) -> None:
    histogram = found.get(labels)
    if histogram is None:
        histogram = found[labels] = _Histogram()
    histogram.buckets[bisect_left(_BOUNDS_NS, ns)] += 1
    histogram.sum_ns += ns
