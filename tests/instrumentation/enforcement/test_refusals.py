"""What a refusal says, and in which shape."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanledger_instrumentation.document import Document
from spanledger_instrumentation.providers.routes import find
from spanledger_instrumentation.refusals import BudgetExceededError, amount_text, refusal_of
from spanledger_instrumentation.wallet import Denial

ENDS_S = 1_796_083_200  # 2026-12-01 00:00 UTC


def denial(**more: Any) -> Denial:
    said: dict[str, Any] = {
        "budget": "team-search",
        "group": "team=search",
        "unit": "usd",
        "limit": 500_000_000,
        "spent": 499_980_000,
        "leased": 0,
        "period_end_s": ENDS_S,
        "reason": "exhausted",
        "need": 163_840,
        **more,
    }
    return Denial(**said)


def message(given: Denial) -> str:
    return refusal_of(given, "openai", "openai").message


def test_it_names_the_budget_the_limit_and_when_the_period_ends() -> None:
    assert message(denial()) == (
        'Budget "team-search" (team=search) has too little left: its limit is 500.00 USD, 499.98 USD are spent, and'
        " this call may need up to 0.16384 USD. The budget's period ends at 2026-12-01 00:00 UTC. The call was refused"
        " by Spanledger and never sent."
    )


def test_it_says_what_is_reserved_and_leaves_out_what_is_nothing() -> None:
    said = message(denial(group="", leased=20_000, need=0))
    assert 'Budget "team-search" has too little left' in said
    assert "499.98 USD are spent, 0.02 USD reserved for other calls. The budget's" in said


@pytest.mark.parametrize(
    ("reason", "said"),
    [
        ("unpriced_model", "whose price is not known"),
        ("unreachable", "lets no call pass while Spanledger's exporter cannot be reached"),
        ("allowance", "has no more left of what it allows while"),
        ("nothing_known", "no budget is known"),
        ("too_many_leases", "has too little left"),
        ("too_many_groups", "there is no room for another"),
        ("a reason of a later version", "has too little left"),
    ],
)
def test_each_reason_has_its_own_words(reason: str, said: str) -> None:
    assert said in message(denial(reason=reason))
    assert message(denial(reason=reason)).endswith("The call was refused by Spanledger and never sent.")


@pytest.mark.parametrize(
    ("unit", "amount", "text"),
    [
        ("usd", 12_500_000, "12.50 USD"),
        ("usd", 1, "0.000001 USD"),
        ("usd", 0, "0.00 USD"),
        ("usd", -1_500_000, "-1.50 USD"),
        ("usd", 1_234_567_000_000, "1,234,567.00 USD"),
        ("tokens", 1_000_000, "1,000,000 tokens"),
        ("calls", 3, "3 calls"),
    ],
)
def test_amounts_are_exact(unit: str, amount: int, text: str) -> None:
    assert amount_text(unit, amount) == text


SHAPES: list[tuple[str, str, str, Any]] = [
    ("/v1/chat/completions", "groq", "openai", "budget_exceeded"),
    ("/v1/chat/completions", "mistral_ai", "openai", "budget_exceeded"),
    ("/v1/messages", "anthropic", "anthropic", "billing_error"),
    ("/v1beta/models/g:generateContent", "gcp.gemini", "gcp.gemini", "RESOURCE_EXHAUSTED"),
    ("/v1/responses", "gcp.gemini", "openai", "budget_exceeded"),
    ("/v1/models/text-embedding:predict", "gcp.vertex_ai", "gcp.vertex_ai", "RESOURCE_EXHAUSTED"),
]


@pytest.mark.parametrize(("path", "provider", "owner", "error"), SHAPES)
def test_the_readers_of_the_providers_own_refusals_understand_it(
    path: str, provider: str, owner: str, error: str
) -> None:
    refusal = refusal_of(denial(), provider, owner)
    wire = find("POST", path.encode())[0].wire
    assert wire.read_error(Document(refusal.content)) == error
    assert refusal.headers["content-length"] == str(len(refusal.content))


def test_bedrocks_is_named_in_a_header() -> None:
    wire = find("POST", b"/model/m/converse")[0].wire
    assert wire.read_error_head is not None
    refusal = refusal_of(denial(), "aws.bedrock", "aws.bedrock")
    assert wire.read_error_head(refusal.headers) == "BudgetExceededException"


@given(st.text(max_size=80), st.text(max_size=80), st.integers(-(2**63), 2**63))
def test_whatever_a_budget_is_called_the_headers_are_plain_and_the_body_is_json(
    budget: str, group: str, moment_s: int
) -> None:
    refusal = refusal_of(denial(budget=budget, group=group, period_end_s=moment_s), "openai", "openai")
    assert json.loads(refusal.content)["error"]["message"] == refusal.message
    assert all(value.isascii() for value in refusal.headers.values())


def test_as_an_exception_it_is_no_clients() -> None:
    error = refusal_of(denial(), "openai", "openai").error()
    assert type(error).__mro__ == (BudgetExceededError, Exception, BaseException, object)
    assert "team-search" in str(error)
