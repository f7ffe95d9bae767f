"""How long calls took, how fast they answered and what each cost, as Prometheus histograms since the exporter's start.

Every call is observed, so an observation is an addition in a list and no more: the client library's own histogram takes
ten times as long to find its child and its bucket. Each bucket remembers the newest call that fell into it, and shows
it in OpenMetrics as its exemplar: the trace of a call that took so long.

Source: OpenMetrics 1.0, "Exemplars".
"""

import threading
import time
from bisect import bisect_left
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate
from operator import itemgetter
from typing import Any, Final, NamedTuple

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import Exemplar, HistogramMetricFamily
from prometheus_client.registry import Collector

from spanledger_exporter.ledger.cells import OTHER, Cell
from spanledger_exporter.metrics.newborn import Newborn
from spanledger_exporter.records import Price, PricedRecord, Usage, UsageRecord

LABEL_SETS_MAX: Final = 500
_LABELS: Final = ("provider", "model", "operation")
_SECONDS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
"""Those that the GenAI conventions give for durations.

Source: semantic-conventions-genai, docs/gen-ai/gen-ai-metrics.md, 2026-11.
"""
_TOKENS_PER_SECOND: Final = (1, 2.5, 5, 10, 20, 40, 60, 80, 100, 150, 200, 300, 500, 1000, 2000)
"""Up to 100 the conventions' bounds of the time for one output token, turned over (0.025 s are 40 a second).

Hosted models answer around their last one, and beyond it, so that there are more.
Source: the same page, `gen_ai.server.time_per_output_token`.
"""
_USD: Final = (
    1e-6, 3.16e-6, 1e-5, 3.16e-5, 1e-4, 3.16e-4, 1e-3, 3.16e-3, 0.01, 0.0316, 0.1, 0.316, 1.0, 3.16, 10.0, 31.6, 100.0,
)  # fmt: skip
_NS_MIN: Final = 1_000_000
"""What comes in less than a millisecond came in one piece, and says nothing of how fast it was made."""

_Newest = tuple[bytes, float, int]  # trace id, value, end
_Call = tuple[str, str, str]  # as `_LABELS`


class _Family(NamedTuple):
    """A histogram: its name, what it says, its bounds, and how many of what is added up make one of its unit."""

    name: str
    text: str
    bounds: tuple[float, ...]
    unit: int = 1

    def metric(self) -> HistogramMetricFamily:
        return HistogramMetricFamily(self.name, self.text, labels=_LABELS)


_FAMILIES: Final = (
    _Family("genai_call_duration_seconds", "Time from a call's start to its end.", _SECONDS, 10**9),
    _Family(
        "genai_time_to_first_chunk_seconds",
        "Time from a streaming call's start to the first chunk of its answer.",
        _SECONDS,
        10**9,
    ),
    _Family(
        "genai_output_tokens_per_second",
        "Output tokens of a streaming call by the time from the first chunk of its answer to the last.",
        _TOKENS_PER_SECOND,
    ),
    _Family("genai_call_cost_usd", "What a call cost that has a price.", _USD, 10**12),
)
_NAMES: Final = tuple((*map(str, map(float, family.bounds)), "+Inf") for family in _FAMILIES)
_NS: Final = tuple(round(bound * 1e9) for bound in _SECONDS)
_PUSD: Final = tuple(round(bound * 1e12) for bound in _USD)
assert (UsageRecord._fields[6:8], UsageRecord._fields[12]) == (("usage_status", "usage"), "time_to_first_chunk_ns")
assert Usage._fields[1] == "output_tokens"
assert Price._fields[:2] == ("status", "cost_pusd")
_labels_of: Callable[[Cell], tuple[str, str, str]] = itemgetter(*map(Cell._fields.index, _LABELS))


