"""Whose turn it is to send the messages about budgets that were made, and what became of them.

A replica takes a message to send it, and gives it back delivered or with a problem; then it is tried again, later each
time. From a replica that died while it had one another takes it over. So a message is sent once to each channel, and
once more only to those that got it from a replica that died before it could write that down; none is lost.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, exists, func, or_, select, update

from spanledger_exporter.alerts.claims import WAITING
from spanledger_exporter.alerts.notices import Notice
from spanledger_exporter.alerts.notifications import LATE_S, SECOND_NS
from spanledger_exporter.ledger.budget_schema import budget_alerts

TAKEOVER_S: Final = 300
"""How long a replica has for one message, several times what it may take, before it counts as dead."""
BACKOFF_S: Final = 30
BACKOFF_S_MAX: Final = 3600
SINGLES_MAX: Final = 3
"""Of so many groups of one budget at once each has a message of its own; of more there is one for all."""
AT_ONCE_MAX: Final = 10
GATHER_S: Final = 3600
"""Of a budget of which so many messages were sent within a day, further groups are gathered for an hour each."""
_DAY_NS: Final = 86_400 * SECOND_NS
_CANDIDATES_MAX: Final = 2000
_PROBLEM_CHARS_MAX: Final = 500
_TABLE = budget_alerts.c


class Alert(NamedTuple):
    """One row, as far as sending it goes; `channels` is JSON: which have it, and since when.

    `outdated` says that there is a later one about the same budget, group and period.
    """

    alert_id: int
    budget_id: int
    group_key: str
    period_end_s: int
    state: str
    claimed_ns: int
    attempts: int
    message: str
    channels: str
    outdated: bool

    @property
    def has(self) -> dict[str, int]:
        """The channels that have it, and since when."""
        return json.loads(self.channels)

    @property
    def of_group(self) -> bool:
        """Whether it is about one group of several."""
        return self.group_key != ""

    def due_ns(self) -> int:
        """Return when it may be sent: at once, some time after it failed, or when whoever had it counts as dead."""
        if self.state == "sending":
            return self.claimed_ns + TAKEOVER_S * SECOND_NS
        if not self.attempts:
            return self.claimed_ns
        return self.claimed_ns + min(BACKOFF_S << min(self.attempts - 1, 12), BACKOFF_S_MAX) * SECOND_NS


class Parcel(NamedTuple):
    """What is sent as one message: one alert, or those of several groups of one budget."""

    alerts: tuple[Alert, ...]

    @property
    def ids(self) -> tuple[int, ...]:
        """The numbers of its alerts."""
        return tuple(alert.alert_id for alert in self.alerts)

    @property
    def has(self) -> frozenset[str]:
        """The channels that have it."""
        return frozenset(self.alerts[0].has)

    def notices(self) -> list[Notice]:
        """Return what is to be said."""
        return [Notice.from_json(alert.message) for alert in self.alerts]


class Choice(NamedTuple):
    """What becomes of messages that wait: which are given up, which a later one replaces, which are sent now."""

    abandoned: list[int]
    superseded: list[int]
    parcel: list[Alert]


def choose(connection: Connection, now_ns: int) -> Choice:
    """Say what becomes of the messages that wait; those that were not tried yet come first."""
    due = [alert for alert in _waiting(connection, now_ns) if alert.due_ns() <= now_ns]
    outdated = [alert.alert_id for alert in due if alert.outdated]
    current = [alert for alert in due if not alert.outdated]
    late = [alert.alert_id for alert in current if (alert.period_end_s + LATE_S) * SECOND_NS <= now_ns]
    return Choice(late, outdated, _parcel([alert for alert in current if alert.alert_id not in late]))


def _waiting(connection: Connection, now_ns: int) -> list[Alert]:
    newer = budget_alerts.alias()
    outdated = exists().where(
        newer.c.budget_id == _TABLE.budget_id,
        newer.c.group_key == _TABLE.group_key,
        newer.c.period_start_s == _TABLE.period_start_s,
        newer.c.alert_id > _TABLE.alert_id,
    )
    waiting = _TABLE.state.in_(WAITING)
    held = _held(connection, connection.execute(select(_TABLE.budget_id).where(waiting).distinct()).scalars(), now_ns)
    rows = connection.execute(
        select(*(_TABLE[name] for name in Alert._fields[:-1]), outdated)
        .where(waiting, or_(_TABLE.budget_id.not_in(held), _TABLE.group_key == ""))
        .order_by(_TABLE.attempts, _TABLE.alert_id)
        .limit(_CANDIDATES_MAX)
    )
    return [Alert(*row) for row in rows]


def _held(connection: Connection, budget_ids: Iterable[int], now_ns: int) -> Sequence[int]:
    """Return those budgets of which so much was said within a day that further groups are gathered now."""
    rows = connection.execute(
        select(_TABLE.budget_id)
        .where(_TABLE.budget_id.in_(list(budget_ids)), _TABLE.delivered_ns > now_ns - _DAY_NS)
        .group_by(_TABLE.budget_id)
        .having(func.count() >= AT_ONCE_MAX, func.max(_TABLE.delivered_ns) > now_ns - GATHER_S * SECOND_NS)
    )
    return rows.scalars().all()


def _parcel(due: Sequence[Alert]) -> list[Alert]:
    """Return the first that is due, or all groups of its budget that the same channels wait for."""
    first = due[:1]
    for one in first:
        same = (alert for alert in due if alert.budget_id == one.budget_id and alert.channels == one.channels)
        together = [alert for alert in same if alert.of_group]
        if one.of_group and len(together) > SINGLES_MAX:
            return together
    return list(first)


def take(connection: Connection, choice: Choice, now_ns: int) -> Parcel | None:
    """Write down what becomes of messages, and return those that are ours to send now; another may have been faster."""
    for state, ids in (("abandoned", choice.abandoned), ("superseded", choice.superseded)):
        if ids:
            ended = update(budget_alerts).where(_TABLE.alert_id.in_(ids), _TABLE.state.in_(WAITING))
            connection.execute(ended.values(state=state, claimed_ns=now_ns))
    taken: list[Alert] = []
    for alert in sorted(choice.parcel, key=lambda each: each.alert_id):  # in one order, lest two wait for each other
        mine = alert._replace(state="sending", attempts=alert.attempts + 1)
        if _set(connection, alert, state=mine.state, attempts=mine.attempts, claimed_ns=now_ns):
            taken.append(mine)
    return Parcel(tuple(taken)) if taken else None


def keep(connection: Connection, parcel: Parcel, channel: str, now_ns: int) -> Parcel:
    """Write down that a channel has a message while others do not yet; return the message as it is then."""
    kept = [alert._replace(channels=json.dumps(alert.has | {channel: now_ns})) for alert in parcel.alerts]
    for alert in kept:
        _set(connection, alert, channels=alert.channels)
    return Parcel(tuple(kept))


def settle(connection: Connection, parcel: Parcel, problems: Mapping[str, str], now_ns: int) -> None:
    """Write down how sending ended: delivered, or what was wrong with which channels."""
    said = "; ".join(f"{name}: {problem}" for name, problem in problems.items())[:_PROBLEM_CHARS_MAX]
    state, delivered_ns = ("pending", None) if problems else ("delivered", now_ns)
    for alert in parcel.alerts:
        _set(connection, alert, state=state, delivered_ns=delivered_ns, claimed_ns=now_ns, problem=said or None)


def _set(connection: Connection, alert: Alert, **values: Any) -> bool:
    """Change a message, unless another replica has taken it since: then it is theirs."""
    same = (_TABLE.alert_id == alert.alert_id, _TABLE.attempts == alert.attempts, _TABLE.state == alert.state)
    return connection.execute(update(budget_alerts).where(*same).values(**values)).rowcount == 1
