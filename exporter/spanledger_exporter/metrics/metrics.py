"""What Prometheus sees: `genai_*` for what was spent, `spanledger_*` for the exporter's own health.

Spend is never counted in memory alone: the totals are read from the ledger at start, and moved by what each commit
added and by what others committed (spend.py), so they survive restarts and crashes, and equal the ledger. A scrape
reads memory, never the database.

Units: USD, tokens, seconds, bytes.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from spanledger_exporter import __version__
from spanledger_exporter.dialects import Understood
from spanledger_exporter.ledger import held_counters
from spanledger_exporter.ledger.cells import Cell
from spanledger_exporter.ledger.held_counters import Held, Key, Marks
from spanledger_exporter.ledger.ledger import Appended
from spanledger_exporter.ledger.maintenance import TASKS
from spanledger_exporter.ledger.rollups import Sums
from spanledger_exporter.ledger.standings import Standing
from spanledger_exporter.metrics.counted import Counted, OfCounters
from spanledger_exporter.metrics.dimensions import Places
from spanledger_exporter.metrics.histograms import CallMetrics
from spanledger_exporter.metrics.rate_limits import RateLimitMetrics
from spanledger_exporter.metrics.spend import SERIES_MAX, SpendMetrics
from spanledger_exporter.receiving.dead_letters import Reason
from spanledger_exporter.receiving.figures import RefusalReason
from spanledger_exporter.receiving.otlp import Batch
from spanledger_exporter.records import UsageRecord

_COMMIT_BUCKETS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_COMMIT_BUCKETS_ROWS = (1, 4, 16, 64, 256, 1024, 2048, 4096, 8192, 16_384)
_SCRAPE_BUCKETS_S = (0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.2, 0.3, 0.5, 1, 2.5, 5, 10)
_SOURCE_CHARS_MAX = 200


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
        for answer in ("ok", "partial", "rejected", "denied", "unavailable", "ignored"):
            self._requests.labels("grpc", answer)
            self._requests.labels("http", answer)
        self._requests.labels("http", "too_large")  # gRPC itself refuses such a message, before it is ours to count
        self._spans = Counter(
            "spanledger_spans", "Spans received, by what became of them.", ("result",), registry=registry
        )
        for result in ("accepted", "folded", "duplicate", "ignored", "rejected"):
            self._spans.labels(result)
        self._unreadable = Counter(
            "spanledger_unreadable_attributes",
            "Attributes that were passed over because they are no UTF-8, no valid protobuf or too many.",
            registry=registry,
        )
        self._in_flight = Gauge(
            "spanledger_in_flight_bytes",
            "Bytes of requests that are accepted and not committed yet.",
            registry=registry,
        )
        self._forgotten_plans = Counted(
            registry,
            "spanledger_forgotten_price_plans",
            "Price plans (of a model, tier and account) that were forgotten because there were too many.",
        )
        self._reload_failures = Counter(
            "spanledger_reload_failures",
            "Changes of files that cannot be used; what they said before stays in force.",
            ("files",),
            registry=registry,
        )
        for files in ("tokens", "certificates", "budgets", "channels"):
            self._reload_failures.labels(files)
        self._figures = Counter(
            "spanledger_refused_figures",
            "Usage figures that cannot be, such as negative ones, by why they were refused.",
            ("reason",),
            registry=registry,
        )
        for reason in get_args(RefusalReason):
            self._figures.labels(reason)
        self._waiting = Gauge(
            "spanledger_queue_requests",
            "Requests that are accepted and wait for their commit, or are in one.",
            registry=registry,
        )
        self._rate_limits = RateLimitMetrics(registry)

    def watch(
        self,
        *,
        in_flight_bytes: Callable[[], int],
        forgotten_plans: Callable[[], int],
        waiting: Callable[[], int] = lambda: 0,
    ) -> None:
        """Show how much is accepted and not committed yet, and how many price plans were forgotten."""
        self._in_flight.set_function(in_flight_bytes)
        self._forgotten_plans.count = forgotten_plans
        self._waiting.set_function(waiting)

    def told_limits(self, records: Iterable[UsageRecord]) -> None:
        """Show what the answers of some calls told of rate limits."""
        self._rate_limits.observe(records)

    def answered(self, transport: str, answer: str) -> None:
        """Count one request by the answer that it got."""
        self._requests.labels(transport, answer).inc()

    def understood(self, batch: Batch, understood: Understood) -> None:
        """Count what decoding found."""
        self._spans.labels("ignored").inc(batch.ignored + understood.ignored)
        for refusal, figures in understood.refused.items():
            self._figures.labels(refusal.reason).inc(figures)
        self._unreadable.inc(batch.unreadable + understood.unreadable)

    def unreadable(self, attributes: int) -> None:
        """Count attributes that were passed over."""
        self._unreadable.inc(attributes)

    def rejected(self, spans: int) -> None:
        """Count spans that cannot become entries."""
        self._spans.labels("rejected").inc(spans)

    def kept_the_old(self, files: str) -> None:
        """Count a change of files that was turned down, for what they say now cannot be used."""
        self._reload_failures.labels(files).inc()

    def committed(self, *, new: int, folded: int, duplicates: int) -> None:
        """Count what a commit found."""
        self._spans.labels("accepted").inc(new)
        self._spans.labels("folded").inc(folded)
        self._spans.labels("duplicate").inc(duplicates)


class PriceMetrics:
    """Which price list is in use, and of when it is."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._book = Gauge(
            "spanledger_price_book_info",
            "Always 1; the label says which price list calls are priced with.",
            ("source",),
            registry=registry,
        )
        self._timestamp = Gauge(
            "spanledger_price_book_timestamp_seconds",
            "When the price list in use was published, else when the ledger learnt of it.",
            registry=registry,
        )

    def priced_with(self, source: str, dated_s: float) -> None:
        """Show another price list in place of the one before."""
        self._timestamp.set(dated_s)
        self._book.clear()
        self._book.labels(source[:_SOURCE_CHARS_MAX]).set(1)


