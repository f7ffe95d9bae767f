"""How budgets stand -> the lines of an overview, the most used first.

Who the users, sessions and keys are that a budget is per stays in the ledger, as it does in metrics.
"""

from collections.abc import Iterable, Mapping
from typing import Final

from sqlalchemy import Connection

from spanledger_exporter.budgets.budget import StoredBudget
from spanledger_exporter.budgets.document import group_text
from spanledger_exporter.budgets.past import Past
from spanledger_exporter.budgets.shelf import load_budgets
from spanledger_exporter.budgets.states import BudgetState, read_group_counts, read_states
from spanledger_exporter.top.overview import TEXT_CHARS_MAX, BudgetGroups, BudgetLine, BudgetUnit

_NS_PER_S: Final = 10**9
_GROUPS_LISTED: Final = 5
_OVER: Final = 100
_UNITS: Final[Mapping[str, BudgetUnit]] = {"usd": "micro_usd", "tokens": "tokens", "calls": "calls"}


def read_budgets(connection: Connection, now_s: int, past: Past) -> tuple[list[BudgetLine], list[BudgetGroups]]:
    """Return the budgets whose period runs, and of those with groups how many there are."""
    stored = load_budgets(connection)
    shown = [each for each in stored if not each.budget.private]
    states = read_states(connection, shown, now_s * _NS_PER_S, past=past, groups_max=_GROUPS_LISTED)
    running = sorted((state for state in states if state.running), key=lambda state: -state.used_ratio)
    counts = read_group_counts(connection, stored, now_s * _NS_PER_S, at=(0, _OVER))
    return [_budget_line(state) for state in running], _groups(stored, counts)


def _budget_line(state: BudgetState) -> BudgetLine:
    budget = state.stored.budget
    return BudgetLine(
        name=budget.name,
        group=group_text(budget, state.group_key)[:TEXT_CHARS_MAX],
        unit=_UNITS[budget.unit],
        mode=budget.mode,
        limit=state.limit,
        spent=state.spent,
        expected=None if state.forecast is None else state.forecast.middle,
        thresholds=tuple(threshold for threshold in budget.thresholds if state.reached(threshold)),
        unpriced_calls=state.unpriced_calls if budget.unit == "usd" and budget.on_unpriced != "rate" else 0,
        start_s=state.bounds.start_s,
        end_s=state.bounds.end_s,
        run_out_s=None if state.run_out_s is None else int(state.run_out_s),
    )


def _groups(stored: Iterable[StoredBudget], counts: Mapping[int, Mapping[int, int]]) -> list[BudgetGroups]:
    """Return the budgets with groups, those first of which the most groups are over."""
    found = [
        BudgetGroups(
            name=each.budget.name,
            per=each.budget.per,
            groups=counts[each.budget_id].get(0, 0),
            over=counts[each.budget_id].get(_OVER, 0),
        )
        for each in stored
        if each.budget.per
    ]
    return sorted(found, key=lambda each: (-each.over, each.name))
