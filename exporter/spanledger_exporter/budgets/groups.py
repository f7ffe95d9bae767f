"""The values that budgets are counted apart by -> those for which there is room.

Each has a row for each period. Beyond the limit of a budget and period, calls count under `__other__`: sums stay right,
and careless or hostile values cannot grow the tables without end. Whether a value has room is told by its row: it is
there, or it can be added; so it is the same for what is added and for what is taken away, for every writer, and after a
restart.
"""

from collections.abc import Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Final

from sqlalchemy import Connection, func, select

from spanledger_exporter.budgets.budget import StoredBudget
from spanledger_exporter.budgets.charges import Place, Sum
from spanledger_exporter.budgets.scopes import other_key
from spanledger_exporter.ledger.budget_schema import budget_counters

GROUPS_MAX: Final = 100_000
LEASED_GROUPS_MAX: Final = 10_000
"""Of these, how many there may be at a time that only leases know of, and that go again if nothing comes of them."""
_KNOWN_MAX: Final = 500_000
_PAGE: Final = 500
_Period = tuple[int, int]  # a budget and a period's beginning
Group = tuple[int, int, str]
"""A budget, a period's beginning, and a value that calls are counted apart by."""


def room(rows: int, *, folding: bool, groups_max: int = GROUPS_MAX) -> int:
    """Return how many more values of a budget and period there is room for, which has so many rows.

    `folding` says that calls count under `__other__` already. Then no room comes back with the rows that only leases
    knew of: the calls of a value that was new before would count in one place, and those that come in another.
    """
    return max(groups_max - (LEASED_GROUPS_MAX if folding else 0) - rows, 0)


class Groups:
    """Knows the rows that there are, as many as fit into memory; `settled` tells it how the transaction ended."""

    def __init__(self, *, groups_max: int = GROUPS_MAX) -> None:
        self._groups_max = groups_max
        self._known: set[Group] = set()
        self._fresh: set[Group] = set()
        self._counts: dict[_Period, int] = {}

    def forget(self) -> None:
        """Forget everything: rows may have been taken away."""
        self._known.clear()
        self._counts.clear()

    def forget_counts(self) -> None:
        """Forget how many rows there are: others have added some."""
        self._counts.clear()

    def without_room(
        self, connection: Connection, places: Iterable[Place], budgets: Mapping[int, StoredBudget]
    ) -> set[Group]:
        """Return the groups, by budget, period and key, whose calls have to count under `__other__`."""
        asked: dict[_Period, set[str]] = {}
        for budget_id, start_s, group_key, _ in places:
            if group_key and (budget_id, start_s, group_key) not in self._known:
                asked.setdefault((budget_id, start_s), set()).add(group_key)
        folded: set[Group] = set()
        for period, keys in asked.items():
            other = other_key(budgets[period[0]])
            there = _there(connection, period, sorted(keys | {other}))
            self._fresh.update((*period, key) for key in there)
            new = sorted(keys - there - {other})
            if not new:
                continue
            count = self._counts.get(period)
            if count is None:
                count = _count(connection, period)
            left = room(count, folding=other in there, groups_max=self._groups_max)
            self._counts[period] = count + len(new[:left])
            self._fresh.update((*period, key) for key in new[:left])
            folded.update((*period, key) for key in new[left:])
        return folded

    def settled(self, *, committed: bool) -> None:
        """Remember what the transaction added, or forget it."""
        if not committed:
            self._counts.clear()
        elif self._fresh:
            if len(self._known) + len(self._fresh) > _KNOWN_MAX:
                self._known.clear()
            self._known |= self._fresh
        self._fresh = set()


def into_other(
    moves: Mapping[Place, Sum], folded: AbstractSet[Group], stored: Mapping[int, StoredBudget]
) -> dict[Place, Sum]:
    """Return the same sums, those of some groups under `__other__`."""
    found: dict[Place, Sum] = {}
    for place, moved in moves.items():
        kept = place._replace(group_key=other_key(stored[place.budget_id])) if place[:3] in folded else place
        before = found.get(kept)
        found[kept] = moved if before is None else before.plus(moved)
    return found


def _there(connection: Connection, period: _Period, keys: list[str]) -> set[str]:
    here = budget_counters.c
    found: set[str] = set()
    for start in range(0, len(keys), _PAGE):
        query = select(here.group_key).where(
            here.budget_id == period[0],
            here.period_start_s == period[1],
            here.group_key.in_(keys[start : start + _PAGE]),
        )
        found.update(connection.execute(query).scalars())
    return found


def _count(connection: Connection, period: _Period) -> int:
    here = budget_counters.c
    query = select(func.count()).where(here.budget_id == period[0], here.period_start_s == period[1])
    return connection.execute(query).scalar_one()
