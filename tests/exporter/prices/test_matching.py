"""A rule's text is the beginning of a model's name only where what is left is a date, a version or a release word."""

from typing import Any

import pytest
from genai_prices.data import providers

from spanledger_exporter.prices.matching import Matcher, rule_of
from spanledger_exporter.prices.price_book import PriceBook


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        ({"starts_with": "claude-sonnet-4-5"}, "claude-sonnet-4-5"),
        ({"starts_with": "claude-sonnet-4-5"}, "claude-sonnet-4-5-20250929"),
        ({"starts_with": "claude-sonnet-4-5"}, "claude-sonnet-4-5@20250929"),
        ({"starts_with": "claude-sonnet-4-5"}, "claude-sonnet-4-5-latest"),
        ({"starts_with": "claude-sonnet-4-2025"}, "claude-sonnet-4-20250514"),
        ({"starts_with": "claude-2"}, "claude-2.1"),
        ({"starts_with": "deepseek-v4-pro"}, "deepseek-v4-pro-0813"),
        ({"starts_with": "gemini-2.5-pro"}, "gemini-2.5-pro-preview-05-06"),
        ({"starts_with": "gemini-2.5-pro"}, "gemini-2.5-pro-exp-03-25"),
        ({"starts_with": "gemini-2.5-pro"}, "gemini-2.5-pro-001"),
        ({"starts_with": "gpt-5-nano-"}, "gpt-5-nano-2025-08-07"),
        ({"contains": "gemini-2.0-flash-0"}, "gemini-2.0-flash-001"),
        ({"contains": "us.anthropic.claude-sonnet-4-5-20250929"}, "us.anthropic.claude-sonnet-4-5-20250929-v1:0"),
        ({"contains": "amazon.nova-lite"}, "us.amazon.nova-lite-v1:0:300k"),
        ({"ends_with": "gemini-2.0-flash"}, "google/gemini-2.0-flash"),
        ({"starts_with": "ft:gpt-4o-2024-"}, "ft:gpt-4o-2024-08-06:acme:support:abc123"),
        ({"starts_with": "ft:gpt-3.5-turbo"}, "ft:gpt-3.5-turbo-0125:acme::x"),
        ({"regex": "^gpt-6-luna-"}, "gpt-6-luna-2026-09-29"),
        ({"and": [{"starts_with": "nova-"}, {"ends_with": "lite"}]}, "nova-lite"),
    ],
)  # fmt: skip
def test_a_release_of_a_model_matches(rule: dict[str, Any], name: str) -> None:
    assert rule_of(rule)(name)


@pytest.mark.parametrize(
    ("rule", "name"),
    [
        ({"starts_with": "claude-sonnet-4-5"}, "claude-sonnet-4-55"),
        ({"starts_with": "claude-sonnet-4-5"}, "claude-sonnet-4-5-1"),
        ({"starts_with": "claude-sonnet-4-5"}, "claude-sonnet-4-5.1"),
        ({"starts_with": "claude-opus-4-8"}, "claude-opus-4-80"),
        ({"starts_with": "claude-opus-4-6"}, "claude-opus-4-6-fast"),
        ({"starts_with": "gemini-2.5-pro"}, "gemini-2.5-pro-super"),
        ({"starts_with": "gemini-2.5-pro"}, "gemini-2.5-professional"),
        ({"starts_with": "gemini-3.8-flash"}, "gemini-3.8-flash-cyber"),
        ({"starts_with": "deepseek-v4-pro"}, "deepseek-v4-pro-max"),
        ({"contains": "claude-opus-4-5"}, "claude-opus-4-55"),
        ({"contains": "in.anthropic.claude-opus-5-v1"}, "latin.anthropic.claude-opus-5-v1"),
        ({"contains": "o4-mini"}, "ft:o4-mini-2025-04-16:acme"),
        ({"regex": "o4-mini"}, "ft:o4-mini-2025-04-16:acme"),
        ({"ends_with": "o4-mini"}, "ft:o4-mini"),
        ({"ends_with": "gemini-2.0-flash"}, "notgemini-2.0-flash"),
        ({"starts_with": "ft:gpt-4o-2024"}, "ft:gpt-4o-2024mini"),
        ({"equals": "gpt-5"}, "gpt-5-mega"),
    ],
)
def test_another_model_does_not(rule: dict[str, Any], name: str) -> None:
    assert not rule_of(rule)(name)


def test_the_first_of_many_rules_wins_whether_it_lists_names_or_not() -> None:
    rules = [{"starts_with": "a"}, {"equals": "a-10"}, {"or": [{"equals": "b"}, {"equals": "C"}]}, {"starts_with": "b"}]
    found = [Matcher(rules).first(name) for name in ("a-10", "b", "c", "b-10", "d")]
    assert found == [0, 2, 2, 3, None]
    assert Matcher(rules[1:]).first("a-10") == 0


def test_every_name_that_genai_prices_lists_is_the_model_that_it_says(book: PriceBook) -> None:
    """Its literal names and ids: being stricter must lose none of them."""
    for provider in providers:
        rules = [model["match"] for id_, model in book.models() if id_ == provider.id]
        matcher = Matcher(rules)
        for number, rule in enumerate(rules):
            for name in {provider.models[number].id.lower(), *literals(rule)}:
                theirs = next((n for n, model in enumerate(provider.models) if model.is_match(name)), None)
                assert matcher.first(name) == theirs, (provider.id, name)


def literals(rule: dict[str, Any]) -> set[str]:
    ((kind, argument),) = rule.items()
    if kind in {"or", "and"}:
        return set().union(*map(literals, argument))
    return set() if kind == "regex" else {argument.lower()}
