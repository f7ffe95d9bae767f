"""The leases of one budget in one period, from which the calls of a process take what they need.

Amounts are in the unit of the budget: micro-USD, tokens or calls. Pure, and only ever touched under the wallet's lock.
"""

from typing import Final, NamedTuple

from spanledger_instrumentation.lease_messages import Grant, Terms

__all__ = ["Lease", "LeaseReport", "Purse"]

PREFETCH_CALLS: Final = 4
"""Leases that are for fewer calls than that are not asked for before they are needed."""
SKEW_S: Final = 86_400
"""By how much clocks may differ for the exporter to lease by that of the process."""
LEASES_MAX: Final = 2
"""Leases of one budget that are taken from; the older ones are given back."""


class Lease:
    """What of one budget's period this process may spend. Mutable, and only ever touched under the wallet's lock."""

    __slots__ = (
        *("calls", "drawn_s", "expires_s", "free", "granted", "held", "id"),
        *("period_end_s", "period_start_s", "reported_s", "retiring", "sequence", "ttl_s", "used"),
    )

    def __init__(self, grant: Grant, now_s: float) -> None:
        self.id = grant.lease_id
        self.granted = self.free = grant.granted
        self.used = 0
        self.calls = 0
        """Calls that have ended, whose spans name the lease."""
        self.held = 0
        """Calls that have taken from it and go on."""
        self.sequence = 0
        self.ttl_s = max(grant.ttl_s, 0.0)
        self.expires_s = now_s + self.ttl_s
        # The exporter leases by its own clock where ours is off by more than a day; we hold the period by ours.
        ahead_s = 0.0 if grant.granted_s is None else now_s - grant.granted_s
        ahead_s = ahead_s if abs(ahead_s) > SKEW_S else 0.0
        self.period_start_s = grant.terms.period_start_s + ahead_s
        self.period_end_s = grant.terms.period_end_s + ahead_s
        self.reported_s = 0.0
        self.drawn_s = now_s
        self.retiring = False
        """Nothing is taken from it any more; it is given back when its last call ends."""

    def allows(self, need: int, now_s: float) -> bool:
        """Tell whether so much may be taken now."""
        return (
            self.free >= need
            and not self.retiring
            and now_s < self.expires_s
            and self.period_start_s <= now_s < self.period_end_s
        )


class LeaseReport(NamedTuple):
    """What the exporter is told of a lease; cumulative, so that it may be told twice."""

    lease: Lease
    sequence: int
    used: int
    calls: int
    closed: bool


class Purse:
    """The leases of one budget, or of one of its groups, in one period; and what it allows when nobody can be asked."""

    __slots__ = ("leases", "safe", "terms")

    def __init__(self, terms: Terms) -> None:
        self.terms = terms
        self.leases: list[Lease] = []
        self.safe: tuple[int, Lease] | None = None
        """The period's number and what is left of its allowance; no lease of the exporter's."""

    def lease_for(self, need: int, now_s: float) -> Lease | None:
        """Find a lease from which so much may be taken."""
        for lease in self.leases:
            if lease.allows(need, now_s):
                return lease
        return None

    def allowance_for(self, need: int, now_s: float) -> Lease | None:
        """Find out whether so much may be taken while the exporter cannot be reached.

        Periods that begin meanwhile are taken to be as long as the one that is known.
        """
        terms = self.terms
        period = int((now_s - terms.period_start_s) // max(terms.period_end_s - terms.period_start_s, 1))
        if self.safe is None or self.safe[0] != period:
            self.safe = period, Lease(Grant("", terms, terms.safe_allowance, float("inf")), now_s)
        allowance = self.safe[1]
        return allowance if allowance.free >= need else None

    def is_low(self, need: int, now_s: float) -> bool:
        """Tell whether less than half of the last lease is left, counting older ones.

        Not where it is for a few calls alone: near the limit each call is asked for, and nothing is kept from others.
        """
        if not self.leases or self.leases[-1].granted < PREFETCH_CALLS * need:
            return False
        last = self.leases[-1]
        if last.free * 2 >= last.granted:  # nearly always
            return False
        return sum(lease.free for lease in self.leases if lease.allows(0, now_s)) * 2 < last.granted

    def add(self, lease: Lease, need: int) -> None:
        """Add a lease, unless it is known; older ones that are of no more use are to be given back."""
        if any(known.id == lease.id for known in self.leases):
            return
        self.retire(need)
        usable = [known for known in self.leases if not known.retiring]
        for known in usable[: len(usable) - LEASES_MAX + 1]:
            known.retiring = True
        self.leases.append(lease)

    def retire(self, need: int) -> None:
        """Give back those from which so much cannot be taken, now or when a call ends."""
        for lease in self.leases:
            if lease.free < need and not lease.held:
                lease.retiring = True
