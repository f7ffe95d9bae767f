"""Rows of entries -> PostgreSQL: a binary COPY into a staging table, then one insert of what is new.

COPY takes a fifth of the client's time of any INSERT, and needs no parsing by the server. The table of the entries is
partitioned by month; partitions are made ahead, and for what is late when it comes.
"""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, text

from spanledger_exporter.ledger.database import Database
from spanledger_exporter.ledger.rows import Row, said_of
from spanledger_exporter.ledger.schema import ENTRY_COLUMNS, ledger_entries
from spanledger_exporter.records import Key

_COLUMNS: Final = ", ".join(ENTRY_COLUMNS)
_TYPES: Final = {name: {"BIGINT": "int8", "TEXT": "text"}.get(str(ledger_entries.c[name].type), "bytea")
                 for name in ENTRY_COLUMNS}  # fmt: skip
_STAGE: Final = (
    "CREATE TEMPORARY TABLE IF NOT EXISTS staged_entries ON COMMIT DELETE ROWS AS "
    f"SELECT 0 AS place, {_COLUMNS} FROM ledger_entries WITH NO DATA"
)
_MONTHS_AHEAD: Final = 2
_PARTITIONS: Final = text(
    "SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid "
    "WHERE i.inhparent = to_regclass('ledger_entries')"
)
_MONTH_OF_NAME: Final = re.compile(r"ledger_entries_y(\d{4})m(\d{2})")
# Any constant that no other application is likely to lock in the same PostgreSQL database: "spanpart" as an integer.
_PARTITION_LOCK: Final = 0x7370616E70617274


class PostgresqlEntries:
    """Inserts and finds entries in PostgreSQL, and makes the partitions that they need."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._months: set[int] = set()

    def prepare(self, ends_ns: Iterable[int]) -> None:
        """Make the partitions of these times that are not there yet, in a transaction of their own."""
        missing = {_month(end_ns) for end_ns in ends_ns} - self._months
        if not missing:
            return
        with self._database.write() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _PARTITION_LOCK})
            for month in sorted(missing):
                _make_partition(connection, month)
        self._months |= missing

    def prepare_ahead(self, now_ns: int) -> None:
        """Make the partitions of this month and the next ones, so that no insert has to."""
        month = _month(now_ns)
        self.prepare(_start_ns(month + ahead) for ahead in range(_MONTHS_AHEAD + 1))

    def insert(self, connection: Connection, rows: Sequence[Row]) -> list[int | None]:
        """Insert rows; return the number of each, `None` for one whose key is there already."""
        if not rows:
            return []
        driver: Any = connection.connection.driver_connection  # psycopg's connection: SQLAlchemy types no driver
        connection.exec_driver_sql(_STAGE)
        said = said_of(rows)
        names = ", ".join(said)
        with (
            driver.cursor() as cursor,
            cursor.copy(f"COPY staged_entries (place, {names}) FROM STDIN (FORMAT BINARY)") as copy,
        ):
            copy.set_types(("int4", *(_TYPES[name] for name in said)))
            for row in zip(range(len(rows)), *said.values(), strict=True):
                copy.write_row(row)
        new = connection.exec_driver_sql(
            f"INSERT INTO ledger_entries ({names}) SELECT {names} FROM staged_entries ORDER BY place "
            "ON CONFLICT DO NOTHING RETURNING entry_id, end_ns, span_id, trace_id"
        )
        numbers = {(end_ns, bytes(span), bytes(trace)): number for number, end_ns, span, trace in new}
        return [numbers.pop(row[:3], None) for row in rows]

    def known(self, connection: Connection, keys: Sequence[Key]) -> dict[Key, int]:
        """Return the entries that have one of these reports, of one or of several: key -> number."""
        return _known(connection, "ledger_entries", keys) | _known(connection, "reports", keys)

    def folded(self, connection: Connection, keys: Sequence[Key]) -> dict[Key, int]:
        """Return the entries of those keys that are reports beside others."""
        return _known(connection, "reports", keys)


def _known(connection: Connection, table: str, keys: Sequence[Key]) -> dict[Key, int]:
    if not keys:
        return {}
    ends, spans, traces = (list(values) for values in zip(*keys, strict=True))
    statement = text(
        "SELECT t.end_ns, t.span_id, t.trace_id, t.entry_id FROM "
        "unnest(CAST(:ends AS bigint[]), CAST(:spans AS bytea[]), CAST(:traces AS bytea[])) "
        f"AS asked(end_ns, span_id, trace_id) JOIN {table} t USING (end_ns, span_id, trace_id)"
    )
    rows = connection.execute(statement, {"ends": ends, "spans": spans, "traces": traces})
    return {(end_ns, bytes(span_id), bytes(trace_id)): number for end_ns, span_id, trace_id, number in rows}


def _month(unix_ns: int) -> int:
    moment = datetime.fromtimestamp(unix_ns // 10**9, tz=UTC)
    return moment.year * 12 + moment.month - 1


def _start_ns(month: int) -> int:
    return int(datetime(month // 12, month % 12 + 1, 1, tzinfo=UTC).timestamp()) * 10**9


def _make_partition(connection: Connection, month: int) -> None:
    name = partition_name(month)
    if connection.execute(text("SELECT to_regclass(:name)"), {"name": name}).scalar() is not None:
        return
    # Made apart and then attached: to be made as a partition at once it would wait for every query that reads entries,
    # and every insert would wait behind it.
    connection.exec_driver_sql(f"CREATE TABLE {name} (LIKE ledger_entries INCLUDING DEFAULTS)")
    connection.exec_driver_sql(
        f"ALTER TABLE ledger_entries ATTACH PARTITION {name} "
        f"FOR VALUES FROM ({_start_ns(month)}) TO ({_start_ns(month + 1)})"
    )


class Partition(NamedTuple):
    """One month of the entries.

    Units: Unix nanoseconds; `until_ns` is the next one's beginning.
    """

    name: str
    since_ns: int
    until_ns: int


def partitions(connection: Connection) -> list[Partition]:
    """Return the partitions that there are, the oldest first."""
    rows = connection.execute(_PARTITIONS)
    found = (_MONTH_OF_NAME.fullmatch(name) for (name,) in rows)
    months = sorted(int(match[1]) * 12 + int(match[2]) - 1 for match in found if match)
    return [Partition(partition_name(month), _start_ns(month), _start_ns(month + 1)) for month in months]


def partition_name(month: int) -> str:
    """Return the name of the partition of a month, which is counted from the year 0."""
    return f"ledger_entries_y{month // 12:04d}m{month % 12 + 1:02d}"
