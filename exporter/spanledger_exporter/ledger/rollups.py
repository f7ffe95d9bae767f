"""Sums beside the entries, by hour and minute, moved in the same transaction: what reports and counters read.

What moves them moves budgets as well (charges.py).

A change of an entry moves them by the difference: what it was is taken out of its cell, what it is now is added.
"""

from collections.abc import Iterable, Mapping
from typing import NamedTuple

from sqlalchemy import Connection, Table, delete, func, select

from spanledger_exporter.budgets.charges import Charges
from spanledger_exporter.ledger.cells import Cell
from spanledger_exporter.ledger.insert import add_sums
from spanledger_exporter.ledger.profiles import Numbered
from spanledger_exporter.ledger.schema import DIMENSIONS, ROLLUP_SUMS, cells, rollup_hours, rollup_minutes
from spanledger_exporter.money import PUSD_PER_MICRO_USD
from spanledger_exporter.records import PricedRecord, Usage

_NS_PER_S = 10**9
_NS_PER_MINUTE = 60 * _NS_PER_S
_MINUTES_KEPT_S = 48 * 3600


class Sums(NamedTuple):
    """What the calls of a cell add up to.

    Units: calls, tokens, pico-USD; tokens and cost that were not reported add nothing.
    """

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_tokens: int = 0
    reasoning_tokens: int = 0
    cost_pusd: int = 0

    def plus(self, other: "Sums") -> "Sums":
        """Return the sum of both."""
        return Sums._make(mine + theirs for mine, theirs in zip(self, other, strict=True))

    def minus(self, other: "Sums") -> "Sums":
        """Return the difference of both."""
        return Sums._make(mine - theirs for mine, theirs in zip(self, other, strict=True))


_NOTHING = Sums()


