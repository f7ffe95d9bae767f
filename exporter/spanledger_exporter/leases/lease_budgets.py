"""The budgets that hold a call that is not made yet: which, in which period and group, and how far each goes."""

from collections.abc import Collection, Iterator, Mapping
from typing import Final, NamedTuple

from sqlalchemy import Connection, func, select

from spanledger_exporter.budgets.budget import DIMENSIONS, Budget, StoredBudget, effective_limit
from spanledger_exporter.budgets.periods import Bounds
from spanledger_exporter.budgets.scopes import Facets, Scopes, Target, other_key
from spanledger_exporter.budgets.shelf import load_budgets
from spanledger_exporter.leases import leases
from spanledger_exporter.leases.leases import Counter, CounterKey, Lease
from spanledger_exporter.ledger.schema import budget_counters
from spanledger_exporter.ledger.state import budgets_revision

Scope = Mapping[str, str | None]
_SCOPES_KNOWN_MAX: Final = 4096
_KEYS_KNOWN_MAX: Final = 200_000
_GROUPS_COUNTED_MAX: Final = 10_000


class Part(NamedTuple):
    """One budget's part in a call: the counter in which the call will count, and its period."""

    stored: StoredBudget
    key: CounterKey
    bounds: Bounds

    @property
    def budget(self) -> Budget:
        """The budget."""
        return self.stored.budget


class LeaseBudgets:
    """The budgets of a ledger as they are at each transaction; for one thread.

    `groups_max` is how many values of a budget are counted apart in a period; all others count as one.
    """

    def __init__(self, *, groups_max: int) -> None:
        self.revision = -1
        self.dimensions: list[str] = []
        """Those that any budget asks for."""
        self._groups_max = groups_max
        self._stored: dict[int, StoredBudget] = {}
        self._scopes = Scopes([])
        self._known: dict[tuple[tuple[str, str | None], ...], list[Target]] = {}
        self._rows_known: set[CounterKey] = set()
        self._groups: dict[tuple[int, int], int] = {}
        self._parts: dict[CounterKey, Part] = {}
        self._limits: dict[CounterKey, int] = {}

    def follow(self, connection: Connection) -> None:
        """Begin a transaction: take the budgets as they are now."""
        self._limits.clear()
        self._parts.clear()
        revision = budgets_revision(connection)
        if revision != self.revision:
            self._stored = {each.budget_id: each for each in load_budgets(connection)}
            self._scopes = Scopes(list(self._stored.values()))
            asked = {name for each in self._stored.values() for name in (*each.budget.scope, *each.budget.per)}
            self.dimensions = [name for name in DIMENSIONS if name in asked]
            self._known.clear()
            self._rows_known.clear()
            self._groups.clear()
            self.revision = revision

    def of(self, connection: Connection, scope: Scope, moment_s: int) -> list[Part]:
        """Return the budgets that hold a call, in the order in which counters are locked."""
        parts: list[Part] = []
        for stored, group_key in self._targets(scope):
            bounds = stored.budget.period.bounds(moment_s)
            if bounds is not None and moment_s >= stored.counted_from_s:  # else it will count nowhere
                key = CounterKey(stored.budget_id, bounds.start_s, group_key)
                parts.append(self._part(stored, self._within_groups(connection, stored, key), bounds))
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
        found = leases.lock(connection, {*to_grant, *others}, set(to_grant) - self._rows_known)
        if len(self._rows_known) > _KEYS_KNOWN_MAX:
            self._rows_known.clear()
        self._rows_known |= found.keys()
        return found

    def forget(self) -> None:
        """Forget what a transaction that was undone has made."""
        self._rows_known.clear()
        self._groups.clear()

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

    def _within_groups(self, connection: Connection, stored: StoredBudget, key: CounterKey) -> CounterKey:
        """Return the key of a group, or that of all others where a period has as many groups as it may have."""
        if not stored.budget.per or key in self._rows_known:
            return key
        if key in leases.counters(connection, [key], lock=False):
            self._rows_known.add(key)
            return key
        period = (key.budget_id, key.period_start_s)
        if period not in self._groups:
            if len(self._groups) >= _GROUPS_COUNTED_MAX:
                self._groups.clear()
            self._groups[period] = _count_groups(connection, *period)
        if self._groups[period] >= self._groups_max:
            return key._replace(group_key=other_key(stored))
        self._groups[period] += 1
        return key

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


def _count_groups(connection: Connection, budget_id: int, period_start_s: int) -> int:
    counter = budget_counters.c
    of_period = (counter.budget_id == budget_id, counter.period_start_s == period_start_s)
    return connection.execute(select(func.count()).select_from(budget_counters).where(*of_period)).scalar_one()
