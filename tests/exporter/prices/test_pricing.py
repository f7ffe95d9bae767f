"""Exact prices: the field's ten recurring mistakes, tiers, places, and what is unknown.

The expected amounts are products of the list prices that genai-prices 0.2.3 gives for the model, written out.
"""

from datetime import UTC, datetime
from fractions import Fraction
from typing import Any

import pytest

from spanledger_exporter.money import usd_text
from spanledger_exporter.prices.lines import Line, split_of
from spanledger_exporter.prices.price_book import PriceBook
from spanledger_exporter.prices.pricing import price
from spanledger_exporter.prices.rates import Rate
from spanledger_exporter.records import NO_COST, Price, Usage, UsageRecord
from tests.exporter.calls import record

AT = datetime(2026, 11, 18, 12, tzinfo=UTC)


def call(provider: str, model: str, usage: Usage, /, *, at: datetime = AT, **changes: Any) -> UsageRecord:
    said = {"provider": provider, "request_model": model, "response_model": None, "usage": usage}
    return record(**(said | changes), end_ns=int(at.timestamp()) * 10**9)


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
            "two fifths of a long prompt written for an hour",
            "anthropic", "claude-opus-4-5",
            Usage(10**6, 0, cache_write_tokens=10**6, cache_write_5m_tokens=600_000, cache_write_1h_tokens=400_000),
            "7.75",
        ),
        ("an inclusive threshold is exceeded at itself", "x_ai", "grok-4.7", Usage(200_000, 0), "0.8"),
        ("and not one token before", "x_ai", "grok-4.7", Usage(199_999, 0), "0.399998"),
        (
            "cached tokens of a long prompt cost more, too",
            "gcp.gemini", "gemini-2.5-pro", Usage(262_960, 1_744, cache_read_tokens=257_955), "0.10316125",
        ),
        ("thoughts are output", "gcp.gemini", "gemini-2.5-pro", Usage(1_000, 8_500, reasoning_tokens=8_000), "0.08625"),
        (
            "reads and writes leave the uncached rest",
            "anthropic", "claude-haiku-4-5",
            Usage(10_000, 500, cache_read_tokens=6_000, cache_write_tokens=3_000),
            "0.00785",
        ),
        ("nine tokens in and two out are not zero", "openai", "gpt-4o-mini", Usage(9, 2), "0.00000255"),
        ("embeddings have no output", "openai", "text-embedding-3-small", Usage(1000), "0.00002"),
        ("searches cost on top", "anthropic", "claude-haiku-4-5", Usage(1000, 0, web_search_requests=3), "0.031"),
        ("the request fee pays for searches", "perplexity", "sonar", Usage(0, 0, web_search_requests=2), "0.012"),
        ("audio by the hour", "groq", "whisper-large-v3", Usage(input_audio_ms=9_400), "0.000289833333"),
        ("audio by the hour, with tokens that cost nothing", "mistral", "voxtral-mini-2602",
         Usage(375, 40, input_audio_tokens=375, input_audio_ms=3_600_000), "0.18"),
        ("audio by the hour beside text by the token", "mistral", "voxtral-small-24b-2507",
         Usage(1_375, 100, input_audio_tokens=375, input_audio_ms=60_000), "0.00414"),
        ("audio by the token", "openai", "gpt-4o-transcribe", Usage(1000, 100, input_audio_tokens=900), "0.00665"),
        ("speech by the character", "openai", "tts-1", Usage(input_characters=2000), "0.03"),
        ("OCR by the page", "mistral", "mistral-ocr-2505", Usage(pages=3), "0.003"),
        ("annotated pages cost more", "mistral", "mistral-ocr-2505", Usage(pages=3, annotated_pages=3), "0.009"),
        ("images in and out by the token", "openai", "gpt-image-1",
         Usage(150, 1056, input_text_tokens=50, input_image_tokens=100, output_image_tokens=1056, output_images=1),
         "0.04349"),
        ("cached audio has its own rate", "google", "gemini-2.5-flash",
         Usage(1000, 0, cache_read_tokens=500, input_audio_tokens=400, cache_read_audio_tokens=300), "0.000256"),
        ("video is input where it has no rate", "google", "gemini-2.5-flash", Usage(1000, 0, input_video_tokens=700),
         "0.0003"),
        ("video at its rate", "google", "gemini-embedding-2", Usage(1000, input_video_tokens=700), "0.00846"),
        ("output images at their rate", "google", "gemini-2.5-flash-image",
         Usage(10, 1290, output_image_tokens=1290), "0.038703"),
    ],
)  # fmt: skip
def test_known_amounts(book: PriceBook, what: str, provider: str, model: str, usage: Usage, expected: str) -> None:
    assert usd(price(call(provider, model, usage), book)) == expected, what