class Moves:
    """What one transaction adds to the sums, and takes away; gathered first, and then written at once."""

    def __init__(self, charges: Charges | None = None) -> None:
        self._charges = charges
        self._minutes: dict[tuple[int, int], list[int]] = {}
        self._cells: dict[int, Cell] = {}

    def add(self, end_ns: int, of: Numbered, priced: PricedRecord) -> None:
        """Add the figures of one entry."""
        moved = self._of(end_ns, of)
        figures = calls, input_, output, read, write, reasoning, cost = figures_of(priced)
        moved[0] += calls
        moved[1] += input_
        moved[2] += output
        moved[3] += read
        moved[4] += write
        moved[5] += reasoning
        moved[6] += cost
        if self._charges is not None:
            self._charges.add(of[0], priced, figures)

    def take_away(self, end_ns: int, of: Numbered, priced: PricedRecord) -> None:
        """Take the figures of one entry away from where they were added."""
        moved = self._of(end_ns, of)
        figures = figures_of(priced)
        for place, figure in enumerate(figures):
            moved[place] -= figure
        if self._charges is not None:
            self._charges.take_away(of[0], priced, figures)

    def _of(self, end_ns: int, of: Numbered) -> list[int]:
        key = (end_ns // _NS_PER_MINUTE, of[1])
        moved = self._minutes.get(key)
        if moved is None:
            moved = self._minutes[key] = [0] * len(_NOTHING)
            self._cells[of.cell_id] = of.cell
        return moved

    def by_cell(self) -> dict[Cell, Sums]:
        """Return what each cell was moved by; those that were not moved in the end are left out."""
        found: dict[Cell, Sums] = {}
        for (_, cell_id), moved in self._minutes.items():
            cell = self._cells[cell_id]
            found[cell] = found.get(cell, _NOTHING).plus(Sums._make(moved))
        return {cell: sums for cell, sums in found.items() if any(sums)}

    def write(self, connection: Connection, now_ns: int) -> None:
        """Move the rows of the hours, and those of the minutes that are still kept."""
        hours: dict[tuple[int, int], Sums] = {}
        minutes: dict[tuple[int, int], Sums] = {}
        oldest_s = now_ns // _NS_PER_S - _MINUTES_KEPT_S
        for (minute, cell_id), moved in self._minutes.items():
            if not any(moved):
                continue
            minute_s = minute * 60
            sums = Sums._make(moved)
            if minute_s >= oldest_s:
                minutes[minute_s, cell_id] = sums
            hour = (minute_s // 3600 * 3600, cell_id)
            hours[hour] = hours.get(hour, _NOTHING).plus(sums)
        _write(connection, rollup_hours, "hour_s", hours)
        _write(connection, rollup_minutes, "minute_s", minutes)


def forget_minutes(connection: Connection, now_ns: int) -> None:
    """Delete the sums of minutes that are older than two days."""
    oldest_s = now_ns // _NS_PER_S - _MINUTES_KEPT_S
    connection.execute(delete(rollup_minutes).where(rollup_minutes.c.minute_s < oldest_s))


def _write(connection: Connection, table: Table, time: str, moves: Mapping[tuple[int, int], Sums]) -> None:
    # In one order everywhere, so that two writers can never wait for each other.
    add_sums(connection, table, (time, "cell_id"), [(*key, *_row(moves[key])) for key in sorted(moves)])


def sums_of(priced: PricedRecord) -> Sums:
    """Return what one entry adds."""
    return Sums._make(figures_of(priced))


def figures_of(priced: PricedRecord) -> tuple[int, int, int, int, int, int, int]:
    """Return what one entry adds, in the order of `Sums`.

    Parts are held to their total where a sender contradicts itself, so that a class computed as the difference
    (uncached input, answer tokens) never falls; the entry keeps the figures as they came.
    """
    usage = priced[0][7]
    input_tokens, output_tokens = usage[0] or 0, usage[1] or 0
    cache_read, cache_write, reasoning = usage[2] or 0, usage[3] or 0, usage[8] or 0
    # Comparisons, not min(), which takes longer than all the rest of this function.
    if cache_read > input_tokens:
        cache_read = input_tokens
    if cache_write > input_tokens - cache_read:
        cache_write = input_tokens - cache_read
    if reasoning > output_tokens:
        reasoning = output_tokens
    return 1, input_tokens, output_tokens, cache_read, cache_write, reasoning, priced[1][1] or 0


assert Usage._fields[:4] == ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens")
assert Usage._fields[8] == "reasoning_tokens"
assert (*Sums._fields[:-1], "cost_micro_usd", "cost_rest_pusd") == ROLLUP_SUMS


def unreported(usage_status: str, price_status: str) -> bool:
    """Tell whether calls may be billed and their usage is not known, or not to the end; what is free is not billed."""
    return usage_status in {"unreported", "partial"} and price_status != "free"


def read_totals(connection: Connection) -> dict[Cell, Sums]:
    """Return what each cell adds up to since the ledger began."""
    totals = select(*(cells.c[name] for name in DIMENSIONS), *(func.sum(rollup_hours.c[name]) for name in ROLLUP_SUMS))
    query = totals.join_from(rollup_hours, cells).group_by(*(cells.c[name] for name in DIMENSIONS))
    found = {Cell(*row[: len(DIMENSIONS)]): sums_of_row(row[len(DIMENSIONS) :]) for row in connection.execute(query)}
    return {cell: sums for cell, sums in found.items() if any(sums)}


def sums_of_row(row: Iterable[int]) -> Sums:
    """Return the sums of a row of `ROLLUP_SUMS` columns; PostgreSQL sums 64-bit integers into decimals, hence int()."""
    *counts, micro_usd, rest_pusd = (int(value) for value in row)
    return Sums._make([*counts, micro_usd * PUSD_PER_MICRO_USD + rest_pusd])


def _row(sums: Sums) -> tuple[int, ...]:
    """Return sums in the order of `ROLLUP_SUMS`."""
    return (*sums[:-1], *divmod(sums.cost_pusd, PUSD_PER_MICRO_USD))
