"""What of a budget's limit one process may spend without asking again, from the grant to the last span of its calls.

A lease is granted by one conditional UPDATE of the counter that it is of, and holds that much of the limit from then
on. Money moves from `leased` to spent as the entries of its calls are committed, in the same transaction, so that it is
never in both and never in neither. What the process does not need any more comes back when it says so; what a process
took along that was killed is held until its period ends or somebody releases it.

Everywhere leases are locked before counters, and each in the order of their keys: no writers can wait for each other.

Units: amounts are micro-USD, tokens or calls, by the unit of the budget; `_ns` Unix nanoseconds, `_s` Unix seconds.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from itertools import groupby
from typing import Any, Final, Literal, NamedTuple

from sqlalchemy import ColumnElement, Connection, and_, bindparam, case, delete, insert, select, tuple_, update

from spanledger_exporter.budgets.budget import Unit
from spanledger_exporter.ledger.budget_schema import BUDGET_SUMS, budget_counters, budget_leases
from spanledger_exporter.ledger.insert import insert_ignore
from spanledger_exporter.money import PUSD_PER_MICRO_USD

TTL_S: Final = 300
"""How long a lease is good that its process says nothing of."""
GRACE_S: Final = 30
"""How much longer it is kept for its process, whose clock and whose way here may be slow."""
State = Literal["open", "closed", "settled", "released", "ended"]
HOLDING: Final[frozenset[str]] = frozenset({"open", "closed"})
"""Of these states a lease holds what is not settled of it.

`open`: its process may use it; after its time has passed, nobody knows what its process has done, and what it holds is
unaccounted. `closed`: its process uses it no more, and not all its spans have come. The others hold nothing: all spans
came, somebody released it, or its period is over.
"""
NO_LIMIT: Final = 2**62
_NS_PER_S: Final = 10**9
_PAGE: Final = 200


class CounterKey(NamedTuple):
    """Which counter: what a budget's calls of one group add up to in one period."""

    budget_id: int
    period_start_s: int
    group_key: str


class Counter(NamedTuple):
    """A counter as it is; `leased` is what its leases hold."""

    calls: int = 0
    tokens: int = 0
    unpriced_calls: int = 0
    cost_micro_usd: int = 0
    cost_rest_pusd: int = 0
    leased: int = 0

    def spent(self, unit: Unit) -> int:
        """Return what was spent, and no less: a part of a micro-USD counts as a whole one."""
        if unit == "usd":
            return self.cost_micro_usd - -self.cost_rest_pusd // PUSD_PER_MICRO_USD
        return self.tokens if unit == "tokens" else self.calls


class Lease(NamedTuple):
    """One lease as it is, in the order of its columns.

    `settled` is what the entries of its calls came to, `reported` what its process says that they did; `granted` falls
    to what was used of it once the process has closed it.
    """

    lease_id: str
    budget_id: int
    group_key: str
    period_start_s: int
    owner: str
    state: State
    granted: int
    settled: int
    settled_calls: int
    reported: int
    reported_calls: int
    sequence: int
    granted_ns: int
    expires_ns: int

    @property
    def key(self) -> CounterKey:
        """The counter that it is of."""
        return CounterKey(self.budget_id, self.period_start_s, self.group_key)

    @property
    def held(self) -> int:
        """How much of the limit it holds."""
        return max(self.granted - self.settled, 0) if self.state in HOLDING else 0

    def reported_by(self, sequence: int, used: int, calls: int, *, closed: bool, now_ns: int) -> "Lease":
        """Return it after a report of its process; what is told twice, or too late, changes nothing.

        Reports are cumulative, and so a later one stands for all before it. A process that was taken for dead and was
        not goes on with its lease: what it holds was kept for it.
        """
        if sequence <= self.sequence or self.state != "open":
            return self
        expires_ns = now_ns + TTL_S * _NS_PER_S
        told = self._replace(
            reported=max(self.reported, used),
            reported_calls=max(self.reported_calls, calls),
            sequence=sequence,
            expires_ns=expires_ns,
        )
        if not closed:
            return told
        kept = min(told.granted, max(told.reported, told.settled))
        return told._replace(state="closed", granted=kept).settled_if_complete()

    def settled_by(self, amount: int, calls: int) -> "Lease":
        """Return it after the entries of some of its calls were committed, or came to something else."""
        moved = self._replace(settled=self.settled + amount, settled_calls=self.settled_calls + calls)
        return moved.settled_if_complete()

    def settled_if_complete(self) -> "Lease":
        """Return it as it is once its process has closed it and all its spans have come.

        It waits for them again where two calls turn out to be one.
        """
        if self.state not in {"closed", "settled"}:
            return self
        return self._replace(state="settled" if self.settled_calls >= self.reported_calls else "closed")


