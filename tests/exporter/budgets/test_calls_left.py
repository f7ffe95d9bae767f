"""How many calls a budget has room for, by what the latest ones came to."""

from hypothesis import given
from hypothesis import strategies as st

from spanledger_exporter.budgets.calls_left import CallsLeft, calls_left


def test_alike_calls_leave_a_number_that_is_sure() -> None:
    assert calls_left(10_000, [100] * 100) == CallsLeft(100, 100, 100, "high", 100)


def test_few_or_uneven_calls_are_less_sure() -> None:
    assert calls_left(1000, [100] * 20) == CallsLeft(10, 10, 10, "medium", 20)
    uneven = calls_left(10_000, [1, 1, 1, 397] * 50)
    assert uneven is not None
    assert uneven.confidence == "low"
    one = calls_left(1000, [100])
    assert one is not None
    assert one.confidence == "low"


def test_the_range_goes_from_costly_calls_to_cheap_ones() -> None:
    assert calls_left(12_000, [50, 100, 100, 150]) == CallsLeft(106, 120, 137, "low", 4)


def test_calls_of_which_many_cost_nothing_have_no_upper_end() -> None:
    found = calls_left(1000, [0, 0, 0, 400])
    assert found is not None
    assert (found.low, found.middle, found.high) == (10, 10, None)


def test_nothing_left_is_room_for_no_call() -> None:
    found = calls_left(-500, [100] * 30)
    assert found is not None
    assert (found.low, found.middle, found.high) == (0, 0, 0)


def test_without_a_call_that_came_to_anything_the_number_is_unknown() -> None:
    assert calls_left(1000, []) is None
    assert calls_left(1000, [0, 0]) is None


@given(st.integers(-(10**24), 10**24), st.lists(st.integers(0, 10**18), max_size=50))
def test_the_range_is_in_order(remaining: int, amounts: list[int]) -> None:
    found = calls_left(remaining, amounts)
    if found is not None:
        assert 0 <= found.low <= found.middle
        assert found.high is None or found.middle <= found.high
