"""Embedded mode: the app's own process prices its calls and stores them, without collector or service.

`OTEL_TRACES_EXPORTER=spanledger opentelemetry-instrument python app.py` makes the SDK hand its finished spans to
this exporter, which sends them through the same pipeline as the service does. Several processes may share one
SQLite file.
"""

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from spanledger_exporter.config import Config, load
from spanledger_exporter.errors import SpanledgerError, UnavailableError

if TYPE_CHECKING:
    from spanledger_exporter.receiving.committer import Committed, SetAside
    from spanledger_exporter.receiving.dead_letters import DeadLetter
    from spanledger_exporter.records import PricedRecord, Receipt

_logger = logging.getLogger(__name__)


class LedgerSpanExporter(SpanExporter):
    """Prices spans and appends them to the ledger that the `SPANLEDGER_*` variables name.

    The ledger is opened with the first span, in the SDK's exporting thread, and again in a process that was forked
    since: a database connection must not cross a fork.
    """

    def __init__(self, config: Config | None = None, *, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._config = config
        self._clock_s = clock_s
        self._lock = threading.RLock()
        self._opened_ledger: _Embedded | None = None
        _never_fork_in(weakref.ref(self))

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Commit the calls among the spans; other spans are accepted and ignored."""
        try:
            body = encode_spans(spans).SerializeToString()
            with self._lock:
                receipt = self._opened().accept(body)
        except ImportError as exc:
            _logger.error(
                "%d spans are lost: %s; embedded mode needs pip install 'spanledger[exporter]'", len(spans), exc
            )
            return SpanExportResult.FAILURE
        except SpanledgerError as exc:
            _logger.error("%d spans are lost: %s", len(spans), exc)
            return SpanExportResult.FAILURE
        except Exception:  # the fence: a ledger that fails must not stop the app's other exporters
            _logger.exception("%d spans are lost", len(spans))
            return SpanExportResult.FAILURE
        if receipt.rejected:
            _logger.warning("%d spans were rejected: %s", receipt.rejected, receipt.message)
        return SpanExportResult.SUCCESS

    def force_flush(self, timeout_millis: int = 30_000) -> bool:
        """Return at once: every export is committed when it returns."""
        del timeout_millis
        return True

    def shutdown(self) -> None:
        """Return at once: nothing is held back."""

    def _opened(self) -> "_Embedded":
        if self._opened_ledger is None:
            self._opened_ledger = _Embedded(self._config or load(), self._clock_s)
        return self._opened_ledger

    def hold(self) -> None:
        """Wait until no export is under way, and begin none."""
        self._lock.acquire()

    def go_on(self) -> None:
        """Undo `hold`."""
        self._lock.release()

    def begin_anew(self) -> None:
        """Start afresh in a child process: locks that were made before a fork are of no use after it."""
        self._lock = threading.RLock()
        self._opened_ledger = None


def _never_fork_in(exporter: "weakref.ref[LedgerSpanExporter]") -> None:
    """Let forks wait while an export is under way.

    SQLite keeps state in the process for each open file: a child that forks while one is open believes that it holds
    locks which it does not hold, and writes into a log that others have taken away. Between exports no file is open.
    """

    def tell(action: Callable[["LedgerSpanExporter"], None]) -> Callable[[], None]:
        def act() -> None:
            if (alive := exporter()) is not None:
                action(alive)

        return act

    os.register_at_fork(
        before=tell(LedgerSpanExporter.hold),
        after_in_parent=tell(LedgerSpanExporter.go_on),
        after_in_child=tell(LedgerSpanExporter.begin_anew),
    )


class _Embedded:
    """A ledger that is open in this process, and what prices its calls."""

    def __init__(self, config: Config, clock_s: Callable[[], float]) -> None:
        from prometheus_client import CollectorRegistry

        from spanledger_exporter import dialects
        from spanledger_exporter.ledger.database import open_database, parse_url, shown
        from spanledger_exporter.ledger.ledger import Ledger
        from spanledger_exporter.metrics.metrics import IngestMetrics
        from spanledger_exporter.prices.book_shelf import BookShelf
        from spanledger_exporter.prices.current_prices import CurrentPrices
        from spanledger_exporter.prices.genai_prices_book import packaged_book
        from spanledger_exporter.receiving.pipeline import Pipeline

        database = open_database(config.ledger_url, pooled=False)
        self._ledger = Ledger(
            database,
            cells_max=config.cells_max,
            dead_letters_max=config.dead_letters_max,
            rank=dialects.rank,
        )
        self._prices = CurrentPrices(BookShelf(database), config.prices_file, packaged_book)
        self._poll_s, self._clock_s, self._looked_s = config.prices_poll_s, clock_s, clock_s()
        book = self._prices.changed()
        assert book is not None, "the first question always has an answer"
        self._ledger.keep_book(book)
        _logger.info("calls are written to the ledger %s", shown(parse_url(config.ledger_url)))
        metrics = IngestMetrics(CollectorRegistry())
        # Nobody would send the spans again: what cannot be kept is set aside at once.
        self._pipeline = Pipeline(
            self._commit, book, metrics, in_flight_bytes_max=config.in_flight_bytes_max, poison_tries_max=1
        )

    def accept(self, body: bytes) -> "Receipt":
        """Take one request to the ledger, at the prices of now.

        Raises: as `Pipeline.accept`.
        """
        self._follow_prices()
        return self._pipeline.accept(body).result()

    def _follow_prices(self) -> None:
        """Take over a new price book, looked for now and then; what cannot be read changes nothing."""
        now_s = self._clock_s()
        if now_s - self._looked_s < self._poll_s:
            return
        self._looked_s = now_s
        try:
            book = self._prices.changed()
            if book is not None:
                self._ledger.keep_book(book)
                self._pipeline.price_with(book)
        except UnavailableError as exc:
            self._prices.again()
            _logger.error("the prices stay as they were: %s", exc)
        except SpanledgerError as exc:  # until the file changes once more
            _logger.error("the prices stay as they were: %s", exc)

    def _commit(
        self, records: "Sequence[PricedRecord]", letters: "Sequence[DeadLetter]", set_aside: "SetAside | None"
    ) -> "Future[Committed]":
        from spanledger_exporter.receiving.committer import append_apart, committed

        done: Future[Committed] = Future()
        append = self._ledger.append
        try:
            if set_aside is None:
                done.set_result(committed(records, append(records, letters)))
            else:
                done.set_result(append_apart(append, records, letters, set_aside))
        except Exception as exc:  # noqa: BLE001 -- the pipeline decides what becomes of it
            done.set_exception(exc)
        return done
