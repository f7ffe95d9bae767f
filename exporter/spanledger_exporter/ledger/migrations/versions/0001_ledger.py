"""Create the ledger: price books, entries, and hourly rollups.

A migration states its tables in full and never imports `schema.py`, which moves on.
"""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_TOKENS = (
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
_DIMENSIONS = (
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


def upgrade() -> None:
    """Create the first tables."""
    _create_price_books()
    _create_entries()
    _create_rollups()


def _create_price_books() -> None:
    op.create_table(
        "price_books",
        sa.Column("price_book_id", _SERIAL, primary_key=True),
        sa.Column("book_id", sa.Text, nullable=False, unique=True),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("learnt_ns", sa.BigInteger, nullable=False),
        sa.Column("content", sa.LargeBinary, nullable=False),
    )


def _create_entries() -> None:
    op.create_table(
        "entries",
        sa.Column("entry_id", _SERIAL, primary_key=True),
        sa.Column("end_ns", sa.BigInteger, nullable=False),
        sa.Column("span_id", sa.LargeBinary, nullable=False),
        sa.Column("trace_id", sa.LargeBinary, nullable=False),
        sa.Column("start_ns", sa.BigInteger, nullable=False),
        sa.Column("received_ns", sa.BigInteger, nullable=False),
        sa.Column("parent_span_id", sa.LargeBinary),
        sa.Column("service", sa.Text),
        sa.Column("environment", sa.Text),
        sa.Column("scope", sa.Text, nullable=False),
        sa.Column("dialect", sa.Text, nullable=False),
        sa.Column("provider", sa.Text),
        sa.Column("operation", sa.Text, nullable=False),
        sa.Column("request_model", sa.Text),
        sa.Column("response_model", sa.Text),
        sa.Column("response_id", sa.Text),
        sa.Column("server_address", sa.Text),
        sa.Column("stream", sa.Boolean, nullable=False),
        sa.Column("outcome", sa.Text, nullable=False),
        sa.Column("error_type", sa.Text),
        sa.Column("http_status", sa.Integer),
        sa.Column("resend_count", sa.BigInteger),
        sa.Column("finish_reasons", sa.Text),
        sa.Column("service_tier", sa.Text),
        sa.Column("speed", sa.Text),
        sa.Column("inference_geo", sa.Text),
        sa.Column("time_to_first_chunk_ns", sa.BigInteger),
        sa.Column("usage_status", sa.Text, nullable=False),
        *(sa.Column(name, sa.BigInteger) for name in _TOKENS),
        sa.Column("price_status", sa.Text, nullable=False),
        sa.Column("cost_pusd", sa.BigInteger),
        sa.Column("price_reason", sa.Text),
        sa.Column("price_detail", sa.Text),
        sa.Column("price_model", sa.Text),
        sa.Column("price_match", sa.Text),
        sa.Column("price_context", sa.Text),
        sa.Column("price_book_id", sa.BigInteger, sa.ForeignKey("price_books.price_book_id")),
        sa.UniqueConstraint("end_ns", "span_id", "trace_id", name="entry_key"),
    )


def _create_rollups() -> None:
    op.create_table(
        "cells",
        sa.Column("cell_id", _SERIAL, primary_key=True),
        *(sa.Column(name, sa.Text, nullable=False) for name in _DIMENSIONS),
        sa.UniqueConstraint(*_DIMENSIONS, name="cell_key"),
    )
    op.create_table(
        "rollup_hours",
        sa.Column("hour_s", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("cell_id", sa.BigInteger, sa.ForeignKey("cells.cell_id"), primary_key=True, autoincrement=False),
        *(sa.Column(name, sa.BigInteger, nullable=False) for name in _SUMS),
    )
