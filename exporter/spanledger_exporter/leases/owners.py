"""How many open leases each process has of each counter: what sizes of leases are worked out from.

Read now and then, for other replicas grant some, and kept up by what is granted and given back here in between. What
there is room for never depends on it.
"""

from typing import Final

from sqlalchemy import Connection, func, select

from spanledger_exporter.leases import leases
from spanledger_exporter.leases.leases import CounterKey, Lease
from spanledger_exporter.ledger.budget_schema import budget_leases

_KEPT_S: Final = 10
_NS_PER_S: Final = 10**9


class LeaseOwners:
    """The processes that have open leases; for one thread."""

    def __init__(self) -> None:
        self._owners: dict[CounterKey, dict[str, int]] = {}
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
        owners: dict[CounterKey, dict[str, int]] = {}
        for *key, owner, count in connection.execute(select(*who, func.count()).where(*alive).group_by(*who)):
            owners.setdefault(CounterKey(*key), {})[owner] = count
        self._owners, self._read_ns = owners, now_ns

    def forget(self) -> None:
        """Forget what a transaction that was undone has made."""
        self._read_ns = None

    def count(self, key: CounterKey, owner: str) -> int:
        """Return how many open leases a process has of a counter."""
        return self._owners.get(key, {}).get(owner, 0)

    def sharing(self, key: CounterKey, owner: str) -> int:
        """Return how many processes share a counter, this one among them."""
        return len(self._owners.get(key, {}).keys() | {owner})

    def granted(self, lease: Lease) -> None:
        """Count a new lease."""
        owners = self._owners.setdefault(lease.key, {})
        owners[lease.owner] = owners.get(lease.owner, 0) + 1

    def given_back(self, lease: Lease) -> None:
        """Count a lease no more: of a small budget a process takes one for each call, and many in a second."""
        owners = self._owners.get(lease.key, {})
        left = owners.pop(lease.owner, 0) - 1
        if left > 0:
            owners[lease.owner] = left
