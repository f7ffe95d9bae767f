"""The values that budgets are counted apart by -> those of which there may be leases: known ones, and some new ones.

A lease is of a call that nobody has seen yet, and whoever may ask for leases may make values up. So a counter of which
nothing is counted goes again with its last lease, and of one budget and period there are at most so many at a time.

Which there are is read now and then, for entries and other replicas make some and let go of some, and kept up by what
is made here in between.
"""

from collections.abc import Container, Iterable
from typing import Final, NamedTuple

from sqlalchemy import Connection, case, func, select

from spanledger_exporter.budgets.budget import StoredBudget
from spanledger_exporter.budgets.groups import room
from spanledger_exporter.budgets.scopes import other_key
from spanledger_exporter.leases import leases
from spanledger_exporter.leases.leases import CounterKey
from spanledger_exporter.ledger.budget_schema import budget_counters

_KEPT_S: Final = 10
_KEYS_KNOWN_MAX: Final = 200_000
_PERIODS_COUNTED_MAX: Final = 10_000
_NS_PER_S: Final = 10**9
_Period = tuple[int, int]  # a budget and a period's beginning


class _Count(NamedTuple):
    """How many values of a budget and period have a counter, and of how many of them nothing is counted."""

    rows: int
    unused: int

    def plus(self, more: int) -> "_Count":
        """Return it with more, or fewer, of which nothing is counted."""
        return _Count(max(self.rows + more, 0), max(self.unused + more, 0))


class LeaseGroups:
    """Knows the counters that there are, as far as anybody asked for them; for one thread.

    `groups_max` is how many values of a budget are counted apart in a period, `leased_groups_max` of how many of them
    at most there are leases alone.
    """

    def __init__(self, *, groups_max: int, leased_groups_max: int) -> None:
        self._groups_max = groups_max
        self._leased_groups_max = leased_groups_max
        self._known: set[CounterKey] = set()
        self._claimed: set[CounterKey] = set()
        self._counts: dict[_Period, _Count] = {}
        self._read_ns = 0

    def follow(self, now_ns: int) -> None:
        """Begin a transaction."""
        self._claimed.clear()
        if not 0 <= now_ns - self._read_ns < _KEPT_S * _NS_PER_S:
            self._counts.clear()
            self._known.clear()
            self._read_ns = now_ns

    def forget(self) -> None:
        """Forget everything: a transaction was undone, or budgets have changed."""
        self._known.clear()
        self._claimed.clear()
        self._counts.clear()

    def claim(self, connection: Connection, stored: StoredBudget, key: CounterKey) -> CounterKey | None:
        """Return the key under which a group's calls will count; `None` where too many have leases and no calls."""
        if not stored.budget.per or key in self._known or key in self._claimed:
            return key
        other, there = self._there(connection, stored, key)
        if key in there:
            return key
        count = self._count(connection, key)
        if not room(count.rows, folding=other in there, groups_max=self._groups_max):
            return other
        if count.unused >= self._leased_groups_max:
            return None
        self._counts[key[:2]] = count.plus(1)
        self._claimed.add(key)
        return key

    def counted_under(self, connection: Connection, stored: StoredBudget, key: CounterKey) -> CounterKey:
        """Return the key under which a group's calls count, as far as there were any."""
        if not stored.budget.per or key in self._known:
            return key
        other, there = self._there(connection, stored, key)
        return other if other in there and key not in there else key

    def locked(
        self, connection: Connection, to_grant: set[CounterKey], others: set[CounterKey]
    ) -> dict[CounterKey, leases.Counter]:
        """Lock counters and return them as they are; those to grant from are made where they are missing."""
        found = leases.lock(connection, to_grant | others, to_grant - self._known)
        gone = to_grant - found.keys()
        if gone:  # another replica has let go of them since
            found |= leases.lock(connection, gone, gone)
        self._know(found)
        return found

    def let_go(self, connection: Connection, keys: set[CounterKey]) -> None:
        """Delete counters of groups of which nothing is counted and nothing leased."""
        leases.drop_empty(connection, keys)
        self._known -= keys
        for key in keys:
            count = self._counts.get(key[:2])
            if count is not None:
                self._counts[key[:2]] = count.plus(-1)

    def _there(
        self, connection: Connection, stored: StoredBudget, key: CounterKey
    ) -> tuple[CounterKey, Container[CounterKey]]:
        """Return the key of all other groups, and which of the two have a counter."""
        other = key._replace(group_key=other_key(stored))
        there = leases.counters(connection, [key, other], lock=False)
        self._know(there)
        return other, there

    def _know(self, keys: Iterable[CounterKey]) -> None:
        if len(self._known) > _KEYS_KNOWN_MAX:
            self._known.clear()
        self._known.update(keys)

    def _count(self, connection: Connection, key: CounterKey) -> _Count:
        found = self._counts.get(key[:2])
        if found is None:
            if len(self._counts) >= _PERIODS_COUNTED_MAX:
                self._counts.clear()
            found = self._counts[key[:2]] = _count(connection, key)
        return found


def _count(connection: Connection, key: CounterKey) -> _Count:
    here = budget_counters.c
    unused = func.coalesce(func.sum(case((here.calls == 0, 1), else_=0)), 0)
    of_period = here.budget_id == key.budget_id, here.period_start_s == key.period_start_s
    return _Count(*map(int, connection.execute(select(func.count(), unused).where(*of_period)).one()))
