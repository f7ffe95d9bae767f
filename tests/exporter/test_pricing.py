"""Exact prices: the field's ten recurring mistakes, and equality with genai-prices on every model that it knows.

The expected amounts are products of the list prices that genai-prices 0.2.3 gives for the model, written out.
"""

from datetime import UTC, datetime
from decimal import Decimal
from functools import cache
from typing import Any

import pytest
from genai_prices import calc_price
from genai_prices.data import providers
from genai_prices.types import Usage as GenaiUsage
from hypothesis import given, settings
from hypothesis import strategies as st

from spanledger_exporter.money import usd_text
from spanledger_exporter.prices import NoQuote, PriceBook, Quote
from spanledger_exporter.pricing import lines, price
from spanledger_exporter.records import Price, Usage, UsageRecord
from tests.exporter.calls import record

AT = datetime(2026, 11, 18, 12, tzinfo=UTC)


def call(provider: str, model: str, usage: Usage, *, at: datetime = AT, **changes: Any) -> UsageRecord:
    names = {"provider": provider, "request_model": model, "response_model": None}
    return record(**names, usage=usage, end_ns=int(at.timestamp()) * 10**9)._replace(**changes)


def usd(found: Price) -> str | None:
    return None if found.cost_pusd is None else usd_text(found.cost_pusd)


@pytest.mark.parametrize(
    ("what", "provider", "model", "usage", "expected"),
    [
        ("cached input is part of input", "openai", "gpt-4o", Usage(1000, 100, cache_read_tokens=800), "0.0025"),
        ("reasoning is part of output", "openai", "gpt-5", Usage(1000, 2000, reasoning_tokens=1500), "0.02125"),
        ("at the context threshold, the base rate", "openai", "gpt-5.4", Usage(272_000, 0), "0.68"),
        ("past it, the whole call at the higher rate", "openai", "gpt-5.4", Usage(272_001, 0), "1.360005"),
        ("cached tokens step too", "openai", "gpt-5.4", Usage(300_000, 0, cache_read_tokens=280_000), "0.24"),
        (
            "1-hour writes have their own rate",
            "anthropic", "claude-haiku-4-5",
            Usage(10**6, 0, cache_write_tokens=10**6, cache_write_5m_tokens=600_000, cache_write_1h_tokens=400_000),
            "1.55",
        ),
        (
            "reads and writes leave the uncached rest",
            "anthropic", "claude-haiku-4-5",
            Usage(10_000, 500, cache_read_tokens=6_000, cache_write_tokens=3_000),
            "0.00785",
        ),
        ("nine tokens in and two out are not zero", "openai", "gpt-4o-mini", Usage(9, 2), "0.00000255"),
        ("embeddings have no output", "openai", "text-embedding-3-small", Usage(1000), "0.00002"),
        ("searches cost on top", "anthropic", "claude-haiku-4-5", Usage(1000, 0, web_search_requests=3), "0.031"),
    ],
)  # fmt: skip
def test_known_amounts(book: PriceBook, what: str, provider: str, model: str, usage: Usage, expected: str) -> None:
    assert usd(price(call(provider, model, usage), book)) == expected, what


def test_the_served_tier_decides(book: PriceBook) -> None:
    flex = price(call("openai", "gpt-5", Usage(1_000_000, 0), service_tier="flex"), book)
    assert (usd(flex), flex.context) == ("0.625", "service_tier=flex")
    priority = price(call("openai", "gpt-4.1", Usage(1_000_000, 0), service_tier="priority"), book)
    assert usd(priority) == "3.5"
    batch = price(call("anthropic", "claude-haiku-4-5", Usage(1_000_000, 0), service_tier="batch"), book)
    assert usd(batch) == "0.5"


@pytest.mark.parametrize("tier", ["default", "standard", "auto", None])
def test_standard_tiers_have_the_standard_price(book: PriceBook, tier: str | None) -> None:
    assert usd(price(call("openai", "gpt-5", Usage(1_000_000, 0), service_tier=tier), book)) == "1.25"


def test_the_price_is_that_of_the_day_of_the_call(book: PriceBook) -> None:
    before = call("openai", "o3", Usage(1_000_000, 0), at=datetime(2025, 6, 1, tzinfo=UTC))
    after = call("openai", "o3", Usage(1_000_000, 0), at=datetime(2025, 7, 1, tzinfo=UTC))
    assert (usd(price(before, book)), usd(price(after, book))) == ("10", "2")


def test_the_model_that_answered_decides(book: PriceBook) -> None:
    found = price(call("openai", "my-alias", Usage(1_000_000, 0), response_model="gpt-4o-mini-2024-07-18"), book)
    assert (usd(found), found.model, found.match) == ("0.15", "openai/gpt-4o-mini", "response:rule")


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"provider": "unheard-of"}, "unknown_provider"),
        ({"provider": None}, "unknown_provider"),
        ({"request_model": "gpt-99-omega"}, "unknown_model"),
        ({"request_model": None}, "unknown_model"),
        ({"service_tier": "scale"}, "unknown_tier"),
        ({"speed": "fast"}, "unknown_tier"),
        ({"inference_geo": "us"}, "unknown_tier"),
        ({"usage": Usage(10, 0, cache_read_tokens=11)}, "inconsistent_usage"),
        ({"usage": Usage(10, 0, cache_read_tokens=6, cache_write_tokens=6)}, "inconsistent_usage"),
        ({"usage": Usage(10, 5, reasoning_tokens=6)}, "inconsistent_usage"),
        ({"usage": Usage(cache_read_tokens=6, output_tokens=1)}, "inconsistent_usage"),
        ({"usage": Usage(), "usage_status": "unreported"}, "unreported_usage"),
        ({"usage": Usage(10**12, 10**12), "request_model": "gpt-4-32k"}, "out_of_range"),
    ],
)
def test_what_is_unknown_is_unpriced_with_a_reason_and_never_zero(
    book: PriceBook, changes: dict[str, Any], reason: str
) -> None:
    found = price(call("openai", "gpt-4o-mini", Usage(10, 5))._replace(**changes), book)
    assert (found.status, found.cost_pusd, found.reason) == ("unpriced", None, reason)
    assert found.detail