assert Lease._fields == tuple(column.name for column in budget_leases.columns), "a lease is read by position"
assert Counter._fields == (*BUDGET_SUMS, "leased"), "a counter is read by position"


class Change(NamedTuple):
    """A lease before and after."""

    before: Lease
    after: Lease


class Move(NamedTuple):
    """By how much the leases of a counter come to hold more, which must stay within the limit if it is more.

    `unit` and `limit` matter only then.
    """

    amount: int
    unit: Unit = "usd"
    limit: int = NO_LIMIT


def find(connection: Connection, lease_ids: Iterable[str]) -> dict[str, Lease]:
    """Return the leases that there are of these, and let no other writer change them until the commit."""
    found: dict[str, Lease] = {}
    wanted = sorted(set(lease_ids))
    for start in range(0, len(wanted), _PAGE):
        some = budget_leases.c.lease_id.in_(wanted[start : start + _PAGE])
        found |= {lease.lease_id: lease for lease in locked(connection, some)}
    return found


def locked(connection: Connection, *which: ColumnElement[bool], rows_max: int | None = None) -> list[Lease]:
    """Return leases in the order of their ids, and let no other writer change them until the commit."""
    query = select(budget_leases).where(*which).order_by(budget_leases.c.lease_id).limit(rows_max).with_for_update()
    return [Lease(*row) for row in connection.execute(query)]


def add(connection: Connection, leases: Sequence[Lease]) -> None:
    """Keep new leases; what they hold was granted before."""
    if leases:
        connection.execute(insert(budget_leases), [lease._asdict() for lease in leases])


def save(connection: Connection, changes: Iterable[Change]) -> dict[CounterKey, int]:
    """Write what became of leases, and return by how much those of each counter hold more, or less, than before."""
    rows: list[dict[str, Any]] = []
    held: dict[CounterKey, int] = {}
    for before, after in changes:
        if before != after:
            rows.append({f"new_{name}": getattr(after, name) for name in _CHANGING} | {"which": after.lease_id})
        if before.held != after.held:
            held[after.key] = held.get(after.key, 0) + after.held - before.held
    if rows:
        connection.execute(_SAVE, sorted(rows, key=lambda row: row["which"]))
    return {key: moved for key, moved in held.items() if moved}


_CHANGING: Final = ("state", "granted", "settled", "settled_calls", "reported", "reported_calls", "sequence",
                    "expires_ns")  # fmt: skip
_SAVE = (
    update(budget_leases)
    .where(budget_leases.c.lease_id == bindparam("which"))
    .values({name: bindparam(f"new_{name}") for name in _CHANGING})
)


def counters(connection: Connection, keys: Iterable[CounterKey], *, lock: bool = True) -> dict[CounterKey, Counter]:
    """Return the counters that there are of these; locked, no other writer changes them until the commit."""
    found: dict[CounterKey, Counter] = {}
    wanted = sorted(set(keys))
    # By code points, as they are sorted everywhere else, and not as the language of a PostgreSQL database sorts texts.
    group_key = _KEY[2].collate("C") if connection.dialect.name == "postgresql" else _KEY[2]
    query = select(*_KEY, *(budget_counters.c[name] for name in Counter._fields)).order_by(*_KEY[:2], group_key)
    for start in range(0, len(wanted), _PAGE):
        some = query.where(tuple_(*_KEY).in_([tuple(key) for key in wanted[start : start + _PAGE]]))
        for row in connection.execute(some.with_for_update() if lock else some):
            found[CounterKey._make(row[:3])] = Counter._make(row[3:])
    return found


