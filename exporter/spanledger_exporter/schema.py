"""The ledger's tables, as the newest migration leaves them.

`migrations/` is what creates them; a test holds the two together. Money is integer pico-USD, times are Unix
nanoseconds, UTC, ids are raw bytes. The entry key begins with the time at which the call ended, so that new entries
land at the end of the index however large the ledger is, and so that PostgreSQL can later partition by it.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    ForeignKey,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

metadata = MetaData()

# SQLite numbers rows by themselves only for a primary key whose type is spelled INTEGER.
_SERIAL = BigInteger().with_variant(Integer(), "sqlite")
# The classes of usage with a column of their own; `other_usage` has the rest (usage_columns.py).
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
DIMENSIONS = (
    "service",
    "environment",
    "provider",
    "model",
    "operation",
    "outcome",
    "usage_status",
    "price_status",
    "price_reason",
)
# A sum of money is kept as whole micro-USD plus pico-USD that may exceed one micro-USD: neither half can overflow
# 64 bits before a ledger holds 9.2 trillion USD or 9.2 trillion calls.
ROLLUP_SUMS = (
    "calls",
    "input_tokens",
    "output_tokens",
    "cache_read_tokens",
    "cache_write_tokens",
    "reasoning_tokens",
    "cost_micro_usd",
    "cost_rest_pusd",
)

price_books = Table(
    "price_books",
    metadata,
    Column("price_book_id", _SERIAL, primary_key=True),
    Column("book_id", Text, nullable=False, unique=True),
    Column("source", Text, nullable=False),
    Column("learnt_ns", BigInteger, nullable=False),
    Column("content", LargeBinary, nullable=False),
)

entries = Table(
    "entries",
    metadata,
    Column("entry_id", _SERIAL, primary_key=True),
    Column("end_ns", BigInteger, nullable=False),
    Column("span_id", LargeBinary, nullable=False),
    Column("trace_id", LargeBinary, nullable=False),
    Column("start_ns", BigInteger, nullable=False),
    Column("received_ns", BigInteger, nullable=False),
    Column("parent_span_id", LargeBinary),
    Column("service", Text),
    Column("environment", Text),
    Column("scope", Text, nullable=False),
    Column("dialect", Text, nullable=False),
    Column("provider", Text),
    Column("operation", Text, nullable=False),
    Column("request_model", Text),
    Column("response_model", Text),
    Column("response_id", Text),
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
    Column("time_to_first_chunk_ns", BigInteger),
    Column("usage_status", Text, nullable=False),
    *(Column(name, BigInteger) for name in USAGE_COLUMNS),
    Column("other_usage", Text),
    Column("provider_cost_pusd", BigInteger),
    Column("price_status", Text, nullable=False),
    Column("cost_pusd", BigInteger),
    Column("price_reason", Text),
    Column("price_detail", Text),
    Column("price_model", Text),
    Column("price_match", Text),
    Column("price_context", Text),
    Column("price_book_id", BigInteger, ForeignKey("price_books.price_book_id")),
    UniqueConstraint("end_ns", "span_id", "trace_id", name="entry_key"),
)

# One row for each combination of dimension values that was ever seen; rollups refer to it by number.
cells = Table(
    "cells",
    metadata,
    Column("cell_id", _SERIAL, primary_key=True),
    *(Column(name, Text, nullable=False) for name in DIMENSIONS),
    UniqueConstraint(*DIMENSIONS, name="cell_key"),
)

rollup_hours = Table(
    "rollup_hours",
    metadata,
    Column("hour_s", BigInteger, primary_key=True, autoincrement=False),
    Column("cell_id", BigInteger, ForeignKey("cells.cell_id"), primary_key=True, autoincrement=False),
    *(Column(name, BigInteger, nullable=False) for name in ROLLUP_SUMS),
)
