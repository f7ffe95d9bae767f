"""Embedded mode: the app's own process prices its calls and stores them, without collector or service.

`OTEL_TRACES_EXPORTER=spanledger opentelemetry-instrument python app.py` makes the SDK hand its finished spans to
this exporter, which sends them through the same pipeline as the service does. Several processes may share one
SQLite file.
"""

import logging
import os
import threading
import weakref
from collections.abc import Sequence
from concurrent.futures import Future

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from spanledger_exporter.config import Config, load
from spanledger_exporter.pipeline import Pipeline
from spanledger_exporter.records import PricedRecord

_logger = logging.getLogger(__name__)


class LedgerSpanExporter(SpanExporter):
    """Prices spans and appends them to the ledger that the `SPANLEDGER_*` variables name.

    The ledger is opened with the first span, in the SDK's exporting thread, and again in a process that was forked
    since: a database connection must not cross a fork.
    """

    def __init__(self, config: Config | None = None) -> None:
        self._config = config
        self._lock = threading.Lock()
        self._pipeline: Pipeline | None = None
        self._parents: list[Pipeline] = []
        forked = weakref.WeakMethod(self._forked)

        def in_child() -> None:
            if (begin_anew := forked()) is not None:
                begin_anew()

        os.register_at_fork(after_in_child=in_child)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Commit the calls among the spans; other spans are accepted and ignored."""
        body = encode_spans(spans).SerializeToString()
        try:
            with self._lock:
                receipt = self._opened().accept(body).result()
        except Exception:  # the fence: a ledger that fails must not stop the app's other exporters
            _logger.exception("%d spans could not be written to the ledger and are lost", len(spans))
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

    def _opened(self) -> Pipeline:
        if self._pipeline is None:
            self._pipeline = _open_pipeline(self._config or load())
        return self._pipeline

    def _forked(self) -> None:
        """Start afresh in a child process: another thread of the parent may have held the lock when it forked."""
        self._lock = threading.Lock()
        if self._pipeline is not None:
            # Kept for good: collecting it would close the parent's connections from here.
            self._parents.append(self._pipeline)
        self._pipeline = None


def _open_pipeline(config: Config) -> Pipeline:
    from prometheus_client import CollectorRegistry

    from spanledger_exporter.database import open_database, parse_url, shown
    from spanledger_exporter.genai_prices_book import packaged_book
    from spanledger_exporter.ledger import Ledger
    from spanledger_exporter.metrics import IngestMetrics

    ledger = Ledger(open_database(config.ledger_url), cells_max=config.cells_max)
    book = packaged_book()
    ledger.keep_book(book)
    _logger.info("calls are written to the ledger %s", shown(parse_url(config.ledger_url)))

    def commit(records: Sequence[PricedRecord]) -> Future[int]:
        done: Future[int] = Future()
        done.set_result(len(ledger.append(records).new))
        return done

    metrics = IngestMetrics(CollectorRegistry())
    return Pipeline(commit, book, metrics, in_flight_bytes_max=config.in_flight_bytes_max)
