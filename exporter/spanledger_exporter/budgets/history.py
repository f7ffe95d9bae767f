"""What became of a budget: its changes, the leases that hold something of it, and the messages about it.

Shape: documents of JSON types, times as RFC 3339 in UTC.
"""

import json
from typing import Any, Final

from sqlalchemy import Connection, select

from spanledger_exporter.budgets.budget import StoredBudget
from spanledger_exporter.budgets.document import group_values
from spanledger_exporter.budgets.periods import utc_text
from spanledger_exporter.budgets.texts import exact
from spanledger_exporter.leases.leases import HOLDING
from spanledger_exporter.ledger.budget_schema import budget_alerts, budget_changes, budget_leases
from spanledger_exporter.ledger.database import Database

Document = dict[str, Any]
SHOWN_MAX: Final = 100
_NS_PER_S: Final = 10**9


def read_history(database: Database, stored: StoredBudget) -> dict[str, list[Document]]:
    """Return the changes, the leases and the alerts of a budget, the latest first, at most a hundred of each."""
    with database.read() as connection:
        return {
            "leases": _leases(connection, stored),
            "alerts": _alerts(connection, stored),
            "changes": _changes(connection, stored),
        }


def _leases(connection: Connection, stored: StoredBudget) -> list[Document]:
    here, unit = budget_leases.c, stored.budget.unit
    query = select(budget_leases).where(
        here.budget_id == stored.budget_id, here.state.in_(sorted(HOLDING)), here.granted > here.settled
    )
    rows = connection.execute(query.order_by(here.granted_ns.desc()).limit(SHOWN_MAX)).mappings()
    return [
        {
            "lease": row["lease_id"],
            "group": group_values(stored.budget, row["group_key"]),
            "period_start": utc_text(row["period_start_s"]),
            "owner": row["owner"],
            "state": row["state"],
            f"granted_{unit}": exact(row["granted"], unit),
            f"settled_{unit}": exact(row["settled"], unit),
            f"reported_{unit}": exact(row["reported"], unit),
            "settled_calls": row["settled_calls"],
            "reported_calls": row["reported_calls"],
            "granted": utc_text(row["granted_ns"] // _NS_PER_S),
            "expires": utc_text(row["expires_ns"] // _NS_PER_S),
        }
        for row in rows
    ]


def _alerts(connection: Connection, stored: StoredBudget) -> list[Document]:
    here = budget_alerts.c
    query = select(budget_alerts).where(here.budget_id == stored.budget_id).order_by(here.alert_id.desc())
    return [
        {
            "group": group_values(stored.budget, row["group_key"]),
            "period_start": utc_text(row["period_start_s"]),
            "threshold": row["threshold"],
            "limit": row["limit_text"],
            "state": row["state"],
            "made": utc_text(row["made_ns"] // _NS_PER_S),
            "delivered": None if row["delivered_ns"] is None else utc_text(row["delivered_ns"] // _NS_PER_S),
            "attempts": row["attempts"],
            "problem": row["problem"],
        }
        for row in connection.execute(query.limit(SHOWN_MAX)).mappings()
    ]


def _changes(connection: Connection, stored: StoredBudget) -> list[Document]:
    here = budget_changes.c
    query = select(budget_changes).where(here.name == stored.budget.name).order_by(here.change_id.desc())
    return [
        {
            "made": utc_text(row["made_ns"] // _NS_PER_S),
            "by": row["made_by"],
            "before": None if row["before"] is None else json.loads(row["before"]),
            "after": None if row["after"] is None else json.loads(row["after"]),
        }
        for row in connection.execute(query.limit(SHOWN_MAX)).mappings()
    ]
