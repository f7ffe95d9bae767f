"""What a budget is, whatever it has counted."""

from typing import Any

import pytest

from spanledger_exporter.budgets.budget import Budget, effective_limit, unheeded


@pytest.mark.parametrize(
    ("rollover", "rollover_max", "spent_before", "limit"),
    [
        (False, None, 0, 100),
        (True, None, None, 100),  # the period before was not counted
        (True, None, 0, 200),
        (True, None, 30, 170),
        (True, 25, 30, 125),
        (True, 300, 30, 170),
        (True, 0, 30, 100),
        (True, None, 130, 100),  # what was overspent is not taken off
    ],
)
def test_what_a_period_left_is_added_to_the_next_ones_limit(
    rollover: bool, rollover_max: int | None, spent_before: int | None, limit: int
) -> None:
    budget = Budget(name="all", limit=100, rollover=rollover, rollover_max=rollover_max)
    assert effective_limit(budget, spent_before) == limit


@pytest.mark.parametrize(
    ("said", "found"),
    [
        ({"on_unpriced": "rate"}, []),
        ({"mode": "hard", "on_unreachable": "safe", "safe_allowance": 1, "on_unpriced": "refuse"}, []),
        ({"on_unreachable": "closed"}, ['on_unreachable = "closed"']),
        (
            {"on_unreachable": "safe", "safe_allowance": 1, "on_unpriced": "refuse", "unit": "tokens"},
            ['on_unreachable = "safe" with safe_tokens', 'on_unpriced = "refuse"'],
        ),
        ({"mode": "hard", "on_unpriced": "refuse", "unit": "calls"}, ['on_unpriced = "refuse"']),
    ],
)
def test_what_a_budget_says_in_vain_is_named(said: dict[str, Any], found: list[str]) -> None:
    assert [text.split(" is for ")[0] for text in unheeded(Budget(name="all", limit=100, **said))] == found
