"""The provider's books: sums, money, and what becomes of answers that break off."""

import asyncio
import concurrent.futures
import json
import time
import urllib.request
from datetime import UTC, datetime
from decimal import Decimal

import anthropic
import httpx2
import openai
import pytest
from genai_prices import Usage, calc_price

from spanledger_demo.provider import running_provider
from spanledger_demo.provider.faults import FaultPlan
from spanledger_demo.provider.figures import Figures, count_tokens
from spanledger_demo.provider.prices import ALIASES, PRICES, cost_usd
from spanledger_demo.provider.tally import dollars

HELLO = [{"role": "user", "content": "Hello there"}]


def test_tokens_are_counted_by_bytes_begun():
    assert [count_tokens(text) for text in ("", "a", "abcd", "abcde", "é" * 2)] == [4, 5, 5, 6, 5]


@pytest.mark.parametrize(
    ("model", "tier", "figures", "usd"),
    [
        # 9 x 0.15 + 2 x 0.6 millionths
        ("gpt-4o-mini-2024-07-18", "default", Figures(input_tokens=9, output_tokens=2), "0.00000255"),
        # 500 x 1.25 + 500 x 0.125 + 100 x 10
        (
            "gpt-5-2025-08-07",
            "default",
            Figures(input_tokens=1000, cache_read_tokens=500, output_tokens=100, reasoning_tokens=64),
            "0.0016875",
        ),
        ("gpt-5-2025-08-07", "flex", Figures(input_tokens=1_000_000), "0.625"),
        ("text-embedding-3-small", "default", Figures(input_tokens=1), "0.00000002"),
        # 100 x 3 + 1000 x 0.3 + 1000 x 3.75 + 1000 x 6 + 10 x 15
        (
            "claude-sonnet-4-5-20250929",
            "standard",
            Figures(
                input_tokens=3100,
                cache_read_tokens=1000,
                cache_write_5m_tokens=1000,
                cache_write_1h_tokens=1000,
                output_tokens=10,
            ),
            "0.0105",
        ),
        ("a-model-of-our-own", "default", Figures(input_tokens=1), None),
        ("gpt-4o-mini-2024-07-18", "flex", Figures(input_tokens=1), None),
    ],
)
def test_cost_is_exact_and_unknown_is_not_zero(model, tier, figures, usd):
    assert dollars(cost_usd(model, tier, figures)) == usd


@pytest.mark.parametrize(("model", "tier"), PRICES)
def test_the_price_list_says_what_its_source_says(model, tier):
    figures = Figures(
        input_tokens=9_000,
        cache_read_tokens=1_000,
        cache_write_5m_tokens=2_000 if tier == "standard" else 0,
        cache_write_1h_tokens=3_000 if tier == "standard" else 0,
        output_tokens=0 if "embedding" in model else 700,
    )
    usage = Usage(
        input_tokens=figures.input_tokens,
        cache_read_tokens=figures.cache_read_tokens,
        cache_write_tokens=figures.cache_write_tokens,
        cache_write_1h_tokens=figures.cache_write_1h_tokens,
        output_tokens=figures.output_tokens,
    )
    if "embedding" in model:  # nothing of an embedding is cached
        figures, usage = Figures(input_tokens=9_000), Usage(input_tokens=9_000)
    source = calc_price(
        usage,
        model,
        provider_id="anthropic" if tier == "standard" else "openai",
        genai_request_timestamp=datetime(2026, 11, 22, tzinfo=UTC),
        price_context={} if tier in ("default", "standard") else {"service_tier": tier},
    )
    assert cost_usd(model, tier, figures) == source.total_price


def test_every_alias_has_a_price():
    assert set(ALIASES.values()) <= {model for model, _ in PRICES}


def test_amounts_are_written_without_exponent():
    assert [dollars(Decimal(each)) for each in ("1E-8", "100", "0.10", "0")] == ["0.00000001", "100", "0.1", "0"]


