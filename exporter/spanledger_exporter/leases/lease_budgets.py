"""The budgets that hold a call that is not made yet: which, in which period and group, and how far each goes."""

from collections.abc import Collection, Iterator, Mapping
from typing import Final, NamedTuple

from sqlalchemy import Connection

from spanledger_exporter.budgets.budget import DIMENSIONS, Budget, StoredBudget, effective_limit
from spanledger_exporter.budgets.periods import Bounds
from spanledger_exporter.budgets.scopes import Facets, Scopes, Target
from spanledger_exporter.budgets.shelf import load_budgets
from spanledger_exporter.leases import leases
from spanledger_exporter.leases.lease_groups import LeaseGroups
from spanledger_exporter.leases.leases import Counter, CounterKey, Lease
from spanledger_exporter.ledger.state import budgets_revision

Scope = Mapping[str, str | None]
_SCOPES_KNOWN_MAX: Final = 4096


class Part(NamedTuple):
    """One budget's part in a call: the counter in which the call will count, and its period.

    `crowded` says that the budget has leases of so many values without any call that there is none for another one.
    """

    stored: StoredBudget
    key: CounterKey
    bounds: Bounds
    crowded: bool = False

    @property
    def budget(self) -> Budget:
        """The budget."""
        return self.stored.budget


class LeaseBudgets:
    """The budgets of a ledger as they are at each transaction; for one thread."""

    def __init__(self, groups: LeaseGroups) -> None:
        self.revision = -1
        self.dimensions: list[str] = []
        """Those that any budget asks for."""
        self._groups = groups
        self._stored: dict[int, StoredBudget] = {}
        self._scopes = Scopes([])
        self._known: dict[tuple[tuple[str, str | None], ...], list[Target]] = {}
        self._parts: dict[CounterKey, Part] = {}
        self._limits: dict[CounterKey, int] = {}

    def follow(self, connection: Connection, now_ns: int) -> None:
        """Begin a transaction: take the budgets as they are now."""
        self._groups.follow(now_ns)
        self._limits.clear()
        self._parts.clear()
        revision = budgets_revision(connection)
        if revision != self.revision:
            self._stored = {each.budget_id: each for each in load_budgets(connection)}
            self._scopes = Scopes(list(self._stored.values()))
            asked = {name for each in self._stored.values() for name in (*each.budget.scope, *each.budget.per)}
            self.dimensions = [name for name in DIMENSIONS if name in asked]
            self._known.clear()
            self._groups.forget()
            self.revision = revision

    def of(self, connection: Connection, scope: Scope, moment_s: int) -> list[Part]:
        """Return the budgets that hold a call, in the order in which counters are locked."""
        parts: list[Part] = []
        for stored, group_key in self._targets(scope):
            bounds = stored.budget.period.bounds(moment_s)
            if bounds is not None and moment_s >= stored.counted_from_s:  # else it will count nowhere
                parts.append(self._part_of_call(connection, stored, group_key, bounds))
        return sorted(parts, key=lambda part: part.key)

    def part_of(self, lease: Lease) -> Part | None:
        """Return the budget and period of a lease; `None` if it is gone, refuses no calls or has other periods now."""
        stored = self._stored.get(lease.budget_id)
        if stored is None or stored.budget.mode != "hard":
            return None
        bounds = stored.budget.period.bounds(lease.period_start_s)
        if bounds is None or bounds.start_s != lease.period_start_s:
            return None
        return self._part(stored, lease.key, bounds)

    def part_at(self, key: CounterKey) -> Part | None:
        """Return what this transaction knows of a counter."""
        return self._parts.get(key)

    def limit(self, connection: Connection, part: Part) -> int:
        """Return the limit of a period, with what rolls over into it."""
        found = self._limits.get(part.key)
        if found is None:
            found = self._limits[part.key] = effective_limit(part.budget, self._spent_before(connection, part))
        return found

    def lock(
        self, connection: Connection, to_grant: Collection[CounterKey], others: Collection[CounterKey]
    ) -> dict[CounterKey, Counter]:
        """Lock counters and return them as they are; those to grant from are made where they are missing."""
        return self._groups.locked(connection, set(to_grant), set(others))

    def let_go(self, connection: Connection, keys: Collection[CounterKey]) -> None:
        """Delete the counters of these groups, of which nothing is counted and nothing leased."""
        self._groups.let_go(connection, set(keys))

    def forget(self) -> None:
        """Forget what a transaction that was undone has made."""
        self._groups.forget()

    def _targets(self, scope: Scope) -> list[Target]:
        key = tuple(sorted(scope.items()))
        found = self._known.get(key)
        if found is None:
            if len(self._known) >= _SCOPES_KNOWN_MAX:
                self._known.clear()
            found = self._known[key] = list(_targets(self._scopes, scope))
        return found

    def _part(self, stored: StoredBudget, key: CounterKey, bounds: Bounds) -> Part:
        return self._parts.setdefault(key, Part(stored, key, bounds))

    def _part_of_call(self, connection: Connection, stored: StoredBudget, group_key: str, bounds: Bounds) -> Part:
        key = CounterKey(stored.budget_id, bounds.start_s, group_key)
        if stored.budget.mode != "hard":  # nothing is leased of it
            return self._part(stored, self._groups.counted_under(connection, stored, key), bounds)
        counted = self._groups.claim(connection, stored, key)
        return Part(stored, key, bounds, crowded=True) if counted is None else self._part(stored, counted, bounds)

    def _spent_before(self, connection: Connection, part: Part) -> int | None:
        """Return what was spent, or may be yet, in the last period of a budget that rolls over, if that was counted."""
        before = part.budget.period.before(part.bounds) if part.budget.rollover else None
        if before is None or before.start_s < part.stored.counted_from_s:
            return None
        key = part.key._replace(period_start_s=before.start_s)
        last = leases.counters(connection, [key], lock=False).get(key, Counter())
        return last.spent(part.budget.unit) + last.leased


def _targets(scopes: Scopes, scope: Scope) -> Iterator[Target]:
    said = {name: value or None for name, value in scope.items()}
    facets = Facets(
        service=said.get("service"),
        environment=said.get("environment"),
        tenant=said.get("tenant"),
        team=said.get("team"),
        project=said.get("project"),
        feature=said.get("feature"),
        provider=said.get("provider"),
        request_model=said.get("model"),
        api_key_hash=said.get("api_key"),
        organization=said.get("organization"),
    )
    shared, personal = scopes.of(facets)
    yield from shared
    for each in personal:
        group = each.group(said.get("user"), said.get("session"))
        if group is not None:
            yield Target(each.stored, group)
