"""Dead letters -> the pipeline again: what a newer program understands, or a mended ledger takes, becomes entries."""

import time
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from typing import Any, NamedTuple

from prometheus_client import CollectorRegistry

from spanledger_exporter.errors import RejectedError, UnavailableError
from spanledger_exporter.ledger.database import Database
from spanledger_exporter.ledger.ledger import Ledger
from spanledger_exporter.metrics.metrics import IngestMetrics
from spanledger_exporter.prices.price_book import PriceBook
from spanledger_exporter.receiving.committer import Committed, SetAside, committed
from spanledger_exporter.receiving.dead_letters import DeadLetter, Sender, mark_replayed
from spanledger_exporter.receiving.pipeline import Pipeline
from spanledger_exporter.records import PricedRecord

_NEVER = 2**31


class Replayed(NamedTuple):
    """What became of a letter: whether it is in the ledger now (or would be), and in words."""

    dead_letter_id: int
    kept: bool
    outcome: str


def replay(
    database: Database, ledger: Ledger, book: PriceBook, letters: Iterable[dict[str, Any]], *, dry_run: bool
) -> Iterator[Replayed]:
    """Send letters through the pipeline, and mark those that became entries; on a dry run nothing is written.

    Raises:
        UnavailableError: the ledger cannot be written now.
    """

    def commit(
        records: Sequence[PricedRecord], _letters: Sequence[DeadLetter], _set_aside: SetAside | None
    ) -> Future[Committed]:
        done: Future[Committed] = Future()
        try:
            done.set_result(_tried(ledger, records) if dry_run else committed(records, ledger.append(records)))
        except Exception as exc:  # noqa: BLE001 -- the pipeline says what it means
            done.set_exception(exc)
        return done

    metrics = IngestMetrics(CollectorRegistry())
    pipeline = Pipeline(commit, book, metrics, in_flight_bytes_max=_NEVER, poison_tries_max=_NEVER)
    for letter in letters:
        result = _replayed(pipeline, letter, dry_run=dry_run)
        if result.kept and not dry_run:
            with database.write() as connection:
                mark_replayed(connection, result.dead_letter_id, time.time_ns())
        yield result


def _tried(ledger: Ledger, records: Sequence[PricedRecord]) -> Committed:
    refused = ledger.refused(records)
    return Committed(len(records) - len(refused), refused=refused)


def _replayed(pipeline: Pipeline, letter: dict[str, Any], *, dry_run: bool) -> Replayed:
    number = letter["dead_letter_id"]
    if letter["body"] is None:
        return Replayed(dead_letter_id=number, kept=False, outcome="nothing of it was kept")
    try:
        receipt = pipeline.accept(letter["body"], Sender(letter["transport"], letter["tenant"])).result()
    except RejectedError as exc:
        return Replayed(dead_letter_id=number, kept=False, outcome=f"still not readable: {exc}")
    except UnavailableError as exc:
        if exc.__cause__ is None:
            raise
        return Replayed(dead_letter_id=number, kept=False, outcome=f"still not kept: {type(exc.__cause__).__name__}")
    if receipt.rejected or not receipt.accepted + receipt.duplicates:
        return Replayed(
            dead_letter_id=number, kept=False, outcome=f"still no entry: {receipt.message or 'it is no LLM call'}"
        )
    if dry_run:
        return Replayed(dead_letter_id=number, kept=True, outcome="would become an entry, unless it is one already")
    return Replayed(
        dead_letter_id=number, kept=True, outcome="an entry now" if receipt.accepted else "was an entry already"
    )
