"""No call costs more than its model's rates say, at whatever tier, length, hour and place it is served."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spanledger_exporter.leases.lease_rates import LeaseRates
from spanledger_exporter.prices.genai_prices_book import packaged_book
from spanledger_exporter.prices.price_book import PriceBook
from spanledger_exporter.prices.pricing import price
from spanledger_exporter.records import Usage
from tests.exporter.calls import record
from tests.exporter.otlp_requests import END_NS

NOW_S = END_NS // 10**9
NOBODY = (None, None, None)
MODELS = (
    ("openai", "gpt-4o-mini"),
    ("openai", "gpt-5"),
    ("openai", "gpt-5.4"),
    ("openai", "text-embedding-3-small"),
    ("anthropic", "claude-sonnet-4-5"),
    ("anthropic", "claude-opus-4-6"),
    ("gcp.gemini", "gemini-2.5-pro"),
    ("gcp.vertex_ai", "gemini-2.5-flash"),
    ("aws.bedrock", "us.anthropic.claude-haiku-4-5-20251001-v1:0"),
    ("deepseek", "deepseek-chat"),
    ("x_ai", "grok-4"),
    ("mistral_ai", "mistral-large-latest"),
    ("perplexity", "sonar-pro"),
    ("groq", "llama-3.3-70b-versatile"),
)
BOOK = packaged_book()
RATES = LeaseRates(BOOK)


@st.composite
def usages(draw: st.DrawFn) -> Usage:
    """Usage as providers report it: parts within their totals."""
    input_tokens = draw(st.integers(0, 1_500_000))
    read = draw(st.integers(0, input_tokens))
    write = draw(st.integers(0, input_tokens - read))
    output = draw(st.integers(0, 70_000))
    return Usage(
        input_tokens, output, cache_read_tokens=read, cache_write_tokens=write,
        cache_write_1h_tokens=draw(st.integers(0, write)), reasoning_tokens=draw(st.integers(0, output)),
    )  # fmt: skip


@settings(max_examples=400, deadline=None)
@given(
    model=st.sampled_from(MODELS),
    usage=usages(),
    later_s=st.integers(0, 86_000),
    shared=st.fixed_dictionaries(
        {},
        optional={
            "service_tier": st.sampled_from(["default", "flex", "priority", "batch", "scale", "standard"]),
            "speed": st.sampled_from(["standard", "fast"]),
            "inference_geo": st.sampled_from(["us", "global"]),
            "server_address": st.sampled_from(
                ["us.api.openai.com", "us.api.x.ai", "us-east5-aiplatform.googleapis.com"]
            ),
        },
    ),
)
def test_no_call_costs_more_than_its_bound(
    model: tuple[str, str], usage: Usage, later_s: int, shared: dict[str, Any]
) -> None:
    rates = RATES.of(*model, NOBODY, NOW_S)
    assert rates.known
    made = record(provider=model[0], request_model=model[1], response_model=None, usage=usage,
                  end_ns=(NOW_S + later_s) * 10**9, **shared)  # fmt: skip
    cost = price(made, BOOK).cost_pusd
    bound = (
        rates.input_pusd * (usage.input_tokens or 0)
        + rates.output_pusd * (usage.output_tokens or 0)
        + rates.request_pusd
    )
    assert cost is None or cost <= bound


@pytest.mark.parametrize(
    ("model", "input_pusd", "output_pusd"),
    [
        (("openai", "gpt-4o-mini"), 250_000, 1_000_000),  # the priority tier
        # 6 USD beyond 200,000 tokens, twice that for a cache of an hour, and a tenth for inference in the US.
        (("anthropic", "claude-sonnet-4-5"), 13_200_000, 24_750_000),
    ],
)
def test_the_dearest_is_what_the_book_says_at_its_dearest(
    model: tuple[str, str], input_pusd: int, output_pusd: int
) -> None:
    rates = RATES.of(*model, NOBODY, NOW_S)
    assert (rates.input_pusd, rates.output_pusd, rates.output_tokens) == (input_pusd, output_pusd, 16_384)


@pytest.mark.parametrize("model", [("openai", "nobodys"), (None, "gpt-4o"), ("nobody", "gpt-4o"), ("openai", None)])
def test_a_model_without_a_price_has_no_rates(model: tuple[str | None, str | None]) -> None:
    rates = RATES.of(*model, NOBODY, NOW_S)
    assert (rates.known, rates.input_pusd, rates.output_pusd) == (False, 0, 0)


def test_a_free_model_is_known_to_cost_nothing() -> None:
    rates = RATES.of("openrouter", "deepseek/deepseek-r1:free", NOBODY, NOW_S)
    assert (rates.known, rates.input_pusd, rates.output_pusd) == (True, 0, 0)


def test_prices_by_the_second_the_character_and_the_request_are_in_it() -> None:
    assert RATES.of("openai", "whisper-1", NOBODY, NOW_S).input_pusd == 133_334  # 100,000 for a millisecond
    assert RATES.of("perplexity", "sonar-pro", NOBODY, NOW_S).request_pusd > 0


def test_a_negotiated_price_is_that_of_its_payer() -> None:
    layers = {"overrides": [{"name": "deal", "provider": "openai", "organization": "org-1", "multiplier": "3"}]}
    rates = LeaseRates(BOOK.with_layers(layers))
    list_price = rates.of("openai", "gpt-4o-mini", NOBODY, NOW_S)
    assert rates.of("openai", "gpt-4o-mini", ("org-1", None, None), NOW_S).input_pusd == 3 * list_price.input_pusd


def test_a_price_that_comes_within_a_day_is_in_it_already() -> None:
    tomorrow = datetime.fromtimestamp(NOW_S + 86_400, tz=UTC).date().isoformat()
    layers = {
        "overrides": [
            {"name": "rise", "provider": "openai", "model": "gpt-4o-mini", "when": {"from": tomorrow},
             "prices": {"input_mtok": "9", "output_mtok": "10"}}
        ]
    }  # fmt: skip
    rates = LeaseRates(BOOK.with_layers(layers)).of("openai", "gpt-4o-mini", NOBODY, NOW_S)
    assert (rates.input_pusd, rates.output_pusd) == (9_000_000, 10_000_000)


def test_every_model_of_the_book_is_looked_up_in_bounded_time_and_memory(book: PriceBook) -> None:
    rates = LeaseRates(book)
    for provider, model in book.models():
        found = rates.of(provider, model["id"], NOBODY, NOW_S)
        assert found.input_pusd >= 0
        assert found.output_pusd >= 0