@pytest.mark.parametrize(
    ("provider", "model", "usage", "batch"),
    [
        ("openai", "gpt-5-mini", Usage(10**6, 10**6, cache_read_tokens=10**6), "1.0125"),
        ("anthropic", "claude-haiku-4-5", Usage(10**6, 10**6, cache_write_tokens=10**6), "3.125"),
        ("gcp.gemini", "gemini-2.5-flash", Usage(10**6, 10**6), "1.4"),
        ("groq", "whisper-large-v3", Usage(input_audio_ms=3_600_000), "0.0555"),
    ],
)
def test_batches_cost_what_the_book_says(book: PriceBook, provider: str, model: str, usage: Usage, batch: str) -> None:
    found = price(call(provider, model, usage, service_tier="batch"), book)
    assert (usd(found), found.context) == (batch, "processing=batch")


@pytest.mark.parametrize(
    ("provider", "model"), [("deepseek", "deepseek-chat"), ("aws.bedrock", "amazon.nova-pro-v1:0"), ("x_ai", "grok-3")]
)
def test_a_batch_of_a_model_without_batch_prices_is_unpriced(book: PriceBook, provider: str, model: str) -> None:
    found = price(call(provider, model, Usage(10, 1), service_tier="batch"), book)
    assert (found.status, found.reason) == ("unpriced", "unknown_tier")


def test_a_batch_of_many_short_requests_is_no_long_one(book: PriceBook) -> None:
    """Gemini 2.5 Pro costs twice as much beyond 200,000 tokens of input."""
    sum_of_all = Usage(1_000_000, 0, requests=10, request_input_tokens_max=100_000)
    one = sum_of_all._replace(requests=4, request_input_tokens_max=250_000)
    short, long = (price(call("google", "gemini-2.5-pro", usage), book) for usage in (sum_of_all, one))
    assert (usd(short), usd(long)) == ("1.25", "2.5")


def test_a_fee_for_each_request_is_paid_for_all_of_a_batch(book: PriceBook) -> None:
    once, often = (price(call("perplexity", "sonar", Usage(0, 0, requests=count)), book) for count in (None, 10))
    assert once.cost_pusd is not None
    assert often.cost_pusd == 10 * once.cost_pusd > 0


@pytest.mark.parametrize(
    ("tier", "expected"),
    [("ON_DEMAND", "0.5"), ("unspecified", "0.5"), ("ON_DEMAND_FLEX", "0.25"), ("flex", "0.25"), ("priority", "0.9")],
)
def test_google_s_tiers_under_either_name(book: PriceBook, tier: str, expected: str) -> None:
    speech = call("gcp.vertex_ai", "gemini-3.8-flash-tts", Usage(1_000_000, 0), service_tier=tier)
    assert usd(price(speech, book)) == expected


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


def test_a_retired_model_keeps_its_price(book: PriceBook) -> None:
    retired = call("anthropic", "claude-3-7-sonnet-20250219", Usage(10**6, 0), at=datetime(2026, 1, 1, tzinfo=UTC))
    assert usd(price(retired, book)) == "3"


