"""The kinds of insert that the ledger needs, alike on SQLite and PostgreSQL."""

from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, Final

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite

_ROWS_IN_STATEMENT: Final = 64
"""Of one size, so that SQLite parses the statement once; the rows that are left over go one by one."""


def insert_ignore(connection: Connection, table: Table, key: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows; those whose key is there already change nothing."""
    if rows:
        connection.execute(_insert(connection, table).on_conflict_do_nothing(index_elements=key), rows)


def insert_or_add(
    connection: Connection,
    table: Table,
    key: Sequence[str],
    rows: Sequence[Mapping[str, Any]],
    *,
    added: Sequence[str] | None = None,
) -> None:
    """Insert rows; where the key is there already, add each number to what is there, or those that `added` names."""
    if not rows:
        return
    statement = _insert(connection, table)
    names = [name for name in rows[0] if name not in key] if added is None else added
    sums = {name: table.c[name] + statement.excluded[name] for name in names}
    connection.execute(statement.on_conflict_do_update(index_elements=key, set_=sums), rows)


def insert_or_replace(
    connection: Connection, table: Table, key: Sequence[str], rows: Sequence[Mapping[str, Any]]
) -> None:
    """Insert rows; where the key is there already, take the new values."""
    if not rows:
        return
    statement = _insert(connection, table)
    values = {name: statement.excluded[name] for name in rows[0] if name not in key}
    connection.execute(statement.on_conflict_do_update(index_elements=key, set_=values), rows)


def add_sums(connection: Connection, table: Table, key: Sequence[str], columns: Mapping[str, Sequence[Any]]) -> None:
    """Insert rows of sums; where the key is there already, add each number to what is there.

    Shape: values by column, those of the key first; each key once, in the order in which the rows are to be written. A
    column that is not among them is moved by nothing. Every commit comes through here with hundreds of rows, hence no
    statement of SQLAlchemy's, which would take each row apart.
    """
    names = tuple(columns)
    if not columns[names[0]]:
        return
    if connection.dialect.name == "postgresql":
        statement = _adding_arrays(table, tuple(key), names)
        connection.exec_driver_sql(statement, tuple(_array(values) for values in columns.values()))
        return
    rows = list(zip(*columns.values(), strict=True))
    whole = len(rows) // _ROWS_IN_STATEMENT * _ROWS_IN_STATEMENT
    for start in range(0, whole, _ROWS_IN_STATEMENT):
        values = tuple(chain.from_iterable(rows[start : start + _ROWS_IN_STATEMENT]))
        connection.exec_driver_sql(_adding_rows(table, tuple(key), names, _ROWS_IN_STATEMENT), values)
    if whole < len(rows):
        connection.exec_driver_sql(_adding_rows(table, tuple(key), names, 1), rows[whole:])


def _array(values: Sequence[Any]) -> str | list[Any]:
    """Return whole numbers as PostgreSQL writes an array of them, which takes the driver a tenth of the time."""
    if isinstance(values[0], int):
        return "{" + ",".join(map(str, values)) + "}"
    return list(values)


@lru_cache(maxsize=256)
def _adding_rows(table: Table, key: tuple[str, ...], names: tuple[str, ...], rows: int) -> str:
    places = f"({', '.join('?' * len(names))})"
    return " ".join((_into(table, names), "VALUES", ", ".join([places] * rows), _or_add(table, key, names)))


@lru_cache(maxsize=256)
def _adding_arrays(table: Table, key: tuple[str, ...], names: tuple[str, ...]) -> str:
    arrays = ", ".join(f"%s::{table.c[name].type.compile(postgresql.dialect())}[]" for name in names)
    return " ".join((_into(table, names), "SELECT * FROM unnest(", arrays, ")", _or_add(table, key, names)))


def _into(table: Table, names: tuple[str, ...]) -> str:
    return f"INSERT INTO {table.name} ({', '.join(names)})"


def _or_add(table: Table, key: tuple[str, ...], names: tuple[str, ...]) -> str:
    sums = ", ".join(f"{name} = {table.name}.{name} + excluded.{name}" for name in names if name not in key)
    return f"ON CONFLICT ({', '.join(key)}) DO UPDATE SET {sums}"


def _insert(connection: Connection, table: Table) -> Any:
    # Any: the two dialects' inserts have the same methods and no common type that declares them.
    return (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(table)
