"""What there is room for in each counter, as one transaction takes reports and grants leases.

Amounts are in the unit of the budget.
"""

import hashlib
from collections.abc import Iterable, Mapping
from typing import Final

from sqlalchemy import Connection

from spanledger_exporter.budgets.document import group_text
from spanledger_exporter.leases import leases
from spanledger_exporter.leases.lease_budgets import LeaseBudgets, Part
from spanledger_exporter.leases.leases import Counter, CounterKey, Lease, Move
from spanledger_exporter.leases.messages import AMOUNT_MAX, Standing

_GROUP_CHARS_MAX: Final = 256


class Desk:
    """What there is room for in each counter as one transaction goes on."""

    def __init__(self, rows: Mapping[CounterKey, Counter], budgets: LeaseBudgets, connection: Connection) -> None:
        self._rows = dict(rows)
        self._budgets = budgets
        self._connection = connection
        self._held: dict[CounterKey, int] = {}
        self.granted: list[Lease] = []

    def hold(self, key: CounterKey, amount: int) -> None:
        """Let the leases of a counter hold more or less."""
        self._held[key] = self._held.get(key, 0) + amount

    def grant(self, lease: Lease) -> None:
        """Add a lease."""
        self.granted.append(lease)
        self.hold(lease.key, lease.granted)

    def leased(self, key: CounterKey) -> int:
        """Return what leases hold of a counter."""
        return max(self._row(key).leased + self._held.get(key, 0), 0)

    def limit(self, part: Part) -> int:
        """Return the limit of a period, with what rolled over into it."""
        return self._budgets.limit(self._connection, part)

    def room(self, part: Part) -> int:
        """Return how much may be granted."""
        return self.limit(part) - self._row(part.key).spent(part.budget.unit) - self.leased(part.key)

    def is_empty(self, key: CounterKey) -> bool:
        """Tell whether nothing is counted in a counter, and nothing leased."""
        return not any(self._row(key)._replace(leased=self.leased(key)))

    def may_use(self, lease: Lease) -> bool:
        """Tell whether a lease is still good.

        It is not if its budget is gone or refuses no calls any more, and if more is spent and held than the limit
        allows: it was lowered, or others spend as well.
        """
        part = self._budgets.part_of(lease)
        return part is not None and self.room(part) >= 0

    def standing(
        self, place: int, part: Part, reason: str, threshold: int | None = None, *, needed: int = 0
    ) -> Standing:
        """Return how a budget stands."""
        return Standing(
            want=place,
            budget=part.budget.name,
            group=group_of(part),
            unit=part.budget.unit,
            limit=told(self.limit(part)),
            spent=told(self._row(part.key).spent(part.budget.unit)),
            leased=told(self.leased(part.key)),
            period_end_s=part.bounds.end_s,
            reason=reason,
            threshold=threshold,
            needed=told(needed),
            period_start_s=part.bounds.start_s,
            on_unreachable=part.budget.on_unreachable if part.budget.mode == "hard" else "",
            safe_allowance=told(part.budget.safe_allowance) if part.budget.mode == "hard" else 0,
        )

    def soft(self, place: int, parts: Iterable[Part]) -> list[Standing]:
        """Return how those of the soft budgets stand that are over a threshold."""
        found: list[Standing] = []
        for part in parts:
            if part.budget.mode != "soft":
                continue
            if part.key not in self._rows:
                self._rows |= leases.counters(self._connection, [part.key], lock=False) or {part.key: Counter()}
            spent, limit = self._row(part.key).spent(part.budget.unit), self.limit(part)
            over = [each for each in part.budget.thresholds if spent * 100 >= each * limit]
            if over:
                found.append(self.standing(place, part, "threshold", max(over)))
        return found

    def moves(self) -> dict[CounterKey, Move]:
        """Return by how much each counter's leases hold more, and within what limit."""
        found: dict[CounterKey, Move] = {}
        for key, amount in self._held.items():
            part = self._budgets.part_at(key)
            more = amount > 0 and part is not None
            found[key] = Move(amount, part.budget.unit, self.limit(part)) if more and part else Move(min(amount, 0))
        return found

    def _row(self, key: CounterKey) -> Counter:
        return self._rows.get(key, Counter())


def group_of(part: Part) -> str:
    """Return a group as it is shown; of a long one its beginning, and what tells it from others that begin so."""
    shown = group_text(part.budget, part.key.group_key)
    if len(shown) <= _GROUP_CHARS_MAX:
        return shown
    return shown[:_GROUP_CHARS_MAX] + "~" + hashlib.blake2b(shown.encode(), digest_size=8).hexdigest()


def told(amount: int) -> int:
    """Return an amount as a reader of JSON can take it."""
    return max(min(amount, AMOUNT_MAX), -AMOUNT_MAX)
