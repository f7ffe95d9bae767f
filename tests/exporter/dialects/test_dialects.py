"""What spans say -> what we understand."""

import math
from collections.abc import Mapping

import pytest

from spanledger_exporter import dialects
from spanledger_exporter.dialects.names import USAGE
from spanledger_exporter.receiving import otlp
from spanledger_exporter.records import Usage, UsageRecord
from tests.exporter.otlp_requests import CHAT, Value, request, span


def understand(
    attributes: Mapping[str, Value], *, failed: bool = False, scope: str = "spanledger"
) -> dialects.Understood:
    sent = request(span(attributes, failed=failed), scope=scope).SerializeToString()
    batch = otlp.decode(sent, dialects.RESOURCE_ATTRIBUTES)
    return dialects.understand(batch.spans)


def record(attributes: dict[str, Value], *, failed: bool = False, scope: str = "spanledger") -> UsageRecord:
    (found,) = understand(attributes, failed=failed, scope=scope).records
    return found


def test_our_own_span_is_understood_in_full() -> None:
    got = record(
        {
            **CHAT,
            "gen_ai.request.stream": True,
            "gen_ai.response.time_to_first_chunk": 0.25,
            "http.response.status_code": 200,
        }
    )
    assert (got.profile.service, got.profile.environment, got.profile.provider, got.profile.model) == (
        "shop",
        "test",
        "openai",
        "gpt-4o-mini-2024-07-18",
    )
    assert (got.profile.stream, got.time_to_first_chunk_ns, got.profile.http_status, got.profile.outcome) == (
        True,
        250_000_000,
        200,
        "ok",
    )
    assert (got.profile.finish_reasons, got.usage_status, got.profile.dialect) == ("stop", "reported", "spanledger")
    assert got.usage == Usage(input_tokens=100, output_tokens=20, cache_read_tokens=40)


@pytest.mark.parametrize(
    "operation", ["invoke_agent", "execute_tool", "fetch_response", "invoke_workflow", "create_agent", "unheard_of"]
)
def test_spans_that_repeat_or_make_no_calls_are_ignored(operation: str) -> None:
    got = understand({**CHAT, "gen_ai.operation.name": operation})
    assert (got.records, got.ignored) == ([], 1)


def test_older_names_are_understood() -> None:
    got = record(
        {
            "gen_ai.operation.name": "chat",
            "gen_ai.system": "az.ai.openai",
            "gen_ai.request.model": "gpt-4o",
            "gen_ai.usage.prompt_tokens": 5,
            "gen_ai.usage.completion_tokens": 7,
            "gen_ai.usage.cache_creation.input_tokens": 1,
        },
        scope="somebody's",
    )
    assert (got.profile.provider, got.profile.dialect) == ("azure.ai.openai", "otel_legacy")
    assert got.usage == Usage(input_tokens=5, output_tokens=7, cache_write_tokens=1)


def test_a_cache_write_known_only_by_its_ttls_is_their_sum() -> None:
    ttl = "anthropic.usage.cache_creation.ephemeral_{}_input_tokens"
    usage = record({**CHAT, ttl.format("5m"): 3, ttl.format("1h"): 4}).usage
    assert (usage.cache_write_tokens, usage.cache_write_5m_tokens, usage.cache_write_1h_tokens) == (7, 3, 4)


def test_absent_is_unknown_and_zero_is_zero() -> None:
    usage = record({**CHAT, "gen_ai.usage.cache_read.input_tokens": 0}).usage
    assert usage.cache_read_tokens == 0
    assert usage.reasoning_tokens is None


@pytest.mark.parametrize("value", [-1, math.nan, math.inf, 1.5, "many", "-3", 10**13, True, ""])
def test_figures_that_cannot_be_counts_are_refused_and_counted(value: Value) -> None:
    got = understand({**CHAT, "gen_ai.usage.output_tokens": value})
    assert got.records[0].usage.output_tokens is None
    assert got.refused_figures == 1
    assert got.records[0].usage_status == "partial"


FOREIGN = {key: value for key, value in CHAT.items() if not key.startswith(("gen_ai.usage.", "spanledger."))}
CLASSES = {
    attribute: name
    for name, attributes in USAGE.items()
    for attribute in attributes
    if name not in {"input_tokens", "output_tokens", "input_audio_ms"}
}


