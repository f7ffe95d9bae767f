"""The stages that an accepted request goes through, in order: decode -> understand -> price -> commit -> metrics.

The only place that lists them. Everything before the commit is pure and runs where it is called; a receiver answers
when the future is done, which is after the commit.
"""

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import Future

from spanledger_exporter import dialects, otlp
from spanledger_exporter.errors import UnavailableError
from spanledger_exporter.metrics import IngestMetrics
from spanledger_exporter.prices import PriceBook
from spanledger_exporter.pricing import price
from spanledger_exporter.records import PricedRecord, Receipt


class Pipeline:
    """Takes OTLP trace requests to the ledger.

    Units: `in_flight_bytes_max` bytes of requests that were accepted and are not committed yet.
    """

    def __init__(
        self,
        submit: Callable[[Sequence[PricedRecord]], Future[int]],
        book: PriceBook,
        metrics: IngestMetrics,
        *,
        in_flight_bytes_max: int,
    ) -> None:
        self._submit = submit
        self._book = book
        self._metrics = metrics
        self._in_flight_bytes_max = in_flight_bytes_max
        self._lock = threading.Lock()  # receivers add, the committing thread takes away
        self._in_flight_bytes = 0
        self._closing = False

    def accept(self, body: bytes) -> Future[Receipt]:
        """Take one ExportTraceServiceRequest through every stage; the future is done once it is committed.

        Raises:
            RejectedError: the bytes are no such request; the sender must not send them again.
            UnavailableError: there is no room now; the sender must keep them and retry. The future may carry it too.
        """
        self.hold(len(body))
        try:
            batch = otlp.decode(body, dialects.WANTED, dialects.WANTED_RESOURCE)
            understood = dialects.understand(batch.spans)
            records = [
                PricedRecord(record, price(record, self._book), self._book.book_id) for record in understood.records
            ]
            committed = self._submit(records)
        except BaseException:
            self.release(len(body))
            raise
        self._metrics.understood(batch, understood)
        receipt: Future[Receipt] = Future()
        receipt.set_running_or_notify_cancel()  # a sender that no longer waits changes nothing
        ignored = batch.ignored + understood.ignored

        def finish(done: Future[int]) -> None:
            self.release(len(body))
            error = done.exception()
            if error is not None:
                receipt.set_exception(error)
                return
            new = done.result()
            self._metrics.committed(new=new, duplicates=len(records) - new)
            receipt.set_result(_receipt(new, len(records) - new, ignored, batch.problems))

        committed.add_done_callback(finish)
        return receipt

    def close(self) -> None:
        """Refuse what comes from now on; what was accepted goes on to its commit."""
        self._closing = True

    @property
    def in_flight_bytes(self) -> int:
        """How many bytes of requests are accepted and not committed yet."""
        return self._in_flight_bytes

    def hold(self, size: int) -> None:
        """Take room for some bytes of a request, before they are read.

        Raises:
            UnavailableError: there is no room now.
        """
        if self._closing:
            raise UnavailableError("the exporter is shutting down")
        with self._lock:
            if self._in_flight_bytes and self._in_flight_bytes + size > self._in_flight_bytes_max:
                raise UnavailableError(f"{self._in_flight_bytes} bytes are waiting to be committed; try again shortly")
            self._in_flight_bytes += size

    def release(self, size: int) -> None:
        """Give the room for some bytes back."""
        with self._lock:
            self._in_flight_bytes -= size


_PROBLEMS_SHOWN_MAX = 3


def _receipt(new: int, duplicates: int, ignored: int, problems: Sequence[str]) -> Receipt:
    shown = "; ".join(problems[:_PROBLEMS_SHOWN_MAX])
    more = f"; and {len(problems) - _PROBLEMS_SHOWN_MAX} more" if len(problems) > _PROBLEMS_SHOWN_MAX else ""
    return Receipt(accepted=new, duplicates=duplicates, ignored=ignored, rejected=len(problems), message=shown + more)
