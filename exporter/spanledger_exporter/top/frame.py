"""An overview and how it is wanted -> the picture, line by line, for a terminal of any size."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final

from rich.cells import cell_len
from rich.text import Text

from spanledger_exporter.top import grid, panels
from spanledger_exporter.top.grid import Column, Row
from spanledger_exporter.top.history import history
from spanledger_exporter.top.overview import Figures, Line, Overview, total
from spanledger_exporter.top.panels import Panel, line_of
from spanledger_exporter.top.texts import (
    TOO_EARLY,
    WINDOW_TEXTS,
    age_text,
    clock_text,
    cost_text,
    count_text,
    fit,
    safe,
    usd,
)
from spanledger_exporter.top.view import HELP, View

_TWO_COLUMNS: Final = 130
_GAP: Final = 3
_FRESH_S: Final = 5
"""Older figures say how old they are."""
_PANEL_LINES_MIN: Final = 4
_WHOLE_LINES: Final = 14
"""Lines of a panel where the picture may be as high as it is."""
_SUMMARY: Final = (
    Column(title="", least=13),  # "last 24 hours"
    Column(title="cost USD", right=True),
    Column(title="calls", right=True, drop=1),
    Column(title="errors", right=True, drop=3),
    Column(title="tokens", right=True, drop=2),
    Column(title="unpriced", right=True, drop=4),
    Column(title="unreported", right=True, drop=5),
    Column(title="likely", right=True, drop=6),
    Column(title="in 8 cases of 10", drop=7),
)
_HISTORY_HEIGHTS: Final = ((40, 6), (28, 4), (14, 2))
"""From so many lines of the terminal on, the history has so many."""
_WHOLE_HISTORY: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What is known of the overview: where it is from, how old it is, and why there is no newer one.

    `live` is whether keys do anything.
    """

    source: str
    age_s: float = 0.0
    problem: str | None = None
    live: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Canvas:
    """What there is to draw on; without `height` the picture is as high as it is."""

    width: int
    height: int | None
    ascii_only: bool = False

    def line(self, text: str, style: str = "") -> Text:
        """Return a line across it."""
        return line_of(text, self.width, style, ascii_only=self.ascii_only)


def frame(overview: Overview, view: View, seen: Seen, canvas: Canvas) -> Text:
    """Return the picture: lines of the canvas' width, as many as it is high."""
    lines = [_head(overview, view, seen, canvas), *_problem(seen, canvas)]
    foot = [_foot(view, canvas)] if seen.live else []
    room = None if canvas.height is None else canvas.height - len(lines) - len(foot)
    lines += _help(canvas) if view.help else _body(overview, view, canvas, room, bars=_history_height(seen, canvas))
    if canvas.height is not None:
        lines = lines[: max(0, canvas.height - len(foot))]
        lines += [canvas.line("")] * (canvas.height - len(foot) - len(lines))
    else:
        for line in lines:
            line.rstrip()
    return Text("\n", no_wrap=True, overflow="crop", end="").join([*lines, *foot])


def _head(overview: Overview, view: View, seen: Seen, canvas: Canvas) -> Text:
    stale = seen.problem is not None or view.paused or seen.age_s >= _FRESH_S
    age = f", {age_text(seen.age_s)} ago" if stale else ""
    right = f"{'paused  ' if view.paused else ''}{clock_text(overview.at_s)} UTC{age}"
    left = f"Spanledger  {seen.source}"
    right = fit(right, min(cell_len(right), canvas.width), ascii_only=canvas.ascii_only)
    room = max(0, canvas.width - cell_len(right) - 1)
    left = fit(safe(left, ascii_only=canvas.ascii_only), room, ascii_only=canvas.ascii_only)
    line = Text.assemble((left, "bold"), " ", (right, "bold yellow" if stale else ""), end="")
    line.truncate(canvas.width, overflow="crop", pad=True)
    return line


def _problem(seen: Seen, canvas: Canvas) -> list[Text]:
    return [] if seen.problem is None else [canvas.line(seen.problem, "bold red")]


def _help(canvas: Canvas) -> list[Text]:
    return [canvas.line("")] + [canvas.line(f"  {key}  {said}") for key, said in HELP]


def _foot(view: View, canvas: Canvas) -> Text:
    if view.typed is not None:
        return canvas.line(f"/{view.typed}_   Enter applies it, Esc clears it", "bold")
    if view.help:
        return canvas.line("any key closes the help", "reverse")
    order = f"{view.sort}{' reversed' if view.reverse else ''}"
    named = f"/ filter: {view.filter}" if view.filter else "/ filter"
    keys = (
        "q quit",
        "? help",
        f"w {WINDOW_TEXTS[view.window]}",
        f"s {order}",
        named,
        "b budgets",
        "m models",
        "c calls",
    )
    return canvas.line("  ".join((*keys, "p pause", "r reverse")), "reverse")


