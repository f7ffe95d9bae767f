"""Entries that are older than they are to be kept -> deleted, without ever being counted again.

The floor moves first, in a transaction of its own: from then on a late replay of what will be gone is refused. Then the
entries before it are deleted in slices, between which others write; on PostgreSQL a month that is before the floor as
a whole is dropped as one. Whatever interrupts this, the next time goes on. The sums by the hour stay for ever.

An entry that several reports were joined into stays until the last of them is before the floor: a late replay of that
one would find no entry to belong to.
"""

import contextlib
import logging
import time
from collections.abc import Callable
from typing import Final, NamedTuple, Self

from sqlalchemy import ColumnElement, Connection, delete, exists, func, or_, select, text
from sqlalchemy.exc import OperationalError

from spanledger_exporter.ledger.database import Database
from spanledger_exporter.ledger.postgresql_entries import Partition, partitions
from spanledger_exporter.ledger.schema import adjustments, ledger_entries, reports
from spanledger_exporter.ledger.state import count_commit, floor_ns, raise_floor

_logger = logging.getLogger(__name__)
SLICE_ROWS: Final = 20_000
_HOUR_NS: Final = 3600 * 10**9
_NUMBERS_MAX: Final = 5000
_DROP_WAIT_MS: Final = 500
"""How long a drop waits for queries that read entries; every insert waits behind it."""


class Expired(NamedTuple):
    """What retention deleted, or would delete.

    Units: `floor_ns` Unix nanoseconds; the others rows, `partitions` whole months of PostgreSQL.
    """

    floor_ns: int
    entries: int = 0
    reports: int = 0
    adjustments: int = 0
    partitions: int = 0

    def plus(self, other: Self) -> Self:
        """Return the sum of both, above the floor of the first."""
        return self._replace(
            entries=self.entries + other.entries,
            reports=self.reports + other.reports,
            adjustments=self.adjustments + other.adjustments,
            partitions=self.partitions + other.partitions,
        )


def floor_of(before_ns: int) -> int:
    """Return the beginning of a time's hour: the floor lies between two hours, whose sums are whole or not at all."""
    return before_ns // _HOUR_NS * _HOUR_NS


def expire(
    database: Database,
    before_ns: int,
    *,
    slice_rows: int = SLICE_ROWS,
    between: Callable[[float], None] = time.sleep,
) -> Expired:
    """Delete the entries that ended before the hour of this time, and what belongs to them.

    `between` is called after each slice with the seconds that it took, so that others get as much of the database.

    Raises: `UnavailableError` when the database does not answer; what was deleted by then stays deleted.
    """
    with database.write() as connection:
        count_commit(connection)
        floor = raise_floor(connection, floor_of(before_ns))
    done = Expired(floor)
    if not database.is_sqlite:
        done = done.plus(_drop_months(database, floor, slice_rows, between))
    return done.plus(_delete_entries(database, floor, slice_rows, between))


def would_expire(database: Database, before_ns: int) -> Expired:
    """Count what `expire` would delete; change nothing."""
    with database.read() as connection:
        floor = max(floor_ns(connection), floor_of(before_ns))
        gone = select(ledger_entries.c.entry_id).where(ledger_entries.c.end_ns < floor, _no_report_since(floor))
        entries = connection.execute(select(func.count()).select_from(gone.subquery())).scalar_one()
        beside = [
            connection.execute(select(func.count()).where(table.c.entry_id.in_(gone))).scalar_one()
            for table in (reports, adjustments)
        ]
        months = [] if database.is_sqlite else [month for month in partitions(connection) if month.until_ns <= floor]
    return Expired(floor, entries, beside[0], beside[1], len(months))


def _no_report_since(floor: int) -> ColumnElement[bool]:
    report = reports.alias()
    later = exists().where(report.c.entry_id == ledger_entries.c.entry_id, report.c.end_ns >= floor)
    return or_(ledger_entries.c.reports.is_(None), ~later.correlate(ledger_entries))


def _delete_entries(database: Database, floor: int, slice_rows: int, between: Callable[[float], None]) -> Expired:
    done = Expired(floor)
    since = 0
    while since < floor:
        started_s = time.perf_counter()
        with database.write() as connection:
            count_commit(connection)
            until = _end_of_slice(connection, since, floor, slice_rows)
            done = done.plus(_delete_slice(connection, floor, since, until))
        since = until
        if since < floor:
            between(time.perf_counter() - started_s)
    return done


