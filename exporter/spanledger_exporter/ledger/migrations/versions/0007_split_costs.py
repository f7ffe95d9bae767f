"""Keep what costs are made of, errors and retries among the dimensions, and totals; show budgets to SQL.

Of what was written before, nobody knows what its costs were made of: entries have no split, and sums none of theirs.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"

_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_OLD_DIMENSIONS = (
    *("service", "environment", "tenant", "team", "project", "feature", "provider", "model", "operation", "outcome"),
    *("usage_status", "price_status", "price_reason"),
)
_DIMENSIONS = (*_OLD_DIMENSIONS, "error_type", "attempt")
_FREE_TEXTS = ("service", "environment", "tenant", "team", "project", "feature", "provider", "model")
_OLD_SUMS = (
    *("calls", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens"),
    *("cost_micro_usd", "cost_rest_pusd"),
)
_SPLIT = (
    *("cost_input_uncached", "cost_cache_read", "cost_cache_write", "cost_output", "cost_other"),
    *("cache_saved", "cache_write_premium"),
)
_NEW_SUMS = tuple(name + half for name in _SPLIT for half in ("_micro_usd", "_rest_pusd"))
_SUMS = (*_OLD_SUMS, *_NEW_SUMS)
_STORED_SPLIT = (
    *("cost_output_pusd", "cost_cache_read_pusd", "cost_cache_write_pusd", "cost_other_pusd"),
    *("cache_saved_pusd", "cache_write_premium_pusd"),
)
_STORED_USAGE = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")
_USAGE = (
    *("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "cache_write_5m_tokens"),
    *("cache_write_30m_tokens", "cache_write_1h_tokens", "cache_write_12h_tokens", "reasoning_tokens"),
    *("input_audio_tokens", "output_audio_tokens", "input_image_tokens", "web_search_requests"),
)
_ENTRY_COLUMNS = (
    *("entry_id", "end_ns", "span_id", "trace_id", "start_ns", "received_ns", "parent_span_id", "profile_id"),
    *("response_id", "user_id", "session_id", "request_hash", "time_to_first_chunk_ns", *_USAGE, "other_usage"),
    *("provider_cost_pusd", "cost_pusd", "price_detail", "reports"),
)
_PROFILE_TEXTS = (
    *("finish_reasons", "service_tier", "speed", "inference_geo", "tenant", "team", "project", "feature"),
    *("organization", "provider_project", "api_key_hash", "deployment", "region"),
)
_PROFILE_COLUMNS = (
    *("service", "environment", "scope", "dialect", "provider", "operation", "request_model", "response_model"),
    *("server_address", "stream", "outcome", "error_type", "http_status", "resend_count", *_PROFILE_TEXTS),
    *("usage_status", "ambiguity", "price_status", "price_reason", "price_model", "price_match", "price_context"),
    "price_book_id",
)
_LABEL_BYTES_MAX = 200
_OTHER = "__other__"


def upgrade() -> None:
    """Add the columns and the totals, and make the views with what is new at their end."""
    if not _postgresql():  # which would keep the tables' old names
        for view in ("entries", "spend_hours", "spend_days"):
            op.execute(f"DROP VIEW {view}")
    for name in _STORED_SPLIT:
        op.add_column("ledger_entries", sa.Column(name, sa.BigInteger))
    known = _attempts_and_errors(op.get_bind())
    if _postgresql():
        _alter_tables()
    else:
        _copy_tables()
    cells = _named("cells", ("cell_id", "error_type", "attempt"))
    change = cells.update().where(cells.c.cell_id == sa.bindparam("number"))
    if known:
        op.get_bind().execute(change, known)
    _create_totals()
    _create_views()


def _attempts_and_errors(connection: sa.Connection) -> list[dict[str, Any]]:
    """Return the attempt and the type of error of cells whose calls have all the same.

    The profiles of a cell say that of all of its calls. Where they say different things, the cell stays without; calls
    as those of its profiles then go on in cells of their own, for which these profiles must not be found any more.
    """
    folded = _folded_cells(connection)
    profiles = _named("profiles", ("profile_id", "digest", "cell_id", "outcome", "error_type", "resend_count"))
    of_cell: dict[int, dict[tuple[str, str], list[tuple[int, bytes]]]] = {}
    for number, digest, cell_id, outcome, error_type, resend_count in connection.execute(sa.select(profiles)):
        error = _label(error_type) if outcome == "error" else ""
        if error and cell_id in folded:
            error = _OTHER
        own = (error, "retry" if (resend_count or 0) > 0 else "first")
        of_cell.setdefault(cell_id, {}).setdefault(own, []).append((number, bytes(digest)))
    known: list[dict[str, Any]] = []
    outlived: list[dict[str, Any]] = []
    for cell_id, kinds in of_cell.items():
        error_type, attempt = (_same(said) for said in zip(*kinds, strict=True))
        known.append({"number": cell_id, "error_type": error_type, "attempt": attempt})
        others = (each for own, found in kinds.items() if own != (error_type, attempt) for each in found)
        outlived += [{"number": number, "digest": digest + b"0006"} for number, digest in others]
    if outlived:
        change = profiles.update().where(profiles.c.profile_id == sa.bindparam("number"))
        connection.execute(change.values(digest=sa.bindparam("digest", type_=sa.LargeBinary)), outlived)
    return known


def _folded_cells(connection: sa.Connection) -> set[int]:
    cells = _named("cells", ("cell_id", *_FREE_TEXTS))
    same = (cells.c[name] == _OTHER for name in _FREE_TEXTS)
    return set(connection.execute(sa.select(cells.c.cell_id).where(*same)).scalars())


def _same(said: Iterable[str]) -> str:
    found = set(said)
    return found.pop() if len(found) == 1 else ""


def _label(text: str | None) -> str:
    return (text or "").encode()[:_LABEL_BYTES_MAX].decode(errors="ignore")


def _alter_tables() -> None:
    for name in ("error_type", "attempt"):
        op.add_column("cells", sa.Column(name, sa.Text, nullable=False, server_default=""))
        op.alter_column("cells", name, server_default=None)
    op.drop_constraint("cell_key", "cells")
    op.create_unique_constraint("cell_key", "cells", list(_DIMENSIONS))
    for table in ("rollup_hours", "rollup_minutes"):
        zero = [f"ALTER COLUMN {name} SET DEFAULT 0" for name in _OLD_SUMS]
        zero += [f"ADD COLUMN {name} BIGINT NOT NULL DEFAULT 0" for name in _NEW_SUMS]
        op.execute(f"ALTER TABLE {table} {', '.join(zero)}")


def _copy_tables() -> None:
    """Make the cells anew, and all that refers to them: SQLite changes no key of a table."""
    for name in ("cells", "profiles", "rollup_hours", "rollup_minutes"):
        op.rename_table(name, f"{name}_0006")
    op.create_table(
        "cells",
        sa.Column("cell_id", _SERIAL, primary_key=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in _DIMENSIONS),
        sa.UniqueConstraint(*_DIMENSIONS, name="cell_key"),
    )
    _copy("cells", ("cell_id", *_OLD_DIMENSIONS), dict.fromkeys(("error_type", "attempt"), "''"))
    _create_profiles()
    _copy("profiles", ("profile_id", "digest", "cell_id", *_PROFILE_COLUMNS), {})
    for name, start in (("rollup_hours", "hour_s"), ("rollup_minutes", "minute_s")):
        op.create_table(
            name,
            sa.Column(start, sa.BigInteger, primary_key=True, autoincrement=False),
            sa.Column("cell_id", sa.BigInteger, sa.ForeignKey("cells.cell_id"), primary_key=True, autoincrement=False),
            *_sums(),
        )
        _copy(name, (start, "cell_id", *_OLD_SUMS), {})
    for name in ("rollup_minutes", "rollup_hours", "profiles", "cells"):
        op.drop_table(f"{name}_0006")


def _copy(table: str, kept: Sequence[str], new: dict[str, str]) -> None:
    op.execute(
        f"INSERT INTO {table} ({', '.join((*kept, *new))}) SELECT {', '.join((*kept, *new.values()))} FROM {table}_0006"
    )


def _create_profiles() -> None:
    op.create_table(
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
        *(sa.Column(name, sa.Text) for name in _PROFILE_TEXTS),
        sa.Column("usage_status", sa.Text, nullable=False),
        sa.Column("ambiguity", sa.Text),
        sa.Column("price_status", sa.Text, nullable=False),
        *(sa.Column(name, sa.Text) for name in ("price_reason", "price_model", "price_match", "price_context")),
        sa.Column("price_book_id", sa.BigInteger, sa.ForeignKey("price_books.price_book_id")),
    )


def _create_totals() -> None:
    op.create_table(
        "rollup_totals",
        sa.Column("cell_id", sa.BigInteger, sa.ForeignKey("cells.cell_id"), primary_key=True, autoincrement=False),
        *_sums(),
    )
    op.execute(
        f"INSERT INTO rollup_totals (cell_id, {', '.join(_SUMS)}) "
        f"SELECT cell_id, {', '.join(f'sum({name})' for name in _SUMS)} FROM rollup_hours GROUP BY cell_id"
    )


def _sums() -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=False, server_default="0") for name in _SUMS]


def _create_views() -> None:
    # PostgreSQL replaces a view that grows at its end, so that who may read it still may.
    create = "CREATE OR REPLACE VIEW" if _postgresql() else "CREATE VIEW"
    columns = (*map(_of_entry, _ENTRY_COLUMNS), *(f"p.{name}" for name in _PROFILE_COLUMNS), *_split())
    op.execute(
        f"{create} entries AS SELECT {', '.join(columns)} FROM ledger_entries e JOIN profiles p USING (profile_id)"
    )
    shown = (
        *(f"c.{name}" for name in _OLD_DIMENSIONS),
        *(f"r.{name}" for name in _OLD_SUMS),
        *("c.error_type", "c.attempt"),
        *(f"r.{name}" for name in _NEW_SUMS),
    )
    rolled_up = "FROM rollup_hours r JOIN cells c USING (cell_id)"
    op.execute(f"{create} spend_hours AS SELECT r.hour_s, {', '.join(shown)} {rolled_up}")
    day, dimensions = "r.hour_s - r.hour_s % 86400", ", ".join(f"c.{name}" for name in _DIMENSIONS)
    added = (f"sum({name}) AS {name[2:]}" if name.startswith("r.") else name for name in shown)
    op.execute(
        f"{create} spend_days AS SELECT {day} AS day_s, {', '.join(added)} {rolled_up} GROUP BY {day}, {dimensions}"
    )
    op.execute(
        f"CREATE VIEW budget_spend AS SELECT b.name AS budget, {_of_budget()}, c.group_key, c.period_start_s, c.calls, "
        "c.tokens, c.unpriced_calls, c.cost_micro_usd, c.cost_rest_pusd, c.leased "
        "FROM budget_counters c JOIN budgets b USING (budget_id)"
    )


def _of_entry(name: str) -> str:
    """Return what gives a column of the view: the table's own, or a part of `details`."""
    if name in _USAGE and name not in _STORED_USAGE:
        path, kind = f"usage,{name}", "bigint"
    elif name in {"other_usage", "provider_cost_pusd", "price_detail"}:
        path, kind = name, "bigint" if name == "provider_cost_pusd" else "text"
    else:
        return f"e.{name}"
    if _postgresql():
        return f"CAST(CAST(e.details AS json) #>> '{{{path}}}' AS {kind}) AS {name}"
    return f"json_extract(e.details, '$.{path.replace(',', '.')}') AS {name}"


