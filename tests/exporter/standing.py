"""Budgets as they stand, made by hand: what the notifier is told by the evaluator."""

from typing import Any

from spanledger_exporter.budgets.anomalies import Anomaly, Growth
from spanledger_exporter.budgets.budget import Budget, StoredBudget
from spanledger_exporter.budgets.document import to_json
from spanledger_exporter.budgets.forecast import Forecast
from spanledger_exporter.budgets.periods import Bounds
from spanledger_exporter.budgets.states import BudgetState
from spanledger_exporter.ledger.budget_schema import budgets
from spanledger_exporter.ledger.database import Database

USD = 10**6
DAY_S = 86_400
NOW_S = 1_795_867_200  # 2026-11-28T12:00:00Z
NOW_NS = NOW_S * 10**9
MONTH = Bounds(1_793_491_200, 1_796_083_200)  # November of 2026
UNUSUAL = Anomaly(
    day_s=NOW_S // DAY_S * DAY_S,
    amount=41 * USD,
    usual=3 * USD,
    score=5.0,
    rule="weekday",
    grew=(Growth("model", "gpt-5", 38 * USD, USD), Growth("service", "shop", 39 * USD, 2 * USD)),
)


def budget(name: str = "search", limit: int = 100 * USD, **changes: Any) -> Budget:
    return Budget(name=name, limit=limit, **changes)


def stored(of: Budget | None = None, budget_id: int = 1) -> StoredBudget:
    return StoredBudget(budget_id, of or budget(), "command", MONTH.start_s)


def state(percent: float = 92, of: StoredBudget | None = None, group: str = "", **changes: Any) -> BudgetState:
    """Return a budget of which so much is spent on 28 November at noon."""
    which = of or stored()
    limit = changes.get("limit", which.budget.limit)
    spent = round(limit * percent / 100)
    found = BudgetState(
        stored=which,
        group_key=group,
        bounds=MONTH,
        at_s=NOW_S,
        limit=limit,
        spent=spent,
        leased=0,
        unaccounted=0,
        remaining=limit - spent,
        cost_pusd=spent * 10**6,
        calls=1200,
        tokens=3_400_000,
        unpriced_calls=0,
        spent_total=spent,
        daily_average=8.8 * USD,
        forecast=Forecast(103 * USD, 118 * USD, 131 * USD, "days", 27),
        run_out_s=NOW_S + 26 * 3600,
        days_left=2.5,
        calls_left=None,
        anomaly=None,
    )
    return found._replace(**changes)


def keep(database: Database, *those: StoredBudget) -> None:
    """Let a ledger have budgets, without what they count."""
    rows = [
        {
            "budget_id": each.budget_id,
            "name": each.budget.name,
            "source": each.source,
            "document": to_json(each.budget),
            "counted_from_s": each.counted_from_s,
            "changed_ns": 0,
        }
        for each in those
    ]
    with database.write() as connection:
        connection.execute(budgets.insert(), rows)
