"""The ledger's totals as Prometheus counters: cost, tokens, calls, and the calls whose price or usage is unknown.

The totals are read from the ledger at start and moved by what each commit moved, our own and those of others. Three
things keep what Prometheus makes of them right:

- A counter never falls. A correction, such as a second report of a call or a price that came later, can lower a total;
  a counter that fell would look as if it had begun anew, and all of it as an increase. So it is held where it was, or
  raised by what was taken away: held_counters.py says which when, and keeps it in the transaction that lowers the
  total, for a restart would otherwise be such a fall.
- A series begins at 0, so that its first value is seen as an increase.
- A metric has a limit of series. The same calls are summed under `__other__` in all of them.

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

from spanledger_exporter.ledger import held_counters
from spanledger_exporter.ledger.cells import RETRY, Cell
from spanledger_exporter.ledger.held_counters import Held, Key, Labels, Marks
from spanledger_exporter.ledger.rollups import Sums, unreported
from spanledger_exporter.metrics.dimensions import ALLOWED_DIMENSIONS, DEFAULT_DIMENSIONS, Dimensions, Places
from spanledger_exporter.metrics.newborn import Newborn
from spanledger_exporter.money import usd_float
from spanledger_exporter.records import OTHER

SERIES_MAX: Final = 10_000
_TOKEN_TYPES = ("input_uncached", "input_cache_read", "input_cache_write", "output_answer", "output_reasoning")
COST_TYPES: Final = ("input_uncached", "input_cache_read", "input_cache_write", "output", "other")
UNKNOWN: Final = "unknown"
_NOTHING = Sums()

_ALL: Final = Dimensions(ALLOWED_DIMENSIONS)
# Values that a metric's own labels usually have: as many series has a metric for each set of the dimensions' values.
_PARTS_MAX: Final = max(len(_TOKEN_TYPES), len(COST_TYPES))


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
    """The counters of what was spent; `held` is how far they stood above the totals when those were read.

    Units: `series_max` series of each counter, or one more for each value of its own labels; `hold_s` as `Newborn` has
    it.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        totals: Mapping[Cell, Sums],
        held: Held = held_counters.NOTHING,
        *,
        places: Places | None = None,
        series_max: int = SERIES_MAX,
        hold_s: float = 0,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._lock = threading.Lock()
        self._places = places or places_of(DEFAULT_DIMENSIONS, series_max)
        self._series_max = series_max
        self._totals: dict[Cell, Sums] = {}
        self._values: dict[str, dict[Labels, int]] = {name: {} for name in COUNTERS}
        self._folded: dict[str, set[Labels]] = {name: set() for name in COUNTERS}
        self._newborn = Newborn[Key](0)  # Prometheus has seen what was there at the start
        self._marks = dict[Key, int]()
        self._raised = dict[Key, int]()
        for cell, sums in totals.items():
            self._move(cell, sums)
        self._lift(held.raised)
        for (name, labels), mark in held.marks.items():
            # What has no series of its own is summed with others, and its mark says nothing of them; nor does that of
            # others which have series of their own now.
            key = self._key(name, labels)
            if key is not None and key[1] == _values(labels) and not self._is_left(*key):
                self._marks[key] = mark
                self._values[name].setdefault(key[1], 0)  # also where nothing is left of what was counted
        self._newborn = Newborn[Key](hold_s, clock_s)
        registry.register(self)

    def add(self, sums: Mapping[Cell, Sums]) -> Marks:
        """Move the totals by what a commit moved; return how far counters are held that would have fallen."""
        with self._lock:
            return self._add(sums)

    def falls(self, sums: Mapping[Cell, Sums]) -> Marks:
        """Return how far counters would be held if cells moved so; nothing is moved."""
        with self._lock:
            return self._named(self._fallen(sums))

    def follow(self, totals: Mapping[Cell, Sums], raised: Marks) -> tuple[Mapping[Cell, Sums], Marks]:
        """Move to where the ledger's totals are, and by how much counters are raised above them.

        Returns by what cells have moved without anybody telling, and how far counters are held for it.
        """
        with self._lock:
            # Also of cells that others have emptied, of which the ledger says nothing any more.
            moved = {
                cell: totals.get(cell, _NOTHING).minus(self._totals.get(cell, _NOTHING))
                for cell in dict.fromkeys((*self._totals, *totals))
            }
            missed = {cell: sums for cell, sums in moved.items() if any(sums)}
            return missed, self._add(missed, raised)

    @property
    def folded(self) -> Mapping[str, int]:
        """How many sets of labels are summed under `__other__`, by the counter's name."""
        return {name: len(labels) for name, labels in self._folded.items()}

    @property
    def above(self) -> Mapping[str, float]:
        """By how much the series of a counter together stand above the ledger's totals, by its name, in its unit."""
        found = dict.fromkeys(COUNTERS, 0)
        with self._lock:
            for name, labels in self._marks.keys() | self._raised.keys():
                found[name] += self._stand((name, labels)) - self._values[name][labels]
        return {name: _BY_NAME[name].shown(value) for name, value in found.items()}

    def collect(self) -> Iterable[CounterMetricFamily]:
        """Return the counters as they stand now."""
        with self._lock:
            zeros = self._newborn.at_zero()
            values = {name: found.copy() for name, found in self._values.items()}
            for name, labels in self._marks.keys() | self._raised.keys():
                values[name][labels] = self._stand((name, labels))
        families: list[CounterMetricFamily] = []
        for metric in _METRICS:
            name, shown, family = metric.name, metric.shown, self._family(metric)
            for labels, value in values[name].items():
                family.add_metric(labels, 0.0 if (name, labels) in zeros else shown(value))
            families.append(family)
        return families

    def describe(self) -> Iterable[CounterMetricFamily]:
        """Return the metrics without samples, so that registering them reads nothing."""
        return [self._family(metric) for metric in _METRICS]

    def _add(self, sums: Mapping[Cell, Sums], raised: Marks | None = None) -> Marks:
        before = self._fallen(sums)
        for cell, moved in sums.items():
            self._move(cell, moved)
        self._lift(raised or {})
        fallen = {key: stand for key, stand in before.items() if self._stand(key) < stand}
        self._marks |= fallen
        return self._named(fallen)

    def _move(self, cell: Cell, moved: Sums) -> None:
        self._totals[cell] = self._totals.get(cell, _NOTHING).plus(moved)
        for name, labels, value, own in self._samples(cell, moved):
            values = self._values[name]
            if labels not in values:
                self._newborn.add((name, labels))
            if labels != own:
                self._folded[name].add(own)  # no more of them than there are cells
            values[labels] = values.get(labels, 0) + value

    def _samples(self, cell: Cell, sums: Sums) -> Iterator[tuple[str, Labels, int, Labels]]:
        """Return of each counter that is moved: its labels, by how much, and the labels before they were folded."""
        values, place = self._places.of(cell)
        for metric in _METRICS:
            for labels, value in metric.samples(cell, sums):
                yield metric.name, self._bounded(metric.name, (*place, *labels)), value, (*values, *labels)

    def _bounded(self, name: str, labels: Labels) -> Labels:
        """Return labels, folded where the counter has too many for its own ones, such as the types of errors."""
        values = self._values[name]
        if labels in values or len(values) < self._series_max:
            return labels
        return self._places.dimensions.folded(labels)

    def _net(self, sums: Mapping[Cell, Sums]) -> dict[Key, int]:
        """Return by how much counters move if any may fall, else nothing: most commits only add."""
        if not any(map(_falls, sums.keys(), sums.values())):
            return {}
        net: dict[Key, int] = {}
        for cell, moved in sums.items():
            for name, labels, value, _ in self._samples(cell, moved):
                net[name, labels] = net.get((name, labels), 0) + value
        return net

    def _fallen(self, sums: Mapping[Cell, Sums]) -> dict[Key, int]:
        """Return where counters stand that would fall, but for those that are held there already."""
        stands = {
            (name, labels): self._values[name].get(labels, 0) + self._raised.get((name, labels), 0)
            for (name, labels), net in self._net(sums).items()
            if net < 0
        }
        return {key: stand for key, stand in stands.items() if stand > self._marks.get(key, 0)}

    def _stand(self, key: Key) -> int:
        name, labels = key
        return max(self._values[name][labels] + self._raised.get(key, 0), self._marks.get(key, 0))

    def _lift(self, raised: Marks) -> None:
        """Raise counters by what the ledger says, which only grows."""
        found: dict[Key, int] = {}
        for (name, labels), value in raised.items():
            if (metric := _BY_NAME.get(name)) is not None:
                told = {label: value for label, _, value in (text.partition("=") for text in labels)}
                place = self._places.fold(tuple(told.get(each, "") for each in self._places.dimensions.names))
                own = tuple(told.get(each, "") for each in metric.labels)
                key = (name, self._bounded(name, (*place, *own)))
                found[key] = found.get(key, 0) + value
        for key, value in found.items():
            self._raised[key] = max(value, self._raised.get(key, 0))
            self._values[key[0]].setdefault(key[1], 0)

    def _named(self, values: Mapping[Key, int]) -> Marks:
        """Return the same with the labels' names, which tell what was kept under other dimensions."""
        return {(name, _named(self._names(_BY_NAME[name]), labels)): value for (name, labels), value in values.items()}

    def _key(self, name: str, labels: Labels) -> Key | None:
        """Return the series that labels with their names mean; `None` if they are another metric's or dimensions'."""
        metric = _BY_NAME.get(name)
        if metric is None or tuple(text.partition("=")[0] for text in labels) != self._names(metric):
            return None
        values, own = _values(labels), len(self._places.dimensions.names)
        return name, self._bounded(name, (*self._places.fold(values[:own]), *values[own:]))

    def _is_left(self, name: str, labels: Labels) -> bool:
        """Tell whether a series was of calls that were folded, and none is any more."""
        return OTHER in labels and labels not in self._values[name]

    def _names(self, metric: _Metric) -> Labels:
        return (*self._places.dimensions.names, *metric.labels)

    def _family(self, metric: _Metric) -> CounterMetricFamily:
        return CounterMetricFamily(metric.name, metric.text, labels=self._names(metric))


