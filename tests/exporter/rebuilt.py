"""What the sums beside the entries should be: built again from the entries, without the code that moves them."""

import time
from collections import Counter
from collections.abc import Mapping

from sqlalchemy import Connection, RowMapping, select

from spanledger_exporter.ledger.database import Database
from spanledger_exporter.ledger.rollups import Sums, sums_of, sums_of_row
from spanledger_exporter.ledger.rows import price_of, record_of
from spanledger_exporter.ledger.schema import (
    ROLLUP_SUMS,
    entries,
    profiles,
    rollup_hours,
    rollup_minutes,
    rollup_totals,
)
from spanledger_exporter.records import PricedRecord

Rollup = Mapping[tuple[int, int], Sums]  # hour or minute, cell
NOTHING = Sums()
_MINUTES_SURELY_KEPT_S = 47 * 3600


def rows_of(connection: Connection) -> list[RowMapping]:
    """All entries, the oldest first."""
    order = (entries.c.end_ns, entries.c.span_id, entries.c.trace_id)
    return list(connection.execute(select(entries).order_by(*order)).mappings())


def rebuilt(connection: Connection, grain_s: int, *, since_s: int = 0) -> Rollup:
    """The sums of all entries from a time on, as the entries say."""
    cell_of = dict(connection.execute(select(profiles.c.profile_id, profiles.c.cell_id)).all())
    sums: dict[tuple[int, int], Sums] = {}
    for row in rows_of(connection):
        time_s = row["end_ns"] // 10**9 // grain_s * grain_s
        if time_s >= since_s:
            key = (time_s, cell_of[row["profile_id"]])
            sums[key] = sums.get(key, NOTHING).plus(sums_of(PricedRecord(record_of(row), price_of(row), "")))
    return sums


def stored(connection: Connection, grain_s: int, *, since_s: int = 0) -> Rollup:
    """The sums as they are kept; what adds up to nothing is left out."""
    table, time = (rollup_hours, "hour_s") if grain_s == 3600 else (rollup_minutes, "minute_s")
    columns = (table.c[time], table.c.cell_id, *(table.c[name] for name in ROLLUP_SUMS))
    found = {(row[0], row[1]): sums_of_row(row[2:]) for row in connection.execute(select(*columns))}
    return {key: sums for key, sums in found.items() if any(sums) and key[0] >= since_s}


def by_cell(sums: Rollup) -> Mapping[int, Sums]:
    """What the hours of each cell add up to."""
    found: dict[int, Sums] = {}
    for (_, cell_id), each in sums.items():
        found[cell_id] = found.get(cell_id, NOTHING).plus(each)
    return {cell_id: each for cell_id, each in found.items() if any(each)}


def stored_totals(connection: Connection) -> Mapping[int, Sums]:
    """The totals as they are kept; what adds up to nothing is left out."""
    columns = (rollup_totals.c.cell_id, *(rollup_totals.c[name] for name in ROLLUP_SUMS))
    found = {row[0]: sums_of_row(row[1:]) for row in connection.execute(select(*columns))}
    return {cell_id: sums for cell_id, sums in found.items() if any(sums)}


def total(sums: Rollup) -> Sums:
    """All of it together."""
    added = NOTHING
    for each in sums.values():
        added = added.plus(each)
    return added


def assert_sums_are_those_of_the_entries(database: Database) -> Sums:
    """Compare hours, minutes and totals with the entries, which retention must not have touched; return the total."""
    with database.read() as connection:
        hours = rebuilt(connection, 3600)
        assert stored(connection, 3600) == hours
        assert stored_totals(connection) == by_cell(hours)
        recent_s = int(time.time()) - _MINUTES_SURELY_KEPT_S
        assert stored(connection, 60, since_s=recent_s) == rebuilt(connection, 60, since_s=recent_s)
        keys = Counter((row["end_ns"], row["span_id"], row["trace_id"]) for row in rows_of(connection))
    assert not [key for key, times in keys.items() if times > 1]
    return total(hours)
