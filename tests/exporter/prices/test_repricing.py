"""Entries without a price are priced later, each with a trace; and the provider's own figures are held beside ours."""

import json
import time
from fractions import Fraction
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from spanledger_exporter.budgets.evaluator import Evaluator
from spanledger_exporter.ledger.database import Database, open_database
from spanledger_exporter.ledger.filters import Filter
from spanledger_exporter.ledger.ledger import Ledger
from spanledger_exporter.ledger.reader import Reader
from spanledger_exporter.metrics.budget_metrics import BudgetMetrics
from spanledger_exporter.metrics.dimensions import DEFAULT_DIMENSIONS, Dimensions
from spanledger_exporter.metrics.spend import SpendMetrics, places_of
from spanledger_exporter.money import usd_text
from spanledger_exporter.prices.price_book import PriceBook
from spanledger_exporter.prices.pricer import Pricer
from spanledger_exporter.prices.provider_costs import Comparison, compared
from spanledger_exporter.prices.repricing import ModelChange, Repricing
from spanledger_exporter.records import Usage
from tests.exporter.budgets.budgets import declare
from tests.exporter.calls import USAGE_PUSD, priced
from tests.exporter.test_commands import ran, run

PRICES = """
[[model]]
name = "house-llama"
provider = "openai"
match = ["mystery"]
prices = { input_mtok = 1, output_mtok = 2 }

[[override]]
name = "half"
model = "gpt-4o-mini"
multiplier = 0.5
"""
MYSTERY = {"request_model": "mystery", "response_model": None}
MYSTERY_PUSD = 100 * 10**6 + 20 * 2 * 10**6


@pytest.fixture
def prices(tmp_path: Path) -> str:
    path = tmp_path / "prices.toml"
    path.write_text(PRICES)
    return str(path)


@pytest.fixture
def filled(ledger_url: str, book: PriceBook) -> str:
    ledger = Ledger(open_database(ledger_url), cells_max=100)
    ledger.keep_book(book)
    failed = {"outcome": "error", "usage": Usage(), "usage_status": "none"}
    ids = (f"call-{number:020}" for number in range(9))
    ledger.append(
        [
            priced(book, response_id=next(ids)),
            priced(book, response_id=next(ids), **MYSTERY),
            priced(book, response_id=next(ids), **MYSTERY),
            priced(book, response_id=next(ids), request_model="gone", response_model=None),
            priced(book, response_id=next(ids), **MYSTERY, **failed),
        ]
    )
    ledger.close()
    return ledger_url


def environment(prices: str) -> dict[str, str]:
    return {"SPANLEDGER_PRICES_FILE": prices}


def reprice(url: str, prices: str, *arguments: str) -> dict[str, dict[str, object]]:
    done = run("reprice", "--ledger", url, "--json", *arguments, environ=environment(prices))
    assert (done.returncode, done.stderr) == (0, "")
    return {each["model"]: each for each in json.loads(done.stdout)["models"]}


def total(url: str) -> tuple[int, int]:
    with Reader(url) as reader:
        (line,) = reader.report((), Filter())
    return line.sums.cost_pusd, line.unpriced


