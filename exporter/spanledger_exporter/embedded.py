"""Embedded mode: the app's own process prices its calls and stores them, without collector or service.

`OTEL_TRACES_EXPORTER=spanledger opentelemetry-instrument python app.py` makes the SDK hand its finished spans to
this exporter, which sends them through the same pipeline as the service does. Several processes may share one
SQLite file.
"""

import logging
import os
import threading
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TYPE_CHECKING

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from spanledger_exporter.config import Config, load
from spanledger_exporter.errors import SpanledgerError

if TYPE_CHECKING:
    from spanledger_exporter.committer import Committed, SetAside
    from spanledger_exporter.dead_letters import DeadLetter
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
        self._lock = threading.RLock()
        self._pipeline: Pipeline | None = None
        _never_fork_in(weakref.ref(self))

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Commit the calls among the spans; other spans are accepted and ignored."""
        try:
            body = encode_spans(spans).SerializeToString()
            with self._lock:
                receipt = self._opened().accept(body).result()
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

    def _opened(self) -> "Pipeline":
        if self._pipeline is None:
            self._pipeline = _open_pipeline(self._config or load())
        return self._pipeline

    def hold(self) -> None:
        """Wait until no export is under way, and begin none."""
        self._lock.acquire()

    def go_on(self) -> None:
        """Undo `hold`."""
        self._lock.release()

    def begin_anew(self) -> None:
        """Start afresh in a child process: locks that were made before a fork are of no use after it."""
        self._lock = threading.RLock()
        self._pipeline = None


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


def _open_pipeline(config: Config) -> "Pipeline":
    from prometheus_client import CollectorRegistry

    from spanledger_exporter import dialects
    from spanledger_exporter.book_shelf import BookShelf
    from spanledger_exporter.committer import append_apart, committed
    from spanledger_exporter.current_prices import CurrentPrices
    from spanledger_exporter.database import open_database, parse_url, shown
    from spanledger_exporter.genai_prices_book import packaged_book
    from spanledger_exporter.ledger import Ledger
    from spanledger_exporter.metrics import IngestMetrics
    from spanledger_exporter.pipeline import Pipeline

    database = open_database(config.ledger_url, pooled=False)
    ledger = Ledger(
        database,
        cells_max=config.cells_max,
        dead_letters_max=config.dead_letters_max,
        rank=dialects.rank,
    )
    book = CurrentPrices(BookShelf(database), config.prices_file, packaged_book).changed()
    assert book is not None, "the first question always has an answer"
    ledger.keep_book(book)
    _logger.info("calls are written to the ledger %s", shown(parse_url(config.ledger_url)))

    def commit(
        records: "Sequence[PricedRecord]", letters: "Sequence[DeadLetter]", set_aside: "SetAside | None"
    ) -> "Future[Committed]":
        done: Future[Committed] = Future()
        try:
            if set_aside is None:
                done.set_result(committed(records, ledger.append(records, letters)))
            else:
                done.set_result(append_apart(ledger.append, records, letters, set_aside))
        except Exception as exc:  # noqa: BLE001 -- the pipeline decides what becomes of it
            done.set_exception(exc)
        return done

    metrics = IngestMetrics(CollectorRegistry())
    # Nobody would send the spans again: what cannot be kept is set aside at once.
    return Pipeline(commit, book, metrics, in_flight_bytes_max=config.in_flight_bytes_max, poison_tries_max=1)
