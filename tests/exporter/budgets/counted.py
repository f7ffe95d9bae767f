"""What budgets have counted, and what they should have: a plain dictionary made from the entries, one by one."""

import json
from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from spanledger_exporter.budgets.budget import Budget, StoredBudget
from spanledger_exporter.budgets.document import from_document
from spanledger_exporter.ledger.budget_schema import BUDGET_SUMS, budget_counters, budget_days, budgets
from spanledger_exporter.ledger.database import Database
from tests.exporter.rebuilt import rows_of

FIELDS = {
    **{name: name for name in ("service", "environment", "tenant", "team", "project", "feature", "provider")},
    "api_key": "api_key_hash",
    "organization": "organization",
    "user": "user_id",
    "session": "session_id",
}


class Counted(NamedTuple):
    """Units: calls, tokens, calls, pico-USD."""

    calls: int = 0
    tokens: int = 0
    unpriced_calls: int = 0
    cost_pusd: int = 0

    def plus(self, other: "Counted") -> "Counted":
        return Counted(*(one + two for one, two in zip(self, other, strict=True)))

    def minus(self, other: "Counted") -> "Counted":
        return Counted(*(one - two for one, two in zip(self, other, strict=True)))


NOTHING = Counted()
Counters = Mapping[tuple[str, str, int], Counted]  # by budget, values that it is per, and a period's or day's beginning


def declared(name: str = "all", **said: Any) -> Budget:
    """A budget of 100 USD a month, or as it is said to be."""
    limit = {} if any(key.startswith("limit_") for key in said) else {"limit_usd": 100}
    return from_document({"name": name, **limit, **said})


def counters(database: Database) -> Counters:
    """What the periods have counted; what adds up to nothing is left out."""
    with database.read() as connection:
        return stored(connection, "period_start_s")


def days(database: Database) -> Counters:
    """What the days have counted; what adds up to nothing is left out."""
    with database.read() as connection:
        return stored(connection, "day_s")


def stored(connection: Connection, time: str) -> Counters:
    table = budget_counters if time == "period_start_s" else budget_days
    sums = (table.c[name] for name in BUDGET_SUMS)
    query = select(budgets.c.name, table.c.group_key, table.c[time], *sums).join_from(
        table, budgets, budgets.c.budget_id == table.c.budget_id
    )
    found: dict[tuple[str, str, int], Counted] = {}
    for name, group_key, at_s, calls, tokens, unpriced, micro_usd, rest_pusd in connection.execute(query):
        found[name, group_key, at_s] = Counted(calls, tokens, unpriced, micro_usd * 10**6 + rest_pusd)
    return {key: each for key, each in found.items() if any(each)}


def expected(connection: Connection, kept: Iterable[StoredBudget], time: str) -> Counters:
    """What the entries that are there add up to."""
    rows = rows_of(connection)
    found: dict[tuple[str, str, int], Counted] = {}
    for each in kept:
        for row in rows:
            start_ns, end_ns = row["start_ns"], row["end_ns"]
            made_s = (start_ns if 0 <= end_ns - start_ns <= 86_400 * 10**9 else end_ns) // 10**9
            bounds = each.budget.period.bounds(made_s)
            if bounds is None or made_s < each.counted_from_s or not holds(each.budget, row):
                continue
            at_s = bounds.start_s if time == "period_start_s" else each.budget.period.day_of(made_s)
            key = (each.budget.name, group_of(each.budget, row), at_s)
            found[key] = found.get(key, NOTHING).plus(counts(each.budget, row))
    return {key: sums for key, sums in found.items() if any(sums)}


def holds(budget: Budget, row: Mapping[str, Any]) -> bool:
    """Whether a budget holds an entry; none holds a call that one of them refused."""
    if row["error_type"] == "budget_exceeded" and row["price_status"] == "none":
        return False
    for name, patterns in budget.scope.items():
        said = [row["response_model"], row["request_model"]] if name == "model" else [row[FIELDS[name]]]
        values = [value or "" for value in said]
        if not any(
            fnmatchcase(value.lower(), pattern.lower()) if "*" in pattern else value == pattern
            for value in values
            for pattern in patterns
        ):
            return False
    return True


def group_of(budget: Budget, row: Mapping[str, Any]) -> str:
    """The values that an entry has of what a budget is per."""
    if not budget.per:
        return ""
    values = [
        (row["request_model"] or row["response_model"]) if name == "model" else row[FIELDS[name]] for name in budget.per
    ]
    # Longer values are cut to 200 bytes, as those of a cell.
    cut = [value and value.encode()[:200].decode(errors="ignore") for value in values]
    return json.dumps(cut, separators=(",", ":"), ensure_ascii=False)


def counts(budget: Budget, row: Mapping[str, Any]) -> Counted:
    """What an entry counts under a budget that holds it."""
    input_, output = row["input_tokens"] or 0, row["output_tokens"] or 0
    unpriced = row["price_status"] == "unpriced"
    cost = row["cost_pusd"] or 0
    if unpriced and budget.on_unpriced == "rate":
        cost = input_ * budget.input_rate_pusd + output * budget.output_rate_pusd
    return Counted(1, input_ + output, int(unpriced), cost)


def assert_counted(database: Database, kept: Iterable[StoredBudget]) -> None:
    """Compare the counters and days with the entries, which retention must not have touched."""
    kept = list(kept)
    with database.read() as connection:
        for time in ("period_start_s", "day_s"):
            assert stored(connection, time) == expected(connection, kept, time)