def test_a_model_listed_without_a_price_is_unpriced(book: PriceBook) -> None:
    found = price(call("cerebras", "qwen-3-coder-480b", Usage(1000, 10)), book)
    assert (found.status, found.reason) == ("unpriced", "no_price")


def test_output_of_a_model_without_an_output_price_is_unpriced(book: PriceBook) -> None:
    found = price(call("openai", "text-embedding-3-small", Usage(10, 5)), book)
    assert (found.status, found.reason) == ("unpriced", "no_unit_price")


def test_free_is_what_the_book_says_is_free(book: PriceBook) -> None:
    found = price(call("openrouter", "deepseek/deepseek-r1:free", Usage(1000, 10)), book)
    assert (found.status, found.cost_pusd) == ("free", 0)


def test_a_failed_call_has_nothing_to_price(book: PriceBook) -> None:
    failed = call("openai", "gpt-4o", Usage(), outcome="error", usage_status="none")
    assert price(failed, book) == Price("none", None)


def test_a_partial_answer_costs_what_is_known_of_it(book: PriceBook) -> None:
    assert usd(price(call("openai", "gpt-4o-mini", Usage(9), usage_status="partial"), book)) == "0.00000135"


@pytest.mark.parametrize(
    "name", ["models/gemini-2.5-flash", "publishers/google/models/gemini-2.5-flash", "gemini-2.5-flash"]
)
def test_google_names_are_found_with_or_without_their_path(book: PriceBook, name: str) -> None:
    assert price(call("gcp.vertex_ai", name, Usage(10, 1)), book).model == "google/gemini-2.5-flash"


def test_a_book_has_the_same_id_and_prices_after_a_round_trip(book: PriceBook) -> None:
    import json

    again = PriceBook(json.loads(book.content))
    assert again.book_id == book.book_id
    made = call("openai", "gpt-5", Usage(1000, 100))
    assert price(made, again) == price(made, book)


@cache
def models() -> list[tuple[str, str]]:
    return [(provider.id, model.id) for provider in providers for model in provider.models]


def genai_prices_usd(provider: str, model: str, usage: Usage, at: datetime) -> Decimal | None:
    reported = {
        "input_tokens": usage.input_tokens, "output_tokens": usage.output_tokens,
        "cache_read_tokens": usage.cache_read_tokens, "cache_write_tokens": usage.cache_write_tokens,
        "cache_write_1h_tokens": usage.cache_write_1h_tokens, "output_reasoning_tokens": usage.reasoning_tokens,
    }  # fmt: skip
    try:
        found = calc_price(GenaiUsage(**reported), model, provider_id=provider, genai_request_timestamp=at)
    except LookupError:
        return None
    return found.total_price


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    total = draw(st.sampled_from([0, 1, 999, 199_999, 200_000, 200_001, 272_000, 300_000, 1_500_000]))
    read = draw(st.integers(0, total))
    write = draw(st.integers(0, total - read))
    output = draw(st.integers(0, 100_000))
    return Usage(
        total, output, cache_read_tokens=read, cache_write_tokens=write,
        cache_write_1h_tokens=draw(st.integers(0, write)), reasoning_tokens=draw(st.integers(0, output)),
    )  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(usage=usages(), hour=st.integers(0, 23), year=st.sampled_from([2024, 2025, 2026]), offset=st.integers(0, 22))
def test_every_price_equals_that_of_genai_prices(
    book: PriceBook, usage: Usage, hour: int, year: int, offset: int
) -> None:
    """On the standard tier: every 23rd model from a drawn offset, so that many examples together see them all."""
    at = datetime(year, 11, 18, hour, tzinfo=UTC)
    for provider, model in models()[offset::23]:
        found = book.quote(provider, (("response", model),), (), at)
        expected = genai_prices_usd(provider, model, usage, at)
        if isinstance(found, NoQuote):
            assert (expected is None) == (found.reason == "unknown_model"), (provider, model)
            assert expected in {None, 0}, (provider, model)
        else:
            assert_equal(found, usage, expected)


def assert_equal(found: Quote, usage: Usage, expected: Decimal | None) -> None:
    charged = lines(found, usage)
    if isinstance(charged, NoQuote):
        assert charged.reason == "no_unit_price", charged  # deliberate: genai-prices drops the unit silently
        return
    assert expected is not None, found.model
    # Rates with more than twelve decimals are rounded half to even once a line; all others are exact.
    rounded = sum(line.rate_pusd.denominator != 1 for line in charged)
    assert abs(sum(line.cost_pusd for line in charged) - expected.scaleb(12)) <= Decimal(rounded) / 2, found.model
