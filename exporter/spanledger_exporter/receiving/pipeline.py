"""The stages that an accepted request goes through, in order: decode -> understand -> price -> commit -> metrics.

The only place that lists them. Everything before the commit is pure and runs where it is called; a receiver answers
when the future is done, which is after the commit.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import NamedTuple

from spanledger_exporter import dialects
from spanledger_exporter.errors import RejectedError, UnavailableError
from spanledger_exporter.metrics.metrics import IngestMetrics
from spanledger_exporter.prices.price_book import PriceBook
from spanledger_exporter.prices.pricer import Pricer
from spanledger_exporter.receiving import dead_letters, otlp
from spanledger_exporter.receiving.committer import Committed, SetAside
from spanledger_exporter.receiving.dead_letters import DeadLetter, Sender
from spanledger_exporter.receiving.fragments import fragments
from spanledger_exporter.receiving.plausibility import Refused
from spanledger_exporter.receiving.poison import Poison, Tries
from spanledger_exporter.records import PricedRecord, Profile, Receipt, UsageRecord

_logger = logging.getLogger(__name__)
_PROBLEMS_SHOWN_MAX = 3
_EMBEDDED = Sender()

Submit = Callable[[Sequence[PricedRecord], Sequence[DeadLetter], SetAside | None], Future[Committed]]


class _Prepared(NamedTuple):
    records: list[PricedRecord]
    letters: list[DeadLetter]
    ignored: int
    problems: list[str]


class Pipeline:
    """Takes OTLP trace requests to the ledger.

    Units: `in_flight_bytes_max` bytes of requests that were accepted and are not committed yet; `poison_tries_max`
    how often a request may fail for no reason that can pass before what makes it fail is set aside.
    """

    def __init__(
        self,
        submit: Submit,
        book: PriceBook,
        metrics: IngestMetrics,
        *,
        in_flight_bytes_max: int,
        poison_tries_max: int = 5,
    ) -> None:
        self._submit = submit
        self._pricer = Pricer(book)
        self._plans_forgotten_before = 0  # by pricers of earlier books
        self._metrics = metrics
        self._in_flight_bytes_max = in_flight_bytes_max
        self._poison_tries_max = poison_tries_max
        self._tries = Tries()
        self._lock = threading.Lock()  # receivers add, the committing thread takes away
        self._in_flight_bytes = 0
        self._closing = False

    def accept(self, body: bytes, sender: Sender = _EMBEDDED, *, refused: Sequence[DeadLetter] = ()) -> Future[Receipt]:
        """Take one ExportTraceServiceRequest through every stage; the future is done once it is committed.

        `refused` are spans of it that a receiver could not even turn into protobuf.

        Raises:
            RejectedError: the bytes are no such request; the sender must not send them again.
            UnavailableError: there is no room now; the sender must keep them and retry. The future may carry it too.
        """
        self.hold(len(body))
        try:
            prepared = self._prepared_or_set_aside(body, sender)
            problems = [*(letter.detail for letter in refused), *prepared.problems]
            work = prepared._replace(letters=[*refused, *prepared.letters], problems=problems)
            committed = self._submit(work.records, work.letters, None)
        except BaseException:
            self.release(len(body))
            raise
        self._metrics.rejected(len(problems))
        receipt: Future[Receipt] = Future()
        receipt.set_running_or_notify_cancel()  # a sender that no longer waits changes nothing

        def keep_refused(done: Future[Committed]) -> None:
            if done.exception() is not None or not (refused_late := done.result().refused):
                self._finish(receipt, body, work, done)
                return
            poison = Poison(body, sender, 1)
            letters = [poison.refused(each.priced.record.key, each.reason, each.detail) for each in refused_late]
            again = self._submit([], dead_letters.bounded(letters), None)
            again.add_done_callback(lambda kept: self._finish(receipt, body, work, kept, done.result()))

        def finish(done: Future[Committed]) -> None:
            error = done.exception()
            if error is None or isinstance(error, UnavailableError):
                keep_refused(done)
                return
            tries = self._tries.failed(body)
            if tries < self._poison_tries_max:
                self.release(len(body))
                receipt.set_exception(_failed(error, tries))
                return
            poison = Poison(body, sender, tries)
            again = self._submit(work.records, work.letters, lambda each, exc: poison.letter(each.record.key, exc))
            again.add_done_callback(keep_refused)

        committed.add_done_callback(finish)
        return receipt

    def _finish(
        self,
        receipt: Future[Receipt],
        body: bytes,
        work: _Prepared,
        done: Future[Committed],
        committed: Committed | None = None,
    ) -> None:
        self.release(len(body))
        error = done.exception()
        if error is not None:
            receipt.set_exception(error if isinstance(error, UnavailableError) else _failed(error, None))
            return
        new, folded, set_aside, refused = committed or done.result()
        duplicates = len(work.records) - new - folded - set_aside - len(refused)
        self._metrics.committed(new=new, folded=folded, duplicates=duplicates)
        self._tell_limits(work.records, refused)
        problems = work.problems
        if refused:
            self._metrics.rejected(len(refused))
            problems = [*problems, *(each.detail for each in refused)]
        if set_aside:
            self._tries.forget(body)
            self._metrics.rejected(set_aside)
            problems = [*problems, *["a span cannot be kept by the ledger, and was set aside"] * set_aside]
        receipt.set_result(_receipt(new, duplicates + folded, work.ignored, problems))

    def _tell_limits(self, records: Sequence[PricedRecord], refused: Sequence[Refused]) -> None:
        """Show what calls were told of rate limits, whichever report of them became the entry.

        Of those that the ledger refuses for their time nobody knows which is the newest.
        """
        told = [record for record, _, _ in records if record.rate_limits]
        if refused:
            keys = {each.priced.record.key for each in refused}
            told = [record for record in told if record.key not in keys]
        if told:
            self._metrics.told_limits(told)

    def _prepared_or_set_aside(self, body: bytes, sender: Sender) -> _Prepared:
        try:
            return self._prepared(body, sender)
        except (RejectedError, UnavailableError):
            raise
        except Exception as exc:  # a mistake of ours in one of the stages: worth some retries, but not for ever
            _logger.error("a request of %d bytes cannot be understood: %s", len(body), type(exc).__name__)
            tries = self._tries.failed(body)
            if tries < self._poison_tries_max:
                raise _failed(exc, tries) from exc
        prepared = self._prepared_apart(body, sender, tries)
        self._tries.forget(body)
        return prepared

    def _prepared(self, body: bytes, sender: Sender) -> _Prepared:
        batch = otlp.decode(body, dialects.RESOURCE_ATTRIBUTES)
        understood = dialects.understand(batch.spans)
        found = understood.records if sender.tenant is None else _of_tenant(understood.records, sender.tenant)
        pricer = self._pricer
        records = [PricedRecord(record, pricer.price(record), pricer.book.book_id) for record in found]
        letters = dead_letters.malformed(batch.problems, sender) if batch.problems else []
        self._metrics.understood(batch, understood)
        if understood.refused:
            _logger.debug("figures were refused: %s", understood.refused)
        problems = [rejected.reason for rejected in batch.problems]
        return _Prepared(records, letters, batch.ignored + understood.ignored, problems)

    def _prepared_apart(self, body: bytes, sender: Sender, tries: int) -> _Prepared:
        """Take span by span through the stages, and set aside those that fail."""
        poison = Poison(body, sender, tries)
        whole = _Prepared([], [], 0, [])

        def letters() -> Iterator[DeadLetter]:
            for fragment in fragments(body):
                try:
                    part = self._prepared(fragment.request, sender)
                except Exception as exc:  # noqa: BLE001 -- whatever it is that a span has, its neighbours have not
                    whole.problems.append("a span cannot be understood, and was set aside")
                    yield poison.of(fragment, exc)
                else:
                    whole.records.extend(part.records)
                    whole.problems.extend(part.problems)
                    yield from part.letters

        kept = dead_letters.bounded(letters())
        return whole._replace(letters=kept)

    def price_with(self, book: PriceBook) -> None:
        """Price what comes from now on with another price book, which the ledger keeps already."""
        self._plans_forgotten_before += self._pricer.forgotten
        self._pricer = Pricer(book)

    @property
    def forgotten_plans(self) -> int:
        """How many price plans were forgotten because there were too many."""
        return self._plans_forgotten_before + self._pricer.forgotten

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


def _of_tenant(records: Sequence[UsageRecord], tenant: str) -> list[UsageRecord]:
    """Return records as those of a tenant: whose token delivered them, whatever they say themselves."""
    profiles: dict[int, Profile] = {}  # by identity: the calls of a request share a few objects
    found: list[UsageRecord] = []
    for record in records:
        profile = profiles.get(id(record.profile))
        if profile is None:
            profile = profiles[id(record.profile)] = record.profile._replace(tenant=tenant)
        found.append(record._replace(profile=profile))
    return found


def _failed(error: BaseException, tries: int | None) -> UnavailableError:
    counted = "" if tries is None else f", try {tries}"
    failed = UnavailableError(f"the request could not be kept{counted}: {type(error).__name__}; see the exporter's log")
    failed.__cause__ = error
    return failed


def _receipt(new: int, duplicates: int, ignored: int, problems: Sequence[str]) -> Receipt:
    shown = "; ".join(problems[:_PROBLEMS_SHOWN_MAX])
    more = f"; and {len(problems) - _PROBLEMS_SHOWN_MAX} more" if len(problems) > _PROBLEMS_SHOWN_MAX else ""
    return Receipt(accepted=new, duplicates=duplicates, ignored=ignored, rejected=len(problems), message=shown + more)