def _split() -> list[str]:
    """Return what gives the split of a cost: 0 where an entry has nothing of a part, unless its split is not known."""
    known = "CASE WHEN e.cost_output_pusd IS NOT NULL THEN"
    parts = [f"coalesce(e.{name}, 0)" for name in _STORED_SPLIT if name.startswith("cost_")]
    shown = [f"{known} e.cost_pusd - {' - '.join(parts)} END AS cost_input_uncached_pusd"]
    names = [f"{name}_pusd" for name in _SPLIT[1:]]
    return shown + [f"{known} coalesce(e.{name}, 0) END AS {name}" for name in names]


def _of_budget() -> str:
    """Return the columns of a budget's document; its limit in USD is a decimal text of at most six decimals."""
    if _postgresql():
        usd, tokens, calls, mode = (f"(CAST(b.document AS json) ->> '{name}')" for name in _KEYS)
        micro_usd = f"CAST(CAST({usd} AS numeric) * 1000000 AS bigint)"
    else:
        usd, tokens, calls, mode = (f"json_extract(b.document, '$.{name}')" for name in _KEYS)
        decimals = f"CASE instr({usd}, '.') WHEN 0 THEN '' ELSE substr({usd}, instr({usd}, '.') + 1) END"
        micro_usd = f"CAST({usd} AS bigint) * 1000000 + CAST(substr({decimals} || '000000', 1, 6) AS bigint)"
    unit = f"CASE WHEN {usd} IS NOT NULL THEN 'usd' WHEN {tokens} IS NOT NULL THEN 'tokens' ELSE 'calls' END"
    limit = f"coalesce({micro_usd}, CAST({tokens} AS bigint), CAST({calls} AS bigint))"
    return f"{unit} AS unit, {mode} AS mode, {limit} AS limit_amount"


_KEYS = ("limit_usd", "limit_tokens", "limit_calls", "mode")


def _named(table: str, columns: Sequence[str]) -> sa.TableClause:
    made: list[sa.ColumnClause[Any]] = [sa.column(name) for name in columns]
    return sa.table(table, *made)


def _postgresql() -> bool:
    return op.get_bind().dialect.name == "postgresql"
