"""The newest answer tells how much of a provider's limit is left, until the limit is whole again."""

from collections.abc import Callable
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from spanledger_exporter.metrics.rate_limits import RateLimitMetrics
from spanledger_exporter.records import UsageRecord
from tests.exporter.calls import record
from tests.exporter.otlp_requests import END_NS, Value, key_values

S = 10**9
LIMIT, REMAINING, RESET = (f"genai_rate_limit_{name}" for name in ("limit", "remaining", "reset_timestamp_seconds"))
Shown = Callable[..., float | None]


class Limits:
    """The metrics, at a time that the test sets."""

    def __init__(self, *, series_max: int = 10) -> None:
        self.now_ns = END_NS + S
        self.registry = CollectorRegistry()
        self.metrics = RateLimitMetrics(self.registry, series_max=series_max, clock_ns=lambda: self.now_ns)

    def __call__(self, name: str, kind: str = "tokens", **labels: str) -> float | None:
        own = {"service": "shop", "provider": "openai", "model": "gpt-4o-mini-2024-07-18", "kind": kind, **labels}
        return self.registry.get_sample_value(name, own)

    @property
    def series(self) -> int:
        return sum(sample.name == LIMIT for family in self.registry.collect() for sample in family.samples)


def told(*, kind: str = "tokens", changes: dict[str, Any] | None = None, **parts: Value) -> UsageRecord:
    attributes = {f"spanledger.rate_limit.{kind}.{part}": value for part, value in parts.items()}
    raws = tuple(pair.SerializeToString() for pair in key_values(attributes))
    return record(**{"rate_limits": raws, **(changes or {})})


@pytest.fixture
def limits() -> Limits:
    return Limits()


def test_the_call_that_ended_last_counts_whatever_arrives_last(limits: Limits) -> None:
    older, newer = (
        told(limit=100, remaining=left, changes={"end_ns": at}) for left, at in ((40, END_NS - S), (39, END_NS))
    )
    limits.metrics.observe([newer, older])
    assert (limits(LIMIT), limits(REMAINING)) == (100, 39)
    limits.metrics.observe([older])
    assert limits(REMAINING) == 39


def test_each_kind_is_a_limit_of_its_own(limits: Limits) -> None:
    limits.metrics.observe([told(limit=100, remaining=40), told(kind="requests", limit=9, remaining=8)])
    assert (limits(REMAINING), limits(REMAINING, "requests")) == (40, 8)


@pytest.mark.parametrize(
    ("parts", "whole_s"), [({"reset_at": END_NS / S + 30}, 30), ({"window_s": 3600.0}, 3600), ({}, 60)]
)
def test_all_of_it_is_left_once_it_is_whole_again_and_nothing_newer_was_told(
    limits: Limits, parts: dict[str, Value], whole_s: int
) -> None:
    limits.metrics.observe([told(limit=100, remaining=0, **parts)])
    limits.now_ns = END_NS + whole_s * S - S
    assert limits(REMAINING) == 0
    limits.now_ns = END_NS + whole_s * S
    assert limits(REMAINING) == 100
    assert limits(RESET) == parts.get("reset_at")


def test_what_is_left_of_a_limit_that_nobody_named_is_unknown_afterwards(limits: Limits) -> None:
    limits.metrics.observe([told(remaining=5)])
    assert (limits(LIMIT), limits(REMAINING)) == (None, 5)
    limits.now_ns = END_NS + 61 * S
    assert limits(REMAINING) is None


def test_a_clock_that_is_ahead_is_overtaken_by_the_next_call(limits: Limits) -> None:
    limits.metrics.observe([told(limit=100, remaining=1, changes={"end_ns": END_NS + 3600 * S})])
    limits.now_ns += S
    limits.metrics.observe([told(limit=100, remaining=90, changes={"end_ns": limits.now_ns})])
    assert limits(REMAINING) == 90


def test_series_are_bounded_and_what_is_not_shown_is_counted() -> None:
    limits = Limits(series_max=2)
    for number in range(5):
        limits.metrics.observe([told(limit=1, remaining=1, changes={"response_model": str(number)})])
    limits.metrics.observe([told(limit=7, remaining=1, changes={"response_model": "0"})])
    assert limits.series == 2
    assert limits(LIMIT, model="0") == 7
    assert limits.registry.get_sample_value("spanledger_rate_limits_unshown_total") == 3


@pytest.mark.parametrize("reset_at", [END_NS / S + 30, 2e11])
def test_a_limit_that_nobody_has_told_of_for_long_makes_room(reset_at: float) -> None:
    limits = Limits(series_max=1)
    limits.metrics.observe([told(limit=1, remaining=1, reset_at=reset_at, changes={"service": "gone"})])
    limits.now_ns += 40 * 24 * 3600 * S
    limits.metrics.observe([told(limit=5, remaining=1, changes={"end_ns": limits.now_ns})])
    assert (limits.series, limits(LIMIT)) == (1, 5)