def begin_counters(connection: Connection, keys: Collection[CounterKey]) -> None:
    """Make counters that are not there yet, at zero."""
    zero = dict.fromkeys(Counter._fields, 0)
    insert_ignore(connection, budget_counters, CounterKey._fields, [key._asdict() | zero for key in sorted(keys)])


def drop_empty(connection: Connection, keys: Iterable[CounterKey]) -> None:
    """Delete those counters of which nothing is counted and nothing leased: no counter says the same."""
    rows = [{"b": key[0], "p": key[1], "g": key[2]} for key in sorted(keys)]
    if rows:
        connection.execute(_DROP_EMPTY, rows)


def lock(connection: Connection, keys: Iterable[CounterKey], new: Collection[CounterKey]) -> dict[CounterKey, Counter]:
    """Lock counters and return them as they are; those of `new` are made if they are missing.

    All in the order of their keys, the new ones among them, so that no two writers can wait for each other.
    """
    found: dict[CounterKey, Counter] = {}
    for is_new, run in groupby(sorted(set(keys)), key=lambda key: key in new):
        some = list(run)
        if is_new:
            begin_counters(connection, some)
        found |= counters(connection, some)
    return found


def move(connection: Connection, moves: Mapping[CounterKey, Move]) -> bool:
    """Let leases hold more or less; return whether each counter that is to hold more had room for it.

    This is the grant: one UPDATE that is conditional on the room that there is then, whatever anybody read before. What
    is to hold less may be gone with its budget.
    """
    had_room = True
    for unit, statement in _MOVES.items():
        of_unit = [(key, moved) for key, moved in sorted(moves.items()) if moved.unit == unit]
        less = [_move_row(*each) for each in of_unit if each[1].amount < 0]
        more = [_move_row(*each) for each in of_unit if each[1].amount > 0]
        if less:
            connection.execute(statement, less)
        if more:
            had_room = connection.execute(statement, more).rowcount == len(more) and had_room
    return had_room


def _move_row(key: CounterKey, moved: Move) -> dict[str, Any]:
    return {"b": key[0], "p": key[1], "g": key[2], "amount": moved.amount, "most": moved.limit}


_KEY: Final = tuple(budget_counters.c[name] for name in CounterKey._fields)
_DROP_EMPTY: Final = delete(budget_counters).where(
    *(column == bindparam(name) for column, name in zip(_KEY, "bpg", strict=True)),
    *(budget_counters.c[name] == 0 for name in Counter._fields),
)
_LEASED: Final = budget_counters.c.leased
_SPENT: Final[Mapping[Unit, ColumnElement[int]]] = {
    "usd": budget_counters.c.cost_micro_usd
    # Rounded up; `//` of SQLAlchemy is the integer division of both databases.
    + (budget_counters.c.cost_rest_pusd + (PUSD_PER_MICRO_USD - 1)) // PUSD_PER_MICRO_USD,
    "tokens": budget_counters.c.tokens,
    "calls": budget_counters.c.calls,
}


def _move_of(spent: ColumnElement[int]) -> Any:  # an Update, whose type has no parameters that pyright could know
    then = _LEASED + bindparam("amount")
    return (
        update(budget_counters)
        .where(
            and_(_KEY[0] == bindparam("b"), _KEY[1] == bindparam("p"), _KEY[2] == bindparam("g")),
            (bindparam("amount") <= 0) | (spent + then <= bindparam("most")),
        )
        .values(leased=case((then < 0, 0), else_=then))
    )


_MOVES: Final[Mapping[Unit, Any]] = {unit: _move_of(spent) for unit, spent in _SPENT.items()}
