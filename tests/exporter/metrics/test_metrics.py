"""The counters equal the ledger, across restarts too."""

from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from sqlalchemy import text

from spanledger_exporter.ledger.database import open_database
from spanledger_exporter.ledger.ledger import Ledger
from spanledger_exporter.metrics.metrics import IngestMetrics, LedgerMetrics
from spanledger_exporter.prices.price_book import PriceBook
from spanledger_exporter.records import Adjustment, Price, PricedRecord, Usage
from tests.exporter.calls import USAGE_PUSD, priced

CALL = {
    "service": "shop",
    "environment": "test",
    "team": "",
    "project": "",
    "provider": "openai",
    "model": "gpt-4o-mini-2024-07-18",
    "operation": "chat",
}


def metrics_of(ledger: Ledger) -> tuple[CollectorRegistry, LedgerMetrics]:
    registry = CollectorRegistry()
    return registry, LedgerMetrics(registry, ledger.totals(), lambda: ledger.folded)


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, {**CALL, **labels})


@pytest.fixture
def spent(book: PriceBook) -> list[PricedRecord]:
    failed: dict[str, Any] = {"outcome": "error", "error_type": "429", "usage": Usage(), "usage_status": "none"}
    return [
        priced(book),
        priced(book, usage=Usage(100, 20, cache_read_tokens=40, cache_write_tokens=10, reasoning_tokens=15)),
        priced(book, **failed),
        priced(book, usage=Usage(), usage_status="unreported"),
        priced(book, request_model="mystery", response_model="mystery"),
    ]


def test_counters_move_with_each_commit(ledger: Ledger, spent: list[PricedRecord]) -> None:
    registry, metrics = metrics_of(ledger)
    metrics.committed(ledger.append(spent), 0.01)
    assert value(registry, "genai_cost_usd_total") == 2 * USAGE_PUSD / 1e12
    assert value(registry, "genai_calls_total", outcome="ok") == 3
    assert value(registry, "genai_calls_total", outcome="error") == 1
    tokens = {kind: value(registry, "genai_tokens_total", token_type=kind) for kind in (
        "input_uncached", "input_cache_read", "input_cache_write", "output_answer", "output_reasoning")}  # fmt: skip
    assert tokens == {
        "input_uncached": 110,
        "input_cache_read": 80,
        "input_cache_write": 10,
        "output_answer": 25,
        "output_reasoning": 15,
    }
    assert value(registry, "genai_unreported_calls_total", usage_status="unreported") == 1
    assert value(registry, "genai_unpriced_calls_total", reason="unreported_usage") == 1
    assert value(registry, "genai_unpriced_calls_total", reason="unknown_model", model="mystery") == 1


def test_a_call_that_is_free_without_figures_is_no_unreported_spend(ledger: Ledger, book: PriceBook) -> None:
    registry, metrics = metrics_of(ledger)
    metrics.committed(
        ledger.append([priced(book, operation="moderation", usage=Usage(), usage_status="unreported")]), 0
    )
    samples = [sample for family in registry.collect() for sample in family.samples]
    assert [sample for sample in samples if sample.name == "genai_unreported_calls_total"] == []
    assert [sample.value for sample in samples if sample.name == "genai_cost_usd_total"] == [0]
    assert value(registry, "genai_cost_usd_total", model="mystery") is None


def test_counters_survive_a_restart(ledger: Ledger, ledger_url: str, spent: list[PricedRecord]) -> None:
    registry, metrics = metrics_of(ledger)
    metrics.committed(ledger.append(spent), 0.01)
    again = open_database(ledger_url)
    restarted, _ = metrics_of(Ledger(again, cells_max=100))
    again.close()
    assert spend_lines(restarted) == spend_lines(registry)


def spend_lines(registry: CollectorRegistry) -> list[str]:
    lines = generate_latest(registry).decode().splitlines()
    return sorted(line for line in lines if line.startswith(("genai_cost", "genai_tokens", "genai_calls", "genai_un")))


def test_a_batch_delivered_twice_is_counted_once(ledger: Ledger, spent: list[PricedRecord]) -> None:
    registry, metrics = metrics_of(ledger)
    metrics.committed(ledger.append(spent), 0.01)
    once = spend_lines(registry)
    metrics.committed(ledger.append(spent), 0.01)
    assert spend_lines(registry) == once


