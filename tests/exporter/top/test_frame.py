"""The picture as text: whole figures at any size, and nothing that anybody wrote into a name does anything."""

import io
import re
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.cells import cell_len
from rich.console import Console

from spanledger_exporter.top import panels
from spanledger_exporter.top.frame import Canvas, Seen, frame
from spanledger_exporter.top.overview import BudgetGroups, Figures, Line, Overview, total
from spanledger_exporter.top.texts import fit
from spanledger_exporter.top.view import View
from tests.exporter.top.samples import BUDGET, CALL, HOSTILE, LINES, USD, minutes, overview, overviews

SEEN = Seen(source="http://127.0.0.1:9464")
WIDTHS, HEIGHTS = (40, 80, 120, 200), (15, 24, 40, 60)


def text(
    made: Overview, view: View | None = None, *, width: int = 120, height: int | None = 40, seen: Seen = SEEN,
    ascii_only: bool = False,
) -> str:  # fmt: skip
    canvas = Canvas(width=width, height=height, ascii_only=ascii_only)
    return frame(made, view or View(), seen, canvas).plain


def rows(shown: str, first: str) -> list[str]:
    """The first words of the rows of the table whose head begins with a word."""
    lines = shown.splitlines()
    start = next(place for place, line in enumerate(lines) if line.startswith(first + " "))
    taken = lines[start + 1 :]
    end = next((place for place, line in enumerate(taken) if "──" in line or not line.strip()), len(taken))
    return [line.split()[0] for line in taken[:end]]


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("height", HEIGHTS)
@pytest.mark.parametrize("focus", ["all", "budgets", "models", "calls"])
def test_a_picture_fills_the_terminal_exactly(width: int, height: int, focus: str) -> None:
    shown = text(overview(), View(focus=focus), width=width, height=height).split("\n")
    assert len(shown) == height
    assert {cell_len(line) for line in shown} == {width}


@pytest.mark.parametrize("width", WIDTHS)
def test_the_sums_are_whole_at_any_width(width: int) -> None:
    shown = text(overview(), width=width, height=15)
    window, today, month = (re.split(r" {2,}", line.strip()) for line in shown.splitlines()[2:5])
    assert (window[0], window[1], window[2]) == ("last 1 hour", "≥ 2.72", "169")
    assert (today[1], month[1]) == ("12.00", "345.00")
    if width >= 120:
        assert month[-2:] == ["600.00", "500.00 - 700.00"]


@pytest.mark.parametrize("width", WIDTHS)
def test_of_a_row_the_name_is_cut_and_never_a_figure(width: int) -> None:
    wide = Line(
        service="a" * 300,
        provider="b" * 300,
        model="c" * 300,
        figures=Figures(calls=9_999_999, cost_pusd=123_456 * USD),
    )
    shown = text(overview(lines=(wide,), calls=(), budgets=()), View(focus="models"), width=width)
    assert shown.count("123,456.00") == 2
    assert shown.count("ccc…") + shown.count("aaa…") == 2


def test_panels_are_beside_each_other_where_there_is_room() -> None:
    assert "by model ─" in text(overview(), width=200).splitlines()[11]
    assert "budgets ─" in text(overview(), width=200).splitlines()[11]
    assert "budgets" not in text(overview(), width=120).splitlines()[11]


def test_where_there_is_little_room_models_come_first() -> None:
    shown = text(overview(), width=80, height=15)
    assert "by model" in shown
    assert "gpt-5-mini" in shown
    assert "newest calls" not in shown


def test_what_has_no_room_is_counted() -> None:
    many = tuple(replace(LINES[0], model=f"model-{number}") for number in range(30))
    assert re.search(r"by model \d+ of 30 ─", text(overview(lines=many), height=24))


def test_a_head_without_a_row_is_not_shown() -> None:
    shown = text(overview(), width=40, height=8)
    assert "by model" not in shown
    assert "month" in shown
    assert re.search(r"by model 1 of 3 ─", text(overview(), width=40, height=9))
    assert re.search(r"company +76 %", text(overview(), View(focus="budgets"), width=40, height=8))
    assert "last 1 hour" in text(overview(), View(focus="budgets"), width=40, height=4)


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("height", range(14, 61))
def test_a_problem_takes_no_line_from_the_panels(width: int, height: int) -> None:
    before = text(overview(), width=width, height=height).splitlines()
    troubled = text(overview(), width=width, height=height, seen=replace(SEEN, problem="no answer")).splitlines()
    start = next(place for place, line in enumerate(before) if line.startswith("by model"))
    assert troubled[start:] == before[start:]


