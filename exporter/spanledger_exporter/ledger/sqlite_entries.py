"""Rows of entries -> SQLite: many rows in one statement.

A statement for each row would hand the interpreter's lock over at every row, and stop for as long as any other thread
computes; one statement of a thousand rows is also twice as fast by itself.
"""

from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Any, Final

from sqlalchemy import Connection

from spanledger_exporter.ledger.rows import Row, said_of
from spanledger_exporter.ledger.schema import ENTRY_COLUMNS
from spanledger_exporter.records import Key

_PARAMETERS_MAX: Final = 32_766
"""SQLite's limit for one statement since 3.32; a build may have a higher one."""
_ROWS_MAX: Final = min(1024, _PARAMETERS_MAX // len(ENTRY_COLUMNS))
_KEYS_MAX: Final = 500
_TABLES: Final = ("ledger_entries", "reports")


class SqliteEntries:
    """Inserts and finds entries in SQLite."""

    def prepare(self, ends_ns: Iterable[int]) -> None:
        """Do nothing: one table holds all times."""

    def prepare_ahead(self, now_ns: int) -> None:
        """Do nothing: one table holds all times."""

    def insert(self, connection: Connection, rows: Sequence[Row]) -> list[int | None]:
        """Insert rows; return the number of each, `None` for one whose key is there already."""
        numbers: list[int | None] = []
        for start in range(0, len(rows), _ROWS_MAX):
            numbers.extend(_insert(connection, rows[start : start + _ROWS_MAX]))
        return numbers

    def known(self, connection: Connection, keys: Sequence[Key]) -> dict[Key, int]:
        """Return the entries that have one of these reports, of one or of several: key -> number."""
        found: dict[Key, int] = {}
        for start in range(0, len(keys), _KEYS_MAX):
            part = keys[start : start + _KEYS_MAX]
            for table in _TABLES:
                found |= _known(connection, table, part)
        return found

    def folded(self, connection: Connection, keys: Sequence[Key]) -> dict[Key, int]:
        """Return the entries of those keys that are reports beside others."""
        found: dict[Key, int] = {}
        for start in range(0, len(keys), _KEYS_MAX):
            found |= _known(connection, "reports", keys[start : start + _KEYS_MAX])
        return found


def _insert(connection: Connection, rows: Sequence[Row]) -> list[int | None]:
    said = said_of(rows)
    values = tuple(chain.from_iterable(zip(*said.values(), strict=True)))
    places = f"({','.join('?' * len(said))})"
    into = f"INSERT INTO ledger_entries ({','.join(said)}) VALUES "
    statement = f"{into}{','.join([places] * len(rows))} ON CONFLICT DO NOTHING"
    last: int = connection.exec_driver_sql("SELECT coalesce(max(entry_id), 0) FROM ledger_entries").scalar_one()
    done = connection.exec_driver_sql(statement, values)
    if done.rowcount == len(rows):
        # Numbered one after the other: nobody else writes, and a row gets the largest number there ever was plus one.
        first = done.lastrowid - len(rows) + 1
        return list(range(first, first + len(rows)))
    found = _known(connection, "ledger_entries", [row[:3] for row in rows])
    numbers = (found[row[:3]] for row in rows)
    return [number if number > last else None for number in numbers]


def _known(connection: Connection, table: str, keys: Sequence[Key]) -> dict[Key, int]:
    # CROSS JOIN keeps the order of the tables: the keys are gone through, the index is asked for each.
    statement = (
        f"WITH asked(end_ns, span_id, trace_id) AS (VALUES {','.join(['(?,?,?)'] * len(keys))}) "
        f"SELECT t.end_ns, t.span_id, t.trace_id, t.entry_id FROM asked CROSS JOIN {table} t "
        "ON t.end_ns = asked.end_ns AND t.span_id = asked.span_id AND t.trace_id = asked.trace_id"
    )
    values: list[Any] = []
    for key in keys:
        values += key
    rows = connection.exec_driver_sql(statement, tuple(values))
    return {(end_ns, span_id, trace_id): number for end_ns, span_id, trace_id, number in rows}
