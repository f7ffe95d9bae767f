"""When a message about a budget is due: once for a threshold, a period and a limit, and seldom."""

import pytest

from spanledger_exporter.alerts.notifications import Answer, Rules, Told, Verdict, crossed, judge, key_of
from spanledger_exporter.budgets.periods import Bounds
from tests.exporter.standing import DAY_S, MONTH, NOW_NS, NOW_S, USD, budget, state, stored

HOUR_NS = 3600 * 10**9
RULES = Rules(24 * HOUR_NS)
NEXT = Bounds(MONTH.end_s, MONTH.end_s + 31 * DAY_S)


def told(percent: float, hours_ago: float = 1, **changes: object) -> Told:
    """A message that was made when so much was spent."""
    then = state(percent, **changes)  # pyright: ignore[reportArgumentType]
    return Told(key_of(then, crossed(then)), round(NOW_NS - hours_ago * HOUR_NS))


def answer(percent: float, *before: Told, rules: Rules = RULES, **changes: object) -> Answer:
    now = state(percent, **changes)  # pyright: ignore[reportArgumentType]
    return judge(now, before, rules, NOW_NS).answer


@pytest.mark.parametrize(("percent", "threshold"), [(0, 0), (74.9999, 0), (75, 75), (95, 90), (100, 100), (250, 100)])
def test_the_highest_threshold_that_is_reached_counts(percent: float, threshold: int) -> None:
    assert crossed(state(percent)) == threshold


def test_a_millionth_below_a_threshold_is_below_it() -> None:
    whole = 10**18
    assert crossed(state(of=stored(budget(limit=whole)), limit=whole, spent=whole * 9 // 10 - 1)) == 75
    assert crossed(state(of=stored(budget(limit=whole)), limit=whole, spent=whole * 9 // 10)) == 90


def test_where_nothing_is_spent_nothing_is_reached() -> None:
    assert crossed(state(limit=0, spent=0)) == 0
    assert crossed(state(limit=0, spent=1)) == 100


def test_a_budget_without_thresholds_is_silent() -> None:
    assert answer(200, of=stored(budget(thresholds=()))) == "below"


def test_a_jump_past_several_thresholds_is_one_message() -> None:
    verdict = judge(state(95), [], RULES, NOW_NS)
    assert verdict == Verdict(state(95), 90, "due")


def test_each_threshold_is_told_once() -> None:
    assert answer(70) == "below"
    assert answer(76) == "due"
    assert answer(80, told(76)) == "told"
    assert answer(80, told(76, hours_ago=200)) == "told"


def test_a_graver_message_does_not_wait() -> None:
    assert answer(91, told(76)) == "due"
    assert answer(101, told(91), told(76)) == "due"


def test_what_falls_back_and_crosses_again_was_told() -> None:
    """A correction that arrives late may take spending below a threshold, and the next call above it."""
    assert answer(89, told(91)) == "told"
    assert answer(91, told(91, hours_ago=48)) == "told"
    assert answer(76, told(91, hours_ago=48)) == "told"


def test_another_period_is_told_of_again_but_not_within_a_day() -> None:
    earlier = told(101, hours_ago=3)
    verdict = judge(state(76, bounds=NEXT), [earlier], RULES, NOW_NS)
    assert (verdict.answer, verdict.until_ns) == ("waiting", NOW_NS + 21 * HOUR_NS)
    assert answer(76, told(101, hours_ago=24), bounds=NEXT) == "due"
    assert answer(101, told(76), bounds=NEXT) == "due"  # graver


def test_without_an_interval_each_period_speaks_for_itself() -> None:
    assert answer(76, told(101, hours_ago=0.1), rules=Rules(0), bounds=NEXT) == "due"
    assert answer(76, told(76, hours_ago=0.1), rules=Rules(0)) == "told"


def test_a_raised_limit_is_told_of_again_at_once() -> None:
    """More is spent than at the last message, though it is a smaller part of the new limit."""
    raised = stored(budget(limit=200 * USD))
    assert answer(50.5, told(101), of=raised) == "below"
    assert answer(76, told(101), of=raised) == "due"
    assert answer(76, told(101), told(76, of=raised), of=raised) == "told"


def test_a_lowered_limit_is_told_of_at_once_where_it_is_graver() -> None:
    lowered = stored(budget(limit=50 * USD))
    assert answer(155, told(77.5), of=lowered) == "due"
    assert answer(92, told(91), of=lowered) == "waiting"  # fewer than before, and no higher threshold


def test_a_limit_that_comes_back_was_told_of() -> None:
    raised = stored(budget(limit=200 * USD))
    assert answer(101, told(101, hours_ago=30), told(76, of=raised, hours_ago=29)) == "told"


def test_what_rolls_over_is_no_other_limit() -> None:
    """Late calls of the last period move what is left of it: that must not tell everything again."""
    rolling = stored(budget(rollover=True))
    assert answer(92, told(91, of=rolling, limit=120 * USD), of=rolling, limit=119 * USD) == "told"


def test_another_unit_is_another_limit() -> None:
    assert answer(76, told(76, hours_ago=30), of=stored(budget(limit=100, unit="calls"))) == "due"


def test_only_wanted_budgets_are_told_of() -> None:
    rules = Rules(24 * HOUR_NS, ("team-*", "search"))
    assert answer(92, rules=rules) == "due"
    assert answer(92, rules=rules, of=stored(budget("team-x"))) == "due"
    assert answer(92, rules=rules, of=stored(budget("other"))) == "unwanted"


def test_a_period_that_is_long_over_is_no_news() -> None:
    assert answer(92, bounds=Bounds(0, NOW_S - DAY_S + 1)) == "due"
    assert answer(92, bounds=Bounds(0, NOW_S - DAY_S)) == "over"
