"""Leases that nobody will say anything of any more -> what becomes of what they hold.

1. One that was granted and never got there: its process has told of other leases since, and not of this one. It has
   used nothing of it, so all of it comes back.
2. One whose period is over, and whose time has passed: the limit that it held a part of is history.
3. What is done with is forgotten after some days.

What a killed process holds in a period that goes on stays held: it may have been spent, and its spans may be on their
way. `release` gives it back where somebody knows that they are not.
"""

import json
import time
from collections.abc import Callable
from typing import Final, get_args

from sqlalchemy import ColumnElement, Connection, delete, exists, insert, select

from spanledger_exporter.budgets.shelf import load_budgets
from spanledger_exporter.errors import LedgerError
from spanledger_exporter.leases import leases
from spanledger_exporter.leases.leases import GRACE_S, HOLDING, TTL_S, Change, Lease, Move
from spanledger_exporter.ledger.budget_schema import budget_changes, budget_leases
from spanledger_exporter.ledger.database import Database

_KEPT_S: Final = 7 * 86_400
_DONE: Final = tuple(sorted(frozenset(get_args(leases.State)) - HOLDING))
"""Named, and not as all but some: so the index finds the few that are to go among the many of a week."""
_AT_ONCE: Final = 500
_LATE_S: Final = 3600
"""How long after its end a period's leases are still held, for what rolls over into the next."""
_UNHEARD_S: Final = 60
"""Several reports are sent in so many seconds, each of which tells of all leases that a process knows of."""
_NS_PER_S: Final = 10**9
_HERE: Final = budget_leases.c


def sweep(database: Database, now_ns: int) -> bool:
    """Look through old leases, some at a time; return whether there may be more to do."""
    with database.read() as connection:
        over = _periods_over(connection, now_ns)
    more = False
    for which in (_never_heard_of(now_ns), *(_of_period(*period, now_ns) for period in over)):
        with database.write() as connection:
            found = leases.locked(connection, *which, rows_max=_AT_ONCE)
            _become(connection, found, "ended")
        more = more or len(found) == _AT_ONCE
    with database.write() as connection:
        done = _HERE.state.in_(_DONE), _HERE.expires_ns < now_ns - _KEPT_S * _NS_PER_S
        some = select(_HERE.lease_id).where(*done).limit(_AT_ONCE)
        deleted = connection.execute(delete(budget_leases).where(_HERE.lease_id.in_(some))).rowcount
    return more or deleted == _AT_ONCE


def release(database: Database, name: str, by: str, *, clock_ns: Callable[[], int] = time.time_ns) -> tuple[int, int]:
    """Give back what processes hold of a budget that are gone; return how many leases that were, and how much.

    Units: the amount is micro-USD, tokens or calls. Recorded among the changes of the budget.

    Raises:
        LedgerError: there is no such budget.
    """
    now_ns = clock_ns()
    with database.write() as connection:
        stored = next((each for each in load_budgets(connection) if each.budget.name == name), None)
        if stored is None:
            raise LedgerError(f"there is no budget {name!r}")
        gone = leases.locked(connection, _HERE.budget_id == stored.budget_id, *unaccounted(now_ns))
        amount = sum(lease.held for lease in gone)
        if gone:
            _become(connection, gone, "released")
            told = [json.dumps({"unaccounted": left, "unit": stored.budget.unit}) for left in (amount, 0)]
            row = {"name": name, "made_ns": now_ns, "made_by": by, "before": told[0], "after": told[1]}
            connection.execute(insert(budget_changes), row)
    return len(gone), amount


def unaccounted(now_ns: int) -> tuple[ColumnElement[bool], ...]:
    """Return what leases are that hold something of which nobody has told for too long."""
    return _HERE.state.in_(HOLDING), _HERE.expires_ns < now_ns - GRACE_S * _NS_PER_S


def _never_heard_of(now_ns: int) -> tuple[ColumnElement[bool], ...]:
    told = budget_leases.alias("told")
    later_ns = _HERE.granted_ns + (TTL_S + _UNHEARD_S) * _NS_PER_S
    since = exists().where(told.c.owner == _HERE.owner, told.c.sequence > 0, told.c.expires_ns >= later_ns)
    overdue = _HERE.state == "open", _HERE.expires_ns < now_ns - GRACE_S * _NS_PER_S
    return (*overdue, _HERE.sequence == 0, _HERE.settled_calls == 0, since)


def _periods_over(connection: Connection, now_ns: int) -> list[tuple[int, int]]:
    """Return the periods, by budget and beginning, that are over and of which overdue leases still hold something."""
    stored = {each.budget_id: each.budget.period for each in load_budgets(connection)}
    query = select(_HERE.budget_id, _HERE.period_start_s).distinct().where(*_late(now_ns))
    found: list[tuple[int, int]] = []
    for budget_id, start_s in connection.execute(query):
        period = stored.get(budget_id)
        bounds = None if period is None else period.bounds(start_s)
        if bounds is None or bounds.end_s < now_ns // _NS_PER_S - _LATE_S:
            found.append((budget_id, start_s))
    return found


def _of_period(budget_id: int, start_s: int, now_ns: int) -> tuple[ColumnElement[bool], ...]:
    return _HERE.budget_id == budget_id, _HERE.period_start_s == start_s, *_late(now_ns)


def _late(now_ns: int) -> tuple[ColumnElement[bool], ...]:
    return _HERE.state.in_(HOLDING), _HERE.expires_ns < now_ns - _LATE_S * _NS_PER_S


def _become(connection: Connection, found: list[Lease], state: leases.State) -> None:
    held = leases.save(connection, [Change(lease, lease._replace(state=state)) for lease in found])
    leases.move(connection, {key: Move(moved) for key, moved in held.items()})
    leases.drop_empty(connection, (key for key in held if key.group_key))
