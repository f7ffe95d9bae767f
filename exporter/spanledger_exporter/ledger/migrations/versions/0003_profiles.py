"""Keep what entries have in common once, several reports of one call, minutes, adjustments, and whose call it was.

`entries` becomes a view with the columns that it had as a table, and more. PostgreSQL partitions the entries by month.
"""

import hashlib
import json
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"

_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_USAGE = (
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "cache_write_5m_tokens",
    "cache_write_30m_tokens",
    "cache_write_1h_tokens",
    "cache_write_12h_tokens",
    "reasoning_tokens",
    "input_audio_tokens",
    "output_audio_tokens",
    "input_image_tokens",
    "web_search_requests",
)
_OLD_DIMENSIONS = (
    *("service", "environment", "provider", "model", "operation", "outcome"),
    *("usage_status", "price_status", "price_reason"),
)
_DIMENSIONS = (*_OLD_DIMENSIONS[:2], "tenant", "team", "project", "feature", *_OLD_DIMENSIONS[2:])
_SUMS = (
    "calls",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "cost_micro_usd",
    "cost_rest_pusd",
)
_OLD_PROFILE = (
    *("service", "environment", "scope", "dialect", "provider", "operation", "request_model", "response_model"),
    *("server_address", "stream", "outcome", "error_type", "http_status", "resend_count", "finish_reasons"),
    *("service_tier", "speed", "inference_geo", "usage_status", "price_status", "price_reason", "price_model"),
    *("price_match", "price_context", "price_book_id"),
)
_STORED = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")
_NAMED = tuple(name for name in _USAGE if name not in _STORED)
_KEPT = (
    *("end_ns", "span_id", "trace_id", "start_ns", "received_ns", "parent_span_id"),
    *("response_id", "time_to_first_chunk_ns", *_STORED, "cost_pusd"),
)
_OWN = (*_KEPT, *_NAMED, "other_usage", "provider_cost_pusd", "price_detail")
_PROFILE_COLUMNS = (
    *("service", "environment", "scope", "dialect", "provider", "operation", "request_model", "response_model"),
    *("server_address", "stream", "outcome", "error_type", "http_status", "resend_count", "finish_reasons"),
    *("service_tier", "speed", "inference_geo", "tenant", "team", "project", "feature", "organization"),
    *("provider_project", "api_key_hash", "deployment", "region", "usage_status", "ambiguity", "price_status"),
    *("price_reason", "price_model", "price_match", "price_context", "price_book_id"),
)
_ENTRY_COLUMNS = (
    *("entry_id", "end_ns", "span_id", "trace_id", "start_ns", "received_ns", "parent_span_id", "profile_id"),
    *("response_id", "user_id", "session_id", "request_hash", "time_to_first_chunk_ns", *_USAGE, "other_usage"),
    *("provider_cost_pusd", "cost_pusd", "price_detail", "reports"),
)
"""Of the view; the table has `details` in the place of some."""
_PAGE_ROWS = 5000
_LABEL_BYTES_MAX = 200
_OTHER = "__other__"


def upgrade() -> None:
    """Make the new tables, move every entry and sum into them, and put a view in the place of the old one."""
    _widen_cells()
    profiles = _create_profiles()
    _create_beside()
    op.rename_table("entries", "entries_0002")
    entries = _create_entries()
    _move(profiles, entries)
    op.drop_table("entries_0002")
    _sum_minutes()
    shared = set(_PROFILE_COLUMNS)
    columns = ", ".join(map(_of_entry, _ENTRY_COLUMNS)) + "".join(f", p.{name}" for name in _PROFILE_COLUMNS)
    assert shared.isdisjoint(_ENTRY_COLUMNS)
    op.execute(f"CREATE VIEW entries AS SELECT {columns} FROM ledger_entries e JOIN profiles p USING (profile_id)")
    sums = ", ".join(f"r.{name}" for name in _SUMS)
    dimensions = ", ".join(f"c.{name}" for name in _DIMENSIONS)
    op.execute(
        f"CREATE VIEW spend_hours AS SELECT r.hour_s, {dimensions}, {sums} "
        "FROM rollup_hours r JOIN cells c USING (cell_id)"
    )
    added = ", ".join(f"sum(r.{name}) AS {name}" for name in _SUMS)
    day = "r.hour_s - r.hour_s % 86400"
    op.execute(
        f"CREATE VIEW spend_days AS SELECT {day} AS day_s, {dimensions}, {added} "
        f"FROM rollup_hours r JOIN cells c USING (cell_id) GROUP BY {day}, {dimensions}"
    )


