"""The ledger's totals as Prometheus counters: cost, tokens, calls, and the calls whose price or usage is unknown.

The totals are read from the ledger at start and moved by what each commit moved, our own and those of others. Three
things keep what Prometheus makes of them right:

- A counter never falls. A correction, such as a second report of a call or a price that came later, can lower a total;
  a counter that fell would look as if it had begun anew, and all of it as an increase. So it is held where it was until
  its total has caught up; how far is kept in the ledger, for a restart would otherwise be such a fall.
- A series begins at 0. `increase()` does not see the step from nothing to the first value, so that a new series is 0
  for its first scrapes, and only then its value.
- A metric has a limit of series. What comes beyond it is summed under `__other__`.

Units: USD, tokens. `token_type` values are disjoint: they add up to all tokens, those that begin with `input_` to all
input; so are the values of `cost_type`, which add up to the cost.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from spanledger_exporter.ledger.cells import RETRY, Cell
from spanledger_exporter.ledger.rollups import Sums, unreported
from spanledger_exporter.metrics.dimensions import DEFAULT_DIMENSIONS, Dimensions
from spanledger_exporter.money import usd_float

SERIES_MAX: Final = 10_000
_TOKEN_TYPES = ("input_uncached", "input_cache_read", "input_cache_write", "output_answer", "output_reasoning")
COST_TYPES: Final = ("input_uncached", "input_cache_read", "input_cache_write", "output", "other")
UNKNOWN: Final = "unknown"
_NOTHING = Sums()

Labels = tuple[str, ...]
Key = tuple[str, Labels]
Marks = Mapping[Key, int]
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


def _cost_by_type(cell: Cell, sums: Sums) -> Iterator[tuple[Labels, int]]:
    if cell.price_status not in {"priced", "free"}:
        return
    parts = (
        sums.cost_input_uncached_pusd,
        sums.cost_cache_read_pusd,
        sums.cost_cache_write_pusd,
        sums.cost_output_pusd,
        sums.cost_other_pusd,
    )
    for kind, part in zip(COST_TYPES, parts, strict=True):
        yield (kind,), part
    if unknown := sums.cost_pusd - sum(parts):  # of entries that were made before the parts were kept
        yield (UNKNOWN,), unknown


def _cache_saved(cell: Cell, sums: Sums) -> Iterator[tuple[Labels, int]]:
    if cell.price_status in {"priced", "free"}:
        yield (), sums.cache_saved_pusd


def _cache_write_premium(cell: Cell, sums: Sums) -> Iterator[tuple[Labels, int]]:
    if cell.price_status in {"priced", "free"}:
        yield (), sums.cache_write_premium_pusd


def _errors(cell: Cell, sums: Sums) -> Iterator[tuple[Labels, int]]:
    if cell.outcome == "error":
        yield (cell.error_type or UNKNOWN,), sums.calls


def _retries(cell: Cell, sums: Sums) -> Iterator[tuple[Labels, int]]:
    if cell.attempt == RETRY:
        yield (cell.outcome,), sums.calls


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
    _Metric(
        "genai_cost_by_type_usd",
        "Cost of LLM calls by what it was for; the cost types add up to the cost.",
        ("cost_type",),
        _cost_by_type,
        usd_float,
    ),
    _Metric(
        "genai_cache_saved_usd",
        "What input that was read from caches cost less than it would have without them.",
        (),
        _cache_saved,
        usd_float,
    ),
    _Metric(
        "genai_cache_write_premium_usd",
        "What input that was written to caches cost more than it would have without them.",
        (),
        _cache_write_premium,
        usd_float,
    ),
    _Metric("genai_tokens", "Tokens of LLM calls; the token types are disjoint.", ("token_type",), _tokens, float),
    _Metric("genai_calls", "LLM calls by outcome, ok or error.", ("outcome",), _calls, float),
    _Metric("genai_call_errors", "LLM calls that ended in an error, by its type.", ("error_type",), _errors, float),
    _Metric("genai_retries", "LLM calls that an SDK made again, by outcome.", ("outcome",), _retries, float),
    _Metric("genai_unpriced_calls", "LLM calls whose cost is unknown, by reason.", ("reason",), _unpriced, float),
    _Metric(
        "genai_unreported_calls",
        "LLM calls that may be billed and whose usage is not known (unreported) or not to the end (partial).",
        ("usage_status",),
        _unreported,
        float,
    ),
)
COUNTERS: Final = tuple(metric.name for metric in _METRICS)


class SpendMetrics(Collector):
    """The counters of what was spent; `marks` is how far they were held when the exporter last ran.

    Units: `series_max` series of each counter; `hold_s` seconds for which a series that is new is shown as 0, from the
    first time that anybody asks for it. Two scrape intervals let two Prometheus servers see it.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        totals: Mapping[Cell, Sums],
        marks: Marks,
        *,
        dimensions: Dimensions = DEFAULT_DIMENSIONS,
        series_max: int = SERIES_MAX,
        hold_s: float = 0,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lock = threading.Lock()
        self._dimensions = dimensions
        self._series_max = series_max
        self._hold_s = hold_s
        self._clock_s = clock_s
        self._totals: dict[Cell, Sums] = {}
        self._values: dict[str, dict[Labels, int]] = {name: {} for name in COUNTERS}
        self._folded: dict[str, set[Labels]] = {name: set() for name in COUNTERS}
        # Series that Prometheus has not seen at 0 yet, and since when they are shown.
        self._new: dict[Key, float | None] = {}
        self._marks = dict[Key, int]()
        for cell, sums in totals.items():
            self._move(cell, sums)
        self._new.clear()
        for (name, labels), mark in marks.items():
            if name in _BY_NAME and (own := self._own(name, labels)) is not None:
                self._marks[name, own] = mark
                self._values[name].setdefault(own, 0)  # also where nothing is left of what was counted
        registry.register(self)

    def add(self, sums: Mapping[Cell, Sums]) -> Marks:
        """Move the totals by what a commit moved; return how far counters are held that would have fallen."""
        falls = any(map(_falls, sums.keys(), sums.values()))
        with self._lock:
            before = self._before(sums) if falls else {}
            for cell, moved in sums.items():
                self._move(cell, moved)
            fallen = {
                (name, labels): max(value, self._marks.get((name, labels), 0))
                for (name, labels), value in before.items()
                if self._values[name][labels] < value
            }
            self._marks |= fallen
        return {(name, self._named(name, labels)): mark for (name, labels), mark in fallen.items()}

    def behind(self, totals: Mapping[Cell, Sums]) -> Mapping[Cell, Sums]:
        """Return by what the ledger's totals have moved without anybody telling."""
        with self._lock:
            # Also of cells that others have emptied, of which the ledger says nothing any more.
            moved = {
                cell: totals.get(cell, _NOTHING).minus(self._totals.get(cell, _NOTHING))
                for cell in dict.fromkeys((*self._totals, *totals))
            }
        return {cell: sums for cell, sums in moved.items() if any(sums)}

    @property
    def folded(self) -> Mapping[str, int]:
        """How many sets of labels are summed under `__other__`, by the counter's name."""
        return {name: len(labels) for name, labels in self._folded.items()}

    def collect(self) -> Iterable[CounterMetricFamily]:
        """Return the counters as they stand now."""
        with self._lock:
            zeros = self._at_zero()
            values = {name: list(found.items()) for name, found in self._values.items()}
            marks = dict(self._marks)
        families: list[CounterMetricFamily] = []
        for metric in _METRICS:
            name, shown, family = metric.name, metric.shown, self._family(metric)
            for labels, value in values[name]:
                key = (name, labels)
                family.add_metric(labels, 0.0 if key in zeros else shown(max(value, marks.get(key, 0))))
            families.append(family)
        return families

    def describe(self) -> Iterable[CounterMetricFamily]:
        """Return the metrics without samples, so that registering them reads nothing."""
        return [self._family(metric) for metric in _METRICS]

    def _move(self, cell: Cell, moved: Sums) -> None:
        self._totals[cell] = self._totals.get(cell, _NOTHING).plus(moved)
        for name, labels, value in self._samples(cell, moved):
            values = self._values[name]
            place = self._place(name, labels)
            if place not in values:
                self._new[name, place] = None
            values[place] = values.get(place, 0) + value

    def _samples(self, cell: Cell, sums: Sums) -> Iterator[tuple[str, Labels, int]]:
        call = self._dimensions.of(cell)
        for metric in _METRICS:
            for labels, value in metric.samples(cell, sums):
                yield metric.name, (*call, *labels), value

    def _place(self, name: str, labels: Labels) -> Labels:
        """Return the labels under which a sample is summed: its own, if there is room."""
        values = self._values[name]
        if labels in values or len(values) < self._series_max:
            return labels
        self._folded[name].add(labels)  # no more of them than there are cells
        return self._dimensions.folded(labels)

    def _before(self, sums: Mapping[Cell, Sums]) -> dict[Key, int]:
        """Return what the counters are that a commit moves; those that it makes are not among them."""
        found: dict[Key, int] = {}
        for cell, moved in sums.items():
            for name, labels, _ in self._samples(cell, moved):
                values = self._values[name]
                place = labels if labels in values else self._dimensions.folded(labels)
                if place in values:
                    found[name, place] = values[place]
        return found

    def _at_zero(self) -> set[Key]:
        """Return the series that are still to be seen at 0."""
        if not self._new:
            return set()
        if not self._hold_s:
            self._new.clear()
            return set()
        now_s = self._clock_s()
        self._new = {
            key: now_s if since_s is None else since_s
            for key, since_s in self._new.items()
            if since_s is None or now_s - since_s < self._hold_s
        }
        return set(self._new)

    def _named(self, name: str, labels: Labels) -> Labels:
        """Return labels with their names, which tell what was held under other dimensions."""
        return tuple(f"{label}={value}" for label, value in zip(self._names(_BY_NAME[name]), labels, strict=True))

    def _own(self, name: str, labels: Labels) -> Labels | None:
        """Return the labels of a mark without their names; `None` if it was made under other dimensions."""
        names = self._names(_BY_NAME[name])
        if len(labels) != len(names):
            return None
        pairs = [text.partition("=") for text in labels]
        return tuple(value for _, _, value in pairs) if tuple(pair[0] for pair in pairs) == names else None

    def _names(self, metric: _Metric) -> Labels:
        return (*self._dimensions.names, *metric.labels)

    def _family(self, metric: _Metric) -> CounterMetricFamily:
        return CounterMetricFamily(metric.name, metric.text, labels=self._names(metric))


def _falls(cell: Cell, moved: Sums) -> bool:
    """Tell whether a counter of this cell falls: a difference does where a part of its total becomes known."""
    return any(value < 0 for metric in _METRICS for _, value in metric.samples(cell, moved))


_BY_NAME = {metric.name: metric for metric in _METRICS}