def test_a_counter_is_raised_where_another_price_would_let_it_fall(ledger: Ledger, book: PriceBook) -> None:
    """To Prometheus a counter that falls has begun anew, and all of it would be an increase."""
    registry, metrics = held_metrics_of(ledger)
    sent = priced(book)
    metrics.committed(ledger.append([sent]), 0)
    (entry_id,) = ledger_entry_ids(ledger)
    unpriced = Price("unpriced", None, "no_price", "for a test")
    ledger.adjust([Adjustment(entry_id, unpriced, book.book_id, "test")])
    metrics.catch_up(ledger.standings.read())
    assert value(registry, "genai_cost_usd_total") == USAGE_PUSD / 1e12
    assert value(registry, "genai_unpriced_calls_total", reason="no_price") == 1
    restarted, after = held_metrics_of(ledger)
    assert value(restarted, "genai_cost_usd_total") == USAGE_PUSD / 1e12
    after.committed(ledger.append([priced(book), priced(book)]), 0)
    assert value(restarted, "genai_cost_usd_total") == 3 * USAGE_PUSD / 1e12
    metric = {"metric": "genai_cost_usd_total"}
    assert restarted.get_sample_value("spanledger_above_ledger", metric) == USAGE_PUSD / 1e12
    assert [sums.cost_pusd for cell, sums in ledger.totals().items() if cell.price_status == "priced"] == [
        2 * USAGE_PUSD
    ]


def test_how_far_a_counter_is_held_is_kept_by_the_commit_that_would_let_it_fall(
    ledger: Ledger, book: PriceBook
) -> None:
    """A crash right after it must not look as if the counter had begun anew."""
    one_call: dict[str, Any] = {"response_id": "chatcmpl-B1x2y3z4w5v6u7", "outcome": "ok"}
    registry, metrics = held_metrics_of(ledger)
    nothing: dict[str, Any] = {"usage": Usage(), "usage_status": "unreported"}
    metrics.committed(ledger.append([priced(book, scope="one", **nothing, **one_call)]), 0)
    assert value(registry, "genai_unreported_calls_total", usage_status="unreported") == 1
    ledger.append([priced(book, scope="other", **one_call)])  # and nobody lives to tell the metrics
    restarted, _ = held_metrics_of(ledger)
    assert value(restarted, "genai_unreported_calls_total", usage_status="unreported") == 1


@pytest.mark.parametrize(
    ("first", "second", "kind", "held"),
    [
        (Usage(100, 20), Usage(100, 20, reasoning_tokens=15), "output_answer", 20),
        (Usage(100, 20), Usage(100, 20, cache_read_tokens=40), "input_uncached", 100),
    ],
)
def test_a_counter_is_held_where_a_second_report_tells_the_parts_of_a_total(
    ledger: Ledger, book: PriceBook, first: Usage, second: Usage, kind: str, held: int
) -> None:
    """No total falls then, but the tokens that are none of its parts do."""
    registry, metrics = held_metrics_of(ledger)
    one_call: dict[str, Any] = {"response_id": "chatcmpl-B1x2y3z4w5v6u7", "outcome": "ok"}
    mystery: dict[str, Any] = {"request_model": "mystery", "response_model": "mystery"}  # the cost stays unknown
    for scope, usage in (("one", first), ("other", second)):
        metrics.committed(ledger.append([priced(book, scope=scope, usage=usage, **one_call, **mystery)]), 0)
    assert value(registry, "genai_tokens_total", token_type=kind, model="mystery") == held
    restarted, _ = held_metrics_of(ledger)
    assert value(restarted, "genai_tokens_total", token_type=kind, model="mystery") == held


def held_metrics_of(ledger: Ledger) -> tuple[CollectorRegistry, LedgerMetrics]:
    registry = CollectorRegistry()
    totals, held = ledger.standings.read()
    made = LedgerMetrics(registry, totals, lambda: ledger.folded, held=held, hold=ledger.standings.hold)
    ledger.hold_by(made.falls)
    return registry, made


def ledger_entry_ids(ledger: Ledger) -> list[int]:
    with ledger._database.read() as connection:
        return list(connection.execute(text("SELECT entry_id FROM entries")).scalars())


def test_durations_are_observed_once_for_each_call(ledger: Ledger, spent: list[PricedRecord]) -> None:
    registry, metrics = metrics_of(ledger)
    metrics.committed(ledger.append(spent), 0.01)
    labels = {name: CALL[name] for name in ("provider", "model", "operation")}
    assert registry.get_sample_value("genai_call_duration_seconds_count", labels) == 4
    assert registry.get_sample_value("genai_call_duration_seconds_sum", labels) == 4
    assert registry.get_sample_value("genai_time_to_first_chunk_seconds_bucket", {**labels, "le": "0.32"}) == 4
    assert registry.get_sample_value("spanledger_commit_duration_seconds_count") == 1


def test_known_series_exist_before_anything_happens() -> None:
    registry = CollectorRegistry()
    IngestMetrics(registry)
    for result in ("accepted", "duplicate", "ignored", "rejected"):
        assert registry.get_sample_value("spanledger_spans_total", {"result": result}) == 0
