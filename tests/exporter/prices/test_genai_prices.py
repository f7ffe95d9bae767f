"""Every price equals that of genai-prices, of all models, classes of usage, tiers and times; and fast equals slow.

Where we differ on purpose is listed in docs/prices.md, and named here.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any

import pytest
from genai_prices import calc_price
from genai_prices.data import providers
from genai_prices.types import ModelInfo
from genai_prices.types import Usage as GenaiUsage
from hypothesis import given, settings
from hypothesis import strategies as st

from spanledger_exporter.prices.price_book import Context, NoQuote, PriceBook, Quote
from spanledger_exporter.prices.pricer import Pricer
from spanledger_exporter.prices.pricing import lines, price
from spanledger_exporter.records import Price, Usage
from tests.exporter.calls import record

STEP = 41  # an example sees every 41st model from a drawn offset, so that many examples together see them all
# DeepSeek's peak prices need a date, hours and a day of the week at once, which genai-prices cannot say.
BY_WEEKDAY = frozenset(("deepseek", name) for name in ("deepseek-flash", "deepseek-v4-flash", "deepseek-v4-pro"))
# Audio that a model bills by its length is not billed by its tokens as well, as genai-prices would.
AUDIO_BY_TIME = frozenset(
    {("mistral", "voxtral-small-24b-2507"), ("elevenlabs", "eleven_realtime_v1_max"),
     ("elevenlabs", "eleven_realtime_v1_mini")}
)  # fmt: skip
TOKENS = {
    "input_tokens": "input_tokens", "output_tokens": "output_tokens", "cache_read_tokens": "cache_read_tokens",
    "cache_write_tokens": "cache_write_tokens", "cache_write_5m_tokens": "cache_write_5m_tokens",
    "cache_write_1h_tokens": "cache_write_1h_tokens", "output_reasoning_tokens": "reasoning_tokens",
    **{f"input_{modality}_tokens": f"input_{modality}_tokens" for modality in ("text", "audio", "image", "video")},
    **{f"cache_{modality}_read_tokens": f"cache_read_{modality}_tokens"
       for modality in ("text", "audio", "image", "video")},
    **{f"output_{modality}_tokens": f"output_{modality}_tokens" for modality in ("text", "audio", "image")},
}  # fmt: skip
OTHERS = {
    "web_searches": "web_search_requests", "input_characters": "input_characters", "input_document_pages": "pages",
    "input_annotated_document_pages": "annotated_pages", "rerank_searches": "search_units", "requests": "requests",
}  # fmt: skip


@cache
def models() -> list[tuple[str, ModelInfo]]:
    return [(provider.id, model) for provider in providers for model in provider.models]


def some_models(offset: int) -> Iterator[tuple[str, ModelInfo]]:
    return iter(models()[offset::STEP])


times = st.datetimes(datetime(2024, 1, 1), datetime(2027, 2, 1)).map(  # noqa: DTZ001 -- hypothesis wants them naive
    lambda moment: moment.replace(microsecond=0, tzinfo=UTC)
)


@st.composite
def common_usages(draw: st.DrawFn) -> Usage:
    """Cached, written and plain input around every threshold, and reasoning."""
    total = draw(st.sampled_from([0, 1, 999, 128_000, 199_999, 200_000, 200_001, 272_000, 272_001, 300_000, 1_500_000]))
    read = draw(st.integers(0, total))
    write = draw(st.integers(0, total - read))
    one_hour = draw(st.integers(0, write))
    output = draw(st.integers(0, 100_000))
    return Usage(
        total, output, cache_read_tokens=read, cache_write_tokens=write, cache_write_1h_tokens=one_hour,
        cache_write_5m_tokens=draw(st.integers(0, write - one_hour)), reasoning_tokens=draw(st.integers(0, output)),
    )  # fmt: skip


@st.composite
def mixed_usages(draw: st.DrawFn) -> Usage:
    """Cached and uncached input of every modality, output of three, and units that are no tokens."""
    count = st.integers(0, 100_000)
    fresh, cached = ({modality: draw(count) for modality in ("text", "audio", "image", "video")} for _ in range(2))
    answered = {modality: draw(count) for modality in ("text", "audio", "image")}
    pages = draw(count)
    return Usage(
        sum(fresh.values()) + sum(cached.values()),
        sum(answered.values()),
        cache_read_tokens=sum(cached.values()),
        web_search_requests=draw(st.integers(0, 9)),
        search_units=draw(st.integers(0, 9)),
        input_characters=draw(count),
        input_audio_ms=1000 * draw(count),
        pages=pages,
        annotated_pages=draw(st.integers(0, pages)),
        **{f"input_{modality}_tokens": fresh[modality] + cached[modality] for modality in fresh},
        **{f"cache_read_{modality}_tokens": count for modality, count in cached.items()},
        **{f"output_{modality}_tokens": count for modality, count in answered.items()},
    )


def genai_prices_usd(provider: str, model: str, usage: Usage, context: Context, at: datetime) -> Decimal | None:
    reported: dict[str, Any] = {theirs: getattr(usage, ours) for theirs, ours in (TOKENS | OTHERS).items()}
    if usage.input_audio_ms is not None:
        reported["audio_seconds"] = reported["input_audio_seconds"] = usage.input_audio_ms // 1000
    asked = GenaiUsage(**{name: value for name, value in reported.items() if value is not None})
    try:
        return calc_price(
            asked, model, provider_id=provider, genai_request_timestamp=at, price_context=dict(context)
        ).total_price
    except LookupError:
        return None


def contexts(model: ModelInfo, number: int) -> Context:
    """Return one of the tiers that a model has prices for, or the standard one."""
    known = [(), *(tuple(variant.when.items()) for variant in model.price_variants or ())]
    return known[number % len(known)]


@settings(max_examples=50, deadline=None)
@given(usage=common_usages() | mixed_usages(), at=times, offset=st.integers(0, STEP - 1), tier=st.integers(0, 9))
def test_every_price_equals_that_of_genai_prices(
    book: PriceBook, usage: Usage, at: datetime, offset: int, tier: int
) -> None:
    for provider, model in some_models(offset):
        if (provider, model.id) in BY_WEEKDAY | AUDIO_BY_TIME:
            continue
        context = contexts(model, tier)
        found = book.quote(provider, (("response", model.id),), context, at)
        expected = genai_prices_usd(provider, model.id, usage, context, at)
        if isinstance(found, Quote):
            assert_equal(found, usage, expected)
        elif expected is None:
            assert found.reason == "unknown_model", (provider, model.id)
        elif found.reason == "no_price":
            assert expected == 0, "a silent zero of genai-prices: a model without any price"
        else:
            # A tier whose price begins later: genai-prices gives the standard one until then.
            assert (found.reason, bool(context)) == ("unknown_tier", True), (provider, model.id)


def assert_equal(found: Quote, usage: Usage, expected: Decimal | None) -> None:
    charged = lines(found, usage)
    if isinstance(charged, NoQuote):
        assert charged.reason == "no_unit_price", charged  # deliberate: genai-prices drops the unit silently
        return
    assert expected is not None, found.model
    # Rates with more than twelve decimals are rounded half to even once a line; all others are exact.
    rounded = sum(line.rate_pusd.denominator != 1 for line in charged)
    assert abs(sum(line.cost_pusd for line in charged) - expected.scaleb(12)) <= Decimal(rounded) / 2, found.model


TIERS = st.sampled_from([None, "default", "flex", "priority", "batch", "fast"])
BROKEN = (
    *("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_1h_tokens"),
    *("cache_write_12h_tokens", "reasoning_tokens", "input_audio_tokens", "web_search_requests", "requests"),
    *("request_input_tokens_max", "estimated_input_tokens"),
)
broken_usages = st.builds(Usage, **{name: st.none() | st.integers(0, 3) for name in BROKEN})


@settings(max_examples=40, deadline=None)
@given(
    usage=common_usages() | mixed_usages() | broken_usages, at=times, offset=st.integers(0, STEP - 1), tier=TIERS,
    speed=st.sampled_from([None, "fast"]), status=st.sampled_from(["reported", "partial", "unreported", "none"]),
    ambiguity=st.sampled_from([None, None, "cache_in_input"]), hours=st.integers(1, 60),
)  # fmt: skip
def test_the_pricer_gives_the_price_that_pricing_explains(
    book: PriceBook, usage: Usage, at: datetime, offset: int, tier: str | None, speed: str | None, status: Any,
    ambiguity: Any, hours: int,
) -> None:  # fmt: skip
    """Of every model, consistent or not, at two times, so that the second finds the rates of the first."""
    pricer = Pricer(book)
    for provider, model in some_models(offset):
        for moment in (at, at + timedelta(hours=hours), at):
            made = record(
                provider=provider, request_model=model.id, response_model=None, usage=usage, usage_status=status,
                service_tier=tier, speed=speed, ambiguity=ambiguity, end_ns=int(moment.timestamp()) * 10**9,
            )  # fmt: skip
            found = pricer.price(made)
            assert found == price(made, book)
            assert_adds_up(found)


def assert_adds_up(found: Price) -> None:
    """Hold the split to the cost: a call without a cost has none."""
    assert (found.split is None) == (found.cost_pusd is None)
    if found.split is not None:
        assert sum(found.split[:5]) == found.cost_pusd
        assert min(found.split) >= 0
        assert found.split.cache_write_premium_pusd <= found.split.cost_cache_write_pusd


def test_a_pricer_forgets_rather_than_grows(book: PriceBook) -> None:
    pricer = Pricer(book, plans_max=10)
    for number in range(35):
        made = record(request_model=f"unheard-of-{number}", response_model=None)
        assert pricer.price(made) == price(made, book)
    assert pricer.forgotten == 30


@pytest.mark.parametrize(
    ("model", "at", "usd_per_mtok"),
    [
        ("deepseek-v4-pro", "2026-07-01T02:00", "0.435"),  # genai-prices: 1.32, though there was no peak price yet
        ("deepseek-v4-pro", "2026-08-22T02:00", "1.32"),  # a Saturday, before weekends were off-peak
        ("deepseek-v4-pro", "2026-08-23T02:00", "0.66"),  # a Sunday; genai-prices: 1.32
        ("deepseek-v4-pro", "2026-11-20T00:59", "0.66"),
        ("deepseek-v4-pro", "2026-11-20T01:00", "1.32"),  # a Friday
        ("deepseek-v4-pro", "2026-11-20T04:00", "0.66"),
        ("deepseek-v4-pro", "2026-11-20T09:59", "1.32"),
        ("deepseek-v4-pro", "2026-11-21T09:59", "0.66"),  # a Saturday; genai-prices: 1.32
        ("deepseek-v4-flash", "2026-07-01T02:00", "0.14"),
        ("deepseek-v4-flash", "2026-09-01T02:00", "0.44"),  # genai-prices: 0.3, the peak price of ten days later
        ("deepseek-v4-flash", "2026-09-10T02:00", "0.3"),
        ("deepseek-v4-flash", "2026-11-22T02:00", "0.15"),
        ("deepseek-flash", "2026-11-23T07:00", "0.3"),
        ("deepseek-flash", "2026-11-22T07:00", "0.15"),
    ],
)
def test_deepseek_s_peak_has_a_date_hours_and_weekdays(book: PriceBook, model: str, at: str, usd_per_mtok: str) -> None:
    moment = datetime.fromisoformat(at).replace(tzinfo=UTC)
    made = record(
        provider="deepseek", request_model=model, response_model=None, usage=Usage(10**6, 0),
        end_ns=int(moment.timestamp()) * 10**9,
    )  # fmt: skip
    assert price(made, book).cost_pusd == Decimal(usd_per_mtok) * 10**12
