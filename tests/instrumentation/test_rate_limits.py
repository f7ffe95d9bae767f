"""How close the limits are, as each provider tells it; what it does not tell is absent."""

import gzip
import json
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import httpx
import openai
import pytest
import requests
from hypothesis import given
from hypothesis import strategies as st

from spanledger_instrumentation import fence, response_head
from spanledger_instrumentation.rate_limit_policies import read_policies
from spanledger_instrumentation.rate_limit_refusals import read_refusal
from spanledger_instrumentation.rate_limits import FIELDS
from spanledger_instrumentation.reset_times import duration_s, pacific_midnight_s, reset_at_s, retry_after_s
from tests.instrumentation.conftest import Spans
from tests.wire_server import Reply, WireServer, json_reply

NOW = datetime(2026, 11, 22, 20, 0, tzinfo=UTC).timestamp()
OPENAI = {
    "openai-organization": "traceloop",
    "openai-processing-ms": "704",
    "openai-project": "proj_x",
    "openai-version": "2020-10-01",
    "x-openai-proxy-wasm": "v0.1",
    "x-ratelimit-limit-requests": "30000",
    "x-ratelimit-limit-tokens": "150000000",
    "x-ratelimit-limit-input-images": "50000",
    "x-ratelimit-remaining-requests": "29999",
    "x-ratelimit-remaining-tokens": "149999227",
    "x-ratelimit-remaining-input-images": "50000",
    "x-ratelimit-reset-requests": "2ms",
    "x-ratelimit-reset-tokens": "0s",
    "x-ratelimit-reset-input-images": "6m0s",
    "x-request-id": "req_27be",
}
AZURE = {
    "apim-request-id": "9f6b",
    "x-ms-deployment-name": "gpt-5-prod",
    "x-ms-is-spilled-over": "false",
    "x-ms-region": "East US 2",
    "x-ratelimit-abusepenalty-active": "False",
    "x-ratelimit-limit-requests": "120",
    "x-ratelimit-limit-tokens": "120000",
    "x-ratelimit-remaining-requests": "119",
    "x-ratelimit-remaining-tokens": "119986",
    "x-ratelimit-renewalperiod-requests": "60",
    "x-ratelimit-renewalperiod-tokens": "60",
    "x-ratelimit-reset-requests": "500",
    "x-ratelimit-reset-tokens": "7",
}
MISTRAL = {
    "mistral-correlation-id": "0198",
    "x-ratelimit-limit-req-10-second": "60",
    "x-ratelimit-remaining-req-10-second": "48",
    "x-ratelimit-limit-tokens-minute": "20000000",
    "x-ratelimit-limit-tokens-month": "200000000000",
    "x-ratelimit-tokens-query-cost": "10",
}


def limits(headers: dict[str, str], provider: str = "openai") -> dict[str, Any]:
    """The rate limits of a head, by what follows the common prefix; times from now."""
    return shown(response_head.read(headers, provider, NOW))


def shown(attributes: dict[str, Any]) -> dict[str, Any]:
    prefix = "spanledger.rate_limit."
    found = {name.removeprefix(prefix): value for name, value in attributes.items() if name.startswith(prefix)}
    return {
        name: pytest.approx(value - NOW, abs=1e-5) if name.endswith("reset_at") else value
        for name, value in found.items()
    }


def test_openai() -> None:
    assert limits(OPENAI) == {
        "requests.limit": 30000,
        "requests.remaining": 29999,
        "requests.reset_at": 0.002,
        "tokens.limit": 150000000,
        "tokens.remaining": 149999227,
        "tokens.reset_at": 0,
        "input_images.limit": 50000,
        "input_images.remaining": 50000,
        "input_images.reset_at": 360,
    }


@pytest.mark.parametrize("provider", ["azure.ai.openai", "openai"], ids=["by its host", "behind a gateway"])
def test_azure_counts_in_milliseconds_and_tells_its_window(provider: str) -> None:
    assert limits(AZURE, provider) == {
        "requests.limit": 120,
        "requests.remaining": 119,
        "requests.reset_at": 0.5,
        "requests.window_s": 60,
        "tokens.limit": 120000,
        "tokens.remaining": 119986,
        "tokens.reset_at": 0.007,
        "tokens.window_s": 60,
    }


