"""What the pictures of panels say: values in their units, in the colours of their steps, under their names."""

import re

import pytest

from dashboards.pictures.page import page
from dashboards.pictures.units import text
from tests.dashboards import boards
from tests.dashboards.asking import Series

NOW_S = 1_795_000_000.0


@pytest.mark.parametrize(
    ("value", "unit", "decimals", "said"),
    [
        (12.3456, "currencyUSD", None, "$12.3"),
        (1_234_567, "currencyUSD", None, "$1.23M"),
        (-0.000012, "currencyUSD", 6, "-$0.000012"),
        (0, "currencyUSD", None, "$0"),
        (0.123, "percentunit", 1, "12.3%"),
        (0.0451, "s", None, "45.1 ms"),
        (7200, "s", None, "2 hours"),
        (1536, "bytes", None, "1.50 KiB"),
        (1690, "short", None, "1.69 K"),
        (1039, "locale", 0, "1,039"),
        (0.0217, "short", None, "0.0217"),
        (75, "percent", 0, "75%"),
        ((NOW_S + 3 * 86_400) * 1000, "dateTimeFromNow", None, "in 3 days"),
        ((NOW_S - 5) * 1000, "dateTimeFromNow", None, "a few seconds ago"),
    ],
)
def test_values_are_written_in_their_unit(value: float, unit: str, decimals: int | None, said: str) -> None:
    assert text(value, unit, decimals, NOW_S) == said


def drawn(name: str, title: str, found: dict[str, list[Series]]) -> str:
    (panel,) = (each for each in boards.panels(boards.load(f"spanledger-{name}")) if each["title"] == title)
    return page("a board", [panel], lambda _: found, NOW_S)[0]


def one(value: float, **labels: str) -> Series:
    return Series(labels, [value], [NOW_S])


def test_a_share_has_the_colour_of_its_step() -> None:
    assert ["#D55E00" in drawn("overview", "Calls that fail", {"A": [one(share)]}) for share in (0.06, 0.001)] == [
        True,
        False,
    ]


def test_nothing_is_said_to_be_nothing() -> None:
    assert "no traffic" in drawn("overview", "Cost", {"A": []})


def test_rows_of_a_table_are_joined_by_the_labels_that_all_queries_have() -> None:
    used = one(0.5, budget="company", group="", mode="hard")
    forecast = one(0.75, budget="company", group="")
    html = drawn("budgets", "How they stand", {"A": [used], "C": [forecast]})
    assert html.count("company") == 1
    assert "50.0%" in html
    assert "75.0%" in html


def test_an_axis_says_what_the_unit_does_not() -> None:
    series = Series({"model": "gpt-5"}, [1, 2], [NOW_S - 60, NOW_S])
    assert ">USD an hour</text>" in drawn("overview", "Cost by model", {"A": [series]})


def test_rows_are_in_the_order_that_the_table_has() -> None:
    """Labels that are numbers, by their value: as texts, 100 would come before 75."""
    percents = ("0", "100", "75", "90")
    found = [one(1, budget=budget, at_least=each) for budget in ("users", "calls") for each in percents]
    rows = re.findall(">(users|calls|[0-9]+%)<", drawn("budgets", "Groups by what they have used", {"A": found}))
    each = ["0%", "75%", "90%", "100%"]
    assert [row for row in rows if row.endswith("%")] == each * 2
    assert rows.index("calls") < rows.index("users")
    used = [one(0.5, budget="one"), one(0.9, budget="two")]
    html = drawn("budgets", "How they stand", {"A": used, "C": used})
    assert html.index(">two<") < html.index(">one<")


def test_a_legend_says_how_many_series_it_has_no_room_for() -> None:
    series = [Series({"model": f"model-{number}"}, [1, 2], [NOW_S - 60, NOW_S]) for number in range(9)]
    html = drawn("overview", "Cost by model", {"A": series})
    assert "model-0" in html
    assert "and 4 more" in html
