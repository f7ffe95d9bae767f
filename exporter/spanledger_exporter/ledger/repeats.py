"""Spans that stand in the ledger more than once, which is only possible if somebody on their way cut their times.

The entry key begins with the time, so a span that reaches us by two routes, of which one keeps microseconds only, is
two entries (docs/decisions/0006). Nothing is done about it but to say so.
"""

from typing import NamedTuple

from sqlalchemy import Connection, func, select

from spanledger_exporter.ledger.schema import ledger_entries

_HOUR_NS = 3600 * 10**9
_SLACK_NS = 10**9
"""How far the times of one span may lie apart: no route keeps less than seconds."""


class Repeat(NamedTuple):
    """A span that is more than one entry."""

    trace_id: bytes
    span_id: bytes
    entries: int


def repeats(connection: Connection, since_ns: int, until_ns: int, *, limit: int | None = None) -> list[Repeat]:
    """Return the spans that ended in this time and are several entries."""
    here = ledger_entries.c
    query = (
        select(here.trace_id, here.span_id, func.count())
        .where(here.end_ns >= since_ns, here.end_ns < until_ns + _SLACK_NS)
        .group_by(here.trace_id, here.span_id)
        .having(func.count() > 1, func.min(here.end_ns) < until_ns)
        .limit(limit)
    )
    return [Repeat(bytes(trace), bytes(span), count) for trace, span, count in connection.execute(query)]


def closed_hour(now_ns: int) -> int:
    """Return the last hour that is closed, by its number: what is late came within an hour after its end."""
    return now_ns // _HOUR_NS - 2


def repeats_of_hour(connection: Connection, hour: int) -> int:
    """Return how many spans of an hour are several entries."""
    return len(repeats(connection, hour * _HOUR_NS, (hour + 1) * _HOUR_NS))