@pytest.mark.parametrize(("attribute", "name"), CLASSES.items())
def test_every_class_is_read_and_refused_where_it_is_no_count(attribute: str, name: str) -> None:
    assert getattr(record({**FOREIGN, attribute: 7}).usage, name) == 7
    refused = understand({**FOREIGN, attribute: -7})
    assert (getattr(refused.records[0].usage, name), refused.refused_figures) == (None, 1)


@pytest.mark.parametrize(
    ("seconds", "expected"), [(9, 9000), (9.4, 9400), ("8.47", 8470), (8.4700002670288, 8470), (0.0005, 0), (0.0015, 2)]
)
def test_seconds_are_whole_milliseconds(seconds: Value, expected: int) -> None:
    assert record({**CHAT, "spanledger.usage.input_audio_seconds": seconds}).usage.input_audio_ms == expected


@pytest.mark.parametrize("value", [-0.5, math.nan, math.inf, "soon", "1e999999999", "1" * 50, True, 10**10])
def test_seconds_that_cannot_be_are_refused_and_counted(value: Value) -> None:
    got = understand({**CHAT, "spanledger.usage.input_audio_seconds": value})
    assert (got.records[0].usage.input_audio_ms, got.refused_figures) == (None, 1)


COST = {"gen_ai.usage.cost.currency": "USD", "gen_ai.usage.cost.source": "provider"}


@pytest.mark.parametrize(
    ("amount", "expected"),
    [(0.00014, 140_000_000), (0, 0), ("0.1", 10**11), (1e-12, 1), (2.5e-12, 2), (9_000_000, 9 * 10**18)],
)
def test_the_provider_s_own_cost_is_read_to_the_pico_dollar(amount: Value, expected: int) -> None:
    got = record({**CHAT, **COST, "gen_ai.usage.cost.amount": amount})
    assert (got.provider_cost_pusd, got.usage_status) == (expected, "reported")


@pytest.mark.parametrize(
    "cost",
    [
        {**COST, "gen_ai.usage.cost.amount": -0.1},
        {**COST, "gen_ai.usage.cost.amount": math.nan},
        {**COST, "gen_ai.usage.cost.amount": math.inf},
        {**COST, "gen_ai.usage.cost.amount": 1e7},
        {**COST, "gen_ai.usage.cost.amount": "a lot"},
        {**COST, "gen_ai.usage.cost.amount": True},
        {**COST, "gen_ai.usage.cost.amount": 0.1, "gen_ai.usage.cost.currency": "EUR"},
        {"gen_ai.usage.cost.amount": 0.1},
    ],
)
def test_a_cost_that_cannot_be_or_is_not_in_usd_is_refused_and_harms_no_other_figure(cost: dict[str, Value]) -> None:
    got = understand({**CHAT, **cost})
    assert (got.records[0].provider_cost_pusd, got.refused_figures) == (None, 1)
    assert got.records[0].usage_status == "reported"


def test_a_cost_that_the_sender_computed_is_not_the_provider_s() -> None:
    local = {**COST, "gen_ai.usage.cost.amount": 0.1, "gen_ai.usage.cost.source": "local"}
    got = understand({**CHAT, **local})
    assert (got.records[0].provider_cost_pusd, got.refused_figures) == (None, 0)


def test_pages_of_a_request_that_has_them_annotated_are_annotated_pages() -> None:
    pages = {**FOREIGN, "gen_ai.operation.name": "ocr", "spanledger.usage.pages": 3}
    assert record(pages).usage == Usage(pages=3)
    assert record({**pages, "spanledger.request.annotated": True}).usage == Usage(pages=3, annotated_pages=3)


def test_a_batch_without_figures_has_no_usage() -> None:
    """How many requests it had says nothing of what they used."""
    got = record({**FOREIGN, "spanledger.batch.requests": 12})
    assert (got.usage, got.usage_status) == (Usage(requests=12), "unreported")


def test_an_estimate_is_kept_and_is_no_report() -> None:
    estimate = {"spanledger.estimate.output_tokens": 40, "spanledger.usage.status": "unreported"}
    got = record({**FOREIGN, **estimate})
    assert (got.usage, got.usage_status) == (Usage(estimated_output_tokens=40), "unreported")


@pytest.mark.parametrize("owner", ["openai", "anthropic", "spanledger"])
def test_the_served_tier_is_read_whoever_says_it(owner: str) -> None:
    assert record({**CHAT, f"{owner}.response.service_tier": "batch"}).profile.service_tier == "batch"


@pytest.mark.parametrize("value", ["20", 20.0])
def test_figures_sent_as_texts_or_doubles_are_read(value: Value) -> None:
    assert record({**CHAT, "gen_ai.usage.output_tokens": value}).usage.output_tokens == 20