def _end_of_slice(connection: Connection, since: int, floor: int, slice_rows: int) -> int:
    """Return the time before which lie so many entries, or the floor; those of one instant are never parted."""
    end_ns = ledger_entries.c.end_ns
    query = select(end_ns).where(end_ns >= since, end_ns < floor).order_by(end_ns).offset(slice_rows).limit(1)
    found = connection.execute(query).scalar()
    return floor if found is None else max(found, since + 1)


def _delete_slice(connection: Connection, floor: int, since: int, until: int) -> Expired:
    end_ns = ledger_entries.c.end_ns
    gone = (end_ns >= since, end_ns < until, _no_report_since(floor))
    numbers = select(ledger_entries.c.entry_id).where(*gone)
    of_them = (delete(table).where(table.c.entry_id.in_(numbers)) for table in (adjustments, reports))
    adjusted, reported = (connection.execute(statement).rowcount for statement in of_them)
    entries = connection.execute(delete(ledger_entries).where(*gone))
    return Expired(floor, entries.rowcount, reported, adjusted)


def _drop_months(database: Database, floor: int, slice_rows: int, between: Callable[[float], None]) -> Expired:
    done = Expired(floor)
    with database.read() as connection:
        months = [month for month in partitions(connection) if month.until_ns <= floor]
    for month in months:
        beside = _delete_beside(database, month, floor, slice_rows, between)
        if beside is None:
            continue  # some of its entries have to stay for a while
        entries = _drop(database, month)
        if entries is None:
            _logger.info("%s is being read: its entries are deleted in slices instead", month.name)
            return done.plus(beside)
        done = done.plus(beside).plus(Expired(floor, entries=entries, partitions=1))
    return done


def _delete_beside(
    database: Database, month: Partition, floor: int, slice_rows: int, between: Callable[[float], None]
) -> Expired | None:
    """Delete the reports and adjustments of a month's entries; `None` where an entry of it has to stay."""
    within = _within(month)
    with database.read() as connection:
        _take_the_time(connection)
        if connection.execute(select(exists().where(*within, ~_no_report_since(floor)))).scalar():
            return None
    counts: list[int] = []
    for table, key in ((reports, reports.c.report_id), (adjustments, adjustments.c.adjustment_id)):
        of_month = exists().where(ledger_entries.c.entry_id == table.c.entry_id, *within).correlate(table)
        some = select(key).where(of_month).limit(min(slice_rows, _NUMBERS_MAX))
        counts.append(0)
        while True:
            with database.read() as connection:  # looked for while others write, and then deleted by their numbers
                _take_the_time(connection)
                numbers = list(connection.execute(some).scalars())
            if not numbers:
                break
            started_s = time.perf_counter()
            with database.write() as connection:
                count_commit(connection)
                counts[-1] += connection.execute(delete(table).where(key.in_(numbers))).rowcount
            between(time.perf_counter() - started_s)
    return Expired(floor, reports=counts[0], adjustments=counts[1])


def _within(month: Partition) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return ledger_entries.c.end_ns >= month.since_ns, ledger_entries.c.end_ns < month.until_ns


def _take_the_time(connection: Connection) -> None:
    """Let a query go through a month however long that takes: nobody waits for it."""
    connection.exec_driver_sql("SET LOCAL statement_timeout = 0")


def _drop(database: Database, month: Partition) -> int | None:
    """Drop a month and return how many entries it had; `None` where somebody reads it for too long."""
    with database.read() as connection:  # nothing is added to what is before the floor
        _take_the_time(connection)
        entries = connection.execute(select(func.count()).where(*_within(month))).scalar_one()
    with contextlib.suppress(_InUseError), database.write() as connection:
        count_commit(connection)
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {_DROP_WAIT_MS}")
        try:
            connection.execute(text(f"DROP TABLE {month.name}"))
        except OperationalError as exc:
            if getattr(exc.orig, "sqlstate", None) == _LOCK_NOT_AVAILABLE:
                raise _InUseError from exc
            raise
        return entries
    return None


_LOCK_NOT_AVAILABLE: Final = "55P03"


class _InUseError(Exception):
    """A table is in use, and its lock was not to be had in time."""