class _Histogram:
    """Observations under one set of labels: how many fell into each bucket, the newest of each, and their sum."""

    __slots__ = ("counts", "newest", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.counts = [0] * (len(bounds) + 1)
        self.newest: list[_Newest | None] = [None] * (len(bounds) + 1)
        self.total: float = 0

    def add(self, place: int, value: float, trace_id: bytes, end_ns: int) -> None:
        self.counts[place] += 1
        self.total += value
        before = self.newest[place]
        # Prometheus refuses exemplars that are older than those it has.
        if before is None or before[2] <= end_ns:
            self.newest[place] = (trace_id, value, end_ns)


_Set = tuple[_Histogram, _Histogram, _Histogram, _Histogram]


class CallMetrics(Collector):
    """The histograms of calls; those of too many models are observed together, as another's, and counted.

    `hold_s` as `Newborn` has it: a histogram that was not shown yet is shown empty first.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        label_sets_max: int = LABEL_SETS_MAX,
        hold_s: float = 0,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._label_sets_max = label_sets_max
        self._shown: set[tuple[int, _Call]] = set()
        self._newborn = Newborn[tuple[int, _Call]](hold_s, clock_s)
        self._lock = threading.Lock()
        self._sets: dict[_Call, _Set] = {}
        self._folded = Counter(
            "spanledger_folded_observations",
            "Calls that the histograms count under __other__, because there are too many models.",
            registry=registry,
        )
        registry.register(self)

    def observe(self, calls: Sequence[PricedRecord], cells: Sequence[Cell]) -> None:
        """Add new entries under the labels of their cells; a call that ends before it starts has no duration."""
        sets = self._sets
        now_ns = time.time_ns()
        with self._lock:
            for (record, price, _), cell in zip(calls, cells, strict=True):
                labels = _labels_of(cell)
                duration, first_chunk, speed, cost = sets.get(labels) or self._new(labels)
                # By position: a name takes longer, and every call comes through here.
                end_ns, _, trace_id, start_ns = record[:4]
                # A clock that is ahead must not make its call the newest for as long as it is.
                at_ns = end_ns if end_ns < now_ns else now_ns
                first_ns = record[12]
                if start_ns and start_ns <= end_ns:
                    ns = end_ns - start_ns
                    duration.add(bisect_left(_NS, ns), ns, trace_id, at_ns)
                if first_ns is not None:
                    first_chunk.add(bisect_left(_NS, first_ns), first_ns, trace_id, at_ns)
                    tokens, rest_ns = record[7][1], end_ns - start_ns - first_ns
                    if tokens and start_ns and rest_ns >= _NS_MIN and record[6] == "reported":
                        per_s = tokens * 1e9 / rest_ns
                        speed.add(bisect_left(_TOKENS_PER_SECOND, per_s), per_s, trace_id, at_ns)
                pusd = price[1]
                if pusd is not None and price[0] == "priced":
                    cost.add(bisect_left(_PUSD, pusd), pusd, trace_id, at_ns)

    def _new(self, labels: _Call) -> _Set:
        if len(self._sets) >= self._label_sets_max:
            self._folded.inc()
            labels = (OTHER, OTHER, labels[2])
            if labels in self._sets:
                return self._sets[labels]
        made = self._sets[labels] = _made()
        return made

    def collect(self) -> Iterable[HistogramMetricFamily]:
        """Return the histograms as they stand now."""
        with self._lock:  # a commit waits for it: copies only, and the rest after it
            found = [
                (labels, [(each.counts[:], each.newest[:], each.total) for each in histograms])
                for labels, histograms in self._sets.items()
            ]
            zeros = self._at_zero()
        for place, (family, names) in enumerate(zip(_FAMILIES, _NAMES, strict=True)):
            metric = family.metric()
            for labels, histograms in found:
                counts, newest, total = histograms[place]
                if (place, labels) in zeros:
                    counts, newest, total = [0] * len(counts), [None] * len(counts), 0
                elif not any(counts):
                    continue
                metric.add_metric(labels, list(_buckets(names, counts, newest, family.unit)), total / family.unit)
            yield metric

    def _at_zero(self) -> frozenset[tuple[int, _Call]]:
        for labels, histograms in self._sets.items():
            for place, histogram in enumerate(histograms):
                if (place, labels) not in self._shown and any(histogram.counts):
                    self._shown.add((place, labels))
                    self._newborn.add((place, labels))
        return self._newborn.at_zero()

    def describe(self) -> Iterable[HistogramMetricFamily]:
        """Return the metrics without samples."""
        return [family.metric() for family in _FAMILIES]


def _made() -> _Set:
    duration, first_chunk, speed, cost = (_Histogram(family.bounds) for family in _FAMILIES)
    return duration, first_chunk, speed, cost


def _buckets(
    names: Sequence[str], counts: Sequence[int], newest: Sequence[_Newest | None], unit: int
) -> Iterator[Any]:  # Any: a bucket is a pair, or with its exemplar a triple
    for name, count, one in zip(names, accumulate(counts), newest, strict=True):
        if one is None:
            yield name, count
        else:
            trace_id, value, end_ns = one
            yield name, count, Exemplar({"trace_id": trace_id.hex()}, value / unit, end_ns / 1e9)
