"""Keep which price book was imported last: it prices calls from then on."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Add the table; empty, it stands for the packaged price book."""
    op.create_table(
        "active_price_books",
        sa.Column("activation_id", _SERIAL, primary_key=True),
        sa.Column("price_book_id", sa.BigInteger, sa.ForeignKey("price_books.price_book_id"), nullable=False),
        sa.Column("activated_ns", sa.BigInteger, nullable=False),
    )
