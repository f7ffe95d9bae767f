"""Span attributes -> UsageRecord: the one place that knows what attributes are called.

A dialect is the vocabulary of one family of instrumentations; docs/dialects.md lists them. `rows.py` is their table,
`names.py` the names of the OpenTelemetry conventions that all share.
"""

from spanledger_exporter.dialects.figuring import Refusal
from spanledger_exporter.dialects.names import RESOURCE
from spanledger_exporter.dialects.plans import (
    ANSWER_ATTRIBUTES,
    COUNTED_OPERATIONS,
    OPERATION_NAMES,
    OWN_ATTRIBUTES,
    SHARED_ATTRIBUTES,
)
from spanledger_exporter.dialects.providers import PROVIDER_NAMES
from spanledger_exporter.dialects.rate_limits import RATE_LIMIT_ATTRIBUTES, RATE_LIMIT_KINDS, RateLimit, read_limits
from spanledger_exporter.dialects.rows import ROWS
from spanledger_exporter.dialects.understanding import Memory, Understood, understand

# What is read, and may be stored: ids, names and figures.
SPAN_ATTRIBUTES = SHARED_ATTRIBUTES | OWN_ATTRIBUTES | RATE_LIMIT_ATTRIBUTES
RESOURCE_ATTRIBUTES = frozenset(name for names in RESOURCE.values() for name in names)

# The same as they stand on the wire: what a dead letter may keep, and what is converted from JSON.
WANTED = frozenset(name.encode() for name in SPAN_ATTRIBUTES)
WANTED_RESOURCE = frozenset(name.encode() for name in RESOURCE_ATTRIBUTES)
READ = WANTED | frozenset(name.encode() for name in ANSWER_ATTRIBUTES)

_RANKS = {"otel_legacy": 50, **{row.dialect: row.rank for row in reversed(ROWS)}}


def rank(dialect: str) -> int:
    """Return how far the figures of a dialect are to be trusted beside another report of the same call.

    From 100, our own, down to those that leave classes out or compute them; 0 for one that is not known.
    """
    return _RANKS.get(dialect, 0)


__all__ = [
    "ANSWER_ATTRIBUTES",
    "COUNTED_OPERATIONS",
    "OPERATION_NAMES",
    "PROVIDER_NAMES",
    "RATE_LIMIT_KINDS",
    "READ",
    "RESOURCE_ATTRIBUTES",
    "ROWS",
    "SPAN_ATTRIBUTES",
    "WANTED",
    "WANTED_RESOURCE",
    "Memory",
    "RateLimit",
    "Refusal",
    "Understood",
    "rank",
    "read_limits",
    "understand",
]
