"""Keep budgets, what they have counted, their leases and their alerts."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"

_SERIAL = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_SUMS = ("calls", "tokens", "unpriced_calls", "cost_micro_usd", "cost_rest_pusd")


def upgrade() -> None:
    """Add the tables, empty: a ledger without budgets."""
    op.create_table(
        "budgets",
        sa.Column("budget_id", _SERIAL, primary_key=True),
        sa.Column("name", sa.Text, nullable=False, unique=True),
        sa.Column("source", sa.Text, nullable=False),
        sa.Column("document", sa.Text, nullable=False),
        sa.Column("counted_from_s", sa.BigInteger, nullable=False),
        sa.Column("changed_ns", sa.BigInteger, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "budget_changes",
        sa.Column("change_id", _SERIAL, primary_key=True),
        sa.Column("name", sa.Text, nullable=False),
        sa.Column("made_ns", sa.BigInteger, nullable=False),
        sa.Column("made_by", sa.Text, nullable=False),
        sa.Column("before", sa.Text),
        sa.Column("after", sa.Text),
    )
    op.create_index("changes_of_budget", "budget_changes", ["name"])
    op.create_table(
        "budget_counters",
        *_key("period_start_s"),
        *_sums(),
        sa.Column("leased", sa.BigInteger, nullable=False, server_default="0"),
    )
    op.create_table("budget_days", *_key("day_s"), *_sums())
    op.create_table(
        "budget_leases",
        sa.Column("lease_id", sa.Text, primary_key=True),
        sa.Column("budget_id", sa.BigInteger, nullable=False),
        sa.Column("group_key", sa.Text, nullable=False),
        sa.Column("period_start_s", sa.BigInteger, nullable=False),
        sa.Column("owner", sa.Text, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        *(
            sa.Column(name, sa.BigInteger, nullable=False)
            for name in (
                *("granted", "settled", "settled_calls", "reported", "reported_calls"),
                *("sequence", "granted_ns", "expires_ns"),
            )
        ),
    )
    op.create_index("leases_of_period", "budget_leases", ["budget_id", "group_key", "period_start_s"])
    op.create_index("leases_by_expiry", "budget_leases", ["state", "expires_ns"])
    op.create_index("leases_of_owner", "budget_leases", ["owner", "expires_ns"])
    op.create_table(
        "budget_alerts",
        sa.Column("alert_id", _SERIAL, primary_key=True),
        sa.Column("budget_id", sa.BigInteger, nullable=False),
        sa.Column("budget_name", sa.Text, nullable=False),
        sa.Column("group_key", sa.Text, nullable=False),
        sa.Column("period_start_s", sa.BigInteger, nullable=False),
        sa.Column("period_end_s", sa.BigInteger, nullable=False),
        sa.Column("threshold", sa.BigInteger, nullable=False),
        sa.Column("limit_text", sa.Text, nullable=False),
        sa.Column("made_ns", sa.BigInteger, nullable=False),
        sa.Column("state", sa.Text, nullable=False),
        sa.Column("claimed_ns", sa.BigInteger, nullable=False),
        sa.Column("attempts", sa.BigInteger, nullable=False),
        sa.Column("delivered_ns", sa.BigInteger),
        sa.Column("message", sa.Text, nullable=False),
        sa.Column("channels", sa.Text, nullable=False),
        sa.Column("problem", sa.Text),
        sa.UniqueConstraint(*("budget_id", "group_key", "period_start_s", "threshold", "limit_text"), name="alert_key"),
    )
    op.create_index("alerts_by_state", "budget_alerts", ["state"])
    state = sa.table("ledger_state", sa.column("name", sa.Text), sa.column("value", sa.BigInteger))
    op.bulk_insert(state, [{"name": "budgets_revision", "value": 0}])


def _key(time: str) -> tuple[sa.Column[int], sa.Column[int], sa.Column[str]]:
    return (
        sa.Column("budget_id", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column(time, sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("group_key", sa.Text, primary_key=True),
    )


def _sums() -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger, nullable=False) for name in _SUMS]