@pytest.mark.parametrize(
    ("rows", "groups", "left_out", "height", "said"),
    [
        (2, 1, 0, 4, "budgets 2 of 3 ─"),  # a budget of which only the number of groups is shown counts as well
        (2, 1, 0, 5, "budgets ─"),
        (2, 3, 0, 6, "budgets 4 of 5 ─"),
        (0, 2, 0, 3, "budgets 1 of 2 ─"),
        (9, 2, 30, 8, "budgets 6 of 41 ─"),
        (2, 1, 30, 5, "budgets 3 of 33 ─"),
        (2, 1, 30, 6, "budgets ─"),  # a note says of the thirty
    ],
)
def test_budgets_that_have_no_room_are_counted_with_those_whose_groups_are_summed_up(
    rows: int, groups: int, left_out: int, height: int, said: str
) -> None:
    lines = tuple(replace(BUDGET, name=f"budget-{number}") for number in range(rows))
    summed = tuple(BudgetGroups(name=f"each-{number}", per=("user",), groups=5, over=0) for number in range(groups))
    panel = panels.budgets(overview(budgets=lines, groups=summed, budgets_left_out=left_out), ascii_only=False)
    assert panel.lines(100, height, ascii_only=False)[0].plain.startswith(said)


def test_services_of_one_model_are_one_row_and_models_of_one_service_too() -> None:
    shown = text(overview(), View(focus="models"))
    assert rows(shown, "model") == ["gpt-5-mini", "claude-haiku-4-5", "mystery"]
    assert rows(shown, "service") == ["shop", "search", "billing"]
    assert re.search(r"gpt-5-mini +openai +2\.47 +160 +181,500 +3 +0", shown)


@pytest.mark.parametrize(
    ("sort", "models"),
    [
        ("cost", ["gpt-5-mini", "claude-haiku-4-5", "mystery"]),
        ("calls", ["gpt-5-mini", "claude-haiku-4-5", "mystery"]),
        ("tokens", ["claude-haiku-4-5", "gpt-5-mini", "mystery"]),
        ("errors", ["claude-haiku-4-5", "gpt-5-mini", "mystery"]),
        ("name", ["claude-haiku-4-5", "gpt-5-mini", "mystery"]),
    ],
)
def test_rows_are_in_the_order_that_is_wanted(sort: str, models: list[str]) -> None:
    assert rows(text(overview(), View(focus="models", sort=sort)), "model") == models
    assert rows(text(overview(), View(focus="models", sort=sort, reverse=True)), "model") == models[::-1]


def test_a_filter_is_for_models_services_and_calls_and_for_the_sum_of_the_window() -> None:
    shown = text(overview(), View(filter="HAIKU"))
    assert rows(shown, "model") == ["claude-haiku-4-5"]
    assert rows(shown, "service") == ["search"]
    assert re.search(r"last 1 hour, HAIKU +≥ 0\.25 +7 ", shown)
    assert re.search(r"today +12\.00 +900 ", shown)
    assert "rate_limit_exceeded" not in shown
    assert "rate_limit_exceeded" in text(overview(), View(filter="openai"))


def test_unknown_is_never_zero() -> None:
    shown = text(overview(), View(focus="models"))
    assert re.search(r"mystery +mistral +unknown +2 +- +0 +2", shown)
    assert re.search(r"claude-haiku-4-5 +anthropic +≥ 0\.25 ", shown)
    calls = text(overview(), View(focus="calls"))
    assert re.search(r"mystery +ok .* \? unknown_model", calls)
    assert re.search(r"rate_limit_exceeded +- +- +1,234 +- *$", calls, re.MULTILINE)
    none = text(overview(total=Figures(), lines=(), calls=(), minutes=minutes()))
    assert re.search(r"last 1 hour +- +0 ", none)


def test_budgets_have_bars_and_what_is_ahead() -> None:
    shown = text(overview(), View(focus="budgets"))
    assert re.search(r"company +███████░░░ +76 % +38\.00 +50\.00 USD +55\.00 +in 1\.0 d +13 d +soft", shown)
    assert "each-user, per user: 12 groups, 1 over" in shown


@pytest.mark.parametrize("width", [40, 60, 80, 130, 160])
@pytest.mark.parametrize("name", ["each-team", "every-team-of-the-whole-company"])
def test_groups_of_a_budget_can_be_told_apart_at_any_width(width: int, name: str) -> None:
    teams = ("search", "support", "sales")
    budgets = tuple(replace(BUDGET, name=name, group=f"team={team}") for team in teams)
    shown = text(overview(budgets=budgets, groups=()), View(focus="budgets"), width=width)
    assert all(re.search(rf"^{name[:8]}.*{team}\)", shown, re.MULTILINE) for team in teams)


@pytest.mark.parametrize("ascii_only", [False, True])
def test_a_name_that_is_cut_in_the_middle_has_its_width(ascii_only: bool) -> None:
    cut = [fit("模型-a模型模", width, middle=True, ascii_only=ascii_only) for width in range(12)]
    assert [cell_len(each) for each in cut] == list(range(12))
    assert fit("each-team (team=search)", 20, middle=True) == "each-team …m=search)"


def test_on_the_first_day_of_spending_it_is_too_early_for_what_is_ahead() -> None:
    early = replace(BUDGET, expected=None, run_out_s=None)
    shown = text(overview(outlook=None, budgets=(early, replace(early, name="unused", spent=0, thresholds=()))))
    assert re.search(r"^month +345\.00 .* too early +$", shown, re.MULTILINE)
    assert re.search(r"^company .* 50\.00 USD +too early +13 d ", shown, re.MULTILINE)
    assert re.search(r"^unused .* 50\.00 USD +- +13 d ", shown, re.MULTILINE)
    assert shown.count("too early") == 2
    assert "too early" not in text(overview(outlook=None, month=Figures(calls=3, unpriced_calls=3)))


