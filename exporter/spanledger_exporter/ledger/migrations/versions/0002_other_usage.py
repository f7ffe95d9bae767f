"""Keep the usage that has no column of its own, and what the provider itself says that a call cost.

Entries of before have neither: nobody read those figures then.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Add two columns that are empty for every entry so far."""
    op.add_column("entries", sa.Column("other_usage", sa.Text))
    op.add_column("entries", sa.Column("provider_cost_pusd", sa.BigInteger))
