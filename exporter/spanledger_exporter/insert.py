"""The three kinds of insert that the ledger needs, alike on SQLite and PostgreSQL."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Row, Table
from sqlalchemy.dialects import postgresql, sqlite


def insert_ignore(connection: Connection, table: Table, key: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows; those whose key is there already change nothing."""
    if rows:
        connection.execute(_insert(connection, table).on_conflict_do_nothing(index_elements=key), rows)


def insert_new(
    connection: Connection, table: Table, key: Sequence[str], rows: Sequence[Mapping[str, Any]]
) -> Sequence[Row[Any]]:
    """Insert rows and return the keys of those that were not there before."""
    if not rows:
        return ()
    statement = _insert(connection, table).on_conflict_do_nothing(index_elements=key)
    return connection.execute(statement.returning(*(table.c[name] for name in key)), rows).all()


def insert_or_add(connection: Connection, table: Table, key: Sequence[str], rows: Sequence[Mapping[str, int]]) -> None:
    """Insert rows of numbers; where the key is there already, add each number to what is there."""
    if not rows:
        return
    statement = _insert(connection, table)
    sums = {name: table.c[name] + statement.excluded[name] for name in rows[0] if name not in key}
    connection.execute(statement.on_conflict_do_update(index_elements=key, set_=sums), rows)


def _insert(connection: Connection, table: Table) -> Any:
    # Any: the two dialects' inserts have the same methods and no common type that declares them.
    return (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(table)