@pytest.mark.parametrize(
    ("usage", "failed", "status"),
    [
        ({"gen_ai.usage.input_tokens": 1, "gen_ai.usage.output_tokens": 2}, False, "reported"),
        ({"gen_ai.usage.input_tokens": 1}, False, "partial"),
        ({"gen_ai.usage.input_tokens": 1, "gen_ai.usage.output_tokens": 2}, True, "partial"),
        ({}, False, "unreported"),
        ({}, True, "unreported"),
        ({"error.type": "CancelledError"}, True, "unreported"),
        ({"error.type": "504"}, True, "unreported"),
        ({"error.type": "openai.RateLimitError"}, True, "none"),
        ({"error.type": "429"}, True, "none"),
        ({"error.type": "whatever", "http.response.status_code": 500}, True, "none"),
        ({"gen_ai.usage.input_tokens": 1, "gen_ai.operation.name": "embeddings"}, False, "reported"),
        ({"gen_ai.usage.input_tokens": 1, "gen_ai.operation.name": "rerank"}, False, "reported"),
        ({"spanledger.usage.pages": 3, "gen_ai.operation.name": "ocr"}, False, "reported"),
        ({"spanledger.usage.search_units": 1, "gen_ai.operation.name": "rerank"}, False, "reported"),
        ({"spanledger.usage.input_audio_seconds": 9.5, "gen_ai.operation.name": "transcription"}, False, "reported"),
        ({"spanledger.usage.input_characters": 40, "gen_ai.operation.name": "speech"}, False, "reported"),
        ({"spanledger.usage.output_images": 1, "gen_ai.operation.name": "image_generation"}, False, "reported"),
        ({"spanledger.usage.output_images": 1, "gen_ai.operation.name": "image_generation"}, True, "partial"),
        ({**COST, "gen_ai.usage.cost.amount": 0.1}, False, "partial"),
    ],
)
def test_a_foreign_span_is_judged_by_its_figures(usage: dict[str, Value], failed: bool, status: str) -> None:
    assert record({**FOREIGN, **usage}, failed=failed).usage_status == status


def test_a_status_that_the_figures_contradict_is_not_believed() -> None:
    assert record({**CHAT, "spanledger.usage.status": "none"}).usage_status == "reported"
    assert record({**FOREIGN, "spanledger.usage.status": "reported"}).usage_status == "unreported"


@pytest.mark.parametrize("figure", [{"spanledger.usage.pages": 3}, {**COST, "gen_ai.usage.cost.amount": 0.1}])
def test_a_call_without_tokens_is_reported_if_it_says_so_and_has_another_figure(figure: dict[str, Value]) -> None:
    assert record({**FOREIGN, **figure, "spanledger.usage.status": "reported"}).usage_status == "reported"


def test_a_failed_call_names_its_error() -> None:
    assert record({**FOREIGN, "error.type": "rate_limit_exceeded"}).profile.error_type == "rate_limit_exceeded"
    assert record(FOREIGN, failed=True).profile.error_type == "_OTHER"
    assert record(FOREIGN, failed=True).profile.outcome == "error"


def test_hostile_texts_are_bounded_and_cleaned() -> None:
    got = record(
        {
            **CHAT,
            "gen_ai.request.model": "x" * 10_000,
            "gen_ai.response.id": "a\x00b",
            "http.response.status_code": 10**9,
        }
    )
    assert len(got.profile.request_model or "") == 512
    assert got.response_id == "ab"
    assert got.profile.http_status is None


@pytest.mark.parametrize("scope", ["spanledger", "com.anthropic.sdk", "opentelemetry.instrumentation.openai_v2"])
def test_the_leases_of_a_call_are_read_on_whichever_span_they_stand(scope: str) -> None:
    assert record({**CHAT, "spanledger.budget.leases": ["a1", "b-2", "a1"]}, scope=scope).leases == ("a1", "b-2")


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("a1", ()),
        (7, ()),
        ([], ()),
        (["", "a b", "x" * 65, "a'b", "a\0", "\u00e9", "ok_1"], ("ok_1",)),
        ([f"id{number}" for number in range(200)], tuple(f"id{number}" for number in range(64))),
    ],
)
def test_what_can_be_no_lease_is_left_out_and_refuses_nothing(value: Value, expected: tuple[str, ...]) -> None:
    understood = understand({**CHAT, "spanledger.budget.leases": value})
    assert (understood.records[0].leases, understood.refused, understood.unreadable) == (expected, {}, 0)