def test_anthropic_and_its_priority_tier() -> None:
    headers = {
        "anthropic-ratelimit-requests-limit": "4000",
        "anthropic-ratelimit-requests-remaining": "3999",
        "anthropic-ratelimit-requests-reset": "2026-11-22T19:59:58Z",
        "anthropic-ratelimit-input-tokens-remaining": "399000",
        "anthropic-ratelimit-input-tokens-reset": "2026-11-22T20:00:03Z",
        "anthropic-priority-output-tokens-limit": "10000",
        "anthropic-ratelimit-unified-5h-reset": str(int(NOW) + 7200),
        "anthropic-ratelimit-unified-5h-utilization": "0.42",
    }
    assert limits(headers, "anthropic") == {
        "requests.limit": 4000,
        "requests.remaining": 3999,
        "requests.reset_at": 0,
        "requests.window_s": 60,
        "input_tokens.remaining": 399000,
        "input_tokens.reset_at": 3,
        "input_tokens.window_s": 60,
        "priority_output_tokens.limit": 10000,
        "priority_output_tokens.window_s": 60,
        "plan_5h.reset_at": 7200,
        "plan_5h.window_s": 18000,
    }


def test_mistral_names_its_windows_and_no_reset() -> None:
    assert limits(MISTRAL, "mistral_ai") == {
        "requests.limit": 60,
        "requests.remaining": 48,
        "requests.reset_at": 10,
        "requests.window_s": 10,
        "tokens.limit": 20000000,
        "tokens.reset_at": 60,
        "tokens.window_s": 60,
        "tokens_month.limit": 200000000000,
    }


@pytest.mark.parametrize("order", [1, -1])
def test_a_model_that_mistral_has_not_enabled_never_resets(order: int) -> None:
    rows = [("x-ratelimit-limit-req-minute", "0"), ("x-ratelimit-remaining-req-minute", "0")][::order]
    assert limits(dict(rows)) == {"requests.limit": 0, "requests.remaining": 0, "requests.window_s": 60}


def test_of_two_windows_of_one_kind_the_first_counts_whole() -> None:
    headers = {
        "x-ratelimit-limit-req-minute": "60",
        "x-ratelimit-limit-req-10-second": "20",
        "x-ratelimit-remaining-req-10-second": "1",
    }
    assert limits(headers) == {"requests.limit": 60, "requests.reset_at": 60, "requests.window_s": 60}


def test_groqs_requests_are_a_days_and_its_tokens_a_minutes() -> None:
    headers = {
        "x-ratelimit-limit-requests": "14400",
        "x-ratelimit-remaining-requests": "14370",
        "x-ratelimit-reset-requests": "2m59.56s",
        "x-ratelimit-limit-tokens": "18000",
        "x-ratelimit-remaining-tokens": "17997",
        "x-ratelimit-reset-tokens": "17.399999999s",
    }
    assert limits(headers, "groq") == {
        "requests.limit": 14400,
        "requests.remaining": 14370,
        "requests.reset_at": 179.56,
        "requests.window_s": 86400,
        "tokens.limit": 18000,
        "tokens.remaining": 17997,
        "tokens.reset_at": 17.399999999,
        "tokens.window_s": 60,
    }


