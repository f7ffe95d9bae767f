"""What processes ask, on one connection -> what is granted to them, in one transaction for as many as came together.

Every counter that anybody's request touches is locked first, in the order of the keys, and what there is room for is
worked out from what then stands there; the UPDATE that grants it all is conditional once more (leases.py).
"""

import time
import uuid
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection

from spanledger_exporter.budgets.groups import GROUPS_MAX, LEASED_GROUPS_MAX
from spanledger_exporter.dialects.texts import text
from spanledger_exporter.errors import UnavailableError
from spanledger_exporter.leases import leases
from spanledger_exporter.leases.desk import Desk, group_of, told
from spanledger_exporter.leases.lease_budgets import LeaseBudgets, Part
from spanledger_exporter.leases.lease_groups import LeaseGroups
from spanledger_exporter.leases.leases import Change, Lease
from spanledger_exporter.leases.messages import (
    AMOUNT_MAX,
    Granted,
    GrantedLease,
    LeaseAnswer,
    LeaseRequest,
    Rates,
    Renewed,
    Standing,
    Want,
)
from spanledger_exporter.leases.owners import LeaseOwners
from spanledger_exporter.money import PUSD_PER_MICRO_USD

Payer = tuple[str | None, str | None, str | None]
RatesOf = Callable[[str | None, str | None, Payer, int], Rates]
LEASES_MAX: Final = 256
"""How many open leases of one counter one process may have: one that asks for ever more is out of order."""
_SLICE_PARTS: Final = 10
"""A lease is no more than a tenth of the limit, unless one call needs more."""
_SKEW_S_MAX: Final = 24 * 3600
"""How far a process's clock may be off: the ledger takes no span that is further in the future."""
_BOOKS: Final = 10**6
_NS_PER_S: Final = 10**9


class Ask(NamedTuple):
    """One request, and whose credential came with it."""

    request: LeaseRequest
    tenant: str | None = None

    @property
    def owner(self) -> str:
        """Who holds what is granted: a process of a service, and of a tenant where there are any."""
        said = (self.tenant, self.request.service, self.request.process)
        return "/".join(each.replace("\0", "")[:200] for each in said if each)

    def scope(self, want: Want) -> dict[str, str | None]:
        """Return what a wanted call is, its texts as the ledger will have them; the tenant is the credential's."""
        process = {"service": self.request.service, "environment": self.request.environment}
        said: dict[str, str | None] = {**process, **want.scope}
        scope = {name: text(value) for name, value in said.items()}
        return scope if self.tenant is None else {**scope, "tenant": self.tenant}


