"""`budget_spend`: budgets as SQL sees them, the same on SQLite and PostgreSQL."""

import json
from collections.abc import Mapping
from typing import Any

from sqlalchemy import select

from spanledger_exporter.budgets.shelf import BudgetShelf
from spanledger_exporter.ledger.budget_schema import budget_spend
from spanledger_exporter.ledger.database import Database
from spanledger_exporter.prices.price_book import PriceBook
from spanledger_exporter.records import Usage
from tests.exporter.budgets.counted import declared
from tests.exporter.calls import USAGE_PUSD, priced
from tests.exporter.ledgers import DAY_NS, rows, writer
from tests.exporter.otlp_requests import END_NS

TODAY_S = END_NS // DAY_NS * 86_400


def _place(row: Mapping[str, Any]) -> tuple[str, str, int]:
    return row["budget"], row["group_key"], row["period_start_s"]


def test_every_period_of_every_group_is_a_row(database: Database, book: PriceBook) -> None:
    shelf = BudgetShelf(database)
    shelf.set(declared("each", per=["team"], period="day", mode="hard", limit_tokens=5000), "ann")
    shelf.set(declared("all", period="day"), "ann")
    ledger = writer(database, book)
    ledger.append([priced(book, team=team) for team in ("search", "search", None)])
    ledger.append(
        [
            priced(book, end_ns=END_NS - DAY_NS, start_ns=END_NS - DAY_NS, team="search"),
            priced(book, team="search", usage=Usage(), usage_status="unreported"),
        ]
    )
    with database.write() as connection:
        connection.exec_driver_sql("UPDATE budget_counters SET leased = 9 WHERE group_key = '[null]'")
    with database.read() as connection:
        found = [dict(row) for row in connection.execute(select(budget_spend)).mappings()]
    halves = ("cost_micro_usd", "cost_rest_pusd")
    money = [dict(zip(halves, divmod(calls * USAGE_PUSD, 10**6), strict=True)) for calls in range(4)]
    of_all = {"budget": "all", "unit": "usd", "mode": "soft", "limit_amount": 100 * 10**6, "group_key": "", "leased": 0}
    each = {"budget": "each", "unit": "tokens", "mode": "hard", "limit_amount": 5000, "leased": 0}
    assert sorted(found, key=_place) == sorted(
        [
            of_all | money[1] | {"period_start_s": TODAY_S - 86_400, "calls": 1, "tokens": 120, "unpriced_calls": 0},
            of_all | money[3] | {"period_start_s": TODAY_S, "calls": 4, "tokens": 360, "unpriced_calls": 1},
            each | money[1] | {"group_key": json.dumps(["search"])}
            | {"period_start_s": TODAY_S - 86_400, "calls": 1, "tokens": 120, "unpriced_calls": 0},
            each | money[2] | {"group_key": json.dumps(["search"])}
            | {"period_start_s": TODAY_S, "calls": 3, "tokens": 240, "unpriced_calls": 1},
            each | money[1] | {"group_key": "[null]", "leased": 9}
            | {"period_start_s": TODAY_S, "calls": 1, "tokens": 120, "unpriced_calls": 0},
        ],
        key=_place,
    )  # fmt: skip


def test_limits_are_exact_in_every_unit(database: Database, book: PriceBook) -> None:
    usd = ["0.5", "0.000001", "250", "1234567890.123456", "12.0345"]
    said = {"limit_usd": usd, "limit_calls": [7], "limit_tokens": [10**12]}
    budgets = [declared(f"{key}-{limit}", **{key: limit}) for key, limits in said.items() for limit in limits]
    shelf = BudgetShelf(database)
    for budget in budgets:
        shelf.set(budget, "ann")
    writer(database, book).append([priced(book)])
    shown = rows(database, "SELECT budget, unit, limit_amount FROM budget_spend")
    assert {*shown} == {(budget.name, budget.unit, budget.limit) for budget in budgets}
