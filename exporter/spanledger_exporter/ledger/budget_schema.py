"""The tables of budgets, and the view over them, as the newest migration leaves them; they are part of the schema.

Amounts are micro-USD, tokens or calls, whichever the budget counts, where the name says no more.
"""

from sqlalchemy import BigInteger, Column, Index, Table, Text, UniqueConstraint

from spanledger_exporter.ledger.schema import SERIAL, metadata, views

# What is to be held: `document` is the budget in JSON (budget.py); `counted_from_s` is the beginning of the earliest
# period that its counters hold.
budgets = Table(
    "budgets",
    metadata,
    Column("budget_id", SERIAL, primary_key=True),
    Column("name", Text, nullable=False, unique=True),
    Column("source", Text, nullable=False),
    Column("document", Text, nullable=False),
    Column("counted_from_s", BigInteger, nullable=False),
    Column("changed_ns", BigInteger, nullable=False),
    sqlite_autoincrement=True,  # a number is never used again: counters and leases of a budget that is gone name it
)

# Every change of a budget: null before, it was made; null after, it was removed.
budget_changes = Table(
    "budget_changes",
    metadata,
    Column("change_id", SERIAL, primary_key=True),
    Column("name", Text, nullable=False),
    Column("made_ns", BigInteger, nullable=False),
    Column("made_by", Text, nullable=False),
    Column("before", Text),
    Column("after", Text),
    Index("changes_of_budget", "name"),
)

# What a budget's calls add up to in one period, moved in the transaction of the entries. The period is part of the key:
# nothing is ever set back; it stands before the group, so that the rows of one period lie side by side. `group_key` is
# the JSON array of the values that the budget is `per`, empty for none. `leased` is what is granted to services and not
# spent yet, in micro-USD, tokens or calls.
BUDGET_SUMS = ("calls", "tokens", "unpriced_calls", "cost_micro_usd", "cost_rest_pusd")
budget_counters = Table(
    "budget_counters",
    metadata,
    Column("budget_id", BigInteger, primary_key=True, autoincrement=False),
    Column("period_start_s", BigInteger, primary_key=True, autoincrement=False),
    Column("group_key", Text, primary_key=True),
    *(Column(name, BigInteger, nullable=False) for name in BUDGET_SUMS),
    Column("leased", BigInteger, nullable=False, server_default="0"),
)

# The same by the day of the budget's time zone, which forecasts are made from.
budget_days = Table(
    "budget_days",
    metadata,
    Column("budget_id", BigInteger, primary_key=True, autoincrement=False),
    Column("day_s", BigInteger, primary_key=True, autoincrement=False),
    Column("group_key", Text, primary_key=True),
    *(Column(name, BigInteger, nullable=False) for name in BUDGET_SUMS),
)

# What of a period's limit one process of a service may spend without asking again. Amounts are micro-USD, tokens or
# calls; `settled` is what the entries of its calls came to, `reported` what the process says that they did.
budget_leases = Table(
    "budget_leases",
    metadata,
    Column("lease_id", Text, primary_key=True),
    Column("budget_id", BigInteger, nullable=False),
    Column("group_key", Text, nullable=False),
    Column("period_start_s", BigInteger, nullable=False),
    Column("owner", Text, nullable=False),
    Column("state", Text, nullable=False),
    Column("granted", BigInteger, nullable=False),
    Column("settled", BigInteger, nullable=False),
    Column("settled_calls", BigInteger, nullable=False),
    Column("reported", BigInteger, nullable=False),
    Column("reported_calls", BigInteger, nullable=False),
    Column("sequence", BigInteger, nullable=False),
    Column("granted_ns", BigInteger, nullable=False),
    Column("expires_ns", BigInteger, nullable=False),
    Index("leases_of_period", "budget_id", "group_key", "period_start_s"),
    Index("leases_by_expiry", "state", "expires_ns"),
    Index("leases_of_owner", "owner", "expires_ns"),
)

# Each threshold that a budget crossed in a period, under the limit of then, and what became of the message about it.
# The key is the claim; `message` is the notice in JSON (notices.py), `channels` which have it, in JSON, with the time.
budget_alerts = Table(
    "budget_alerts",
    metadata,
    Column("alert_id", SERIAL, primary_key=True),
    Column("budget_id", BigInteger, nullable=False),
    Column("budget_name", Text, nullable=False),
    Column("group_key", Text, nullable=False),
    Column("period_start_s", BigInteger, nullable=False),
    Column("period_end_s", BigInteger, nullable=False),
    Column("threshold", BigInteger, nullable=False),
    Column("limit_text", Text, nullable=False),
    Column("made_ns", BigInteger, nullable=False),
    Column("state", Text, nullable=False),
    Column("claimed_ns", BigInteger, nullable=False),
    Column("attempts", BigInteger, nullable=False),
    Column("delivered_ns", BigInteger),
    Column("message", Text, nullable=False),
    Column("channels", Text, nullable=False),
    Column("problem", Text),
    UniqueConstraint("budget_id", "group_key", "period_start_s", "threshold", "limit_text", name="alert_key"),
    Index("alerts_by_state", "state"),
)

# What each group of each budget came to in each period, with the limit of now. Only SQL asks it.
budget_spend = Table(
    "budget_spend",
    views,
    Column("budget", Text),
    Column("unit", Text),
    Column("mode", Text),
    Column("limit_amount", BigInteger),
    Column("group_key", Text),
    Column("period_start_s", BigInteger),
    *(Column(name, BigInteger) for name in (*BUDGET_SUMS, "leased")),
)
