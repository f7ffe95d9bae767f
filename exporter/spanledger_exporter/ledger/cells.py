"""Cells: the combinations of dimension values that are summed apart, each under a number.

Their number has a limit, beyond which a new combination is folded into one whose free texts are `__other__`: sums stay
right, and hostile or careless model names cannot grow the ledger's indexes or the metrics without end.
"""

from typing import NamedTuple

from sqlalchemy import Connection, and_, select

from spanledger_exporter.ledger.insert import insert_ignore
from spanledger_exporter.ledger.schema import DIMENSIONS, cells
from spanledger_exporter.records import OTHER, PricedRecord

_FREE_TEXTS = ("service", "environment", "tenant", "team", "project", "feature", "provider", "model")
FIRST, RETRY = "first", "retry"
_LABEL_BYTES_MAX = 200


class Cell(NamedTuple):
    """One combination of dimension values; an empty text is a value that was not reported.

    `error_type` is empty unless the call ended in an error. `attempt` is `first`, or `retry` for a call that an SDK
    made again; neither is known of some cells from before the ledger kept them.
    """

    service: str
    environment: str
    tenant: str
    team: str
    project: str
    feature: str
    provider: str
    model: str
    operation: str
    outcome: str
    usage_status: str
    price_status: str
    price_reason: str
    error_type: str
    attempt: str


def cell_of(priced: PricedRecord) -> Cell:
    """Return the cell that an entry belongs to."""
    record, price, _ = priced
    profile = record.profile
    return Cell(
        _label(profile.service),
        _label(profile.environment),
        _label(profile.tenant),
        _label(profile.team),
        _label(profile.project),
        _label(profile.feature),
        _label(profile.provider),
        _label(profile.model),
        profile.operation,
        profile.outcome,
        record.usage_status,
        price.status,
        price.reason or "",
        _label(profile.error_type) if profile.outcome == "error" else "",
        RETRY if (profile.resend_count or 0) > 0 else FIRST,
    )


def _folded(cell: Cell) -> Cell:
    """Return the cell that a new one is folded into; a call without an error has no other error."""
    error_type = OTHER if cell.error_type else ""
    return cell._replace(**dict.fromkeys(_FREE_TEXTS, OTHER), error_type=error_type)


def _label(text: str | None) -> str:
    """Return a dimension's value, cut to what an index of several can hold (PostgreSQL's rows end at 2,704 bytes)."""
    return (text or "").encode()[:_LABEL_BYTES_MAX].decode(errors="ignore")


class Cells:
    """Numbers cells, on a connection that it is given; `settled` tells it how the transaction ended."""

    def __init__(self, cells_max: int) -> None:
        self._cells_max = cells_max
        self._numbers: dict[Cell, int] = {}
        self._fresh: dict[Cell, int] = {}

    def number(self, connection: Connection, cell: Cell) -> tuple[Cell, int, bool]:
        """Return the cell that stands for this one, its number, and whether it stands for others as well."""
        number = self._numbers.get(cell) or self._fresh.get(cell)
        if number is not None:
            return cell, number, False
        if not self._numbers and not self._fresh:
            self._numbers.update(_all(connection))
            if cell in self._numbers:
                return cell, self._numbers[cell], False
        folded = len(self._numbers) + len(self._fresh) >= self._cells_max
        if folded:
            cell = _folded(cell)
            if cell in self._numbers:
                return cell, self._numbers[cell], True
        return cell, self._insert(connection, cell), folded

    def at(self, connection: Connection, cell_id: int) -> Cell:
        """Return the cell of a number."""
        row = connection.execute(select(*_COLUMNS).where(cells.c.cell_id == cell_id)).one()
        return Cell(*row)

    def settled(self, *, committed: bool) -> None:
        """Remember what the transaction added, or forget it."""
        if committed:
            self._numbers.update(self._fresh)
        self._fresh = {}

    def _insert(self, connection: Connection, cell: Cell) -> int:
        insert_ignore(connection, cells, DIMENSIONS, [cell._asdict()])
        same = and_(*(cells.c[name] == value for name, value in cell._asdict().items()))
        number = self._fresh[cell] = connection.execute(select(cells.c.cell_id).where(same)).scalar_one()
        return number


_COLUMNS = tuple(cells.c[name] for name in DIMENSIONS)


def _all(connection: Connection) -> dict[Cell, int]:
    rows = connection.execute(select(cells.c.cell_id, *_COLUMNS))
    return {Cell(*dimensions): number for number, *dimensions in rows}
