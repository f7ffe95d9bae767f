"""The shipped rules over the metrics of a real exporter: what is asked for by name is there by that name."""

import contextlib
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from spanledger_exporter.budgets.budget import Budget
from spanledger_exporter.budgets.shelf import BudgetShelf
from spanledger_exporter.ledger.database import open_database
from spanledger_exporter.ledger.ledger import Ledger
from spanledger_exporter.prices.genai_prices_book import packaged_book
from spanledger_exporter.records import Usage
from tests.exporter.calls import priced
from tests.servers import prometheus
from tests.servers.exporter import Exporter
from tests.servers.process import poll

TOKENS = 1_000_000
BUDGETS = (
    Budget(name="over", limit=100_000, mode="hard"),
    Budget(name="near", limit=TOKENS + 100_000, unit="tokens"),
    Budget(name="far", limit=10, unit="calls", per=("service",)),
    Budget(name="users", limit=TOKENS, unit="tokens", per=("user",)),
)


@pytest.fixture
def exporter(tmp_path: Path) -> Generator[Exporter]:
    """An exporter whose ledger has a call of a million tokens, made just now, under some budgets."""
    url = f"sqlite:///{tmp_path / 'ledger.db'}"
    book, now_ns = packaged_book(), time.time_ns()
    with contextlib.closing(open_database(url)) as database:
        for budget in BUDGETS:
            BudgetShelf(database).set(budget, "somebody")
    ledger = Ledger(open_database(url), cells_max=10)
    ledger.keep_book(book)
    ledger.append([priced(book, start_ns=now_ns, end_ns=now_ns, usage=Usage(TOKENS, 0), user_id="u1")])
    ledger.close()
    started = Exporter(url, tmp_path, environ={"SPANLEDGER_BUDGETS_EVALUATION_S": "1"})
    with started.server:
        yield started


def test_the_shipped_rules_see_what_a_real_exporter_shows(exporter: Exporter, tmp_path: Path) -> None:
    with prometheus.as_shipped(tmp_path, {"spanledger": exporter.metrics}) as server:
        thresholds = 'ALERTS{alertname=~"SpanledgerBudget(Threshold|GroupsOver)"}'
        wanted = {("over", "100"), ("near", "90"), ("users", "100")}
        poll(lambda: _said(server, thresholds, "threshold") == wanted, what="the thresholds that are reached")
        used = 'budget_group:genai_budget_used:ratio{budget="far"} == 0.1'
        poll(lambda: _said(server, used, "group") == {("far", "service=shop")}, what="the used part of a group's limit")
        burning = {("over", ""), ("near", ""), ("far", "service=shop")}
        burn = "budget_group:genai_budget_burn:rate5m"
        poll(lambda: _said(server, burn, "group") == burning, what="the burn rates of budgets in each unit")
        assert not server.query('ALERTS{alertname!~"SpanledgerBudget.*"}')
        assert not server.query('ALERTS{alertname="SpanledgerBudgetDataStale"}')


def _said(server: prometheus.Prometheus, expression: str, label: str) -> set[tuple[str, str]]:
    """Of each series the budget, and another label."""
    return {(each["metric"]["budget"], each["metric"].get(label, "")) for each in server.query(expression)}