def test_the_tally_is_the_sum_of_what_the_clients_saw(provider, openai_client, anthropic_client):
    seen = []
    for model in ("gpt-4o-mini", "gpt-5-mini", "gpt-4o-mini"):
        usage = openai_client.chat.completions.create(model=model, messages=HELLO).usage
        seen.append((usage.prompt_tokens, usage.completion_tokens))
    usage = anthropic_client.messages.create(model="claude-haiku-4-5", max_tokens=50, messages=HELLO).usage
    seen.append((usage.input_tokens, usage.output_tokens))
    tally = provider.tally()
    assert tally["calls"] == len(tally["models"]) + 1 == 4
    assert (tally["input_tokens"], tally["output_tokens"]) == tuple(map(sum, zip(*seen, strict=True)))
    assert Decimal(tally["cost_usd"]) == sum(Decimal(line["cost_usd"]) for line in tally["models"])
    assert tally["calls"] == len(provider.answers())


def test_a_model_without_a_price_has_an_unknown_cost(provider, openai_client):
    openai_client.chat.completions.create(model="a-model-of-our-own", messages=HELLO)
    tally = provider.tally()
    assert (tally["cost_usd"], tally["models"][0]["cost_usd"], tally["unpriced"]) == (None, None, 1)
    openai_client.embeddings.create(model="text-embedding-3-small", input="abcd")
    assert (provider.tally()["cost_usd"], provider.tally()["unpriced"]) == ("0.0000001", 1)


def test_calls_at_once_are_each_counted(provider, openai_client):
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        list(
            threads.map(
                lambda number: openai_client.embeddings.create(model="text-embedding-3-small", input=str(number)),
                range(40),
            )
        )
    assert (provider.tally()["calls"], provider.tally()["input_tokens"]) == (40, 40 * 5)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_openai_errors_are_openais(provider, openai_client, status):
    provider.control(next_errors=[status])
    with pytest.raises(openai.APIStatusError) as caught:
        openai_client.chat.completions.create(model="gpt-4o-mini", messages=HELLO)
    assert caught.value.status_code == status
    assert set(caught.value.body) == {"message", "type", "param", "code"}
    openai_client.chat.completions.create(model="gpt-4o-mini", messages=HELLO)
    assert (provider.tally()["calls"], provider.tally()["errors"]) == (2, 1)


@pytest.mark.parametrize(("status", "kind"), [(429, "rate_limit_error"), (500, "api_error"), (529, "overloaded_error")])
def test_anthropic_errors_are_anthropics(provider, anthropic_client, status, kind):
    provider.control(next_errors=[status])
    with pytest.raises(anthropic.APIStatusError) as caught:
        anthropic_client.messages.create(model="claude-haiku-4-5", max_tokens=5, messages=HELLO)
    assert (caught.value.status_code, caught.value.type) == (status, kind)
    assert provider.tally()["models"][0]["model"] == "claude-haiku-4-5"


def test_the_error_rate_is_kept_and_repeats_with_the_seed():
    def errors() -> list[str]:
        with (
            running_provider(seed=7, plan=FaultPlan(error_rate=0.5)) as provider,
            openai.OpenAI(base_url=provider.openai_url, api_key="k", max_retries=0) as client,
        ):
            for number in range(20):
                try:
                    client.embeddings.create(model="text-embedding-3-small", input=str(number))
                except openai.APIStatusError:
                    continue
            return [answer["outcome"] for answer in provider.answers()]

    first = errors()
    assert 0 < first.count("error") < 20
    assert errors() == first


@pytest.mark.parametrize("how", ["close", "error"])
def test_a_broken_openai_stream_has_an_unknown_cost_since_nothing_was_said(provider, openai_client, how):
    provider.control(next_cuts=[{"after_events": 3, "how": how}])
    stream = openai_client.chat.completions.create(
        model="gpt-4o-mini", messages=HELLO, stream=True, stream_options={"include_usage": True}
    )
    got = []
    with pytest.raises((openai.APIError, httpx2.RemoteProtocolError)):
        got.extend(stream)
    tally = provider.tally()
    assert (tally["calls"], tally["interrupted"], tally["input_tokens"]) == (1, 1, 0)
    assert (tally["cost_usd"], tally["unpriced"]) == (None, 1)


def test_a_stream_is_not_broken_once_its_figures_were_said(provider, openai_client):
    ask = {"model": "gpt-4o-mini", "messages": HELLO, "stream": True, "stream_options": {"include_usage": True}}
    events = len(list(openai_client.chat.completions.create(**ask)))
    provider.control(next_cuts=[{"after_events": events, "how": "error"}])  # in place of `[DONE]`
    assert len(list(openai_client.chat.completions.create(**ask))) == events
    assert (provider.tally()["calls"], provider.tally()["interrupted"]) == (2, 0)