def test_a_call_of_which_more_is_reported_meanwhile_keeps_the_price_of_all(ledger_url: str, book: PriceBook) -> None:
    """An exporter goes on while entries are priced again: a price of fewer figures must not replace one of more."""
    ledger = Ledger(open_database(ledger_url), cells_max=100)
    other = book.with_layers({"overrides": [{"name": "half", "model": "gpt-4o-mini", "multiplier": "0.5"}]})
    for each in (other, book):
        ledger.keep_book(each)
    one_call = {"response_id": "chatcmpl-B1x2y3z4w5v6u7"}
    ledger.append([priced(book, usage=Usage(100, 20), **one_call)])
    with Reader(ledger_url) as reader:
        read = list(reader.priced(Filter(), unpriced=False))
    ledger.append([priced(book, scope="another", **one_call)])
    Repricing(Pricer(other), "test", all_entries=True).run(read, ledger.adjust)
    assert total(ledger_url) == (USAGE_PUSD, 0)
    with Reader(ledger_url) as reader:
        Repricing(Pricer(other), "test", all_entries=True).run(reader.priced(Filter(), unpriced=False), ledger.adjust)
    assert total(ledger_url) == (USAGE_PUSD // 2, 0)
    ledger.close()


def test_a_dry_run_says_what_would_change_and_changes_nothing(filled: str, prices: str) -> None:
    before = total(filled)
    found = reprice(filled, prices, "--dry-run")
    assert found["openai/mystery"] == {
        "model": "openai/mystery", "entries": 2, "now_priced": 2, "still_unpriced": 0,
        "before_usd": "0", "after_usd": usd_text(2 * MYSTERY_PUSD),
    }  # fmt: skip
    assert (found["openai/gone"]["now_priced"], found["openai/gone"]["still_unpriced"]) == (0, 1)
    assert "openai/gpt-4o-mini-2024-07-18" not in found
    assert total(filled) == before == (USAGE_PUSD, 3)


def test_unpriced_entries_get_a_price_and_the_sums_follow(filled: str, prices: str) -> None:
    reprice(filled, prices, "--reason", "we host it ourselves")
    assert total(filled) == (USAGE_PUSD + 2 * MYSTERY_PUSD, 1)
    with Reader(filled) as reader:
        statuses = sorted((price.status, price.match) for _, _, price in reader.priced(Filter(), unpriced=False))
    assert statuses == [
        ("none", None), ("priced", "custom:house-llama"), ("priced", "custom:house-llama"), ("priced", "response:rule"),
        ("unpriced", None),
    ]  # fmt: skip
    assert all(each["now_priced"] == 0 for each in reprice(filled, prices).values()), "a second run finds nothing"
    assert total(filled) == (USAGE_PUSD + 2 * MYSTERY_PUSD, 1)


def test_all_entries_are_priced_again_only_where_asked_and_explained_by_the_new_book(filled: str, prices: str) -> None:
    found = reprice(filled, prices, "--all", "--model", "gpt-*")
    assert list(found) == ["openai/gpt-4o-mini-2024-07-18"]
    assert total(filled) == (USAGE_PUSD // 2, 3)
    with Reader(filled) as reader:
        ((entry_id, _, _),) = reader.priced(Filter(model="gpt-*"), unpriced=False)
    explained = json.loads(ran("explain", str(entry_id), "--ledger", filled, "--json"))
    assert (explained["agrees"], explained["price"]["match"]) == (True, "override:half,response:rule")


@pytest.mark.parametrize("dimensions", [DEFAULT_DIMENSIONS, Dimensions(("feature", "model")), Dimensions(())])
def test_counters_are_where_they_were_at_the_next_start_where_a_new_price_is_lower(
    filled: str, prices: str, dimensions: Dimensions
) -> None:
    """Whatever the exporter's dimensions are: whoever gives another price need not have its settings."""
    before = counters(filled, dimensions)
    reprice(filled, prices, "--all", "--model", "gpt-*")
    after = counters(filled, dimensions)
    assert total(filled)[0] == USAGE_PUSD // 2
    assert after == pytest.approx(before, rel=1e-12)


def test_counters_of_budgets_are_where_they_were_as_well(ledger_url: str, prices: str, book: PriceBook) -> None:
    """No exporter runs that would see them fall."""
    now_ns = time.time_ns()
    database = open_database(ledger_url)
    declare(
        database,
        {"name": "company", "limit_usd": 10},
        {"name": "teams", "limit_usd": 10, "per": ["team"]},
        {"name": "calls", "limit_calls": 10},
        now_ns=now_ns,
    )
    ledger = Ledger(database, cells_max=100)
    ledger.keep_book(book)
    ledger.append([priced(book, start_ns=now_ns, end_ns=now_ns, team="search") for _ in range(3)])
    before = budget_counters(database)
    reprice(ledger_url, prices, "--all")
    assert total(ledger_url)[0] == 3 * USAGE_PUSD // 2
    after = budget_counters(database)
    ledger.append([priced(book, start_ns=now_ns, end_ns=now_ns, team="search")])
    later = budget_counters(database)
    ledger.close()
    assert len(before) == 3
    assert after == pytest.approx(before, abs=2e-6)
    assert all(after[key] >= value for key, value in before.items())
    assert all(later[key] > value for key, value in after.items())


def budget_counters(database: Database) -> dict[str, float]:
    """What an exporter that starts now shows."""
    registry = CollectorRegistry()
    evaluator = Evaluator(database, interval_s=15)
    metrics = BudgetMetrics(
        registry,
        lambda: evaluator.evaluation,
        lambda: 0,
        marks=Ledger(database, cells_max=100).standings.held().marks,
    )
    evaluator.listen(metrics.on_states)
    assert evaluator.run_once()
    return {
        str((sample.name, sample.labels)): sample.value
        for family in registry.collect()
        for sample in family.samples
        if sample.name.startswith("genai_budget_spend_")
    }


def counters(url: str, dimensions: Dimensions = DEFAULT_DIMENSIONS) -> dict[str, float]:
    """What an exporter that starts now exposes."""
    database = open_database(url)
    ledger = Ledger(database, cells_max=100)
    registry = CollectorRegistry()
    SpendMetrics(registry, *ledger.standings.read(), places=places_of(dimensions, 1000))
    database.close()
    return {
        str((sample.name, sample.labels)): sample.value for family in registry.collect() for sample in family.samples
    }


def test_a_price_is_never_taken_away(book: PriceBook) -> None:
    before = priced(book, end_ns=1, **MYSTERY)
    entry = (1, before.record, priced(book).price)
    repricing = Repricing(Pricer(book), "x", all_entries=True)
    assert list(repricing.adjustments([entry])) == []
    assert repricing.run([entry], None) == [ModelChange("openai/mystery", 2, 0, 0, 2 * USAGE_PUSD, 2 * USAGE_PUSD)]


def test_a_thousand_entries_are_adjusted_in_one_transaction(book: PriceBook) -> None:
    sizes: list[int] = []
    unpriced = priced(book, **MYSTERY)
    entries = [(number, unpriced.record, unpriced.price) for number in range(2500)]
    prices = [{"prices": {"input_mtok": "1", "output_mtok": "1"}}]
    mystery = {"name": "m", "provider": "openai", "match": ["mystery"], "prices": prices, "variants": []}

    def adjust(changes: object) -> int:
        assert isinstance(changes, list)
        sizes.append(len(changes))
        return len(changes)

    Repricing(Pricer(book.with_layers({"models": [mystery]})), "x").run(entries, adjust)
    assert sizes == [1000, 1000, 500]


def entry(ours: int | None, theirs: int | None, model: str = "m") -> dict[str, object]:
    names = {"provider": "p", "response_model": model, "request_model": None}
    return names | {"cost_pusd": ours, "provider_cost_pusd": theirs}


def test_calls_whose_provider_says_another_cost_are_summed_by_model() -> None:
    calls = [entry(100, 104), entry(100, 106), entry(None, 5), entry(5, None), entry(0, 3, "n"), entry(7, 7, "same")]
    assert compared(calls, Fraction(5)) == [Comparison("p/m", 2, 1, 200, 210), Comparison("p/n", 1, 1, 0, 3)]


def test_prices_check_shows_where_the_provider_says_another_cost(ledger_url: str, book: PriceBook) -> None:
    ledger = Ledger(open_database(ledger_url), cells_max=100)
    ledger.keep_book(book)
    ledger.append([priced(book, provider_cost_pusd=2 * USAGE_PUSD)])
    ledger.close()
    assert json.loads(ran("prices", "check", "--ledger", ledger_url, "--json", "--over", "49%")) == {
        "over_percent": "49",
        "models": [{
            "model": "openai/gpt-4o-mini-2024-07-18", "calls": 1, "differing_calls": 1,
            "cost_usd": usd_text(USAGE_PUSD), "provider_cost_usd": usd_text(2 * USAGE_PUSD),
        }],
    }  # fmt: skip
    assert json.loads(ran("prices", "check", "--ledger", ledger_url, "--json", "--over", "50%"))["models"] == []
    assert "gpt-4o-mini" in ran("prices", "check", "--ledger", ledger_url)
    assert run("prices", "check", "--over", "much").returncode == 2
