"""How many open leases each process has of each counter: what sizes of leases are worked out from.

Read now and then, for other replicas grant some, and kept up by what is granted and given back here in between. What
there is room for never depends on it.
"""

from typing import Final, NamedTuple

from sqlalchemy import Connection, case, func, select

from spanledger_exporter.leases import leases
from spanledger_exporter.leases.leases import CounterKey, Lease
from spanledger_exporter.ledger.budget_schema import budget_leases

_KEPT_S: Final = 10
_NS_PER_S: Final = 10**9


class Holding(NamedTuple):
    """What a process has of a counter: how many open leases, and what of them it has not told to be spent."""

    leases: int
    unspent: int


_NOTHING: Final = Holding(0, 0)


class LeaseOwners:
    """The processes that have open leases; for one thread."""

    def __init__(self) -> None:
        self._owners: dict[CounterKey, dict[str, Holding]] = {}
        self._read_ns: int | None = None

    def follow(self, connection: Connection, now_ns: int) -> None:
        """Learn of them anew if that is a while ago.

        Those that are gone are not among them: what they took along is held, and nobody needs a share for them.
        """
        if self._read_ns is not None and 0 <= now_ns - self._read_ns < _KEPT_S * _NS_PER_S:
            return
        lease = budget_leases.c
        who = (lease.budget_id, lease.period_start_s, lease.group_key, lease.owner)
        alive = lease.state == "open", lease.expires_ns >= now_ns - leases.GRACE_S * _NS_PER_S
        used = case((lease.reported > lease.settled, lease.reported), else_=lease.settled)
        unspent = func.sum(case((lease.granted > used, lease.granted - used), else_=0))
        owners: dict[CounterKey, dict[str, Holding]] = {}
        for *key, owner, count, amount in connection.execute(
            select(*who, func.count(), unspent).where(*alive).group_by(*who)
        ):
            owners.setdefault(CounterKey(*key), {})[owner] = Holding(count, int(amount))
        self._owners, self._read_ns = owners, now_ns

    def forget(self) -> None:
        """Forget what a transaction that was undone has made."""
        self._read_ns = None

    def holding(self, key: CounterKey, owner: str) -> Holding:
        """Return what a process has of a counter."""
        return self._owners.get(key, {}).get(owner, _NOTHING)

    def sharing(self, key: CounterKey, owner: str) -> int:
        """Return how many processes share a counter, this one among them."""
        return len(self._owners.get(key, {}).keys() | {owner})

    def granted(self, lease: Lease) -> None:
        """Count a new lease."""
        self._move(lease, 1, _unspent(lease))

    def changed(self, before: Lease, after: Lease) -> None:
        """Take what a process tells of a lease; one that it gives back counts no more."""
        if before.state == "open":
            self._move(after, 0 if after.state == "open" else -1, _unspent(after) - _unspent(before))

    def _move(self, lease: Lease, leases_: int, unspent: int) -> None:
        owners = self._owners.setdefault(lease.key, {})
        before = owners.pop(lease.owner, _NOTHING)
        after = Holding(before.leases + leases_, max(before.unspent + unspent, 0))
        if after.leases > 0:
            owners[lease.owner] = after


def _unspent(lease: Lease) -> int:
    return max(lease.granted - max(lease.settled, lease.reported), 0) if lease.state == "open" else 0
