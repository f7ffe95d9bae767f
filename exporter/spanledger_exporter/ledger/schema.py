"""The ledger's tables and views, as the newest migration leaves them.

`migrations/` is what creates them; a test holds the two together. Money is integer pico-USD, times are Unix
nanoseconds, UTC, ids are raw bytes. The entry key begins with the time at which the call ended, so that new entries
land at the end of the index however large the ledger is, and so that PostgreSQL can partition by it.

What many entries have in common stands once, in `profiles`; the view `entries` puts the two together again and keeps
its columns from version to version.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

from spanledger_exporter.records import Split

metadata = MetaData()

# SQLite numbers rows by themselves only for a primary key whose type is spelled INTEGER.
SERIAL = BigInteger().with_variant(Integer(), "sqlite")
# The classes of usage with a column of their own in the view `entries`; `other_usage` has the rest (usage_columns.py).
USAGE_COLUMNS = (
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
# Those that nearly every call has; the others stand in `details`, where they cost nothing unless they are there.
STORED_USAGE = ("input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")
DIMENSIONS = (
    "service",
    "environment",
    "tenant",
    "team",
    "project",
    "feature",
    "provider",
    "model",
    "operation",
    "outcome",
    "usage_status",
    "price_status",
    "price_reason",
    "error_type",
    "attempt",
)
# What of a cost's split an entry keeps (records.Split): the rest of the cost is uncached input. An entry of which that
# is not known, as those from before it was kept, has none of them; else the first is there, and the others where they
# are not 0.
STORED_SPLIT = (
    "cost_output_pusd",
    "cost_cache_read_pusd",
    "cost_cache_write_pusd",
    "cost_other_pusd",
    "cache_saved_pusd",
    "cache_write_premium_pusd",
)
# A sum of money is kept as whole micro-USD plus pico-USD that may exceed one micro-USD: neither half can overflow
# 64 bits before a ledger holds 9.2 trillion USD or 9.2 trillion calls.
COUNTS = ("calls", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens")
MONEY = ("cost", *(name.removesuffix("_pusd") for name in Split._fields))
ROLLUP_SUMS = (*COUNTS, *(name + half for name in MONEY for half in ("_micro_usd", "_rest_pusd")))

price_books = Table(
    "price_books",
    metadata,
    Column("price_book_id", SERIAL, primary_key=True),
    Column("book_id", Text, nullable=False, unique=True),
    Column("source", Text, nullable=False),
    Column("learnt_ns", BigInteger, nullable=False),
    Column("content", LargeBinary, nullable=False),
)

# The newest row is the price list that prices calls; without any it is the packaged one.
active_price_books = Table(
    "active_price_books",
    metadata,
    Column("activation_id", SERIAL, primary_key=True),
    Column("price_book_id", BigInteger, ForeignKey("price_books.price_book_id"), nullable=False),
    Column("activated_ns", BigInteger, nullable=False),
)

# One row for each combination of dimension values that was ever seen; rollups refer to it by number.
cells = Table(
    "cells",
    metadata,
    Column("cell_id", SERIAL, primary_key=True),
    *(Column(name, Text, nullable=False) for name in DIMENSIONS),
    UniqueConstraint(*DIMENSIONS, name="cell_key"),
)

# One row for each combination of what many entries share; `digest` is over all of its values (profiles.py).
profiles = Table(
    "profiles",
    metadata,
    Column("profile_id", SERIAL, primary_key=True),
    Column("digest", LargeBinary, nullable=False, unique=True),
    Column("cell_id", BigInteger, ForeignKey("cells.cell_id"), nullable=False),
    Column("service", Text),
    Column("environment", Text),
    Column("scope", Text, nullable=False),
    Column("dialect", Text, nullable=False),
    Column("provider", Text),
    Column("operation", Text, nullable=False),
    Column("request_model", Text),
    Column("response_model", Text),
    Column("server_address", Text),
    Column("stream", Boolean, nullable=False),
    Column("outcome", Text, nullable=False),
    Column("error_type", Text),
    Column("http_status", Integer),
    Column("resend_count", BigInteger),
    Column("finish_reasons", Text),
    Column("service_tier", Text),
    Column("speed", Text),
    Column("inference_geo", Text),
    Column("tenant", Text),
    Column("team", Text),
    Column("project", Text),
    Column("feature", Text),
    Column("organization", Text),
    Column("provider_project", Text),
    Column("api_key_hash", Text),
    Column("deployment", Text),
    Column("region", Text),
    Column("usage_status", Text, nullable=False),
    Column("ambiguity", Text),
    Column("price_status", Text, nullable=False),
    Column("price_reason", Text),
    Column("price_model", Text),
    Column("price_match", Text),
    Column("price_context", Text),
    Column("price_book_id", BigInteger, ForeignKey("price_books.price_book_id")),
)

# PostgreSQL partitions it by month and so knows no primary key of the number alone (postgresql_entries.py).
ledger_entries = Table(
    "ledger_entries",
    metadata,
    Column("entry_id", SERIAL, primary_key=True),
    Column("end_ns", BigInteger, nullable=False),
    Column("span_id", LargeBinary, nullable=False),
    Column("trace_id", LargeBinary, nullable=False),
    Column("start_ns", BigInteger, nullable=False),
    Column("received_ns", BigInteger, nullable=False),
    Column("parent_span_id", LargeBinary),
    Column("profile_id", BigInteger, nullable=False),
    Column("response_id", Text),
    Column("user_id", Text),
    Column("session_id", Text),
    Column("request_hash", Text),
    Column("time_to_first_chunk_ns", BigInteger),
    *(Column(name, BigInteger) for name in STORED_USAGE),
    Column("details", Text),
    Column("cost_pusd", BigInteger),
    Column("reports", BigInteger),
    *(Column(name, BigInteger) for name in STORED_SPLIT),
    UniqueConstraint("end_ns", "span_id", "trace_id", name="entry_key"),
    sqlite_autoincrement=True,  # a number is never used again, also where retention deleted the newest entry
    postgresql_partition_by="RANGE (end_ns)",
)
ENTRY_COLUMNS = tuple(column.name for column in ledger_entries.columns)[1:]
"""All but the number, in the order of an entry's row."""