@pytest.mark.parametrize("how", ["close", "error"])
def test_a_broken_anthropic_stream_is_charged_what_was_said(provider, anthropic_client, how):
    provider.control(next_cuts=[{"after_events": 4, "how": how}])
    stream = anthropic_client.messages.create(model="claude-haiku-4-5", max_tokens=99, messages=HELLO, stream=True)
    with pytest.raises((anthropic.APIError, httpx2.RemoteProtocolError)):
        list(stream)
    tally = provider.tally()
    assert (tally["interrupted"], tally["input_tokens"], tally["output_tokens"]) == (1, 7, 1)
    assert tally["cost_usd"] == "0.000012"  # 7 x 1 + 1 x 5 millionths


def test_a_broken_response_stream_ends_with_openais_error_event(provider, openai_client):
    provider.control(next_cuts=[{"after_events": 5, "how": "error"}])
    *_, last = openai_client.responses.create(model="gpt-4o-mini", input="Hello", stream=True)
    assert (last.type, last.code) == ("error", "server_error")
    assert provider.tally()["interrupted"] == 1


def test_a_stream_that_the_client_leaves_is_interrupted(provider, openai_client):
    provider.control(event_interval_s=0.05)
    stream = openai_client.chat.completions.create(model="gpt-4o-mini", messages=HELLO, stream=True)
    next(iter(stream))
    stream.close()
    deadline = time.monotonic() + 10
    while provider.tally()["interrupted"] != 1:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert provider.tally()["calls"] == 1


def test_a_stream_is_tallied_before_its_client_can_know_the_end(provider):
    async def calls_at_the_end() -> list[int]:
        async with openai.AsyncOpenAI(base_url=provider.openai_url, api_key="k", max_retries=0) as client:
            stream = await client.chat.completions.create(
                model="gpt-4o-mini", messages=HELLO, stream=True, stream_options={"include_usage": True}
            )
            return [provider.tally()["calls"] async for chunk in stream if chunk.usage]

    assert asyncio.run(calls_at_the_end()) == [1]


def test_streams_are_sent_event_by_event(provider, openai_client):
    provider.control(event_interval_s=0.02)
    stream = openai_client.chat.completions.create(model="gpt-4o-mini", messages=HELLO, stream=True)
    first = next(iter(stream))
    assert first.choices[0].delta.role == "assistant"
    assert provider.tally()["calls"] == 0  # the rest is still to come
    list(stream)
    assert provider.tally()["calls"] == 1


def test_tally_answers_and_control_are_served_over_http(provider, openai_client):
    request = urllib.request.Request(
        f"{provider.url}/control", data=json.dumps({"next_errors": [429]}).encode(), method="POST"
    )
    with urllib.request.urlopen(request) as response:
        assert response.status == 204
    with pytest.raises(openai.RateLimitError):
        openai_client.embeddings.create(model="text-embedding-3-small", input="x")
    with urllib.request.urlopen(f"{provider.url}/tally") as response:
        assert json.load(response) == provider.tally()
    with urllib.request.urlopen(f"{provider.url}/answers") as response:
        (answer,) = json.load(response)
    assert (answer["status"], answer["outcome"], answer["model"]) == (429, "error", "text-embedding-3-small")


@pytest.mark.parametrize(
    "wrong",
    [
        {"no_such_key": 1},
        {"error_rate": 2},
        {"error_rate": "often"},
        {"latency_s": -1},
        {"next_errors": [200]},
        {"next_errors": 429},
        {"next_cuts": [{"how": "close"}]},
        {"next_cuts": [{"after_events": 1, "how": "explode"}]},
    ],
)
def test_a_wrong_control_is_refused_and_changes_nothing(provider, wrong):
    with pytest.raises(ValueError, match=next(iter(wrong))):
        provider.control(**wrong)
    assert provider.books.faults.plan == FaultPlan()


def test_two_providers_run_side_by_side():
    with running_provider() as one, running_provider() as other:
        assert one.url != other.url
        with openai.OpenAI(base_url=one.openai_url, api_key="k", max_retries=0) as client:
            client.embeddings.create(model="text-embedding-3-small", input="x")
        assert (one.tally()["calls"], other.tally()["calls"]) == (1, 0)