def _body(overview: Overview, view: View, canvas: Canvas, room: int | None, *, bars: int) -> list[Text]:
    lines = panels.matching(overview, view.filter)
    above = _summary(overview, lines, view, canvas)
    if bars:
        above += history(overview.minutes, canvas.width, bars, ascii_only=canvas.ascii_only)
    left = None if room is None else max(0, room - len(above))
    chosen = _chosen(overview, lines, view, canvas)
    shown = _panels(chosen, canvas, left)
    if not shown and view.focus != "all":  # what is asked for comes before the sums
        return _panels(chosen, canvas, room) or above
    return [*above, *shown]


def _history_height(seen: Seen, canvas: Canvas) -> int:
    """Return how many lines the history has: one less where a problem has one, so that the panels stay as they are."""
    if canvas.height is None:
        return _WHOLE_HISTORY
    lines = next((lines for least, lines in _HISTORY_HEIGHTS if canvas.height >= least), 0)
    return max(0, lines - len(_problem(seen, canvas)))


def _summary(overview: Overview, lines: Sequence[Line], view: View, canvas: Canvas) -> list[Text]:
    """Return the sums of the window, of today and of the month; a filter is for the window alone."""
    shown, name = overview.total, f"last {WINDOW_TEXTS[overview.window]}"
    if overview.window == "month":
        name = "this month"
    if view.filter:
        shown, name = total(line.figures for line in lines), f"{name}, {view.filter}"
    rows = [
        _summed(name, shown, style="bold"),
        _summed("today", overview.today),
        _summed("month", overview.month, _ahead(overview)),
    ]
    return grid.lines(_SUMMARY, rows, canvas.width, ascii_only=canvas.ascii_only)


def _ahead(overview: Overview) -> tuple[str, str]:
    """Return what the month is likely to come to, and from where to where."""
    outlook = overview.outlook
    if outlook is None:
        return (TOO_EARLY if overview.month.cost_pusd else "", "")
    return usd(outlook.middle_pusd), f"{usd(outlook.low_pusd)} - {usd(outlook.high_pusd)}"


def _summed(name: str, figures: Figures, ahead: tuple[str, str] = ("", ""), *, style: str = "") -> Row:
    counts = (figures.calls, figures.errors, figures.tokens, figures.unpriced_calls, figures.unreported_calls)
    cells = [name, cost_text(figures), *map(count_text, counts), *ahead]
    return Row(cells=cells, style=style, styles=((5, "yellow" if figures.unpriced_calls else ""),))


def _chosen(overview: Overview, lines: Sequence[Line], view: View, canvas: Canvas) -> list[list[Panel]]:
    """Return the panels that are wanted, in one or two columns."""
    by_model, by_service = panels.models(lines, overview, view), panels.services(lines, overview, view)
    budgets = panels.budgets(overview, ascii_only=canvas.ascii_only)
    calls = panels.calls(overview, view.filter)
    match view.focus:
        case "budgets":
            return [[budgets]]
        case "models":
            return [[by_model], [by_service]] if canvas.width >= _TWO_COLUMNS else [[by_model, by_service]]
        case "calls":
            return [[calls]]
        case "all" if canvas.width >= _TWO_COLUMNS:
            return [[by_model, by_service], [budgets, calls]]
        case "all":
            return [[by_model, by_service, budgets, calls]]


def _panels(columns: Sequence[Sequence[Panel]], canvas: Canvas, height: int | None) -> list[Text]:
    width = (canvas.width - _GAP * (len(columns) - 1)) // len(columns)
    made = [_stack(column, width, height, ascii_only=canvas.ascii_only) for column in columns]
    if len(made) == 1:
        return made[0]
    return [_beside(lines, width, canvas) for lines in zip_longest(*made)]


def _beside(lines: Sequence[Text | None], width: int, canvas: Canvas) -> Text:
    line = Text(" " * _GAP, end="").join(Text(" " * width) if each is None else each for each in lines)
    line.truncate(canvas.width, overflow="crop", pad=True)
    return line


def _stack(stack: Sequence[Panel], width: int, height: int | None, *, ascii_only: bool) -> list[Text]:
    """Return panels one below the other; where not all have room some are left out."""
    if height is None:
        return [
            line
            for panel in stack
            for line in panel.lines(width, min(panel.lines_wanted, _WHOLE_LINES), ascii_only=ascii_only)
        ]
    shown = list(stack)
    while len(shown) > 1 and sum(min(_PANEL_LINES_MIN, panel.lines_wanted) for panel in shown) > height:
        shown.remove(max(shown, key=lambda panel: panel.drop))
    heights = _heights([panel.lines_wanted for panel in shown], height)
    return [
        line
        for panel, lines in zip(shown, heights, strict=True)
        for line in panel.lines(width, lines, ascii_only=ascii_only)
    ]


def _heights(wanted: Sequence[int], height: int) -> list[int]:
    """Share lines out: to each as many as it wants, and where there are too few, to the others no more than to it."""
    found, left = [0] * len(wanted), height
    for place in sorted(range(len(wanted)), key=lambda place: wanted[place]):
        share = left // sum(1 for lines in found if not lines) if left else 0
        found[place] = min(wanted[place], share)
        left -= found[place]
    return found
