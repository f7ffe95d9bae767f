"""What is still to come is judged by what was, and how sure that is grows with what is known."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spanledger_exporter.budgets.forecast import Ahead, Forecast, Stretch, expect, expect_hour, forecast, run_out_s

DAY_S = 86_400
HOUR_S = 3600


def days(*amounts: int, first_weekday: int = 1) -> list[Stretch]:
    return [
        Stretch(place * DAY_S, (place + 1) * DAY_S, amount, (first_weekday - 1 + place) % 7 + 1)
        for place, amount in enumerate(amounts)
    ]


def today(after: list[Stretch], amount: int = 0, elapsed_s: int = 0) -> Stretch:
    start_s = after[-1].end_s if after else 0
    return Stretch(start_s, start_s + elapsed_s, amount, len(after) % 7 + 1)


def ahead(after: list[Stretch], count: int, *, first_share: float = 1.0) -> list[Ahead]:
    start_s, weekday = after[-1].end_s, after[-1].weekday
    found: list[Ahead] = []
    for place in range(count):
        share = 1.0 if place else first_share
        end_s = start_s + (place + 1) * DAY_S
        found.append(Ahead(end_s - round(share * DAY_S), end_s, share, (weekday + place) % 7 + 1))
    return found


def test_even_days_go_on_as_they_were() -> None:
    past = days(5, *[100] * 10)
    made = forecast(300, expect(past, today(past)), ahead(past, 20))
    assert made == Forecast(2300, 2300, 2300, "days", 10)


def test_the_day_on_which_spending_began_is_not_taken_for_a_whole_one() -> None:
    past = days(0, 0, 3, 100, 100, 100)
    assert expect(past, today(past)).level == 100
    only = days(0, 0, 60)
    assert expect(only, today(only)).level == 60


def test_the_last_seven_days_count_however_long_the_history_is() -> None:
    past = days(*[10] * 15, *[100] * 7)
    assert expect(past, today(past)).level == 100


def test_a_part_of_a_day_ahead_counts_for_its_part() -> None:
    past = days(100, *[100] * 7)
    assert forecast(0, expect(past, today(past)), ahead(past, 2, first_share=0.25)).middle == 125


def test_after_four_weeks_each_weekday_has_its_own_share() -> None:
    week = [100, 100, 100, 100, 100, 30, 10]
    past = days(*week * 5)
    expectation = expect(past, today(past))
    assert expectation.method == "weekdays"
    found = [round(expectation.of(day)) for day in ahead(past, 7)]
    assert found == week
    made = forecast(0, expectation, ahead(past, 5))
    assert made.middle == 500
    assert made.low == pytest.approx(500, rel=0.01)
    assert made.high == pytest.approx(500, rel=0.01)


def test_a_weekday_on_which_nothing_is_ever_spent_is_expected_to_cost_nothing() -> None:
    past = days(*[70, 70, 70, 70, 70, 0, 0] * 5)
    found = [round(expect(past, today(past)).of(day)) for day in ahead(past, 7)]
    assert found == [70, 70, 70, 70, 70, 0, 0]


def test_on_the_first_day_what_was_spent_so_far_goes_on() -> None:
    begun = Stretch(0, 6 * HOUR_S, 50, 1)
    made = forecast(50, expect([], begun), [Ahead(6 * HOUR_S, DAY_S, 0.75, 1)])
    assert made == Forecast(50, 200, 350, "so_far", 0)


def test_a_day_that_has_only_just_begun_expects_nothing_yet() -> None:
    assert expect([], Stretch(0, 0, 0, 1)).level == 0


def test_the_range_is_wider_where_days_differ_and_the_level_moves() -> None:
    even = days(100, *[100, 102, 98, 101] * 7)
    uneven = days(100, *[100, 160, 40, 100] * 7)
    growing = days(*[100 + 4 * place for place in range(35)])

    def width(past: list[Stretch]) -> float:
        made = forecast(0, expect(past, today(past)), ahead(past, 20))
        assert made.low < made.middle < made.high
        return (made.high - made.low) / made.middle

    assert width(even) < 0.1 < width(uneven)
    assert width(even) < width(growing)


def test_two_days_are_too_few_for_a_range_of_their_own() -> None:
    past = days(1, 100, 100)
    assert forecast(10, expect(past, today(past)), ahead(past, 1)) == Forecast(10, 110, 210, "days", 2)


def test_nothing_ahead_leaves_what_was_spent() -> None:
    past = days(*[100] * 9)
    assert forecast(700, expect(past, today(past)), []) == Forecast(700, 700, 700, "days", 8)


def test_after_weeks_without_spending_none_is_expected() -> None:
    past = days(100, 100, *[0] * 40)
    made = forecast(200, expect(past, today(past)), ahead(past, 5))
    assert (made.low, made.middle, made.high) == (200, 200, 200)


def test_an_hour_goes_on_as_it_began_and_as_the_last_one_was() -> None:
    past = [Stretch(0, HOUR_S, 0), Stretch(HOUR_S, 2 * HOUR_S, 100)]
    quarter = Stretch(2 * HOUR_S, 2 * HOUR_S + HOUR_S // 4, 50)
    expectation = expect_hour(past, quarter, whole_s=HOUR_S)
    assert expectation.level == 150  # 200 an hour by this one, 100 by the last, which counts as much after a quarter
    assert expect_hour(past, Stretch(2 * HOUR_S, 2 * HOUR_S, 0), whole_s=HOUR_S).level == 100
    alone = expect_hour([], quarter, whole_s=HOUR_S)
    assert (alone.level, alone.method) == (200, "so_far")


def test_hours_that_differ_widen_the_range() -> None:
    def width(*amounts: int) -> int:
        past = [Stretch(place * HOUR_S, (place + 1) * HOUR_S, amount) for place, amount in enumerate(amounts)]
        now = Stretch(past[-1].end_s, past[-1].end_s + HOUR_S // 2, 50)
        made = forecast(50, expect_hour(past, now, whole_s=HOUR_S), [Ahead(now.end_s, now.end_s + HOUR_S // 2, 0.5)])
        return made.high - made.low

    assert width(*[100] * 8) == 0
    assert 0 < width(*[100, 120] * 4) < width(*[20, 200] * 4)


def test_the_limit_is_reached_within_the_day_that_exceeds_it() -> None:
    past = days(100, *[100] * 7)
    expectation = expect(past, today(past))
    assert run_out_s(250, expectation, ahead(past, 10)) == past[-1].end_s + 2.5 * DAY_S
    assert run_out_s(1001, expectation, ahead(past, 10)) is None
    assert run_out_s(0, expectation, ahead(past, 10)) == past[-1].end_s
    assert run_out_s(1, expectation, []) is None


def test_the_limit_is_never_reached_where_nothing_is_spent() -> None:
    past = days(0, 0, 0)
    assert run_out_s(1, expect(past, today(past)), ahead(past, 5)) is None


AMOUNTS = st.integers(min_value=0, max_value=10**18)


@given(st.lists(AMOUNTS, max_size=70), AMOUNTS, st.integers(0, DAY_S), st.integers(0, 400), AMOUNTS)
def test_any_history_gives_an_ordered_range_of_finite_figures(
    amounts: list[int], amount: int, elapsed_s: int, count: int, spent: int
) -> None:
    past = days(0, *amounts)
    expectation = expect(past, today(past, amount, elapsed_s))
    made = forecast(spent, expectation, ahead(past, count))
    assert spent <= made.low <= made.middle or math.isclose(made.low, made.middle)
    assert made.middle <= made.high or math.isclose(made.middle, made.high)
    reached = run_out_s(10**9, expectation, ahead(past, count))
    assert reached is None or past[-1].end_s <= reached <= past[-1].end_s + count * DAY_S