@pytest.mark.parametrize(
    ("provider", "headers", "expected"),
    [
        (
            "cohere",
            {
                "x-trial-endpoint-call-limit": "40",
                "x-trial-endpoint-call-remaining": "39",
                "x-endpoint-monthly-call-limit": "1000",
            },
            {"requests.limit": 40, "requests.remaining": 39, "requests.window_s": 60, "requests_month.limit": 1000},
        ),
        (
            "x_ai",
            {"x-ratelimit-limit-requests": "8", "x-ratelimit-remaining-tokens": "9000"},
            {"requests.limit": 8, "requests.window_s": 1, "tokens.remaining": 9000, "tokens.window_s": 60},
        ),
        (
            "x_ai",
            {"x-ratelimit-reset-tokens": str(int(NOW) + 30), "x-ratelimit-reset-requests": "30"},
            {"tokens.reset_at": 30},
        ),
        (
            "openrouter",
            {"x-ratelimit-limit": "20", "x-ratelimit-remaining": "0", "x-ratelimit-reset": str(int(NOW + 60) * 1000)},
            {"requests.limit": 20, "requests.remaining": 0, "requests.reset_at": 60},
        ),
        (
            "together",
            {"x-ratelimit-limit": "10", "x-ratelimit-reset": "1", "x-tokenlimit-limit": "3000"},
            {
                "requests.limit": 10,
                "requests.reset_at": 1,
                "requests.window_s": 1,
                "tokens.limit": 3000,
                "tokens.window_s": 1,
            },
        ),
        (
            "fireworks",
            {
                "x-ratelimit-limit-tokens-prompt": "60000",
                "x-ratelimit-remaining-tokens-cache-adjusted-prompt": "59000",
                "x-ratelimit-remaining-tokens-generated": "6000",
                "x-ratelimit-over-limit": "no",
            },
            {
                "input_tokens.limit": 60000,
                "cache_adjusted_input_tokens.remaining": 59000,
                "output_tokens.remaining": 6000,
            },
        ),
        (
            "cerebras",
            {
                "x-ratelimit-limit-requests-day": "14400",
                "x-ratelimit-reset-requests-day": "33011.38",
                "x-ratelimit-remaining-tokens-minute": "0",
                "x-ratelimit-reset-tokens-minute": "11.5",
            },
            {
                "requests.limit": 14400,
                "requests.reset_at": 33011.38,
                "requests.window_s": 86400,
                "tokens.remaining": 0,
                "tokens.reset_at": 11.5,
                "tokens.window_s": 60,
            },
        ),
        (
            "replicate",
            {"ratelimit-remaining": "9", "ratelimit-reset": "1", "ratelimit-limit": "10, 10;w=1"},
            {"requests.limit": 10, "requests.remaining": 9, "requests.reset_at": 1},
        ),
        ("deepseek", {"x-ds-trace-id": "1"}, {}),
    ],
)
def test_the_others(provider: str, headers: dict[str, str], expected: dict[str, Any]) -> None:
    assert limits(headers, provider) == expected


@pytest.mark.parametrize("value", ["", "-1", "nan", "inf", "1e400", "many", "1.5", "\u0663", "1_0", "9" * 30])
def test_a_count_that_is_none_is_absent(value: str) -> None:
    assert limits({"x-ratelimit-limit-requests": value, "x-ratelimit-limit-tokens": "7.0"}) == {"tokens.limit": 7}


@pytest.mark.parametrize(
    "value", ["", "500", "s", "ms", "1x", "-5s", "1m1m", "tomorrow", "2026-11-22", "2026-11-22T20:00:00"]
)
def test_a_reset_that_is_none_is_absent(value: str) -> None:
    assert reset_at_s(value, NOW, None) is None


@pytest.mark.parametrize("value", ["9999h", "2030-01-01T00:00:00Z", "1999-01-01T00:00:00Z", "99999999999999999"])
def test_a_reset_that_is_no_time_of_these_days_is_absent(value: str) -> None:
    assert reset_at_s(value, NOW, 1.0) is None


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("12ms", 0.012),
        ("0s", 0),
        ("1h2m3s", 3723),
        ("6m0s", 360),
        ("5m", 300),
        ("100us", 1e-4),
        ("7ns", 7e-9),
        ("1.s", 1),
    ],
)
def test_a_duration_of_go(value: str, seconds: float) -> None:
    assert duration_s(value) == pytest.approx(seconds)