def raises(sums: Mapping[Cell, Sums]) -> Marks:
    """Return by how much counters fall if cells move so, told apart by all dimensions that there could be."""
    net: dict[Key, int] = {}
    for cell, moved in sums.items():
        for metric in _METRICS:
            names = (*ALLOWED_DIMENSIONS, *metric.labels)
            for labels, value in metric.samples(cell, moved):
                key = (metric.name, _named(names, (*_ALL.of(cell), *labels)))
                net[key] = net.get(key, 0) + value
    return {key: -value for key, value in net.items() if value < 0}


def places_of(dimensions: Dimensions, series_max: int) -> Places:
    """Return who has series of its own, if no metric is to have more than so many of its labels' usual values."""
    return Places(dimensions, sets_max=max(1, series_max // _PARTS_MAX))


def _named(names: Labels, values: Labels) -> Labels:
    return tuple(f"{name}={value}" for name, value in zip(names, values, strict=True))


def _values(labels: Labels) -> Labels:
    return tuple(text.partition("=")[2] for text in labels)


def _falls(cell: Cell, moved: Sums) -> bool:
    """Tell whether a counter of this cell falls: a difference does where a part of its total becomes known."""
    return any(value < 0 for metric in _METRICS for _, value in metric.samples(cell, moved))


_BY_NAME = {metric.name: metric for metric in _METRICS}
