"""What budgets counted since they are counted, as Prometheus counters, and by how much a correction lowers it."""

from collections.abc import Mapping
from typing import Final

from spanledger_exporter.budgets.budget import UNITS, Budget, StoredBudget
from spanledger_exporter.budgets.charges import NOTHING, Place, Sum
from spanledger_exporter.budgets.document import group_text
from spanledger_exporter.budgets.sums import amount_of
from spanledger_exporter.ledger.held_counters import Key, Marks

COUNTERS: Final = {unit: f"genai_budget_spend_{unit}" for unit in UNITS}


def key_of(budget: Budget, group_key: str) -> Key:
    """Return the counter of a group: its metric, and the values of `budget` and `group`."""
    return COUNTERS[budget.unit], (budget.name, group_text(budget, group_key))


def falls(moves: Mapping[Place, Sum], budgets: Mapping[int, StoredBudget]) -> Marks:
    """Return by how much counters fall, in micro-USD, tokens or calls; none of private budgets, which are not shown."""
    net: dict[tuple[int, str], Sum] = {}
    for place, moved in moves.items():
        key = (place.budget_id, place.group_key)
        net[key] = net.get(key, NOTHING).plus(moved)
    found: dict[Key, int] = {}
    for (number, group_key), moved in net.items():
        budget = budgets[number].budget
        amount = amount_of(moved, budget.unit)  # rounded down, and so never less than the counter may fall
        if amount < 0 and not budget.private:
            found[key_of(budget, group_key)] = -amount
    return found