# -- when to come back -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({"retry-after": "7"}, 7),
        ({"retry-after": "0.5"}, 0.5),
        ({"retry-after": "7", "retry-after-ms": "1500"}, 1.5),
        ({"retry-after": "7", "retry-after-ms": "soon"}, 7),
        ({"retry-after": "Sun, 22 Nov 2026 20:00:30 GMT"}, 30),
        ({"retry-after": "Sun, 22 Nov 2026 19:00:00 GMT"}, 0),
        ({"retry-after": "soon"}, None),
        ({"retry-after": "-1"}, None),
        ({"retry-after": "1e12"}, None),
        ({"retry-after": ""}, None),
    ],
)
def test_retry_after(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(headers, NOW) == seconds
    assert limits(headers).get("retry_after_s") == seconds


@given(st.integers(1_700_000_000, 2_200_000_000))
def test_midnight_in_california_is_the_next_one_by_the_time_zone_database(now_s: int) -> None:
    zone = ZoneInfo("America/Los_Angeles")
    found = datetime.fromtimestamp(pacific_midnight_s(now_s), zone)
    assert (found.hour, found.minute, found.second) == (0, 0, 0)
    assert timedelta(0) < found - datetime.fromtimestamp(now_s, UTC) <= timedelta(hours=25)


@pytest.mark.parametrize(
    ("now", "midnight"),
    [
        ("2026-03-08T07:30:00Z", "2026-03-08T08:00:00Z"),
        ("2026-03-08T08:00:00Z", "2026-03-09T07:00:00Z"),
        ("2026-11-01T06:30:00Z", "2026-11-01T07:00:00Z"),
        ("2026-11-01T07:30:00Z", "2026-11-02T08:00:00Z"),
    ],
)
def test_midnight_around_the_changes_of_the_clock(now: str, midnight: str) -> None:
    found = pacific_midnight_s(datetime.fromisoformat(now).timestamp())
    assert found == datetime.fromisoformat(midnight).timestamp()


# -- the IETF's draft ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("policies", "current", "expected"),
    [
        (
            '"permin";q=50;w=60,"perhr";q=1000;w=3600',
            '"permin";r=49;t=30, "perhr";r=12;t=1800',
            {"requests.limit": 1000, "requests.remaining": 12, "requests.reset_at": 1800, "requests.window_s": 3600},
        ),
        (
            '"a";q=9;qu="content-bytes";pk=:cGs=:, "b";q=3;qu="concurrent-requests"',
            '"a";r=0',
            {"content_bytes.limit": 9, "content_bytes.remaining": 0, "concurrent_requests.limit": 3},
        ),
        ("", '"default";r=50;t=30', {"requests.remaining": 50, "requests.reset_at": 30}),
        ('"a, \\"b";q=5', '"a, \\"b";r=4', {"requests.limit": 5, "requests.remaining": 4}),
        ('"a";q=5;qu="unheard-of"', '"a";r=1', {}),
        ("100", ";;;", {}),
        ('"a";q=-1;w=x', '"a";r=', {}),
    ],
)
def test_the_structured_fields(policies: str, current: str, expected: dict[str, Any]) -> None:
    assert shown(read_policies(policies, current, NOW)) == expected
    assert limits({"ratelimit-policy": policies, "ratelimit": current}) == expected


@given(st.text(max_size=200), st.text(max_size=200))
def test_no_field_is_too_strange(policies: str, current: str) -> None:
    read_policies(policies, current, NOW)


@given(
    st.dictionaries(
        st.sampled_from([*FIELDS, "retry-after", "retry-after-ms", "apim-request-id"]), st.text(max_size=40)
    )
)
def test_no_header_is_too_strange(headers: dict[str, str]) -> None:
    for value in limits(headers).values():
        assert value is not None


# -- bodies of refusals ----------------------------------------------------------------------------------------

HELP = {"@type": "type.googleapis.com/google.rpc.Help", "links": [{"description": "x", "url": "https://ai.google.dev"}]}
RETRY = {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "38.2s"}
MIDNIGHT_S = 12 * 3600  # from noon


