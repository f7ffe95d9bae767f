"""Hourly sums beside the entries, moved in the same transaction: what reports and counters read.

A cell is one combination of dimension values; its number stands for it in every hour. The number of cells has a
limit, beyond which a new combination is folded into one whose free texts are `__other__`: sums stay right, and
hostile or careless model names cannot grow the ledger's indexes or the metrics without end.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from sqlalchemy import Connection, and_, func, select

from spanledger_exporter.insert import insert_ignore, insert_or_add
from spanledger_exporter.records import PricedRecord
from spanledger_exporter.schema import DIMENSIONS, ROLLUP_SUMS, cells, rollup_hours

OTHER = "__other__"
_LABEL_BYTES_MAX = 200
_NS_PER_HOUR = 3600 * 10**9
_PUSD_PER_MICRO_USD = 10**6


class Cell(NamedTuple):
    """One combination of dimension values; an empty text is a value that was not reported."""

    service: str
    environment: str
    provider: str
    model: str
    operation: str
    outcome: str
    usage_status: str
    price_status: str
    price_reason: str


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


class Rollups:
    """Adds entries to the hourly sums, on a connection that it is given.

    Cells that a transaction adds are known to others only once `committed` says that it held.
    """

    def __init__(self, cells_max: int) -> None:
        self._cells_max = cells_max
        self._numbers: dict[Cell, int] = {}
        self._unnumbered: set[Cell] = set()
        self._fresh: dict[Cell, int] = {}
        self._fresh_folded = 0
        self.folded = 0

    def add(
        self, connection: Connection, records: Sequence[PricedRecord]
    ) -> tuple[Sequence[Cell], Mapping[Cell, Sums]]:
        """Add new entries to their hours; return the cell of each and what was added, by cell."""
        self._fresh, self._fresh_folded, self._unnumbered = {}, 0, set()
        by_hour: dict[tuple[int, Cell], Sums] = {}
        by_cell: dict[Cell, Sums] = {}
        cells_of = [self._bounded(connection, cell_of(record)) for record in records]
        for record, cell in zip(records, cells_of, strict=True):
            sums = sums_of(record)
            hour = (record.record.end_ns // _NS_PER_HOUR * 3600, cell)
            by_hour[hour] = by_hour.get(hour, _NOTHING).plus(sums)
            by_cell[cell] = by_cell.get(cell, _NOTHING).plus(sums)
        # In one order everywhere: two replicas that write the same rows in different orders would deadlock.
        for cell in sorted(by_cell):
            self._number(connection, cell)
        rows = sorted((hour_s, self._number(connection, cell), sums) for (hour_s, cell), sums in by_hour.items())
        insert_or_add(connection, rollup_hours, ("hour_s", "cell_id"), [_row(*row) for row in rows])
        return cells_of, by_cell

    def committed(self) -> None:
        """Remember the cells of the transaction that has just been committed."""
        self._numbers.update(self._fresh)
        self.folded += self._fresh_folded
        self._fresh, self._fresh_folded = {}, 0

    def _bounded(self, connection: Connection, cell: Cell) -> Cell:
        if cell in self._numbers or cell in self._unnumbered:
            return cell
        if not self._numbers:
            self._numbers.update(_all_cells(connection))
            if cell in self._numbers:
                return cell
        if len(self._numbers) + len(self._unnumbered) >= self._cells_max:
            self._fresh_folded += 1
            return cell._replace(service=OTHER, environment=OTHER, provider=OTHER, model=OTHER)
        self._unnumbered.add(cell)
        return cell

    def _number(self, connection: Connection, cell: Cell) -> int:
        number = self._numbers.get(cell) or self._fresh.get(cell)
        if number is None:
            insert_ignore(connection, cells, DIMENSIONS, [cell._asdict()])
            same = and_(*(cells.c[name] == value for name, value in cell._asdict().items()))
            number = self._fresh[cell] = connection.execute(select(cells.c.cell_id).where(same)).scalar_one()
        return number


_NOTHING = Sums()


def cell_of(priced: PricedRecord) -> Cell:
    """Return the cell that an entry belongs to."""
    record, price = priced.record, priced.price
    return Cell(
        _label(record.service),
        _label(record.environment),
        _label(record.provider),
        _label(record.model),
        record.operation,
        record.outcome,
        record.usage_status,
        price.status,
        price.reason or "",
    )


def _label(text: str | None) -> str:
    """Return a dimension's value, cut to what an index of several can hold (PostgreSQL's rows end at 2,704 bytes)."""
    return (text or "").encode()[:_LABEL_BYTES_MAX].decode(errors="ignore")


def sums_of(priced: PricedRecord) -> Sums:
    """Return what one entry adds.

    Parts are held to their total where a sender contradicts itself, so that a class computed as the difference
    (uncached input, answer tokens) never falls; the entry keeps the figures as they came.
    """
    usage = priced.record.usage
    input_tokens, output_tokens = usage.input_tokens or 0, usage.output_tokens or 0
    cache_read = min(usage.cache_read_tokens or 0, input_tokens)
    cache_write = min(usage.cache_write_tokens or 0, input_tokens - cache_read)
    reasoning = min(usage.reasoning_tokens or 0, output_tokens)
    return Sums(1, input_tokens, output_tokens, cache_read, cache_write, reasoning, priced.price.cost_pusd or 0)


def unreported(usage_status: str, price_status: str) -> bool:
    """Tell whether calls may be billed and their usage is not known, or not to the end; what is free is not billed."""
    return usage_status in {"unreported", "partial"} and price_status != "free"


def read_totals(connection: Connection) -> dict[Cell, Sums]:
    """Return what each cell adds up to since the ledger began."""
    totals = select(*(cells.c[name] for name in DIMENSIONS), *(func.sum(rollup_hours.c[name]) for name in ROLLUP_SUMS))
    query = totals.join_from(rollup_hours, cells).group_by(*(cells.c[name] for name in DIMENSIONS))
    return {Cell(*row[: len(DIMENSIONS)]): sums_of_row(row[len(DIMENSIONS) :]) for row in connection.execute(query)}


def sums_of_row(row: Iterable[int]) -> Sums:
    """Return the sums of a row of `ROLLUP_SUMS` columns; PostgreSQL sums 64-bit integers into decimals, hence int()."""
    *counts, micro_usd, rest_pusd = (int(value) for value in row)
    return Sums._make([*counts, micro_usd * _PUSD_PER_MICRO_USD + rest_pusd])


def _row(hour_s: int, cell_id: int, sums: Sums) -> Mapping[str, int]:
    values = sums._asdict()
    micro_usd, rest_pusd = divmod(values.pop("cost_pusd"), _PUSD_PER_MICRO_USD)
    return {"hour_s": hour_s, "cell_id": cell_id, **values, "cost_micro_usd": micro_usd, "cost_rest_pusd": rest_pusd}


def _all_cells(connection: Connection) -> dict[Cell, int]:
    rows = connection.execute(select(cells.c.cell_id, *(cells.c[name] for name in DIMENSIONS)))
    return {Cell(*dimensions): number for number, *dimensions in rows}
