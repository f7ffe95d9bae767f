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
    found = price(call("openai", "gpt-4o-mini", Usage(10, 5))._replace(**changes), book)
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


def test_moderation_is_free_where_the_provider_says_so(book: PriceBook) -> None:
    moderation = {"operation": "moderation", "usage_status": "none"}
    free = price(call("openai", "omni-moderation-latest", Usage(), **moderation), book)
    assert (free.status, free.cost_pusd, free.reason) == ("free", 0, None)
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


@st.composite
def mixed_usages(draw: st.DrawFn) -> Usage:
    """Cached and uncached input of every modality, output of three, and units that are no tokens."""
    count = st.integers(0, 100_000)
    fresh, cached = ({modality: draw(count) for modality in ("text", "audio", "image", "video")} for _ in range(2))
    answered = {modality: draw(count) for modality in ("text", "audio", "image")}
    return Usage(
        sum(fresh.values()) + sum(cached.values()),
        sum(answered.values()),
        cache_read_tokens=sum(cached.values()),
        web_search_requests=draw(st.integers(0, 9)),
        input_characters=draw(count),
        input_audio_ms=1000 * draw(count),
        pages=draw(count),
        **{f"input_{modality}_tokens": fresh[modality] + cached[modality] for modality in fresh},
        **{f"cache_read_{modality}_tokens": count for modality, count in cached.items()},
        **{f"output_{modality}_tokens": count for modality, count in answered.items()},
    )


def genai_prices_mixed_usd(provider: str, model: str, usage: Usage) -> Decimal | None:
    names = {
        "input_tokens": "input_tokens", "output_tokens": "output_tokens", "cache_read_tokens": "cache_read_tokens",
        "web_searches": "web_search_requests", "input_characters": "input_characters", "input_document_pages": "pages",
        **{f"input_{modality}_tokens": f"input_{modality}_tokens" for modality in ("text", "audio", "image", "video")},
        **{f"cache_{modality}_read_tokens": f"cache_read_{modality}_tokens"
           for modality in ("text", "audio", "image", "video")},
        **{f"output_{modality}_tokens": f"output_{modality}_tokens" for modality in ("text", "audio", "image")},
    }  # fmt: skip
    reported = {theirs: getattr(usage, ours) for theirs, ours in names.items()}
    seconds = (usage.input_audio_ms or 0) // 1000
    times = {"audio_seconds": seconds, "input_audio_seconds": seconds}
    try:
        return calc_price(
            GenaiUsage(**reported, **times), model, provider_id=provider, genai_request_timestamp=AT
        ).total_price
    except LookupError:
        return None


# Audio that a model bills by its length is not billed by its tokens as well, as genai-prices would: listed, no rule.
AUDIO_BY_TIME = frozenset(
    {("mistral", "voxtral-small-24b-2507"), ("elevenlabs", "eleven_realtime_v1_max"),
     ("elevenlabs", "eleven_realtime_v1_mini")}
)  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(usage=mixed_usages(), offset=st.integers(0, 22))
def test_every_price_of_mixed_usage_equals_that_of_genai_prices(book: PriceBook, usage: Usage, offset: int) -> None:
    for provider, model in models()[offset::23]:
        found = book.quote(provider, (("response", model),), (), AT)
        if isinstance(found, Quote) and (provider, model) not in AUDIO_BY_TIME:
            assert_equal(found, usage, genai_prices_mixed_usd(provider, model, usage))


def assert_equal(found: Quote, usage: Usage, expected: Decimal | None) -> None:
    charged = lines(found, usage)
    if isinstance(charged, NoQuote):
        assert charged.reason == "no_unit_price", charged  # deliberate: genai-prices drops the unit silently
        return
    assert expected is not None, found.model
    # Rates with more than twelve decimals are rounded half to even once a line; all others are exact.
    rounded = sum(line.rate_pusd.denominator != 1 for line in charged)
    assert abs(sum(line.cost_pusd for line in charged) - expected.scaleb(12)) <= Decimal(rounded) / 2, found.model
