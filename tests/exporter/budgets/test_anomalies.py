"""A day is unusual for its weekday, or it is not; weekends, growth and small sums are nobody's concern."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanledger_exporter.budgets.anomalies import SCORE_MAX, Growth, growths, judge
from spanledger_exporter.budgets.forecast import Stretch

DAY_S = 86_400
WEEK = [100, 110, 95, 105, 100, 40, 30]


def days(*amounts: int) -> list[Stretch]:
    return [Stretch(place * DAY_S, (place + 1) * DAY_S, amount, place % 7 + 1) for place, amount in enumerate(amounts)]


def score(past: list[Stretch], amount: int, *, floor: int = 0) -> float:
    found = judge(past, days(*[0] * len(past), amount)[-1], floor=floor)
    assert found is not None
    assert found.anomalous == (found.score >= 1)
    return found.score


def test_the_usual_day_of_a_weekday_is_no_anomaly() -> None:
    past = days(*WEEK * 8)
    assert score(past, WEEK[0]) == 0
    assert score(past, 120) < 1


def test_three_times_the_weekday_is() -> None:
    past = days(*WEEK * 8)
    found = judge(past, Stretch(past[-1].end_s, past[-1].end_s + DAY_S, 300, 1), floor=0)
    assert found is not None
    assert (found.anomalous, found.rule, found.amount) == (True, "weekday", 300)
    assert found.usual == pytest.approx(100, abs=5)
    assert found.day_s == past[-1].end_s


def test_a_weekend_as_busy_as_a_weekday_is() -> None:
    past = days(*WEEK * 8, *WEEK[:5])
    assert score(past, 110) >= 1
    assert score(past, 45) < 1


def test_less_than_usual_is_none() -> None:
    assert score(days(*WEEK * 8), 1) == 0


def test_growth_of_all_days_together_is_none() -> None:
    past = days(*[round(amount * 1.05**week) for week in range(9) for amount in WEEK])
    assert score(past, round(100 * 1.05**9)) < 1


def test_a_day_that_is_not_over_is_judged_by_what_it_has() -> None:
    past = days(*WEEK * 8)
    assert score(past, 30) == 0
    assert score(past, 290) >= 1


def test_half_as_much_again_is_needed_however_alike_the_days_were() -> None:
    past = days(*[100] * 70)
    assert score(past, 140) < 1
    assert score(past, 155) >= 1


def test_in_the_first_weeks_three_times_the_mean_is_needed() -> None:
    past = days(5, *WEEK, *WEEK)
    found = judge(past, days(*[0] * len(past), 200)[-1], floor=0)
    assert found is not None
    assert (found.rule, found.anomalous) == ("mean", False)
    assert score(past, 260) >= 1


def test_of_the_first_week_nothing_is_said() -> None:
    past = days(0, 0, *[100] * 7)
    assert judge(past, days(*[0] * len(past), 10_000)[-1], floor=0) is None
    assert judge([], days(10_000)[-1], floor=0) is None


def test_what_is_too_little_to_matter_is_none() -> None:
    past = days(*WEEK * 8)
    assert score(past, 10_000, floor=10_000) == 0.99
    assert score(past, 20_000, floor=10_000) >= 1
    assert score(past, 50, floor=10) == 0


def test_spending_after_a_week_without_any_is_as_unusual_as_can_be() -> None:
    past = days(100, 100, *[0] * 20)
    assert score(past, 100) == SCORE_MAX


def test_what_grew_most_is_named_by_dimension() -> None:
    day = {("gpt-5", "shop", "a"): 900, ("gpt-5", "chat", "b"): 100, ("haiku", "chat", "b"): 50}
    week = {("gpt-5", "shop", "a"): 700, ("haiku", "chat", "b"): 7000}
    assert growths(day, week) == (
        Growth("model", "gpt-5", 1000, 100),
        Growth("service", "shop", 900, 100),
        Growth("project", "a", 900, 100),
    )


def test_where_nothing_grew_nothing_is_named() -> None:
    assert growths({("m", "s", "p"): 10}, {("m", "s", "p"): 700}) == ()
    assert growths({}, {}) == ()


AMOUNTS = st.integers(min_value=0, max_value=10**18)


@given(st.lists(AMOUNTS, max_size=80), AMOUNTS, AMOUNTS)
def test_any_days_have_a_score_within_its_bounds(amounts: list[int], amount: int, floor: int) -> None:
    past = days(*amounts)
    found = judge(past, days(*[0] * len(past), amount)[-1], floor=floor)
    assert found is None or 0 <= found.score <= SCORE_MAX
