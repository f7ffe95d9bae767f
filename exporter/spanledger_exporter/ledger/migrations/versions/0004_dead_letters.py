"""Keep what could not become an entry, to be looked into and replayed."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"

_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Create the table of dead letters."""
    op.create_table(
        "dead_letters",
        sa.Column("dead_letter_id", _SERIAL, primary_key=True),
        sa.Column("received_ns", sa.BigInteger, nullable=False),
        sa.Column("transport", sa.Text, nullable=False),
        sa.Column("tenant", sa.Text),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("detail", sa.Text, nullable=False),
        sa.Column("spans", sa.BigInteger, nullable=False),
        sa.Column("digest", sa.LargeBinary, nullable=False),
        sa.Column("size", sa.BigInteger, nullable=False),
        sa.Column("body", sa.LargeBinary),
        sa.Column("attempts", sa.BigInteger, nullable=False),
        sa.Column("replayed_ns", sa.BigInteger),
        sa.UniqueConstraint("digest", "reason", name="dead_letter_key"),
    )
