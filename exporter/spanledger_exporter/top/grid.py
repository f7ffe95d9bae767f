"""Rows of cells -> lines of exactly one width: names are cut, figures never; what has no room is left out whole."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len
from rich.text import Text

from spanledger_exporter.top.texts import fit, safe

_GAP: Final = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """One column. One with `least` holds names, and may be cut to so many cells; `drop` says which one goes first.

    The highest `drop` is the first to go; with 0 a column stays. `middle` says that names are cut in the middle, where
    their ends tell them apart.
    """

    title: str
    right: bool = False
    least: int = 0
    drop: int = 0
    middle: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """The cells of one row, and its style; `styles` are those of single cells, by their place."""

    cells: Sequence[str]
    style: str = ""
    styles: tuple[tuple[int, str], ...] = ()


def lines(columns: Sequence[Column], rows: Sequence[Row], width: int, *, ascii_only: bool) -> list[Text]:
    """Return a head and a line for each row."""
    head = Row(cells=[column.title for column in columns], style="bold")
    shown = [[safe(cell, ascii_only=ascii_only) for cell in row.cells] for row in (head, *rows)]
    wanted = [max(cell_len(cells[place]) for cells in shown) for place in range(len(columns))]
    kept = _kept(columns, wanted, width)
    widths = _widths([columns[place] for place in kept], [wanted[place] for place in kept], width)
    return [
        _line(row, [(place, cells[place]) for place in kept], columns, widths, width, ascii_only=ascii_only)
        for row, cells in zip((head, *rows), shown, strict=True)
    ]


def _line(
    row: Row,
    cells: Sequence[tuple[int, str]],
    columns: Sequence[Column],
    widths: Sequence[int],
    width: int,
    *,
    ascii_only: bool,
) -> Text:
    styles, line = dict(row.styles), Text(style=row.style, no_wrap=True, end="")
    for (place, cell), size in zip(cells, widths, strict=True):
        if line:
            line.append(" " * _GAP)
        right, middle = columns[place].right, columns[place].middle
        line.append(fit(cell, size, right=right, middle=middle, ascii_only=ascii_only), styles.get(place))
    line.truncate(width, overflow="crop", pad=True)
    return line


def _kept(columns: Sequence[Column], wanted: Sequence[int], width: int) -> list[int]:
    """Return the places of the columns for which there is room."""
    kept = list(range(len(columns)))
    while _needed([(columns[place], wanted[place]) for place in kept]) > width:
        place = max(kept, key=lambda place: columns[place].drop)
        if not columns[place].drop:
            break
        kept.remove(place)
    return kept


def _needed(columns: Sequence[tuple[Column, int]]) -> int:
    return sum(_least(column, wanted) for column, wanted in columns) + _GAP * (len(columns) - 1)


def _least(column: Column, wanted: int) -> int:
    return min(column.least, wanted) if column.least else wanted


def _widths(columns: Sequence[Column], wanted: Sequence[int], width: int) -> list[int]:
    """Return how wide columns are: figures as wide as they are, and names share the rest as they need it."""
    found = [_least(column, want) for column, want in zip(columns, wanted, strict=True)]
    spare = width - sum(found) - _GAP * (len(columns) - 1)
    names = [place for place, column in enumerate(columns) if column.least]
    while spare > 0 and names:
        share = max(1, spare // len(names))
        for place in list(names):
            added = min(share, wanted[place] - found[place], spare)
            found[place] += added
            spare -= added
            if found[place] >= wanted[place]:
                names.remove(place)
    if spare < 0 and names:  # not even the least has room: names give way, for a figure that is cut is a wrong one
        found[names[0]] = max(1, found[names[0]] + spare)
    return found
