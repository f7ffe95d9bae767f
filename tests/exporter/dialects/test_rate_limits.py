"""What spans say of rate limits is carried as it came, and read with every doubt."""

from collections.abc import Mapping, Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanledger_exporter import dialects
from spanledger_exporter.dialects import RateLimit
from spanledger_exporter.receiving import otlp
from tests.exporter.otlp_requests import CHAT, Value, key_values, request, span

TOKENS: Mapping[str, Value] = {
    "spanledger.rate_limit.tokens.limit": 6000,
    "spanledger.rate_limit.tokens.remaining": 17,
    "spanledger.rate_limit.tokens.reset_at": 1_795_000_030.5,
    "spanledger.rate_limit.tokens.window_s": 60.0,
}


def limits(attributes: Mapping[str, Value]) -> Sequence[RateLimit]:
    batch = otlp.decode(request(span({**CHAT, **attributes})).SerializeToString(), dialects.RESOURCE_ATTRIBUTES)
    (first,) = dialects.understand(batch.spans).records
    (again,) = dialects.understand(batch.spans).records
    assert first.rate_limits == again.rate_limits
    return dialects.read_limits(first.rate_limits)


def test_each_limit_of_an_answer_is_read_with_its_times() -> None:
    requests: Mapping[str, Value] = {"spanledger.rate_limit.requests.remaining": 0}
    assert limits({**TOKENS, **requests}) == [
        RateLimit("tokens", 6000, 17, 1_795_000_030.5, 60.0),
        RateLimit("requests", None, 0, None, None),
    ]
    assert limits({}) == []


def test_a_kind_that_is_unheard_of_is_not_read() -> None:
    assert limits({"spanledger.rate_limit.smiles.limit": 1, "spanledger.rate_limit.retry_after_s": 1.0}) == []


@pytest.mark.parametrize("value", [-1, 0.5, float("nan"), float("inf"), 10**13, 1e300, True, "many", ("1", "2")])
def test_a_figure_that_cannot_be_is_not_known(value: Value) -> None:
    (found,) = limits({**TOKENS, "spanledger.rate_limit.tokens.remaining": value})
    assert found == RateLimit("tokens", 6000, None, 1_795_000_030.5, 60.0)


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf"), 1e12, False, "soon"])
def test_a_time_that_cannot_be_is_not_known(value: Value) -> None:
    (found,) = limits({**TOKENS, "spanledger.rate_limit.tokens.reset_at": value})
    assert found == RateLimit("tokens", 6000, 17, None, 60.0)


@given(st.lists(st.binary(max_size=40) | st.sampled_from(key_values(TOKENS)).flatmap(lambda pair: st.builds(
    lambda cut, tail: pair.SerializeToString()[:cut] + tail, st.integers(0, 60), st.binary(max_size=8)))))  # fmt: skip
def test_whatever_bytes_are_carried_reading_them_never_fails(raws: list[bytes]) -> None:
    for found in dialects.read_limits(raws):
        assert found.kind in dialects.RATE_LIMIT_KINDS
        assert all(figure is None or figure >= 0 for figure in found[1:])


def test_what_an_answer_told_of_limits_changes_nothing_of_its_call() -> None:
    made = [
        dialects.understand(
            otlp.decode(request(span({**CHAT, **attributes})).SerializeToString(), dialects.RESOURCE_ATTRIBUTES).spans
        )
        for attributes in ({}, {**TOKENS, "spanledger.rate_limit.tokens.limit": -1})
    ]
    one, other = (each.records[0] for each in made)
    assert (one.usage, one.usage_status, one.profile) == (other.usage, other.usage_status, other.profile)
    assert [each.refused_figures for each in made] == [0, 0]