def _of_entry(name: str) -> str:
    """Return what gives a column of the view: the table's own, or a part of `details`."""
    if name in _NAMED:
        path, kind = f"usage,{name}", "bigint"
    elif name in {"other_usage", "provider_cost_pusd", "price_detail"}:
        path, kind = name, "bigint" if name == "provider_cost_pusd" else "text"
    else:
        return f"e.{name}"
    if _postgresql():
        return f"CAST(CAST(e.details AS json) #>> '{{{path}}}' AS {kind}) AS {name}"
    return f"json_extract(e.details, '$.{path.replace(',', '.')}') AS {name}"


def _widen_cells() -> None:
    """Give every cell the new dimensions, not reported so far, under the number that it has."""
    op.rename_table("rollup_hours", "rollup_hours_0002")
    op.rename_table("cells", "cells_0002")
    if _postgresql():
        op.execute("ALTER INDEX cell_key RENAME TO cell_key_0002")
        op.execute("ALTER SEQUENCE cells_cell_id_seq RENAME TO cells_0002_cell_id_seq")
    op.create_table(
        "cells",
        sa.Column("cell_id", _SERIAL, primary_key=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in _DIMENSIONS),
        sa.UniqueConstraint(*_DIMENSIONS, name="cell_key"),
    )
    chosen = ", ".join(name if name in _OLD_DIMENSIONS else "''" for name in _DIMENSIONS)
    op.execute(f"INSERT INTO cells (cell_id, {', '.join(_DIMENSIONS)}) SELECT cell_id, {chosen} FROM cells_0002")
    if _postgresql():
        op.execute("SELECT setval('cells_cell_id_seq', (SELECT coalesce(max(cell_id), 0) + 1 FROM cells), false)")
    for name, start in (("rollup_hours", "hour_s"), ("rollup_minutes", "minute_s")):
        op.create_table(
            name,
            sa.Column(start, sa.BigInteger, primary_key=True, autoincrement=False),
            sa.Column("cell_id", sa.BigInteger, sa.ForeignKey("cells.cell_id"), primary_key=True, autoincrement=False),
            *(sa.Column(sum_, sa.BigInteger, nullable=False) for sum_ in _SUMS),
        )
    columns = ", ".join(("hour_s", "cell_id", *_SUMS))
    op.execute(f"INSERT INTO rollup_hours ({columns}) SELECT {columns} FROM rollup_hours_0002")
    op.drop_table("rollup_hours_0002")
    op.drop_table("cells_0002")


