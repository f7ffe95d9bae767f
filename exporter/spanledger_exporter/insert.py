"""The kinds of insert that the ledger needs, alike on SQLite and PostgreSQL."""

from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql, sqlite


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


def _insert(connection: Connection, table: Table) -> Any:
    # Any: the two dialects' inserts have the same methods and no common type that declares them.
    return (sqlite if connection.dialect.name == "sqlite" else postgresql).insert(table)