class ScrapeMetrics:
    """How long the pages for Prometheus take to make."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._duration = Histogram(
            "spanledger_scrape_duration_seconds",
            "Time to make one page of metrics.",
            buckets=_SCRAPE_BUCKETS_S,
            registry=registry,
        )

    def scraped(self, duration_s: float) -> None:
        """Add a page that was made."""
        self._duration.observe(duration_s)


class LedgerMetrics:
    """Moves the spend and call metrics by what each commit moved.

    `held` is how far counters stood above the totals, `hold` keeps how far they are held for what others committed:
    each commit of our own keeps by itself what `falls` says.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        totals: Mapping[Cell, Sums],
        folded: Callable[[], int],
        *,
        groups_folded: Callable[[], int] = lambda: 0,
        window_forgotten: Callable[[], int] = lambda: 0,
        held: Held = held_counters.NOTHING,
        hold: Callable[[Marks], None] = lambda _marks: None,
        places: Places | None = None,
        series_max: int = SERIES_MAX,
        hold_s: float = 0,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        self._spend = SpendMetrics(registry, totals, held, places=places, series_max=series_max, hold_s=hold_s)
        registry.register(OfCounters(self._spend))
        self._hold = hold
        self._unkept: dict[Key, int] = {}
        self._calls = CallMetrics(registry, hold_s=hold_s)
        Counted(
            registry,
            "spanledger_folded_calls",
            "New calls whose labels were folded into __other__ because ledger.cells_max was reached.",
            folded,
        )
        Counted(
            registry,
            "spanledger_budget_groups_folded",
            "Sums that budgets count under __other__ because the limit of values was reached.",
            groups_folded,
        )
        Counted(
            registry,
            "spanledger_window_forgotten_calls",
            "Calls that left the window in which another report of them would be recognised.",
            window_forgotten,
        )
        self._commit_duration = Histogram(
            "spanledger_commit_duration_seconds",
            "Time of one ledger transaction.",
            buckets=_COMMIT_BUCKETS_S,
            registry=registry,
        )
        self._commit_rows = Histogram(
            "spanledger_commit_rows",
            "Reports of calls that one ledger transaction took, new or not.",
            buckets=_COMMIT_BUCKETS_ROWS,
            registry=registry,
        )
        self._last_commit = Gauge(
            "spanledger_last_commit_timestamp_seconds",
            "When the last commit was made; 0 before the first.",
            registry=registry,
        )
        self._clock_s = clock_s
        self._dead_letters = Counter(
            "spanledger_dead_letters",
            "Dead letters that were written, by reason; one that was written before counts again.",
            ("reason",),
            registry=registry,
        )
        for reason in get_args(Reason):
            self._dead_letters.labels(reason)
        self._dead_letters_dropped = Counter(
            "spanledger_dead_letters_dropped",
            "Dead letters that were dropped because dead_letters.rows_max was reached.",
            registry=registry,
        )

    def committed(self, appended: Appended, duration_s: float) -> None:
        """Add what a commit added, and how long it took."""
        self._commit_duration.observe(duration_s)
        self._commit_rows.observe(len(appended.new) + len(appended.other))
        self._last_commit.set(self._clock_s())
        self._calls.observe(appended.new, appended.cells)
        for letter in appended.letters:
            self._dead_letters.labels(letter.reason).inc()
        self._dead_letters_dropped.inc(appended.letters_dropped)
        self._spend.add(appended.sums)

    @property
    def falls(self) -> Callable[[Mapping[Cell, Sums]], Marks]:
        """What says how far counters are to be held if cells move by something."""
        return self._spend.falls

    def catch_up(self, standing: Standing) -> Mapping[Cell, Sums]:
        """Move the spend to where the ledger's totals are, and return by how much."""
        missed, marks = self._spend.follow(standing.totals, standing.held.raised)
        self._keep(marks)
        return missed

    def follow(self, standing: Standing | None) -> None:
        """Move the spend by what others have committed, if they have."""
        if standing is not None:
            self.catch_up(standing)
        else:
            self._keep({})

    def _keep(self, marks: Marks) -> None:
        self._unkept |= marks
        if self._unkept:
            self._hold(self._unkept)  # what could not be kept is tried again the next time
            self._unkept = {}