@pytest.mark.parametrize(
    ("provider", "model", "place", "usage", "expected", "context"),
    [
        ("anthropic", "claude-opus-4-6", {"inference_geo": "us"}, Usage(10**5, 10**5), "3.3", "inference_geo=us"),
        ("anthropic", "claude-opus-4-6", {"inference_geo": "global"}, Usage(10**5, 10**5), "3", None),
        ("anthropic", "claude-haiku-4-5", {"inference_geo": "us"}, Usage(1000, 0, web_search_requests=3), "0.0311",
         "inference_geo=us"),
        ("openai", "gpt-5.4", {"server_address": "eu.api.openai.com"}, Usage(10**5, 0), "0.275",
         "server=eu.api.openai.com"),
        ("openai", "gpt-4o", {"server_address": "eu.api.openai.com"}, Usage(10**5, 0), "0.25", None),
        ("openai", "gpt-5.4", {"server_address": "api.openai.com"}, Usage(10**5, 0), "0.25", None),
        ("x_ai", "grok-4", {"server_address": "us.api.x.ai"}, Usage(10**5, 0), "0.33", "server=us.api.x.ai"),
        ("gcp.vertex_ai", "claude-haiku-4-5", {"server_address": "us-east5-aiplatform.googleapis.com"},
         Usage(10**5, 0), "0.11", "server=us-east5-aiplatform.googleapis.com"),
        ("gcp.vertex_ai", "claude-haiku-4-5", {"server_address": "aiplatform.googleapis.com"}, Usage(10**5, 0), "0.1",
         None),
        ("gcp.vertex_ai", "gemini-2.5-flash", {"server_address": "us-central1-aiplatform.googleapis.com"},
         Usage(10**5, 0), "0.03", None),
    ],
)  # fmt: skip
def test_the_place_that_served_a_call_can_cost_more(
    book: PriceBook, provider: str, model: str, place: dict[str, str], usage: Usage, expected: str, context: str | None
) -> None:
    """On tokens alone: a search costs the same everywhere."""
    found = price(call(provider, model, usage, **place), book)
    assert (usd(found), found.context) == (expected, context)


def test_figures_that_can_be_read_in_two_ways_have_a_price_only_if_both_cost_the_same(book: PriceBook) -> None:
    ambiguous = {"ambiguity": "cache_in_input"}
    cached = price(call("openai", "gpt-4o", Usage(1000, 10, cache_read_tokens=800), **ambiguous), book)
    assert (cached.status, cached.reason) == ("unpriced", "ambiguous_usage")
    assert cached.detail == ("0.0016 USD if the input tokens include the cached ones, 0.0036 USD if they do not")
    either = price(call("openai", "gpt-4o", Usage(1000, 10, cache_read_tokens=0), **ambiguous), book)
    assert usd(either) == "0.0026"
    more_cached = price(call("openai", "gpt-4o", Usage(10, 10, cache_read_tokens=800), **ambiguous), book)
    assert (more_cached.reason, "no USD if" in (more_cached.detail or "")) == ("ambiguous_usage", True)


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
        ({"service_tier": "PROVISIONED_THROUGHPUT"}, "unknown_tier"),
        ({"speed": "fast"}, "unknown_tier"),
        ({"inference_geo": "us"}, "unknown_tier"),
        ({"server_address": "eu.api.openai.com", "request_model": "babbage-002"}, "unknown_tier"),
        ({"usage": Usage(10, 0, cache_read_tokens=11)}, "inconsistent_usage"),
        ({"usage": Usage(10, 0, cache_read_tokens=6, cache_write_tokens=6)}, "inconsistent_usage"),
        ({"usage": Usage(10, 5, reasoning_tokens=6)}, "inconsistent_usage"),
        ({"usage": Usage(cache_read_tokens=6, output_tokens=1)}, "inconsistent_usage"),
        ({"usage": Usage(9, 1, input_text_tokens=5, input_video_tokens=5)}, "inconsistent_usage"),
        ({"usage": Usage(9, 1, output_text_tokens=1, output_image_tokens=1)}, "inconsistent_usage"),
        ({"usage": Usage(9, 1, cache_read_tokens=3, cache_read_text_tokens=4)}, "inconsistent_usage"),
        ({"usage": Usage(9, 1, cache_read_tokens=3, cache_read_image_tokens=3)}, "inconsistent_usage"),
        ({"usage": Usage(compaction_input_tokens=5)}, "unreported_usage"),
        ({"usage": Usage(requests=5)}, "unreported_usage"),
        ({"usage": Usage(estimated_input_tokens=5)}, "unreported_usage"),
        ({"usage": Usage(), "usage_status": "unreported"}, "unreported_usage"),
        ({"usage": Usage(10**12, 10**12), "request_model": "gpt-4-32k"}, "out_of_range"),
    ],
)
def test_what_is_unknown_is_unpriced_with_a_reason_and_never_zero(
    book: PriceBook, changes: dict[str, Any], reason: str
) -> None:
    found = price(call("openai", "gpt-4o-mini", Usage(10, 5), **changes), book)
    assert (found.status, found.cost_pusd, found.reason) == ("unpriced", None, reason)
    assert found.detail


