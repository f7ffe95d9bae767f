"""What Prometheus sees: `genai_*` for what was spent, `spanledger_*` for the exporter's own health.

Spend is never counted in memory alone: the totals are read from the ledger at start and moved by what each commit
added, so they survive restarts and crashes, and equal the ledger as long as one exporter writes to it. A scrape reads
memory, never the database.

Units: USD, tokens, seconds, bytes. `token_type` values are disjoint: they add up to all tokens, and those that
begin with `input_` to all input.
"""

import threading
from collections.abc import Callable, Iterable, Mapping, Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from spanledger_exporter import __version__
from spanledger_exporter.dialects import Understood
from spanledger_exporter.ledger import Appended
from spanledger_exporter.money import usd_float
from spanledger_exporter.otlp import Batch
from spanledger_exporter.records import PricedRecord
from spanledger_exporter.rollups import Cell, Sums, unreported

_CALL_LABELS = ("service", "environment", "provider", "model", "operation")
_TOKEN_TYPES = ("input_uncached", "input_cache_read", "input_cache_write", "output_answer", "output_reasoning")
# The bounds that the GenAI conventions give for durations.
# Source: semantic-conventions-genai, docs/gen-ai/gen-ai-metrics.md, 2026-11.
_DURATION_BUCKETS_S = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
_COMMIT_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)


class SpendMetrics(Collector):
    """The ledger's totals as counters: cost, tokens, calls, and the calls whose price or usage is unknown."""

    def __init__(self, registry: CollectorRegistry, totals: Mapping[Cell, Sums]) -> None:
        self._lock = threading.Lock()
        self._totals = dict(totals)
        registry.register(self)

    def add(self, sums: Mapping[Cell, Sums]) -> None:
        """Move the totals by what a commit added."""
        with self._lock:
            for cell, added in sums.items():
                self._totals[cell] = self._totals.get(cell, _NOTHING).plus(added)

    def collect(self) -> Iterable[CounterMetricFamily]:
        """Return the counters as they stand now."""
        with self._lock:
            totals = list(self._totals.items())
        return (_cost(totals), _tokens(totals), _calls(totals), _unpriced(totals), _unreported(totals))

    def describe(self) -> Iterable[CounterMetricFamily]:
        """Return the metrics without samples, so that registering them reads nothing."""
        return (_cost(()), _tokens(()), _calls(()), _unpriced(()), _unreported(()))


_NOTHING = Sums()
_Totals = Sequence[tuple[Cell, Sums]]


def _cost(totals: _Totals) -> CounterMetricFamily:
    family = CounterMetricFamily("genai_cost_usd", "Cost of LLM calls.", labels=_CALL_LABELS)
    priced = ((cell, sums) for cell, sums in totals if cell.price_status in {"priced", "free"})
    for labels, pusd in _summed((cell[:5], sums.cost_pusd) for cell, sums in priced).items():
        family.add_metric(labels, usd_float(pusd))
    return family


def _tokens(totals: _Totals) -> CounterMetricFamily:
    family = CounterMetricFamily(
        "genai_tokens", "Tokens of LLM calls; the token types are disjoint.", labels=(*_CALL_LABELS, "token_type")
    )
    split = ((cell[:5], zip(_TOKEN_TYPES, _disjoint(sums), strict=True)) for cell, sums in totals)
    for labels, tokens in _summed(((*call, kind), count) for call, kinds in split for kind, count in kinds).items():
        family.add_metric(labels, tokens)
    return family


def _calls(totals: _Totals) -> CounterMetricFamily:
    family = CounterMetricFamily("genai_calls", "LLM calls by outcome, ok or error.", labels=(*_CALL_LABELS, "outcome"))
    for labels, calls in _summed(((*cell[:5], cell.outcome), sums.calls) for cell, sums in totals).items():
        family.add_metric(labels, calls)
    return family


def _unpriced(totals: _Totals) -> CounterMetricFamily:
    family = CounterMetricFamily(
        "genai_unpriced_calls", "LLM calls whose cost is unknown, by reason.", labels=(*_CALL_LABELS, "reason")
    )
    unpriced = ((cell, sums) for cell, sums in totals if cell.price_status == "unpriced")
    for labels, calls in _summed(((*cell[:5], cell.price_reason), sums.calls) for cell, sums in unpriced).items():
        family.add_metric(labels, calls)
    return family


def _unreported(totals: _Totals) -> CounterMetricFamily:
    family = CounterMetricFamily(
        "genai_unreported_calls",
        "LLM calls that may be billed and whose usage is not known (unreported) or not to the end (partial).",
        labels=(*_CALL_LABELS, "usage_status"),
    )
    unknown = ((cell, sums) for cell, sums in totals if unreported(cell.usage_status, cell.price_status))
    for labels, calls in _summed(((*cell[:5], cell.usage_status), sums.calls) for cell, sums in unknown).items():
        family.add_metric(labels, calls)
    return family


