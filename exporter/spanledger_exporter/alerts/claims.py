"""Which messages about budgets were made: `budget_alerts`, whose key is the claim.

Whoever inserts a row makes the message, and nobody else makes it again, whatever restarts and however many replicas
there are. Whether one is due is asked under a lock on the budget, so that two replicas that look at the same instant,
and of which one sees a call more, make one message.
"""

from collections.abc import Iterable, Sequence
from typing import Any, Final, Literal, get_args

from sqlalchemy import Connection, delete, or_, select

from spanledger_exporter.alerts.notices import Notice
from spanledger_exporter.alerts.notifications import SECOND_NS, Key, Told, Verdict, key_of
from spanledger_exporter.budgets.document import group_values
from spanledger_exporter.budgets.spending_parts import Part, parts
from spanledger_exporter.budgets.states import BudgetState
from spanledger_exporter.ledger.budget_schema import budget_alerts, budgets
from spanledger_exporter.ledger.insert import insert_ignore

State = Literal["pending", "sending", "delivered", "superseded", "abandoned"]
STATES: tuple[str, ...] = get_args(State)
"""To be sent; being sent by a replica; sent to every channel; not sent, for a later one came; not sent in time."""
WAITING: Final = ("pending", "sending")
KEPT_S: Final = 400 * 86_400
_KEYS_AT_ONCE: Final = 500
_WITH_PARTS_MAX: Final = 10
_KEY: Final = Key._fields
_TABLE = budget_alerts.c


def told(
    connection: Connection, budget_id: int, period_start_s: int, groups: Sequence[str], since_ns: int
) -> dict[str, list[Told]]:
    """Return by group what was said of a budget in a period, and in any other since a moment."""
    found: dict[str, list[Told]] = {}
    for place in range(0, len(groups), _KEYS_AT_ONCE):
        rows = connection.execute(
            select(*(_TABLE[name] for name in _KEY), _TABLE.made_ns).where(
                _TABLE.budget_id == budget_id,
                _TABLE.group_key.in_(groups[place : place + _KEYS_AT_ONCE]),
                or_(_TABLE.period_start_s == period_start_s, _TABLE.made_ns > since_ns),
            )
        )
        for *key, made_ns in rows:
            made = Told(Key(*key), made_ns)
            found.setdefault(made.key.group_key, []).append(made)
    return found


def lock(connection: Connection, budget_ids: Iterable[int]) -> set[int]:
    """Let no other replica make messages about these budgets until the transaction ends; return those that exist.

    On SQLite there is one writer anyway.
    """
    rows = select(budgets.c.budget_id).where(budgets.c.budget_id.in_(budget_ids)).order_by(budgets.c.budget_id)
    return set(connection.execute(rows.with_for_update()).scalars())


def make(connection: Connection, verdicts: Sequence[Verdict], now_ns: int) -> None:
    """Make the messages that are due; the first of them say with what most was spent, which takes a while to find."""
    rows = [
        {
            **key_of(state, threshold)._asdict(),
            "budget_name": state.stored.budget.name,
            "period_end_s": state.bounds.end_s,
            "made_ns": now_ns,
            "state": "pending",
            "claimed_ns": now_ns,
            "attempts": 0,
            "message": Notice.of(state, threshold, now_ns // SECOND_NS, _parts(connection, state, place)).to_json(),
            "channels": "{}",
        }
        for place, (state, threshold, _, _) in enumerate(verdicts)
    ]
    insert_ignore(connection, budget_alerts, _KEY, rows)


def _parts(connection: Connection, state: BudgetState, place: int) -> tuple[Part, ...]:
    if place >= _WITH_PARTS_MAX:
        return ()
    budget = state.stored.budget
    return parts(connection, budget, group_values(budget, state.group_key), state.bounds)


def forget(connection: Connection, now_ns: int) -> None:
    """Delete what was said of periods that ended more than 400 days ago."""
    before_s = now_ns // SECOND_NS - KEPT_S
    connection.execute(delete(budget_alerts).where(_TABLE.period_end_s < before_s, _TABLE.state.not_in(WAITING)))


def read(connection: Connection, *, limit: int | None = None) -> list[dict[str, Any]]:
    """Return the messages that were made, the newest first, column by column."""
    rows = connection.execute(select(budget_alerts).order_by(_TABLE.alert_id.desc()).limit(limit))
    return [dict(row) for row in rows.mappings()]
