"""The ledger's totals as Prometheus counters: cost, tokens, calls, and the calls whose price or usage is unknown.

The totals are read from the ledger at start and moved by what each commit moved. A correction, such as a second report
of a call or a price that came later, can lower a total; a counter that fell would look as if it had begun anew, and all
of it as an increase. So a counter that would fall is held where it was until its total has caught up; how far is kept
in the ledger, for a restart would otherwise be such a fall.

Units: USD, tokens. `token_type` values are disjoint: they add up to all tokens, those that begin with `input_` to all
input.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from spanledger_exporter.ledger.cells import Cell
from spanledger_exporter.ledger.rollups import Sums, unreported
from spanledger_exporter.money import usd_float

_CALL_LABELS = ("service", "environment", "provider", "model", "operation")
_TOKEN_TYPES = ("input_uncached", "input_cache_read", "input_cache_write", "output_answer", "output_reasoning")
_NOTHING = Sums()

Labels = tuple[str, ...]
Marks = Mapping[tuple[str, Labels], int]
"""How far counters are held: by metric and labels, in the metric's integer unit."""


class _Metric(NamedTuple):
    """A counter: its name, what it says, the labels beside those of a call, and what a cell adds to it."""

    name: str
    text: str
    labels: Labels
    samples: Callable[[Cell, Sums], Iterable[tuple[Labels, int]]]
    shown: Callable[[int], float]


def _cost(cell: Cell, sums: Sums) -> Iterator[tuple[Labels, int]]:
    if cell.price_status in {"priced", "free"}:
        yield (), sums.cost_pusd


def _tokens(_cell: Cell, sums: Sums) -> Iterator[tuple[Labels, int]]:
    disjoint = (
        sums.input_tokens - sums.cache_read_tokens - sums.cache_write_tokens,
        sums.cache_read_tokens,
        sums.cache_write_tokens,
        sums.output_tokens - sums.reasoning_tokens,
        sums.reasoning_tokens,
    )
    for kind, tokens in zip(_TOKEN_TYPES, disjoint, strict=True):
        yield (kind,), tokens


def _calls(cell: Cell, sums: Sums) -> Iterator[tuple[Labels, int]]:
    yield (cell.outcome,), sums.calls


def _unpriced(cell: Cell, sums: Sums) -> Iterator[tuple[Labels, int]]:
    if cell.price_status == "unpriced":
        yield (cell.price_reason,), sums.calls


def _unreported(cell: Cell, sums: Sums) -> Iterator[tuple[Labels, int]]:
    if unreported(cell.usage_status, cell.price_status):
        yield (cell.usage_status,), sums.calls


_METRICS = (
    _Metric("genai_cost_usd", "Cost of LLM calls.", (), _cost, usd_float),
    _Metric("genai_tokens", "Tokens of LLM calls; the token types are disjoint.", ("token_type",), _tokens, float),
    _Metric("genai_calls", "LLM calls by outcome, ok or error.", ("outcome",), _calls, float),
    _Metric("genai_unpriced_calls", "LLM calls whose cost is unknown, by reason.", ("reason",), _unpriced, float),
    _Metric(
        "genai_unreported_calls",
        "LLM calls that may be billed and whose usage is not known (unreported) or not to the end (partial).",
        ("usage_status",),
        _unreported,
        float,
    ),
)


class SpendMetrics(Collector):
    """The counters of what was spent; `marks` is how far they were held when the exporter last ran."""

    def __init__(self, registry: CollectorRegistry, totals: Mapping[Cell, Sums], marks: Marks) -> None:
        self._lock = threading.Lock()
        self._totals = dict(totals)
        self._marks = {series: mark for series, mark in marks.items() if series[0] in _SHOWN}
        registry.register(self)

    def add(self, sums: Mapping[Cell, Sums]) -> Marks:
        """Move the totals by what a commit moved; return how far counters are held that would have fallen."""
        falls = any(map(_falls, sums.keys(), sums.values()))
        with self._lock:
            before = self._series() if falls else {}
            for cell, moved in sums.items():
                self._totals[cell] = self._totals.get(cell, _NOTHING).plus(moved)
            if not falls:
                return {}
            after = self._series()
            fallen = {
                series: max(value, self._marks.get(series, 0))
                for series, value in before.items()
                if after.get(series, 0) < value
            }
            self._marks |= fallen
        return fallen

    def behind(self, totals: Mapping[Cell, Sums]) -> Mapping[Cell, Sums]:
        """Return by what the ledger's totals have moved without anybody telling."""
        with self._lock:
            return {cell: sums.minus(self._totals.get(cell, _NOTHING)) for cell, sums in totals.items()}

    def collect(self) -> Iterable[CounterMetricFamily]:
        """Return the counters as they stand now."""
        with self._lock:
            series, marks = self._series(), dict(self._marks)
        families = {metric.name: _family(metric) for metric in _METRICS}
        for key, value in series.items():
            metric, labels = key
            families[metric].add_metric(labels, _SHOWN[metric](max(value, marks.get(key, 0))))
        return families.values()

    def describe(self) -> Iterable[CounterMetricFamily]:
        """Return the metrics without samples, so that registering them reads nothing."""
        return [_family(metric) for metric in _METRICS]

    def _series(self) -> dict[tuple[str, Labels], int]:
        found = dict.fromkeys(self._marks, 0)  # also where nothing is left of what was counted
        for cell, sums in self._totals.items():
            call = (cell.service, cell.environment, cell.provider, cell.model, cell.operation)
            for metric in _METRICS:
                for labels, value in metric.samples(cell, sums):
                    key = (metric.name, (*call, *labels))
                    found[key] = found.get(key, 0) + value
        return found


def _falls(cell: Cell, moved: Sums) -> bool:
    """Tell whether a counter of this cell falls: a difference does where a part of its total becomes known."""
    return any(value < 0 for metric in _METRICS for _, value in metric.samples(cell, moved))


_SHOWN = {metric.name: metric.shown for metric in _METRICS}


def _family(metric: _Metric) -> CounterMetricFamily:
    return CounterMetricFamily(metric.name, metric.text, labels=(*_CALL_LABELS, *metric.labels))
