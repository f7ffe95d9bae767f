"""What spans say -> what we understand."""

import math

import pytest

from spanledger_exporter import dialects, otlp
from spanledger_exporter.records import Usage, UsageRecord
from tests.exporter.otlp_requests import CHAT, Value, body, span


def understand(attributes: dict[str, Value], *, failed: bool = False) -> dialects.Understood:
    batch = otlp.decode(body(span(attributes, failed=failed)), dialects.WANTED, dialects.WANTED_RESOURCE)
    return dialects.understand(batch.spans)


def record(attributes: dict[str, Value], *, failed: bool = False) -> UsageRecord:
    (found,) = understand(attributes, failed=failed).records
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
    assert (got.service, got.environment, got.provider, got.model) == (
        "shop",
        "test",
        "openai",
        "gpt-4o-mini-2024-07-18",
    )
    assert (got.stream, got.time_to_first_chunk_ns, got.http_status, got.outcome) == (True, 250_000_000, 200, "ok")
    assert (got.finish_reasons, got.usage_status, got.dialect) == ("stop", "reported", "otel")
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
        }
    )
    assert (got.provider, got.dialect) == ("azure.ai.openai", "otel_legacy")
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


@pytest.mark.parametrize("value", ["20", 20.0])
def test_figures_sent_as_texts_or_doubles_are_read(value: Value) -> None:
    assert record({**CHAT, "gen_ai.usage.output_tokens": value}).usage.output_tokens == 20


FOREIGN = {key: value for key, value in CHAT.items() if not key.startswith(("gen_ai.usage.", "spanledger."))}


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
    ],
)
def test_a_foreign_span_is_judged_by_its_figures(usage: dict[str, Value], failed: bool, status: str) -> None:
    assert record({**FOREIGN, **usage}, failed=failed).usage_status == status


def test_a_status_that_the_figures_contradict_is_not_believed() -> None:
    assert record({**CHAT, "spanledger.usage.status": "none"}).usage_status == "reported"
    assert record({**FOREIGN, "spanledger.usage.status": "reported"}).usage_status == "unreported"


def test_a_failed_call_names_its_error() -> None:
    assert record({**FOREIGN, "error.type": "rate_limit_exceeded"}).error_type == "rate_limit_exceeded"
    assert record(FOREIGN, failed=True).error_type == "_OTHER"
    assert record(FOREIGN, failed=True).outcome == "error"


def test_hostile_texts_are_bounded_and_cleaned() -> None:
    got = record(
        {
            **CHAT,
            "gen_ai.request.model": "x" * 10_000,
            "gen_ai.response.id": "a\x00b",
            "http.response.status_code": 10**9,
        }
    )
    assert len(got.request_model or "") == 512
    assert got.response_id == "ab"
    assert got.http_status is None