def _create_profiles() -> sa.Table:
    return op.create_table(
        "profiles",
        sa.Column("profile_id", _SERIAL, primary_key=True),
        sa.Column("digest", sa.LargeBinary, nullable=False, unique=True),
        sa.Column("cell_id", sa.BigInteger, sa.ForeignKey("cells.cell_id"), nullable=False),
        sa.Column("service", sa.Text),
        sa.Column("environment", sa.Text),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("dialect", sa.Text, nullable=False),
        sa.Column("provider", sa.Text),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("request_model", sa.Text),
        sa.Column("response_model", sa.Text),
        sa.Column("server_address", sa.Text),
        sa.Column("stream", sa.Boolean, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("error_type", sa.Text),
        sa.Column("http_status", sa.Integer),
        sa.Column("resend_count", sa.BigInteger),
        *(sa.Column(name, sa.Text) for name in ("finish_reasons", "service_tier", "speed", "inference_geo")),
        *(sa.Column(name, sa.Text) for name in ("tenant", "team", "project", "feature", "organization")),
        *(sa.Column(name, sa.Text) for name in ("provider_project", "api_key_hash", "deployment", "region")),
        sa.Column("usage_status", sa.Text, nullable=False),
        sa.Column("ambiguity", sa.Text),
        sa.Column("price_status", sa.Text, nullable=False),
        *(sa.Column(name, sa.Text) for name in ("price_reason", "price_model", "price_match", "price_context")),
        sa.Column("price_book_id", sa.BigInteger, sa.ForeignKey("price_books.price_book_id")),
    )


def _create_beside() -> None:
    op.create_table(
        "reports",
        sa.Column("report_id", _SERIAL, primary_key=True),
        sa.Column("entry_id", sa.BigInteger, nullable=False),
        sa.Column("end_ns", sa.BigInteger, nullable=False),
        sa.Column("span_id", sa.LargeBinary, nullable=False),
        sa.Column("trace_id", sa.LargeBinary, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.UniqueConstraint("end_ns", "span_id", "trace_id", name="report_key"),
        sqlite_autoincrement=True,
    )
    op.create_index("reports_of_entry", "reports", ["entry_id"])
    op.create_table(
        "adjustments",
        sa.Column("adjustment_id", _SERIAL, primary_key=True),
        sa.Column("entry_id", sa.BigInteger, nullable=False),
        sa.Column("made_ns", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.Text, nullable=False) for name in ("reason", "before", "after")),
    )
    op.create_index("adjustments_of_entry", "adjustments", ["entry_id"])
    op.create_table(
        "counter_marks",
        sa.Column("series", sa.Text, primary_key=True),
        sa.Column("value", sa.Text, nullable=False),
    )
    state = op.create_table(
        "ledger_state",
        sa.Column("name", sa.Text, primary_key=True),
        sa.Column("value", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(state, [{"name": "revision", "value": 0}, {"name": "floor_ns", "value": 0}])


def _create_entries() -> sa.Table:
    number: list[Any] = [sa.Column("entry_id", _SERIAL, primary_key=True)]
    if _postgresql():  # its unique keys must hold the time, which a number does not
        op.execute("CREATE SEQUENCE ledger_entries_entry_id_seq")
        default = sa.text("nextval('ledger_entries_entry_id_seq')")
        number = [sa.Column("entry_id", sa.BigInteger, nullable=False, server_default=default)]
        op.execute("ALTER INDEX entry_key RENAME TO entry_key_0002")
    made = op.create_table(
        "ledger_entries",
        *number,
        sa.Column("end_ns", sa.BigInteger, nullable=False),
        sa.Column("span_id", sa.LargeBinary, nullable=False),
        sa.Column("trace_id", sa.LargeBinary, nullable=False),
        sa.Column("start_ns", sa.BigInteger, nullable=False),
        sa.Column("received_ns", sa.BigInteger, nullable=False),
        sa.Column("parent_span_id", sa.LargeBinary),
        sa.Column("profile_id", sa.BigInteger, nullable=False),
        *(sa.Column(name, sa.Text) for name in ("response_id", "user_id", "session_id", "request_hash")),
        sa.Column("time_to_first_chunk_ns", sa.BigInteger),
        *(sa.Column(name, sa.BigInteger) for name in _STORED),
        sa.Column("details", sa.Text),
        sa.Column("cost_pusd", sa.BigInteger),
        sa.Column("reports", sa.BigInteger),
        sa.UniqueConstraint("end_ns", "span_id", "trace_id", name="entry_key"),
        sqlite_autoincrement=True,
        postgresql_partition_by="RANGE (end_ns)",
    )
    if _postgresql():
        op.execute("ALTER SEQUENCE ledger_entries_entry_id_seq OWNED BY ledger_entries.entry_id")
        op.create_index("entry_number", "ledger_entries", ["entry_id"])
    return made


def _move(profiles: sa.Table, entries: sa.Table) -> None:
    connection = op.get_bind()
    old = _named("entries_0002", ("entry_id", *_OLD_PROFILE, *_OWN))
    numbers: dict[tuple[object, ...], int] = {}
    partitions: set[tuple[int, int]] = set()
    last = -1
    while True:
        page = sa.select(old).where(old.c.entry_id > last).order_by(old.c.entry_id).limit(_PAGE_ROWS)
        rows = connection.execute(page).mappings().all()
        if not rows:
            break
        _ensure_partitions(connection, (row["end_ns"] for row in rows), partitions)
        moved: list[dict[str, Any]] = []
        for row in rows:
            key = tuple(row[name] for name in _OLD_PROFILE)
            if key not in numbers:
                numbers[key] = _insert_profile(connection, profiles, dict(zip(_OLD_PROFILE, key, strict=True)))
            own = {name: row[name] for name in _KEPT} | {"details": _details(row)}
            moved.append({"entry_id": row["entry_id"], "profile_id": numbers[key], **own})
        connection.execute(entries.insert(), moved)
        last = rows[-1]["entry_id"]
    if _postgresql() and last >= 0:
        connection.execute(sa.text("SELECT setval('ledger_entries_entry_id_seq', :last)"), {"last": last})


def _details(row: sa.RowMapping) -> str | None:
    usage = {name: row[name] for name in _NAMED if row[name] is not None}
    others = None if row["other_usage"] is None else json.loads(row["other_usage"])
    parts = {"usage": usage or None, "other_usage": others or None}
    parts |= {name: row[name] for name in ("provider_cost_pusd", "price_detail")}
    found = {name: part for name, part in parts.items() if part is not None}
    return json.dumps(found, separators=(",", ":")) if found else None


def _sum_minutes() -> None:
    """Add up the minutes of the last two days, as the hours were: parts are held to their total."""
    minute = "e.end_ns / 60000000000 * 60"
    input_, output = "coalesce(e.input_tokens, 0)", "coalesce(e.output_tokens, 0)"
    read = _least("coalesce(e.cache_read_tokens, 0)", input_)
    write = _least("coalesce(e.cache_write_tokens, 0)", f"({input_} - {read})")
    reasoning = _least("coalesce(e.reasoning_tokens, 0)", output)
    cost = "coalesce(e.cost_pusd, 0)"
    summed = ("1", input_, output, read, write, reasoning, f"{cost} / 1000000", f"{cost} % 1000000")
    oldest_ns = time.time_ns() - 48 * 3600 * 10**9
    op.execute(
        f"INSERT INTO rollup_minutes (minute_s, cell_id, {', '.join(_SUMS)}) "
        f"SELECT {minute}, p.cell_id, {', '.join(f'sum({figure})' for figure in summed)} "
        f"FROM ledger_entries e JOIN profiles p USING (profile_id) WHERE e.end_ns >= {oldest_ns} "
        f"GROUP BY {minute}, p.cell_id"
    )


def _least(one: str, other: str) -> str:
    return f"CASE WHEN {one} < {other} THEN {one} ELSE {other} END"


def _insert_profile(connection: sa.Connection, profiles: sa.Table, shared: Mapping[str, Any]) -> int:
    values = dict(shared) | {"stream": bool(shared["stream"])}
    digest = hashlib.blake2b(json.dumps(values).encode(), digest_size=16).digest()
    row = {"digest": digest, "cell_id": _cell(connection, values), **values}
    made = connection.execute(profiles.insert().returning(profiles.c.profile_id), row)
    return made.scalar_one()


def _cell(connection: sa.Connection, values: Mapping[str, Any]) -> int:
    """Return the cell that the entries of a profile were added to, by the rules of that release."""
    model = values["response_model"] or values["request_model"]
    texts = {**values, "model": model}
    cell = {name: _label(texts.get(name)) for name in _DIMENSIONS}
    folded = cell | dict.fromkeys(("service", "environment", "provider", "model"), _OTHER)
    cells = _named("cells", ("cell_id", *_DIMENSIONS))
    for candidate in (cell, folded):
        same = sa.and_(*(cells.c[name] == value for name, value in candidate.items()))
        found = connection.execute(sa.select(cells.c.cell_id).where(same)).scalar()
        if found is not None:
            return found
    connection.execute(cells.insert(), cell)
    same = sa.and_(*(cells.c[name] == value for name, value in cell.items()))
    return connection.execute(sa.select(cells.c.cell_id).where(same)).scalar_one()


def _named(table: str, columns: Sequence[str]) -> sa.TableClause:
    made: list[sa.ColumnClause[Any]] = [sa.column(name) for name in columns]
    return sa.table(table, *made)


def _label(text: str | None) -> str:
    return (text or "").encode()[:_LABEL_BYTES_MAX].decode(errors="ignore")


def _ensure_partitions(connection: sa.Connection, ends_ns: Iterable[int], known: set[tuple[int, int]]) -> None:
    if not _postgresql():
        return
    for end_ns in ends_ns:
        moment = datetime.fromtimestamp(end_ns // 10**9, tz=UTC)
        month = (moment.year, moment.month)
        if month in known:
            continue
        known.add(month)
        first, beyond = (_month_ns(*each) for each in (month, _next(month)))
        name = f"ledger_entries_y{month[0]:04d}m{month[1]:02d}"
        connection.execute(
            sa.text(f"CREATE TABLE {name} PARTITION OF ledger_entries FOR VALUES FROM ({first}) TO ({beyond})")
        )


def _next(month: Sequence[int]) -> tuple[int, int]:
    year, number = month
    return (year + 1, 1) if number == 12 else (year, number + 1)


def _month_ns(year: int, month: int) -> int:
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp()) * 10**9


def _postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"
