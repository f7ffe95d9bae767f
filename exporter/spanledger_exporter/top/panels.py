"""An overview -> the tables of the picture, each as a panel that fills as many lines as it is given."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from rich.cells import cell_len
from rich.text import Text

from spanledger_exporter.budgets.tables import bar_text, style_for
from spanledger_exporter.budgets.texts import amount_text, duration_text, groups_text
from spanledger_exporter.top import grid
from spanledger_exporter.top.grid import Column, Row
from spanledger_exporter.top.overview import BudgetLine, Call, Figures, Line, Overview
from spanledger_exporter.top.texts import (
    TOO_EARLY,
    UNKNOWN,
    call_cost_text,
    clock_text,
    cost_text,
    count_text,
    fit,
    safe,
)
from spanledger_exporter.top.view import Sort, View

_HEADS: Final = 2
"""Lines of a panel before its rows: title and names of columns."""
_NOTES_PART: Final = 3
"""What follows the rows has at most a third of the room while there are rows without."""
_BAR_CHARS: Final = 10
_UNITS: Final = {"micro_usd": ("usd", "USD"), "tokens": ("tokens", "tokens"), "calls": ("calls", "calls")}
_FIGURES: Final = (
    Column(title="cost USD", right=True),
    Column(title="calls", right=True, drop=1),
    Column(title="tokens", right=True, drop=3),
    Column(title="errors", right=True, drop=2),
    Column(title="unpriced", right=True, drop=4),
)
_PROVIDER: Final = Column(title="provider", least=8, drop=5)
_BUDGETS: Final = (
    Column(title="budget", least=20, middle=True),  # "each-team …m=search)": a group's value comes last
    Column(title="", drop=7),
    Column(title="used", right=True),
    Column(title="spent", right=True, drop=1),
    Column(title="limit", right=True, drop=2),
    Column(title="likely", right=True, drop=4),
    Column(title="runs out", drop=5),
    Column(title="left", right=True, drop=3),
    Column(title="mode", drop=6),
)
_CALLS: Final = (
    Column(title="ended"),
    Column(title="service", least=8, drop=3),
    Column(title="model", least=8),
    Column(title="outcome", least=8, drop=2),
    Column(title="input", right=True, drop=5),
    Column(title="output", right=True, drop=4),
    Column(title="ms", right=True, drop=6),
    Column(title="cost USD", right=True),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Panel:
    """One table under its title. `more` are rows without columns that follow its rows, `last` are notes behind them.

    Where not all panels have room, the one with the highest `drop` goes first. `unlisted` says how many rows more there
    are than it was given.
    """

    title: str
    drop: int
    columns: Sequence[Column]
    rows: Sequence[Row]
    more: Sequence[str] = field(default=())
    last: Sequence[str] = field(default=())
    unlisted: int = 0

    @property
    def lines_wanted(self) -> int:
        """How many lines show all of it."""
        return _HEADS + max(1, len(self.rows)) + len(self.more) + len(self.last)

    def lines(self, width: int, height: int, *, ascii_only: bool) -> list[Text]:
        """Return it in at most so many lines; where rows have no room the title says how many there are.

        Where not one has, there is nothing: a title and a head say no more than the sums do.
        """
        room = max(0, height - _HEADS)
        if self.rows and not room:
            return []
        notes = [*self.more, *self.last]
        kept = notes[: max(room // _NOTES_PART, room - len(self.rows))]
        rows = self.rows[: room - len(kept)]
        made = [rule(f"{self.title}{self._said(len(rows), len(kept))}", width, ascii_only=ascii_only)]
        made += grid.lines(self.columns, rows, width, ascii_only=ascii_only) if self.rows else []
        kept = [*([] if self.rows else ["none"]), *kept]
        made += [line_of(note, width, "dim", ascii_only=ascii_only) for note in kept]
        return made[:height]

    def _said(self, rows: int, notes: int) -> str:
        """Return how many of its rows are shown, where not all are and no note says how many more there are."""
        if rows == len(self.rows) and notes == len(self.more) + len(self.last):
            return ""
        shown, there = rows + min(notes, len(self.more)), len(self.rows) + len(self.more) + self.unlisted
        return "" if shown == there else f" {shown} of {there:,}"


def rule(title: str, width: int, *, ascii_only: bool) -> Text:
    """Return a title, and a line to the end of the width."""
    line = ("-" if ascii_only else "─") * (width - cell_len(title) - 1)
    return Text(fit(f"{title} {line}", width, ascii_only=ascii_only), style="cyan", end="")


def line_of(text: str, width: int, style: str, *, ascii_only: bool) -> Text:
    """Return a text as one line of exactly one width."""
    return Text(fit(safe(text, ascii_only=ascii_only), width, ascii_only=ascii_only), style=style, end="")


def matching(overview: Overview, wanted: str) -> list[Line]:
    """Return the lines with a text in one of their names, in whatever case; all of them for an empty one."""
    return [line for line in overview.lines if _matches(wanted, line.service, line.provider, line.model)]


def models(lines: Iterable[Line], overview: Overview, view: View) -> Panel:
    """Return what each model cost, whichever services called it."""
    found = _grouped(lines, lambda line: (line.model, line.provider))
    rows = [
        Row(cells=[model or UNKNOWN, provider or UNKNOWN, *_cells(figures)], style=_style(figures))
        for (model, provider), figures in _sorted(found, view.sort, reverse=view.reverse)
    ]
    columns = (Column(title="model", least=10), _PROVIDER, *_FIGURES)
    return Panel(title="by model", drop=0, columns=columns, rows=rows, last=_left_out(overview))


def services(lines: Iterable[Line], overview: Overview, view: View) -> Panel:
    """Return what each service spent, whichever models it called."""
    found = _grouped(lines, lambda line: (line.service,))
    rows = [
        Row(cells=[service or UNKNOWN, *_cells(figures)], style=_style(figures))
        for (service,), figures in _sorted(found, view.sort, reverse=view.reverse)
    ]
    columns = (Column(title="service", least=10), *_FIGURES)
    return Panel(title="by service", drop=3, columns=columns, rows=rows, last=_left_out(overview))


def budgets(overview: Overview, *, ascii_only: bool) -> Panel:
    """Return how budgets stand, the most used first."""
    rows = [_budget(line, overview.at_s, ascii_only=ascii_only) for line in overview.budgets]
    groups = [
        f"{each.name}, per {', '.join(each.per)}: {groups_text(each.groups)}, {each.over:,} over"
        for each in overview.groups
    ]
    left_out = overview.budgets_left_out
    last = [f"and {left_out:,} more that are less used"] if left_out else []
    return Panel(title="budgets", drop=1, columns=_BUDGETS, rows=rows, more=groups, last=last, unlisted=left_out)


def calls(overview: Overview, wanted: str) -> Panel:
    """Return the calls that ended last."""
    rows = [
        Row(cells=_call(call), style="" if call.outcome == "ok" else "red")
        for call in overview.calls
        if _matches(wanted, call.service, call.provider, call.model)
    ]
    return Panel(title="newest calls", drop=2, columns=_CALLS, rows=rows)


def _matches(wanted: str, *names: str) -> bool:
    return any(wanted.casefold() in name.casefold() for name in names)


def _grouped(lines: Iterable[Line], key: Callable[[Line], tuple[str, ...]]) -> dict[tuple[str, ...], Figures]:
    found: dict[tuple[str, ...], Figures] = {}
    for line in lines:
        found[key(line)] = found.get(key(line), Figures()).plus(line.figures)
    return found


def _sorted(
    groups: dict[tuple[str, ...], Figures], sort: Sort, *, reverse: bool
) -> list[tuple[tuple[str, ...], Figures]]:
    """Return groups in order: names from A, figures from the largest, what is unknown behind what is zero."""
    by_name = sorted(groups.items(), reverse=reverse and sort == "name")
    if sort == "name":
        return by_name
    return sorted(by_name, key=lambda group: _measure(group[1], sort), reverse=not reverse)


def _measure(figures: Figures, sort: Sort) -> int:
    value = {"cost": figures.cost_pusd, "tokens": figures.tokens, "errors": figures.errors}.get(sort, figures.calls)
    return -1 if value is None else value


def _cells(figures: Figures) -> list[str]:
    return [
        cost_text(figures),
        count_text(figures.calls),
        count_text(figures.tokens),
        count_text(figures.errors),
        count_text(figures.unpriced_calls),
    ]


def _style(figures: Figures) -> str:
    return "yellow" if figures.unpriced_calls else ""


def _left_out(overview: Overview) -> list[str]:
    if not overview.lines_left_out:
        return []
    said = f"{overview.lines_left_out:,} combinations of service and model are not looked at"
    return [f"{said}: {cost_text(overview.left_out)} USD, {count_text(overview.left_out.calls)} calls"]


def _budget(line: BudgetLine, now_s: int, *, ascii_only: bool) -> Row:
    unit, said = _UNITS[line.unit]
    over = line.spent >= line.limit
    ratio = line.spent / line.limit if line.limit else float(over)
    percent = f"{line.spent * 100 // line.limit} %" if line.limit else "over"
    style = style_for(over=over, warned=bool(line.thresholds))
    runs_out = "" if line.run_out_s is None else "it has" if over else f"in {duration_text(line.run_out_s - now_s)}"
    cells = [
        f"{line.name} ({line.group})" if line.group else line.name,
        bar_text(ratio, _BAR_CHARS, ascii_only=ascii_only),
        percent,
        f"{'≥ ' if line.unpriced_calls else ''}{amount_text(line.spent, unit)}",
        f"{amount_text(line.limit, unit)} {said}",
        _likely(line, unit),
        runs_out,
        duration_text(line.end_s - now_s),
        line.mode,
    ]
    likely = "red" if line.expected is not None and line.expected >= line.limit else ""
    return Row(cells=cells, styles=((1, style), (2, style), (5, likely), (6, "red")))


def _likely(line: BudgetLine, unit: str) -> str:
    if line.expected is None:
        return TOO_EARLY if line.spent else "-"
    return amount_text(line.expected, unit)


def _call(call: Call) -> list[str]:
    return [
        clock_text(call.end_s),
        call.service or UNKNOWN,
        call.model or UNKNOWN,
        call.outcome if call.error_type is None else call.error_type,
        count_text(call.input_tokens),
        count_text(call.output_tokens),
        f"{call.duration_ms:,}",
        call_cost_text(call),
    ]
