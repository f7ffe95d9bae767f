"""Spans that could not become entries -> rows that say why, to be looked into and replayed.

A sender drops what is refused for good, and does not say so loudly. What it sent is told apart by its SHA-256; of what
can be decoded, the allow-listed attributes are kept, and nothing else: no prompt, no output, no unreadable bytes.
"""

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Literal, NamedTuple

from sqlalchemy import Connection, RowMapping, delete, func, select, update

from spanledger_exporter import dialects
from spanledger_exporter.ledger.insert import insert_or_add
from spanledger_exporter.ledger.schema import dead_letters
from spanledger_exporter.receiving.fragments import Fragment
from spanledger_exporter.receiving.otlp import Rejected

Reason = Literal["malformed_span", "poison", "too_old", "future"]
Transport = Literal["grpc", "http", "embedded"]
ROWS_MAX = 10_000
# A request of a million bad spans says nothing that its first hundred do not.
LETTERS_MAX = 100
_BODY_BYTES_MAX = 16 * 1024
_DETAIL_CHARS_MAX = 500


class Sender(NamedTuple):
    """How a request came, and for which tenant its token stands."""

    transport: Transport = "embedded"
    tenant: str | None = None


class DeadLetter(NamedTuple):
    """Spans that were set aside.

    Units: `size` bytes as sent, of which `digest` is the SHA-256; `attempts` how often they were tried.
    Shape: `body` is an ExportTraceServiceRequest with allow-listed attributes only, None where nothing can be kept.
    """

    sender: Sender
    reason: Reason
    detail: str
    spans: int
    digest: bytes
    size: int
    body: bytes | None
    attempts: int = 1


def malformed(problems: Iterable[Rejected], sender: Sender) -> list[DeadLetter]:
    """Return a letter for each span that could not be decoded; beyond `LETTERS_MAX` one for all the rest."""
    return bounded(
        letter(Fragment(each.resource, each.scope, each.span), each.reason, "malformed_span", sender)
        for each in problems
    )


def bounded(letters: Iterable[DeadLetter]) -> list[DeadLetter]:
    """Return the first letters as they are, and one without a body for all the rest."""
    first: list[DeadLetter] = []
    rest: DeadLetter | None = None
    digest = hashlib.sha256()
    for each in letters:
        if len(first) < LETTERS_MAX:
            first.append(each)
            continue
        digest.update(each.digest)
        spans, size = (0, 0) if rest is None else (rest.spans, rest.size)
        detail = f"more than {LETTERS_MAX} spans of one request; the first of the rest: {each.detail}"
        rest = (rest or each._replace(detail=detail, body=None))._replace(
            spans=spans + each.spans, size=size + each.size, digest=digest.digest()
        )
    return first if rest is None else [*first, rest]


def letter(fragment: Fragment, detail: str, reason: Reason, sender: Sender, *, attempts: int = 1) -> DeadLetter:
    """Return the letter of one span."""
    kept = fragment.kept(dialects.WANTED, dialects.WANTED_RESOURCE)
    return DeadLetter(
        sender=sender,
        reason=reason,
        detail=detail,
        spans=1,
        digest=hashlib.sha256(fragment.span).digest(),
        size=len(fragment.span),
        body=kept if len(kept) <= _BODY_BYTES_MAX else None,
        attempts=attempts,
    )


def insert(
    connection: Connection,
    letters: Sequence[DeadLetter],
    *,
    received_ns: int,
    rows_max: int = ROWS_MAX,
) -> int:
    """Write letters, and drop the oldest beyond the limit; return how many were dropped.

    One that is there already, by its digest and reason, is counted as another attempt.
    """
    if not letters:
        return 0
    rows = [_row(each, received_ns) for each in _once(letters)]
    insert_or_add(connection, dead_letters, ("digest", "reason"), rows, added=("attempts",))
    excess = connection.execute(select(func.count()).select_from(dead_letters)).scalar_one() - rows_max
    if excess <= 0:
        return 0
    oldest = select(dead_letters.c.dead_letter_id).order_by(dead_letters.c.dead_letter_id).limit(excess)
    return connection.execute(delete(dead_letters).where(dead_letters.c.dead_letter_id.in_(oldest))).rowcount


def _once(letters: Iterable[DeadLetter]) -> Iterable[DeadLetter]:
    """Join letters of the same bytes: one statement may not touch a row twice. In order, so that none deadlock."""
    found: dict[tuple[bytes, Reason], DeadLetter] = {}
    for each in letters:
        same = found.get((each.digest, each.reason))
        found[each.digest, each.reason] = (
            each if same is None else each._replace(attempts=same.attempts + each.attempts)
        )
    return (found[key] for key in sorted(found))


def _row(each: DeadLetter, received_ns: int) -> dict[str, Any]:
    row = each._asdict()
    sender: Sender = row.pop("sender")
    # PostgreSQL stores no NUL, and neither database half a surrogate pair.
    detail = each.detail.replace("\x00", "").encode(errors="replace").decode()[:_DETAIL_CHARS_MAX]
    return row | sender._asdict() | {"received_ns": received_ns, "detail": detail}


def read(connection: Connection, ids: Sequence[int] | None = None, *, waiting: bool = False) -> Iterator[RowMapping]:
    """Return letters, the oldest first: those of these numbers, or all; `waiting` leaves out what was replayed."""
    query = select(dead_letters).order_by(dead_letters.c.dead_letter_id)
    if ids is not None:
        query = query.where(dead_letters.c.dead_letter_id.in_(ids))
    if waiting:
        query = query.where(dead_letters.c.replayed_ns.is_(None))
    yield from connection.execute(query).mappings()


def mark_replayed(connection: Connection, dead_letter_id: int, replayed_ns: int) -> None:
    """Note that a letter was sent through the pipeline again, and is in the ledger."""
    same = dead_letters.c.dead_letter_id == dead_letter_id
    connection.execute(update(dead_letters).where(same).values(replayed_ns=replayed_ns))