def test_a_model_listed_without_a_price_is_unpriced(book: PriceBook) -> None:
    found = price(call("cerebras", "qwen-3-coder-480b", Usage(1000, 10)), book)
    assert (found.status, found.reason) == ("unpriced", "no_price")


def test_output_of_a_model_without_an_output_price_is_unpriced(book: PriceBook) -> None:
    found = price(call("openai", "text-embedding-3-small", Usage(10, 5)), book)
    assert (found.status, found.reason) == ("unpriced", "no_unit_price")


@pytest.mark.parametrize(
    ("usage", "named"),
    [
        (Usage(output_images=2), "output_images (2)"),
        (Usage(input_images=2), "input_images (2)"),
        (Usage(10, 0, input_images=2), "input_images (2)"),
        (Usage(search_units=1), "search_units (1)"),
        (Usage(10, 0, search_units=1), "search_units (1)"),
        (Usage(10, 1, search_sources=4), "search_sources (4)"),
        (Usage(input_characters=2), "input_characters (2)"),
        (Usage(input_audio_ms=2), "input_audio_ms (2)"),
        (Usage(pages=2), "pages (2)"),
    ],
)
def test_what_a_model_has_no_rate_for_is_named(book: PriceBook, usage: Usage, named: str) -> None:
    found = price(call("openai", "gpt-4.1-nano", usage), book)
    assert (found.status, found.reason) == ("unpriced", "no_unit_price")
    assert named in (found.detail or "")


@pytest.mark.parametrize(
    "usage",
    [Usage(100, input_characters=400), Usage(100, 0, input_audio_ms=400), Usage(100, 0, pages=4)],
)
def test_a_measure_beside_paid_tokens_needs_no_rate(book: PriceBook, usage: Usage) -> None:
    assert usd(price(call("openai", "gpt-4.1-nano", usage), book)) == "0.00001"


@pytest.mark.parametrize(
    ("usage", "reason"),
    [
        (Usage(100, 0, cache_read_tokens=50, input_audio_tokens=60), "inconsistent_usage"),
        (Usage(100, 0, cache_read_tokens=50, input_audio_tokens=60, cache_read_text_tokens=40), "inconsistent_usage"),
        (Usage(100, 0, cache_read_tokens=50, input_audio_tokens=40, cache_read_text_tokens=50), None),
        (Usage(100, 0, cache_read_tokens=50, input_audio_tokens=40, cache_read_audio_tokens=0), None),
        (Usage(100, 0, cache_read_tokens=50, input_audio_tokens=0), None),
    ],
)
def test_how_much_audio_was_cached_must_be_known_where_it_has_a_rate(
    book: PriceBook, usage: Usage, reason: str | None
) -> None:
    assert price(call("google", "gemini-2.5-flash", usage), book).reason == reason