class MaintenanceMetrics:
    """What the hourly maintenance did, and how large a SQLite ledger's write-ahead log is."""

    def __init__(self, registry: CollectorRegistry, wal_bytes: Callable[[], int]) -> None:
        self._runs = Counter(
            "spanledger_maintenance_runs",
            "Hourly tasks of the ledger, by how they ended.",
            ("task", "result"),
            registry=registry,
        )
        for task in TASKS:
            for result in ("ok", "failed"):
                self._runs.labels(task, result)
        self._expired = Counter("spanledger_expired_entries", "Entries that retention deleted.", registry=registry)
        self._repeated = Counter(
            "spanledger_repeated_spans",
            "Spans found to be several entries, because their times were cut on one of several ways.",
            registry=registry,
        )
        gauge = Gauge(
            "spanledger_wal_bytes",
            "Size of the write-ahead log of a ledger on SQLite; 0 for one on PostgreSQL.",
            registry=registry,
        )
        gauge.set_function(wal_bytes)

    def ran(self, task: str, *, failed: bool) -> None:
        """Count one run of a task."""
        self._runs.labels(task, "failed" if failed else "ok").inc()

    def expired(self, entries: int) -> None:
        """Count entries that were deleted."""
        self._expired.inc(entries)

    def repeated(self, spans: int) -> None:
        """Count spans that are several entries."""
        self._repeated.inc(spans)


class NotifierMetrics:
    """What became of messages about budgets."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._results = Counter(
            "spanledger_notifications",
            "Attempts to send messages about budgets, each to one channel, and messages given up, by how they ended.",
            ("result",),
            registry=registry,
        )
        for result in ("delivered", "failed", "abandoned"):
            self._results.labels(result)

    def notified(self, result: str, count: int = 1) -> None:
        """Count what was delivered to a channel, failed at one, or was given up."""
        self._results.labels(result).inc(count)