def _summed(samples: Iterable[tuple[tuple[str, ...], int]]) -> dict[tuple[str, ...], int]:
    sums: dict[tuple[str, ...], int] = {}
    for labels, value in samples:
        sums[labels] = sums.get(labels, 0) + value
    return sums


def _disjoint(sums: Sums) -> tuple[int, ...]:
    return (
        sums.input_tokens - sums.cache_read_tokens - sums.cache_write_tokens,
        sums.cache_read_tokens,
        sums.cache_write_tokens,
        sums.output_tokens - sums.reasoning_tokens,
        sums.reasoning_tokens,
    )


class CallMetrics:
    """How long calls took; counted since the exporter's start."""

    def __init__(self, registry: CollectorRegistry) -> None:
        labels = ("provider", "model", "operation")
        self._duration = Histogram(
            "genai_call_duration_seconds",
            "Time from a call's start to its end.",
            labels,
            buckets=_DURATION_BUCKETS_S,
            registry=registry,
        )
        self._first_chunk = Histogram(
            "genai_time_to_first_chunk_seconds",
            "Time from a streaming call's start to the first chunk of its answer.",
            labels,
            buckets=_DURATION_BUCKETS_S,
            registry=registry,
        )

    def observe(self, record: PricedRecord, cell: Cell) -> None:
        """Add one new entry under the labels of its cell."""
        labels = (cell.provider, cell.model, cell.operation)
        call = record.record
        if call.start_ns and call.start_ns <= call.end_ns:
            self._duration.labels(*labels).observe((call.end_ns - call.start_ns) / 1e9)
        if call.time_to_first_chunk_ns is not None:
            self._first_chunk.labels(*labels).observe(call.time_to_first_chunk_ns / 1e9)


class IngestMetrics:
    """The health of the way in: what was received, what became of it, and how long commits take."""

    def __init__(self, registry: CollectorRegistry) -> None:
        build = Gauge("spanledger_build_info", "Always 1; the labels say what runs.", ("version",), registry=registry)
        build.labels(__version__).set(1)
        self._requests = Counter(
            "spanledger_requests",
            "OTLP requests by transport and answer.",
            ("transport", "answer"),
            registry=registry,
        )
        for answer in ("ok", "partial", "rejected", "unavailable", "ignored"):
            self._requests.labels("grpc", answer)
            self._requests.labels("http", answer)
        self._requests.labels("http", "too_large")  # gRPC itself refuses such a message, before it is ours to count
        self._spans = Counter(
            "spanledger_spans", "Spans received, by what became of them.", ("result",), registry=registry
        )
        for result in ("accepted", "duplicate", "ignored", "rejected"):
            self._spans.labels(result)
        self._unreadable = Counter(
            "spanledger_unreadable_attributes",
            "Attributes that were passed over because they are no UTF-8 or no valid protobuf.",
            registry=registry,
        )
        self._in_flight = Gauge(
            "spanledger_in_flight_bytes",
            "Bytes of requests that are accepted and not committed yet.",
            registry=registry,
        )
        self._figures = Counter(
            "spanledger_refused_figures",
            "Usage figures that cannot be counts, such as negative ones.",
            registry=registry,
        )

    def watch_in_flight(self, in_flight_bytes: Callable[[], int]) -> None:
        """Show how much is accepted and not committed yet."""
        self._in_flight.set_function(in_flight_bytes)

    def answered(self, transport: str, answer: str) -> None:
        """Count one request by the answer that it got."""
        self._requests.labels(transport, answer).inc()

    def understood(self, batch: Batch, understood: Understood) -> None:
        """Count what decoding found."""
        self._spans.labels("ignored").inc(batch.ignored + understood.ignored)
        self._spans.labels("rejected").inc(len(batch.problems))
        self._figures.inc(understood.refused_figures)
        self._unreadable.inc(batch.unreadable)

    def committed(self, *, new: int, duplicates: int) -> None:
        """Count what a commit found."""
        self._spans.labels("accepted").inc(new)
        self._spans.labels("duplicate").inc(duplicates)


class LedgerMetrics:
    """Moves the spend and call metrics by what each commit added."""

    def __init__(self, registry: CollectorRegistry, totals: Mapping[Cell, Sums], folded: Callable[[], int]) -> None:
        self._spend = SpendMetrics(registry, totals)
        self._calls = CallMetrics(registry)
        gauge = Gauge(
            "spanledger_folded_calls",
            "New calls since the start whose labels were folded into __other__ because ledger.cells_max was reached.",
            registry=registry,
        )
        gauge.set_function(folded)
        self._commit_duration = Histogram(
            "spanledger_commit_duration_seconds",
            "Time of one ledger transaction.",
            buckets=_COMMIT_BUCKETS_S,
            registry=registry,
        )

    def committed(self, appended: Appended, duration_s: float) -> None:
        """Add what a commit added, and how long it took."""
        self._commit_duration.observe(duration_s)
        self._spend.add(appended.sums)
        for record, cell in zip(appended.new, appended.cells, strict=True):
            self._calls.observe(record, cell)