def quota(*quotas: tuple[str, str]) -> dict[str, Any]:
    violations = [{"quotaMetric": "x", "quotaId": quota, "quotaValue": value} for quota, value in quotas]
    return {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": violations}


def google(*details: Any, **more: Any) -> dict[str, Any]:
    return {"error": {"code": 429, "message": "...", "status": "RESOURCE_EXHAUSTED", "details": [*details], **more}}


def hit(body: Any, head: dict[str, Any] | None = None) -> dict[str, Any]:
    return shown(read_refusal(json.dumps(body).encode(), head or {}, NOW))


PER_DAY = quota(("GenerateRequestsPerDayPerProjectPerModel-FreeTier", "20"))
PER_MINUTE = quota(("GenerateContentInputTokensPerModelPerMinute-FreeTier", "250000"))
DAILY = {"requests.limit": 20, "requests.reset_at": MIDNIGHT_S, "requests.window_s": 86400}
MINUTELY = {
    "input_tokens.limit": 250000,
    "input_tokens.reset_at": 38.2,
    "input_tokens.window_s": 60,
    "retry_after_s": 38.2,
}


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (google(PER_DAY, HELP, RETRY), DAILY),
        (google(PER_MINUTE, HELP, RETRY), MINUTELY),
        ([google(PER_MINUTE, RETRY)], MINUTELY),
        ({"error": {"message": json.dumps(google(PER_DAY, RETRY))}}, DAILY),
        (
            google(
                {
                    "@type": "type.googleapis.com/google.rpc.ErrorInfo",
                    "metadata": {"quota_limit": "OnlineRequestsPerMinutePerProject", "quota_limit_value": "60"},
                }
            ),
            {"requests.limit": 60, "requests.window_s": 60},
        ),
        (google(RETRY), {"retry_after_s": 38.2}),
        (google(quota(("SomethingElse", "many"))), {}),
        ({"error": {"code": 429, "errors": [{"reason": "rateLimitExceeded"}]}}, {}),
        (google({"@type": "google.rpc.QuotaFailure", "violations": [{"quotaMetric": "x"}, 7]}), {}),
        ([], {}),
        ({"error": "google.rpc."}, {}),
        ({"error": {"details": ["google.rpc.", {"violations": 7, "metadata": 7, "retryDelay": 7}]}}, {}),
    ],
)
def test_googles_refusals(body: Any, expected: dict[str, Any]) -> None:
    assert hit(body) == expected


GROQ = (
    "Rate limit reached for model `llama-3.1-8b-instant` in organization `org_x` service tier `on_demand` on "
    "tokens per day (TPD): Limit 6000, Used 4093, Requested 3531. Please try again in 16m16.239999999s. Need more"
)


def test_the_limit_that_groq_names_takes_the_place_of_the_one_in_the_headers() -> None:
    head = response_head.read(
        {
            "x-ratelimit-remaining-tokens": "17",
            "x-ratelimit-reset-tokens": "1s",
            "x-ratelimit-limit-requests": "9",
            "retry-after": "976",
        },
        "groq",
        NOW,
    )
    assert hit({"error": {"message": GROQ, "type": "tokens", "code": "rate_limit_exceeded"}}, head) == {
        "tokens.limit": 6000,
        "tokens.remaining": 1907,
        "tokens.reset_at": 976.239999999,
        "tokens.window_s": 86400,
        "requests.limit": 9,
        "requests.window_s": 86400,
        "retry_after_s": 976,
    }


def test_a_request_that_is_larger_than_the_limit_has_no_time_to_come_back() -> None:
    message = "Request too large for model `x` on tokens per minute (TPM): Limit 6000, Requested 15041, please reduce"
    assert hit({"error": {"message": message}}) == {"tokens.limit": 6000, "tokens.window_s": 60}