class _Wanted(NamedTuple):
    """A call that a process wants to make, with the budgets that hold it."""

    place: int
    want: Want
    rates: Rates
    parts: Sequence[Part]

    @property
    def hard(self) -> list[Part]:
        """Those that refuse calls."""
        return [part for part in self.parts if part.budget.mode == "hard"]

    def amount(self, part: Part) -> int | None:
        """Return the most that the calls can count under a budget; `None` where they count nothing."""
        unit = part.budget.unit
        if unit == "usd":
            counts = self.rates.known or part.budget.on_unpriced == "rate"
            return max(self.want.usd_micro, self._usd_micro(), 1) if counts else None
        return max(self.want.tokens, 1) if unit == "tokens" else self.want.calls

    def _usd_micro(self) -> int:
        rates, want = self.rates, self.want
        one_pusd = rates.input_pusd * want.input_tokens + rates.output_pusd * want.output_tokens + rates.request_pusd
        return -(-one_pusd // PUSD_PER_MICRO_USD) * want.calls


class Lender:
    """Grants leases to processes, on the connection that it is given; for one thread."""

    def __init__(
        self,
        rates_of: RatesOf,
        book_id: str,
        *,
        groups_max: int = GROUPS_MAX,
        leased_groups_max: int = LEASED_GROUPS_MAX,
        leases_max: int = LEASES_MAX,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._prices = rates_of, _number(book_id)
        self._leases_max = leases_max
        self._clock_ns = clock_ns
        groups = LeaseGroups(groups_max=groups_max, leased_groups_max=leased_groups_max)
        self._budgets = LeaseBudgets(groups)
        self._owners = LeaseOwners()

    def price_with(self, rates_of: RatesOf, book_id: str) -> None:
        """Take rates of another price book from now on."""
        self._prices = rates_of, _number(book_id)

    def forget(self) -> None:
        """Forget what a transaction that was undone has made."""
        self._budgets.forget()
        self._owners.forget()

    def serve(self, connection: Connection, asks: Sequence[Ask]) -> list[LeaseAnswer]:
        """Answer requests, in their order; all of it is in the transaction of the connection.

        Raises:
            UnavailableError: another writer was quicker where nothing could keep it off; ask again.
        """
        now_ns = self._clock_ns()
        self._budgets.follow(connection, now_ns)
        self._owners.follow(connection, now_ns)
        reported, changes = _report(connection, asks, now_ns)
        wanted = [self._wanted(connection, ask, now_ns) for ask in asks]
        renewed = {lease.key for lease in reported.values() if lease.state == "open"}
        of_wants = {part.key for each in wanted for one in each for part in one.hard if not part.crowded}
        of_changes = {change.after.key for change in changes}
        rows = self._budgets.lock(connection, of_wants, renewed | of_changes)
        desk = Desk(rows, self._budgets, connection)
        for change in changes:
            desk.hold(change.after.key, change.after.held - change.before.held)
            self._owners.changed(*change)
        answers = [self._answer(ask, each, reported, desk, now_ns) for ask, each in zip(asks, wanted, strict=True)]
        leases.save(connection, changes)
        leases.add(connection, desk.granted)
        if not leases.move(connection, desk.moves()):
            raise UnavailableError("the budgets' counters were changed meanwhile; ask again")
        self._budgets.let_go(connection, [key for key in rows if key.group_key and desk.is_empty(key)])
        return answers

    def _answer(
        self, ask: Ask, wanted: Sequence[_Wanted], reported: Mapping[str, Lease], desk: Desk, now_ns: int
    ) -> LeaseAnswer:
        owner = ask.owner
        granted: list[Granted] = []
        denied: list[Standing] = []
        soft: list[Standing] = []
        for one in wanted:
            refused = self._refusals(owner, one, desk)
            if refused:
                denied += refused
            else:
                granted.append(self._grant(owner, one, desk, now_ns))
            soft += desk.soft(one.place, one.parts)
        return LeaseAnswer(
            dimensions=self._budgets.dimensions,
            revision=self._budgets.revision * _BOOKS + self._prices[1],
            ttl_s=leases.TTL_S,
            granted=granted,
            denied=denied,
            soft=soft,
            renewed=[_renewed(report.lease, owner, reported, desk) for report in ask.request.reports],
        )

    def _refusals(self, owner: str, one: _Wanted, desk: Desk) -> list[Standing]:
        refused: list[Standing] = []
        for part in one.hard:
            amount = one.amount(part)
            if part.budget.on_unpriced == "refuse" and part.budget.unit == "usd" and not one.rates.known:
                refused.append(desk.standing(one.place, part, "unpriced_model"))
            elif amount is not None and part.crowded:
                refused.append(desk.standing(one.place, part, "too_many_groups", needed=amount))
            elif amount is not None and amount > desk.room(part):
                refused.append(desk.standing(one.place, part, "exhausted", needed=amount))
            elif amount is not None and self._owners.holding(part.key, owner).leases >= self._leases_max:
                refused.append(desk.standing(one.place, part, "too_many_leases", needed=amount))
        return refused

    def _grant(self, owner: str, one: _Wanted, desk: Desk, now_ns: int) -> Granted:
        made: list[GrantedLease] = []
        for part in one.hard:
            needed = one.amount(part)
            if needed is None:
                continue
            amount = max(self._slice(owner, part, desk), needed)
            lease = _lease(part, owner, amount, now_ns)
            self._owners.granted(lease)
            desk.grant(lease)
            made.append(_granted(part, lease, desk.limit(part)))
        return Granted(one.place, made, one.rates)

    def _slice(self, owner: str, part: Part, desk: Desk) -> int:
        """Return how much a process may have beyond what its call needs: two leases' worth with what it has."""
        has, room = self._owners.holding(part.key, owner).unspent, desk.room(part)
        sharing, most = 2 * self._owners.sharing(part.key, owner), desk.limit(part) // _SLICE_PARTS
        return min(room // sharing, most, 2 * min((room + has) // sharing, most) - has, AMOUNT_MAX)

    def _wanted(self, connection: Connection, ask: Ask, now_ns: int) -> list[_Wanted]:
        now_s = now_ns // _NS_PER_S
        said_s = now_s if ask.request.now_s is None else int(ask.request.now_s)
        # A call counts in the period that its own process's clock says, and so must what it is leased from.
        moment_s = said_s if abs(said_s - now_s) <= _SKEW_S_MAX else now_s
        found: list[_Wanted] = []
        for place, want in enumerate(ask.request.want):
            scope = ask.scope(want)
            parts = self._budgets.of(connection, scope, moment_s)
            payer = (scope.get("organization"), scope.get("project"), scope.get("api_key"))
            rates = self._prices[0](scope.get("provider"), scope.get("model"), payer, now_s)
            found.append(_Wanted(place, want, _with_defaults(rates, parts), parts))
        return found


def _report(connection: Connection, asks: Sequence[Ask], now_ns: int) -> tuple[dict[str, Lease], list[Change]]:
    """Take what processes say of their leases; return the leases as they are then, and what changed."""
    before = leases.find(connection, (report.lease for ask in asks for report in ask.request.reports))
    after = dict(before)
    for ask in asks:
        owner = ask.owner
        for report in ask.request.reports:
            lease = after.get(report.lease)
            if lease is not None and lease.owner == owner:
                after[report.lease] = lease.reported_by(
                    report.sequence, report.used, report.calls, closed=report.closed, now_ns=now_ns
                )
    return after, [Change(before[number], lease) for number, lease in after.items() if lease != before[number]]


def _renewed(lease_id: str, owner: str, reported: Mapping[str, Lease], desk: Desk) -> Renewed:
    lease = reported.get(lease_id)
    if lease is None or lease.owner != owner:
        return Renewed(lease_id, "unknown", 0)
    if lease.state == "open":
        return Renewed(lease_id, "open" if desk.may_use(lease) else "revoked", lease.expires_ns // _NS_PER_S)
    return Renewed(lease_id, "revoked" if lease.state in {"released", "ended"} else "closed", 0)


def _lease(part: Part, owner: str, amount: int, now_ns: int) -> Lease:
    return Lease(
        lease_id=uuid.uuid4().hex,
        budget_id=part.key.budget_id,
        group_key=part.key.group_key,
        period_start_s=part.key.period_start_s,
        owner=owner,
        state="open",
        granted=amount,
        settled=0,
        settled_calls=0,
        reported=0,
        reported_calls=0,
        sequence=0,
        granted_ns=now_ns,
        expires_ns=now_ns + leases.TTL_S * _NS_PER_S,
    )


def _granted(part: Part, lease: Lease, limit: int) -> GrantedLease:
    budget = part.budget
    return GrantedLease(
        lease=lease.lease_id,
        budget=budget.name,
        group=group_of(part),
        unit=budget.unit,
        granted=lease.granted,
        limit=told(limit),
        mode=budget.mode,
        on_unpriced=budget.on_unpriced,
        on_unreachable=budget.on_unreachable,
        safe_allowance=told(budget.safe_allowance),
        period_start_s=part.bounds.start_s,
        period_end_s=part.bounds.end_s,
        expires_s=lease.expires_ns // _NS_PER_S,
    )


def _with_defaults(rates: Rates, parts: Iterable[Part]) -> Rates:
    """Return the rates by which a call of a model without a price counts, if any of its budgets has such."""
    default = [part.budget for part in parts if part.budget.on_unpriced == "rate"]
    if rates.known or not default:
        return rates
    return Rates(
        max(budget.input_rate_pusd for budget in default),
        max(budget.output_rate_pusd for budget in default),
        0,
        rates.output_tokens,
        known=False,
    )


def _number(book_id: str) -> int:
    return zlib.crc32(book_id.encode()) % _BOOKS