# gpt-4o-mini: 150,000 pico-USD a token of input, 75,000 cached, 600,000 of output; claude-haiku-4-5: 1,000,000, cached
# 100,000, written for five minutes 1,250,000, for an hour 2,000,000, 5,000,000 of output.
@pytest.mark.parametrize(
    ("what", "provider", "model", "usage", "expected"),
    [
        ("input and output", "openai", "gpt-4o-mini", Usage(9, 2), (1_350_000, 0, 0, 1_200_000, 0, 0, 0)),
        ("a read saves what it costs less", "openai", "gpt-4o-mini", Usage(100, 20, cache_read_tokens=40),
         (9_000_000, 3_000_000, 0, 12_000_000, 0, 3_000_000, 0)),
        ("a write costs more", "anthropic", "claude-haiku-4-5", Usage(10, 0, cache_read_tokens=3, cache_write_tokens=4),
         (3_000_000, 300_000, 5_000_000, 0, 0, 2_700_000, 1_000_000)),
        ("for an hour more than for five minutes", "anthropic", "claude-haiku-4-5",
         Usage(5, 0, cache_write_tokens=5, cache_write_5m_tokens=2, cache_write_1h_tokens=3),
         (0, 0, 8_500_000, 0, 0, 0, 3_500_000)),
        ("searches are no tokens", "anthropic", "claude-haiku-4-5", Usage(7, 0, web_search_requests=3),
         (7_000_000, 0, 0, 0, 30_000_000_000, 0, 0)),
        ("a fee for the request is none, either", "perplexity", "sonar", Usage(1, 1),
         (1_000_000, 0, 0, 1_000_000, 12_000_000_000, 0, 0)),
        ("reasoning is output", "openai", "gpt-5", Usage(0, 30, reasoning_tokens=20), (0, 0, 0, 300_000_000, 0, 0, 0)),
        ("a read without a rate of its own saves nothing", "openai", "gpt-4-turbo", Usage(10, 0, cache_read_tokens=4),
         (60_000_000, 40_000_000, 0, 0, 0, 0, 0)),
        ("nor does a write cost more", "openai", "gpt-4o-mini",
         Usage(10, 0, cache_read_tokens=4, cache_write_tokens=5), (150_000, 300_000, 750_000, 0, 0, 300_000, 0)),
        ("cached audio saves what audio costs", "google", "gemini-2.5-flash",
         Usage(10, 0, cache_read_tokens=4, input_audio_tokens=6, cache_read_audio_tokens=4),
         (3_200_000, 400_000, 0, 0, 0, 3_600_000, 0)),
        ("what is free saves nothing", "openrouter", "deepseek/deepseek-r1:free",
         Usage(10, 1, cache_read_tokens=4), (0, 0, 0, 0, 0, 0, 0)),
    ],
)  # fmt: skip
def test_a_cost_is_split_by_what_it_is_for(
    book: PriceBook, what: str, provider: str, model: str, usage: Usage, expected: tuple[int, ...]
) -> None:
    found = price(call(provider, model, usage), book)
    assert found.split == expected, what
    assert sum(expected[:5]) == found.cost_pusd


def test_parts_of_a_line_that_is_rounded_add_up_to_it() -> None:
    """At half a pico-USD each, three reads and three writes on the line of input would be two and two of three."""
    half = Fraction(1, 2)
    line = Line("input_tokens", 6, "input_mtok", half, 3)
    usage = Usage(6, cache_read_tokens=3, cache_write_tokens=3)
    assert split_of([line], usage, {"input_mtok": Rate(half)}) == (0, 2, 1, 0, 0, 0, 0)


def test_cached_tokens_on_another_line_than_that_of_input_are_not_taken_from_it() -> None:
    audio = Line("input_audio_tokens", 90, "input_audio_mtok", 7, 630)
    plain = Line("input_tokens", 10, "input_mtok", 2, 20)
    usage = Usage(100, input_audio_tokens=90, cache_read_tokens=40)
    assert split_of([plain, audio], usage, {}) == (630, 20, 0, 0, 0, 0, 0)


def test_moderation_is_free_where_the_provider_says_so(book: PriceBook) -> None:
    moderation = {"operation": "moderation", "usage_status": "none"}
    free = price(call("openai", "omni-moderation-latest", Usage(), **moderation), book)
    assert (free.status, free.cost_pusd, free.reason, free.split) == ("free", 0, None, NO_COST)
    assert free.detail
    refused = price(call("openai", "omni-moderation-latest", Usage(), **moderation, outcome="error"), book)
    assert refused == Price("none", None)
    billed = price(call("mistral_ai", "mistral-moderation-latest", Usage(10), operation="moderation"), book)
    assert billed.reason == "unknown_model"


def test_the_provider_s_own_cost_is_never_the_price(book: PriceBook) -> None:
    dear = call("openai", "gpt-4o-mini", Usage(9, 2), provider_cost_pusd=10**12)
    assert usd(price(dear, book)) == "0.00000255"
    only = price(call("x_ai", "grok-4", Usage(), provider_cost_pusd=2 * 10**10), book)
    assert (only.status, only.reason) == ("unpriced", "unreported_usage")
    assert "its own cost of 0.02 USD" in (only.detail or "")


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
