"""Calls that name the leases that they were made under -> their money moves from leased to spent.

It is done in the transaction that writes their entries, by what it moves the sums by: a call that is delivered again
settles nothing, and another report of it, or another price, the difference, whichever of its reports name the lease and
in whatever order they come. What a call counts is settled, and not what its process had thought; it never gives back
more than its lease still holds. A call that a budget refused, or that is of another tenant than those whom the budget
is for, was made under no lease, whatever its span says.
"""

import json
from collections.abc import Iterable, Mapping

from sqlalchemy import Connection

from spanledger_exporter.budgets.budget import Budget, StoredBudget, matches
from spanledger_exporter.budgets.charges import RATED_TOKENS_MAX
from spanledger_exporter.budgets.scopes import group_key, never_sent
from spanledger_exporter.leases import leases
from spanledger_exporter.leases.leases import Change, CounterKey, Lease
from spanledger_exporter.ledger.rollups import figures_of
from spanledger_exporter.money import PUSD_PER_MICRO_USD
from spanledger_exporter.records import OTHER, PricedRecord

Moved = tuple[PricedRecord, int]
"""A call, and whether it was added, 1, or taken away, -1."""


def settle(
    connection: Connection, moved: Iterable[Moved], budgets: Mapping[int, StoredBudget]
) -> dict[CounterKey, int]:
    """Settle the leases of calls; return by how much, mostly below zero, the leases of each counter hold more."""
    by_lease: dict[str, list[Moved]] = {}
    for priced, sign in moved:
        if never_sent(priced.record.profile.error_type, priced.price.status):
            continue
        for lease_id in priced.record.leases:
            by_lease.setdefault(lease_id, []).append((priced, sign))
    changes: list[Change] = []
    for lease_id, lease in leases.find(connection, by_lease).items():
        stored, calls = budgets.get(lease.budget_id), by_lease[lease_id]
        if stored is not None:
            calls = [each for each in calls if _may_be_under(lease, stored.budget, each[0].record.profile.tenant)]
        amount = 0 if stored is None else _counted(stored.budget, calls)
        changes.append(Change(lease, lease.settled_by(amount, sum(sign for _, sign in calls))))
    return leases.save(connection, changes)


def _may_be_under(lease: Lease, budget: Budget, tenant: str | None) -> bool:
    """Tell whether calls of a tenant may be under a lease; nobody moves another one's money, whatever ids he has seen.

    Where no tenant is known, nobody is kept apart.
    """
    if tenant is None:
        return True
    if "tenant" in budget.scope and not matches(budget.scope["tenant"], tenant):
        return False
    if "tenant" not in budget.per:
        return True
    leased_to = json.loads(lease.group_key)[budget.per.index("tenant")]
    return leased_to == OTHER or group_key([leased_to]) == group_key([tenant])


def _counted(budget: Budget, calls: Iterable[Moved]) -> int:
    """Return what calls count under a budget, in its unit; of micro-USD the whole ones.

    Rounded down: what a lease then holds too much of comes back when all its spans have come.
    """
    total = sum(sign * _counted_of(budget, priced) for priced, sign in calls)
    return total // PUSD_PER_MICRO_USD if budget.unit == "usd" else total


def _counted_of(budget: Budget, priced: PricedRecord) -> int:
    count, input_tokens, output_tokens, _, _, _, cost_pusd, *_ = figures_of(priced)
    if budget.unit == "calls":
        return count
    if budget.unit == "tokens":
        return input_tokens + output_tokens
    if budget.on_unpriced == "rate" and priced.price.status == "unpriced":
        rated = min(input_tokens, RATED_TOKENS_MAX), min(output_tokens, RATED_TOKENS_MAX)
        return rated[0] * budget.input_rate_pusd + rated[1] * budget.output_rate_pusd
    return cost_pusd
