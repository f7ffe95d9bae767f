"""Which entries a question is about; no database is needed to ask it."""

from dataclasses import dataclass
from datetime import datetime

REPORT_DIMENSIONS = (
    *("service", "environment", "tenant", "team", "project", "feature"),
    *("provider", "model", "operation", "error_type", "attempt", "day"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """Which entries are meant; what is `None` does not restrict.

    `model` is the model that answered, else the one that was asked for. In a name, `*` stands for any
    characters, and then case does not count.

    Units: `since` (included) and `until` (excluded) are compared with the time at which a call ended.
    """

    since: datetime | None = None
    until: datetime | None = None
    service: str | None = None
    provider: str | None = None
    model: str | None = None
    outcome: str | None = None
