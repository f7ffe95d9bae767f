"""Sums beside the entries, by hour, minute and in all, moved in the same transaction: what reports and counters read.

What moves them moves budgets as well (charges.py).

A change of an entry moves them by the difference: what it was is taken out of its cell, what it is now is added.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, Table, delete, select

from spanledger_exporter.budgets.charges import Charges
from spanledger_exporter.ledger.cells import Cell
from spanledger_exporter.ledger.insert import add_sums
from spanledger_exporter.ledger.profiles import Numbered
from spanledger_exporter.ledger.schema import (
    COUNTS,
    DIMENSIONS,
    MONEY,
    ROLLUP_SUMS,
    cells,
    rollup_hours,
    rollup_minutes,
    rollup_totals,
)
from spanledger_exporter.money import PUSD_PER_MICRO_USD
from spanledger_exporter.records import NO_COST, Price, PricedRecord, Split, Usage

_NS_PER_S = 10**9
_NS_PER_MINUTE = 60 * _NS_PER_S
_MINUTES_KEPT_S = 48 * 3600


class Sums(NamedTuple):
    """What the calls of a cell add up to.

    What the five parts of the cost leave of it is of calls whose split is not known.

    Units: calls, tokens, pico-USD; tokens and cost that were not reported add nothing.
    """

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cost_pusd: int = 0
    cost_input_uncached_pusd: int = 0
    cost_cache_read_pusd: int = 0
    cost_cache_write_pusd: int = 0
    cost_output_pusd: int = 0
    cost_other_pusd: int = 0
    cache_saved_pusd: int = 0
    cache_write_premium_pusd: int = 0

    def plus(self, other: "Sums") -> "Sums":
        """Return the sum of both."""
        return Sums._make(mine + theirs for mine, theirs in zip(self, other, strict=True))

    def minus(self, other: "Sums") -> "Sums":
        """Return the difference of both."""
        return Sums._make(mine - theirs for mine, theirs in zip(self, other, strict=True))


Figures = tuple[int, ...]  # of one entry, in the order of `Sums`


class Moves:
    """What one transaction adds to the sums, and takes away; gathered first, and then summed up and written at once."""

    def __init__(self, charges: Charges | None = None) -> None:
        self._charges = charges
        # Figures are only kept here: to sum them up in one go takes a fraction of what it takes one by one.
        self._minutes: dict[tuple[int, int], list[Figures]] = {}
        self._cells: dict[int, Cell] = {}

    def add(self, end_ns: int, of: Numbered, priced: PricedRecord) -> None:
        """Add the figures of one entry."""
        figures = figures_of(priced)
        self._of(end_ns, of).append(figures)
        if self._charges is not None:
            self._charges.add(of[0], priced, figures)

    def take_away(self, end_ns: int, of: Numbered, priced: PricedRecord) -> None:
        """Take the figures of one entry away from where they were added."""
        figures = figures_of(priced)
        self._of(end_ns, of).append(tuple([-figure for figure in figures]))
        if self._charges is not None:
            self._charges.take_away(of[0], priced, figures)

    def _of(self, end_ns: int, of: Numbered) -> list[Figures]:
        key = (end_ns // _NS_PER_MINUTE, of[1])
        moved = self._minutes.get(key)
        if moved is None:
            moved = self._minutes[key] = []
            self._cells[of.cell_id] = of.cell
        return moved

    def write(self, connection: Connection, now_ns: int) -> dict[Cell, Sums]:
        """Move the rows of the hours, of the minutes that are still kept, and of the totals.

        Returns what each cell was moved by; those that were not moved in the end are left out.
        """
        hours: dict[tuple[int, ...], Sums] = {}
        minutes: dict[tuple[int, ...], Sums] = {}
        totals: dict[tuple[int, ...], Sums] = {}
        oldest_s = now_ns // _NS_PER_S - _MINUTES_KEPT_S
        for (minute, cell_id), moved in self._minutes.items():
            sums = _sum(moved)
            if not any(sums):
                continue
            minute_s = minute * 60
            if minute_s >= oldest_s:
                minutes[minute_s, cell_id] = sums
            _add(hours, (minute_s // 3600 * 3600, cell_id), sums)
            _add(totals, (cell_id,), sums)
        totals = {key: sums for key, sums in totals.items() if any(sums)}
        _write(connection, rollup_hours, ("hour_s", "cell_id"), hours)
        _write(connection, rollup_minutes, ("minute_s", "cell_id"), minutes)
        _write(connection, rollup_totals, ("cell_id",), totals)
        return {self._cells[cell_id]: sums for (cell_id,), sums in totals.items()}


def _sum(moved: Sequence[Figures]) -> Sums:
    return Sums._make(moved[0] if len(moved) == 1 else map(sum, zip(*moved, strict=True)))


def _add(moves: dict[tuple[int, ...], Sums], key: tuple[int, ...], sums: Sums) -> None:
    before = moves.get(key)
    moves[key] = sums if before is None else before.plus(sums)


def forget_minutes(connection: Connection, now_ns: int) -> None:
    """Delete the sums of minutes that are older than two days."""
    oldest_s = now_ns // _NS_PER_S - _MINUTES_KEPT_S
    connection.execute(delete(rollup_minutes).where(rollup_minutes.c.minute_s < oldest_s))


def _write(connection: Connection, table: Table, key: tuple[str, ...], moves: Mapping[tuple[int, ...], Sums]) -> None:
    ordered = sorted(moves)  # in one order everywhere, so that two writers can never wait for each other
    if not ordered:
        return
    columns: dict[str, Sequence[int]] = dict(zip(key, zip(*ordered, strict=True), strict=True))
    for name, figures in zip(Sums._fields, zip(*(moves[each] for each in ordered), strict=True), strict=True):
        if not any(figures):
            continue  # most calls have nothing of most parts, and each column takes its time
        if name.endswith("_pusd"):
            stem = name.removesuffix("_pusd")
            columns[f"{stem}_micro_usd"] = [pusd // PUSD_PER_MICRO_USD for pusd in figures]
            columns[f"{stem}_rest_pusd"] = [pusd % PUSD_PER_MICRO_USD for pusd in figures]
        else:
            columns[name] = figures
    add_sums(connection, table, key, columns)


def sums_of(priced: PricedRecord) -> Sums:
    """Return what one entry adds."""
    return Sums._make(figures_of(priced))


def figures_of(priced: PricedRecord) -> Figures:
    """Return what one entry adds, in the order of `Sums`.

    Parts are held to their total where a sender contradicts itself, so that a class computed as the difference
    (uncached input, answer tokens) never falls; the entry keeps the figures as they came.
    """
    usage, price = priced[0][7], priced[1]
    input_tokens, output_tokens = usage[0] or 0, usage[1] or 0
    cache_read, cache_write, reasoning = usage[2] or 0, usage[3] or 0, usage[8] or 0
    # Comparisons, not min(), which takes longer than all the rest of this function.
    if cache_read > input_tokens:
        cache_read = input_tokens
    if cache_write > input_tokens - cache_read:
        cache_write = input_tokens - cache_read
    if reasoning > output_tokens:
        reasoning = output_tokens
    split = price[7] or NO_COST
    return 1, input_tokens, output_tokens, cache_read, cache_write, reasoning, price[1] or 0, *split


assert Usage._fields[:4] == ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
assert Usage._fields[8] == "reasoning_tokens"
assert Price._fields[7] == "split"
assert Sums._fields == (*COUNTS, "cost_pusd", *Split._fields)
_COST = len(COUNTS)
assert (*COUNTS, *(f"{name}_{half}" for name in MONEY for half in ("micro_usd", "rest_pusd"))) == ROLLUP_SUMS


def unreported(usage_status: str, price_status: str) -> bool:
    """Tell whether calls may be billed and their usage is not known, or not to the end; what is free is not billed."""
    return usage_status in {"unreported", "partial"} and price_status != "free"


def read_totals(connection: Connection) -> dict[Cell, Sums]:
    """Return what each cell adds up to since the ledger began, the cells in the order in which they came to be.

    Cells that corrections have emptied are among them.
    """
    columns = (*(cells.c[name] for name in DIMENSIONS), *(rollup_totals.c[name] for name in ROLLUP_SUMS))
    rows = connection.execute(select(*columns).join_from(rollup_totals, cells).order_by(cells.c.cell_id))
    return {Cell(*row[: len(DIMENSIONS)]): sums_of_row(row[len(DIMENSIONS) :]) for row in rows}


def sums_of_row(row: Iterable[int]) -> Sums:
    """Return the sums of a row of `ROLLUP_SUMS` columns; PostgreSQL sums 64-bit integers into decimals, hence int()."""
    values = [int(value) for value in row]
    halves = zip(values[_COST::2], values[_COST + 1 :: 2], strict=True)
    return Sums._make([*values[:_COST], *(whole * PUSD_PER_MICRO_USD + rest for whole, rest in halves)])