# The reports of entries that several instrumentations reported: of each of them all, with what each said.
reports = Table(
    "reports",
    metadata,
    Column("report_id", SERIAL, primary_key=True),
    Column("entry_id", BigInteger, nullable=False),
    Column("end_ns", BigInteger, nullable=False),
    Column("span_id", LargeBinary, nullable=False),
    Column("trace_id", LargeBinary, nullable=False),
    Column("document", Text, nullable=False),
    UniqueConstraint("end_ns", "span_id", "trace_id", name="report_key"),
    Index("reports_of_entry", "entry_id"),
    sqlite_autoincrement=True,  # as above: other writers ask for what is newer than the last that they know
)

rollup_hours = Table(
    "rollup_hours",
    metadata,
    Column("hour_s", BigInteger, primary_key=True, autoincrement=False),
    Column("cell_id", BigInteger, ForeignKey("cells.cell_id"), primary_key=True, autoincrement=False),
    *(Column(name, BigInteger, nullable=False, server_default="0") for name in ROLLUP_SUMS),
)

# The same by the minute, for the last two days.
rollup_minutes = Table(
    "rollup_minutes",
    metadata,
    Column("minute_s", BigInteger, primary_key=True, autoincrement=False),
    Column("cell_id", BigInteger, ForeignKey("cells.cell_id"), primary_key=True, autoincrement=False),
    *(Column(name, BigInteger, nullable=False, server_default="0") for name in ROLLUP_SUMS),
)

# The same since the ledger began, so that totals are read from as many rows as there are cells, however old it is.
rollup_totals = Table(
    "rollup_totals",
    metadata,
    Column("cell_id", BigInteger, ForeignKey("cells.cell_id"), primary_key=True, autoincrement=False),
    *(Column(name, BigInteger, nullable=False, server_default="0") for name in ROLLUP_SUMS),
)

# What could not become an entry, to be looked into and replayed (dead_letters.py).
dead_letters = Table(
    "dead_letters",
    metadata,
    Column("dead_letter_id", SERIAL, primary_key=True),
    Column("received_ns", BigInteger, nullable=False),
    Column("transport", Text, nullable=False),
    Column("tenant", Text),
    Column("reason", Text, nullable=False),
    Column("detail", Text, nullable=False),
    Column("spans", BigInteger, nullable=False),
    Column("digest", LargeBinary, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("body", LargeBinary),
    Column("attempts", BigInteger, nullable=False),
    Column("replayed_ns", BigInteger),
    UniqueConstraint("digest", "reason", name="dead_letter_key"),
)

# Every change of a price after the fact.
adjustments = Table(
    "adjustments",
    metadata,
    Column("adjustment_id", SERIAL, primary_key=True),
    Column("entry_id", BigInteger, nullable=False),
    Column("made_ns", BigInteger, nullable=False),
    Column("reason", Text, nullable=False),
    Column("before", Text, nullable=False),
    Column("after", Text, nullable=False),
    Index("adjustments_of_entry", "entry_id"),
)

# How far Prometheus counters stand above totals that corrections have lowered (held_counters.py).
counter_marks = Table(
    "counter_marks",
    metadata,
    Column("series", Text, primary_key=True),
    Column("value", Text, nullable=False),
)

# `revision` counts the commits, `floor_ns` is the time before which retention has deleted entries.
ledger_state = Table(
    "ledger_state",
    metadata,
    Column("name", Text, primary_key=True),
    Column("value", BigInteger, nullable=False),
)

views = MetaData()
_OF_PROFILES = tuple(column.name for column in profiles.columns if column.name not in {"digest", "cell_id"})
# A view over the two, with what `details` holds as columns: what reports and people read.
entries = Table(
    "entries",
    views,
    *(Column(name, ledger_entries.c[name].type) for name in ("entry_id", *ENTRY_COLUMNS[:12])),
    *(Column(name, BigInteger) for name in USAGE_COLUMNS),
    Column("other_usage", Text),
    Column("provider_cost_pusd", BigInteger),
    Column("cost_pusd", BigInteger),
    Column("price_detail", Text),
    Column("reports", BigInteger),
    *(Column(name, profiles.c[name].type) for name in _OF_PROFILES if name != "profile_id"),
    *(Column(name, BigInteger) for name in Split._fields),
)