def test_history_has_a_bar_a_minute_and_says_what_is_unknown() -> None:
    label, bars = text(overview(minutes=minutes(USD, USD // 2, None, USD // 100, 0)), width=80, height=15).splitlines()[
        5:7
    ]
    assert label.strip() == "USD a minute, 60 minutes: most 1.00, now 0"
    assert bars == " " * 55 + "█▄?▁▁" + " " * 20


def test_history_adds_minutes_up_where_there_is_no_room_for_each() -> None:
    label, bars = text(overview(minutes=minutes(USD, USD, USD, None)), width=40, height=15).splitlines()[5:7]
    assert label.startswith("USD in 2 minutes")
    assert bars.rstrip() == " " * 28 + "█▄"


def test_old_figures_say_how_old_they_are_and_why() -> None:
    seen = replace(SEEN, age_s=75, problem="http://127.0.0.1:9464 does not answer: connection refused")
    lines = text(overview(), seen=seen).splitlines()
    assert lines[0].rstrip().endswith("11:06:40 UTC, 1 min ago")
    assert lines[1].startswith("http://127.0.0.1:9464 does not answer")
    assert "ago" not in text(overview()).splitlines()[0]


def test_a_pause_says_so() -> None:
    first = text(overview(), View(paused=True), seen=replace(SEEN, age_s=12)).splitlines()[0]
    assert first.rstrip().endswith("paused  11:06:40 UTC, 12 s ago")


def test_the_help_explains_the_keys() -> None:
    shown = text(overview(), View(help=True))
    assert "/  only models, services and providers" in shown
    assert "by model" not in shown
    assert shown.splitlines()[-1].strip() == "any key closes the help"  # q as well


def test_a_filter_that_is_being_typed_is_at_the_bottom() -> None:
    assert text(overview(), View(typed="gp")).splitlines()[-1].startswith("/gp_   Enter applies it")


def test_what_was_left_out_is_said_with_its_sum() -> None:
    rest = Figures(calls=12, cost_pusd=USD)
    shown = text(overview(lines_left_out=3, left_out=rest, total=total([rest, *(line.figures for line in LINES)])))
    assert "3 combinations of service and model are not looked at: 1.00 USD, 12 calls" in shown


def test_one_picture_by_itself_has_no_keys_and_no_spaces_at_the_ends() -> None:
    shown = text(overview(), height=None, seen=replace(SEEN, live=False))
    assert "q quit" not in shown
    assert all(line == line.rstrip() for line in shown.splitlines())
    assert {"by model", "by service", "budgets", "newest calls"} <= {line.split(" ─")[0] for line in shown.splitlines()}


def shown_by_rich(made: Overview, view: View, *, width: int, height: int, color: str | None) -> str:
    out = io.StringIO()
    console = Console(file=out, width=width, height=height, force_terminal=color is not None, color_system=color,
                      markup=False, highlight=False, emoji=False)  # fmt: skip
    console.print(frame(made, view, SEEN, Canvas(width=width, height=height)), end="")
    return out.getvalue()


def test_without_colours_there_is_no_escape_sequence_and_with_them_the_text_is_the_same() -> None:
    plain = shown_by_rich(overview(), View(), width=120, height=40, color=None)
    coloured = shown_by_rich(overview(), View(), width=120, height=40, color="truecolor")
    assert "\x1b" not in plain
    assert "\x1b[" in coloured
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == plain


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("width", [40, 120])
def test_a_hostile_name_is_shown_harmlessly(name: str, width: int) -> None:
    line = replace(LINES[0], service=name, provider=name, model=name)
    call = replace(CALL, service=name, model=name, error_type=name)
    made = overview(lines=(line,), calls=(call,))
    for focus in ("all", "models", "calls"):
        shown = shown_by_rich(made, View(focus=focus, filter=name[:1]), width=width, height=24, color=None)
        assert all(char.isprintable() or char == "\n" for char in shown)
        assert len(shown.split("\n")) == 24
        assert {cell_len(each) for each in shown.split("\n")} == {width}


@settings(max_examples=60)
@given(
    overviews,
    st.builds(
        View,
        sort=st.sampled_from(["cost", "calls", "tokens", "errors", "name"]),
        focus=st.sampled_from(["all", "budgets", "models", "calls"]),
        filter=st.text(max_size=3), typed=st.none() | st.text(max_size=5), reverse=st.booleans(), help=st.booleans(),
    ),
    st.integers(1, 220),
    st.integers(1, 70),
    st.booleans(),
)  # fmt: skip
def test_any_overview_fits_any_terminal(made: Overview, view: View, width: int, height: int, ascii_only: bool) -> None:
    shown = text(made, view, width=width, height=height, ascii_only=ascii_only)
    assert [cell_len(line) for line in shown.split("\n")] == [width] * height
    assert all(char.isprintable() or char == "\n" for char in shown)
    assert shown.isascii() or not ascii_only