def passed_on(headers: Any) -> dict[str, Any]:
    message = "Rate limit exceeded: free-models-per-day. Add 10 credits to unlock 1000 free model requests per day"
    return {"error": {"message": message, "code": 429, "metadata": {"headers": headers, "provider_name": None}}}


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        (
            {"X-RateLimit-Limit": "50", "X-RateLimit-Remaining": "0", "X-RateLimit-Reset": str(int(NOW + 60) * 1000)},
            {"requests.limit": 50, "requests.remaining": 0, "requests.reset_at": 60},
        ),
        ({"Retry-After": "17"}, {"retry_after_s": 17}),
        ({"X-RateLimit-Limit": 50, "X-RateLimit-Remaining": None, "content-type": "x"}, {}),
        (["X-RateLimit-Limit"], {}),
    ],
)
def test_the_headers_that_openrouter_repeats_in_its_body(headers: Any, expected: dict[str, Any]) -> None:
    assert hit(passed_on(headers)) == expected


@given(st.binary(max_size=200))
def test_no_refusal_is_too_strange(content: bytes) -> None:
    assert read_refusal(content, {"a": 1}, NOW)["a"] == 1
    read_refusal(b"google.rpc." + content, {}, NOW)


# -- on the span -----------------------------------------------------------------------------------------------


def test_a_refused_attempt_and_the_one_after_it_each_tell_of_their_limits(server: WireServer, spans: Spans) -> None:
    refusal = {"error": {"message": GROQ, "type": "tokens", "code": "rate_limit_exceeded"}}
    answer = {"id": "1", "model": "m", "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}}
    server.reply(
        json_reply(refusal, 429, retry_after_ms="1", x_request_id="req_1"),
        json_reply(answer, x_ratelimit_remaining_requests="5", x_ratelimit_reset_requests="1s", x_request_id="req_2"),
    )
    before = datetime.now(UTC).timestamp()
    with openai.OpenAI(base_url=server.url + "/v1", api_key="test", max_retries=1) as client:
        client.chat.completions.create(model="m", messages=[])
    first, second = (dict(span.attributes or {}) for span in spans())
    assert first["spanledger.rate_limit.retry_after_s"] == 0.001
    assert first["spanledger.rate_limit.tokens.limit"] == 6000
    assert (first["spanledger.request_id"], second["spanledger.request_id"]) == ("req_1", "req_2")
    assert second["spanledger.rate_limit.requests.remaining"] == 5
    assert before + 1 <= second["spanledger.rate_limit.requests.reset_at"] <= datetime.now(UTC).timestamp() + 1
    assert not any(name.endswith("tokens.limit") for name in second)


def post_with_httpx(url: str, body: Any) -> None:
    with httpx.stream("POST", url, json=body) as response:
        response.read()


@pytest.mark.parametrize(
    "post",
    [post_with_httpx, lambda url, body: requests.post(url, json=body, timeout=10)],
    ids=["httpx", "requests"],
)
def test_the_refusal_of_a_stream_names_its_limit_and_its_reason_also_where_it_is_compressed(
    server: WireServer, spans: Spans, post: Any
) -> None:
    refusal = {"error": {"message": GROQ, "type": "tokens", "code": "rate_limit_exceeded"}}
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    server.reply(Reply(status=429, headers=headers, pieces=[gzip.compress(json.dumps(refusal).encode())]))
    post(f"{server.url}/v1/chat/completions", {"model": "m", "messages": [], "stream": True})
    attributes = spans.attributes()
    assert attributes["error.type"] == "rate_limit_exceeded"
    assert attributes["spanledger.rate_limit.tokens.limit"] == 6000


def test_a_refusal_that_nothing_can_decode_is_one_all_the_same(server: WireServer, spans: Spans) -> None:
    headers = {"content-type": "application/json", "content-encoding": "gzip"}
    server.reply(Reply(status=429, headers=headers, pieces=[b"{}"]))
    with pytest.raises(httpx.DecodingError):
        post_with_httpx(f"{server.url}/v1/chat/completions", {"model": "m", "messages": [], "stream": True})
    fence.FAILURES.clear()  # our own decoder failed as the client's did
    attributes = spans.attributes()
    assert (attributes["error.type"], attributes["spanledger.usage.status"]) == ("429", "none")
