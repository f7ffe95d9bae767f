"""What answers say of rate limits, and how much of them is then in use."""

from spanledger_instrumentation.used_limits import LIMITS_MAX, UsedLimits

ASKED = {"gen_ai.provider.name": "openai", "gen_ai.request.model": "m", "user.id": "u"}


def head(kind: str = "tokens", **parts: float) -> dict[str, object]:
    return {f"spanledger.rate_limit.{kind}.{part}": value for part, value in parts.items()}


def used(limits: UsedLimits, now_s: float) -> list[float]:
    return [part for part, _ in limits.used(now_s)]


def test_what_was_said_last_counts_until_the_limit_is_whole_again() -> None:
    limits = UsedLimits()
    limits.take(ASKED, head(limit=100, remaining=20, reset_at=1060.0), 1000.0)
    limits.take(ASKED, head(limit=100, remaining=5, reset_at=1060.0), 1001.0)
    assert used(limits, 1059.0) == [0.95]
    assert used(limits, 1060.0) == [0.0]


def test_where_no_renewal_is_told_the_window_is_taken_else_a_minute() -> None:
    limits = UsedLimits()
    limits.take(ASKED, head(limit=4, remaining=1, window_s=10.0), 0.0)
    limits.take(ASKED, head("requests", limit=4, remaining=1), 0.0)
    assert used(limits, 9.0) == [0.75, 0.75]
    assert used(limits, 10.0) == [0.0, 0.75]
    assert used(limits, 60.0) == [0.0, 0.0]


def test_it_is_known_of_whom_and_never_of_which_user() -> None:
    limits = UsedLimits()
    limits.take(ASKED, head(limit=4, remaining=1), 0.0)
    of = {"gen_ai.provider.name": "openai", "gen_ai.request.model": "m", "spanledger.rate_limit.kind": "tokens"}
    assert list(limits.used(0.0)) == [(0.75, of)]


def test_of_a_limit_that_is_not_told_whole_nothing_is_known() -> None:
    limits = UsedLimits()
    limits.take(ASKED, head(limit=100), 0.0)
    limits.take(ASKED, head(remaining=100), 0.0)
    limits.take(ASKED, head(limit=0, remaining=0), 0.0)  # Mistral's model that is not enabled
    limits.take(ASKED, {"spanledger.rate_limit.retry_after_s": 3.0}, 0.0)
    assert used(limits, 0.0) == []


def test_more_left_than_there_may_be_is_nothing_in_use() -> None:
    limits = UsedLimits()
    limits.take(ASKED, head(limit=100, remaining=120), 0.0)
    assert used(limits, 0.0) == [0.0]


def test_further_limits_than_are_kept_are_not_told() -> None:
    limits = UsedLimits()
    for number in range(LIMITS_MAX + 5):
        limits.take({**ASKED, "gen_ai.request.model": str(number)}, head(limit=2, remaining=1), 0.0)
    limits.take({**ASKED, "gen_ai.request.model": "0"}, head(limit=2, remaining=0), 0.0)
    assert len(used(limits, 0.0)) == LIMITS_MAX
    assert used(limits, 0.0)[0] == 1.0
