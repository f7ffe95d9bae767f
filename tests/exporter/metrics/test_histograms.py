"""What a call adds to the histograms, and which call a bucket points to."""

import re
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import generate_latest as text
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics

from spanledger_exporter.ledger.cells import cell_of
from spanledger_exporter.metrics.histograms import CallMetrics
from spanledger_exporter.prices.price_book import PriceBook
from spanledger_exporter.records import PricedRecord, Usage
from tests.exporter.calls import USAGE_PUSD, priced
from tests.exporter.otlp_requests import END_NS

LABELS = {"provider": "openai", "model": "gpt-4o-mini-2024-07-18", "operation": "chat"}
SPEED, COST = "genai_output_tokens_per_second", "genai_call_cost_usd"


def observed(*calls: PricedRecord, label_sets_max: int = 10) -> CollectorRegistry:
    registry = CollectorRegistry()
    made = CallMetrics(registry, label_sets_max=label_sets_max)
    for call in calls:
        made.observe([call], [cell_of(call)])
    return registry


def value(registry: CollectorRegistry, name: str, **labels: str) -> float | None:
    return registry.get_sample_value(name, {**LABELS, **labels})


def test_the_speed_of_a_stream_is_what_came_after_its_first_chunk(book: PriceBook) -> None:
    """20 tokens in the 0.75 s that were left of a second."""
    registry = observed(priced(book))
    assert value(registry, f"{SPEED}_sum") == pytest.approx(20 / 0.75)
    assert value(registry, f"{SPEED}_bucket", le="20.0") == 0
    assert value(registry, f"{SPEED}_bucket", le="40.0") == 1


@pytest.mark.parametrize(
    "changes",
    [
        {"time_to_first_chunk_ns": None},
        {"time_to_first_chunk_ns": 10**9},
        {"time_to_first_chunk_ns": 2 * 10**9},
        {"start_ns": 0},
        {"usage": Usage(100, 0)},
        {"usage": Usage(100, None)},
        {"usage_status": "partial"},
    ],
)
def test_a_call_of_which_no_speed_is_known_adds_none(book: PriceBook, changes: dict[str, Any]) -> None:
    registry = observed(priced(book, **changes))
    assert value(registry, f"{SPEED}_count") is None


def test_a_histogram_that_is_new_is_empty_first(book: PriceBook) -> None:
    """Else nothing would see the first call of a model, of which there may be no other."""
    registry, clock = CollectorRegistry(), [100.0]
    made = CallMetrics(registry, hold_s=30, clock_s=lambda: clock[0])
    made.observe([priced(book)], [cell_of(priced(book))])
    assert value(registry, f"{COST}_count") == value(registry, f"{COST}_sum") == 0
    assert "trace_id" not in openmetrics(registry).decode()
    clock[0] += 30
    assert value(registry, f"{COST}_count") == 1
    assert value(registry, f"{COST}_sum") == pytest.approx(USAGE_PUSD / 1e12)
    made.observe([priced(book)], [cell_of(priced(book))])
    assert value(registry, f"{COST}_count") == 2


def test_the_cost_of_a_call_is_observed_where_it_has_a_price(book: PriceBook) -> None:
    unpriced = priced(book, usage=Usage(), usage_status="unreported")
    free = priced(book, operation="moderation", usage=Usage(), usage_status="unreported")
    registry = observed(priced(book), unpriced, free)
    assert free.price.status == "free"
    assert value(registry, f"{COST}_count") == 1
    assert value(registry, f"{COST}_sum") == USAGE_PUSD / 1e12
    below, above = "1e-05", "3.16e-05"
    assert 1e-5 < USAGE_PUSD / 1e12 < 3.16e-5
    assert [value(registry, f"{COST}_bucket", le=le) for le in (below, above, "+Inf")] == [0, 1, 1]


def exemplars(registry: CollectorRegistry) -> dict[str, tuple[str, float, float]]:
    """Each bucket of the durations that has an exemplar: its trace, value and time."""
    found = re.findall(
        r'^genai_call_duration_seconds_bucket\{le="([^"]+)".*# \{trace_id="([0-9a-f]{32})"\} (\S+) (\S+)$',
        openmetrics(registry).decode(),
        flags=re.MULTILINE,
    )
    return {le: (trace, float(shown), float(at)) for le, trace, shown, at in found}


def test_each_bucket_points_to_the_newest_call_that_fell_into_it(book: PriceBook) -> None:
    slow, quick, newest, late = (
        priced(book, start_ns=END_NS + at - ns, end_ns=END_NS + at)
        for ns, at in ((10**9, 0), (5 * 10**6, 10**9), (10**9, 2 * 10**9), (10**9, 10**9))
    )
    shown = exemplars(observed(slow, quick, newest, late))
    assert shown == {
        "0.01": (quick.record.trace_id.hex(), 0.005, END_NS / 1e9 + 1),
        "1.28": (newest.record.trace_id.hex(), 1.0, END_NS / 1e9 + 2),
    }


def test_prometheus_text_has_no_exemplars(book: PriceBook) -> None:
    assert b"trace_id" not in text(observed(priced(book)))


def test_too_many_models_share_one_set_of_labels_and_are_counted(book: PriceBook) -> None:
    calls = [priced(book, request_model=name, response_model=name) for name in ("a", "b", "c", "d", "d")]
    registry = observed(*calls, label_sets_max=2)
    shared = {"provider": "__other__", "model": "__other__"}
    assert value(registry, "genai_call_duration_seconds_count", model="b") == 1
    assert value(registry, "genai_call_duration_seconds_count", **shared) == 3
    assert registry.get_sample_value("spanledger_folded_observations_total") == 3
