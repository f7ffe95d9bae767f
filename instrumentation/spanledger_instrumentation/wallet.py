"""The leases of one process: what of each budget it may spend without asking, taken from and settled in memory.

A call takes its bound from one lease of each budget that holds it, all or none, before it is sent; when it ends, what
it used stays taken and the rest is given back. Pure: no clock, no network; every method holds the one lock for some
microseconds. Amounts are in the unit of their budget: micro-USD, tokens or calls.
"""

import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from spanledger_instrumentation.bound import AMOUNT_MAX, Rates, Size, amounts
from spanledger_instrumentation.denials import Denial, denial_of, unreachable
from spanledger_instrumentation.lease_messages import Denied, Grant, Reply, Terms
from spanledger_instrumentation.providers.values import AttributeValue
from spanledger_instrumentation.purse import Lease, LeaseReport, Purse

__all__ = ["PRICED_BY", "REPORTS_MAX", "Denial", "LeaseReport", "Reservation", "Scope", "Used", "Wallet"]

Scope = tuple[tuple[str, AttributeValue], ...]
"""Whose call it is: dimension and value, in a fixed order of the dimensions."""

PRICED_BY: Final = frozenset({"model", "provider"})
"""What a call costs depends on these dimensions, whatever budgets look at."""
_PERSONS: Final = frozenset({"user", "session", "api_key"})
"""Dimensions whose values come and go while the rest of a scope stays."""
PLANS_MAX: Final = 4096
"""Scopes whose budgets are remembered; of more, those that were made first are asked for again."""
PURSES_MAX: Final = 16_384
"""Budgets and their groups that are known; of more, those without a lease are forgotten."""
IDLE_S: Final = 60
"""A lease that nothing was taken from for so long is given back: others may need it."""
PLAN_S: Final = 300
"""A scope that had no call for so long is forgotten."""
REPORTS_MAX: Final = 4096
"""Leases that are reported in one request; of more, those that were not for the longest time come first."""
_STRETCH: Final = 256
"""Leases that are looked at while calls wait for the lock: some 0.3 ms."""
REFRESH_S: Final = 10
"""How old what is known of a scope without hard budgets may be: its soft ones go on to be spent."""


@dataclass(slots=True)
class Plan:
    """What is known of one scope: its hard budgets, what its model costs at most, which soft budgets to warn of."""

    purses: tuple[Purse, ...] = ()
    rates: Rates | None = None
    soft: tuple[Denied, ...] = ()
    denial: Denial | None = None
    answered_s: float = 0.0
    used_s: float = 0.0
    asking: bool = False
    """Whether more is being asked for in the background."""
    known: bool = False
    """Whether the budgets are known: a denial tells of one of them alone."""

    @property
    def says_something(self) -> bool:
        """Whether anything is known of its budgets."""
        return self.known or bool(self.purses)


@dataclass(slots=True)
class Reservation:
    """What one call has taken, until it is settled."""

    draws: tuple[tuple[Lease, Terms, int], ...]
    rates: Rates
    size: Size
    soft: tuple[Denied, ...] = ()
    open_budgets: tuple[str, ...] = ()
    """Those that let the call pass because nobody can be asked."""
    low: bool = False
    """Whether more should be asked for in the background."""
    settled: bool = False

    @property
    def lease_ids(self) -> tuple[str, ...]:
        """Name the leases that the call's span is to name; an allowance is none."""
        return tuple(lease.id for lease, _, _ in self.draws if lease.id)


class Used(NamedTuple):
    """What a call came to, in each unit."""

    usd: int
    tokens: int
    calls: int


class Wallet:
    """Hold the leases of this process."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a handler of a signal may make a call while this thread is inside
        self._plans: dict[Scope, Plan] = {}
        self._kin: dict[Scope, Plan] = {}  # the latest plan of each scope, whoever's calls it is for
        self._purses: dict[tuple[str, str, str, int], Purse] = {}
        self._revision: int | None = None
        self._decisions: dict[tuple[str, str], int] = {}

    def take(self, scope: Scope, size: Size, now_s: float) -> "Reservation | Denial | None":
        """Take the bound of a call, or say why it is refused; `None`: that must be asked first."""
        with self._lock:
            plan = self._plans.get(scope)
            if plan is None:
                return None
            plan.used_s = now_s
            rates = plan.rates or Rates()
            needs = amounts(rates, size)
            if not plan.known:
                return _standing(plan, needs, now_s)
            draws: list[tuple[Lease, Terms, int]] = []
            for purse in plan.purses:
                need = needs[purse.terms.unit]
                lease = purse.lease_for(need, now_s)
                if lease is None:
                    return _standing(plan, needs, now_s)
                draws.append((lease, purse.terms, need))
            return self._taken(plan, size, needs, draws, now_s)

    def take_unasked(self, scope: Scope, size: Size, now_s: float) -> "Reservation | Denial | None":
        """Take the bound of a call while the exporter cannot be reached, by what each budget says of that.

        A call of a user or session that nobody has asked for yet is held by what is known of others: by the budgets
        that all of them share, and by what those of each one say, whose own leases are not touched.

        `None`: nothing is known of the scope, and nothing of the same one for anybody else.
        """
        with self._lock:
            plan, own = self._plans.get(scope), True
            if plan is None or not plan.says_something:
                plan, own = self._kin.get(_without_persons(scope)), False
            if plan is None or not plan.says_something:
                return None
            needs = dict(amounts(plan.rates or Rates(), size))
            if plan.rates is None and plan.denial is not None:  # without rates, as much as was asked for and denied
                needs[plan.denial.unit] = max(needs[plan.denial.unit], plan.denial.need)
            draws: list[tuple[Lease, Terms, int]] = []
            passed: list[str] = []
            for purse in plan.purses:
                terms, need = purse.terms, needs[purse.terms.unit]
                lease = purse.lease_for(need, now_s) if own or not _of_person(terms.group) else None
                if lease is None and terms.on_unreachable == "safe":
                    lease = purse.allowance_for(need, now_s)
                if lease is not None:
                    draws.append((lease, terms, need))
                elif terms.on_unreachable == "open":
                    passed.append(terms.budget)
                else:
                    return unreachable(terms, need)
            found = self._taken(plan, size, needs, draws, now_s)
            found.open_budgets = tuple(passed)
            return found

    def _taken(
        self,
        plan: Plan,
        size: Size,
        needs: Mapping[str, int],
        draws: Sequence[tuple[Lease, Terms, int]],
        now_s: float,
    ) -> Reservation:
        decisions = self._decisions
        for lease, terms, need in draws:
            lease.free -= need
            lease.held += 1
            lease.drawn_s = now_s
            decision = (terms.budget, "admitted" if lease.id else "safe")
            decisions[decision] = decisions.get(decision, 0) + 1
        low = self._is_low(plan, needs, now_s)
        plan.asking = plan.asking or low
        return Reservation(tuple(draws), plan.rates or Rates(), size, plan.soft, low=low)

    def _is_low(self, plan: Plan, needs: Mapping[str, int], now_s: float) -> bool:
        if plan.asking or (plan.denial is not None and plan.denial.since_s <= now_s < plan.denial.until_s):
            return False
        if plan.purses:
            for purse in plan.purses:  # noqa: SIM110 - on the path of every call, where `any` is slow
                if purse.is_low(needs[purse.terms.unit], now_s):
                    return True
            return False
        return not 0 <= now_s - plan.answered_s <= REFRESH_S  # or the clock was set back

    def settle(self, reservation: Reservation, used: Used, *, reports: bool) -> Sequence[str]:
        """Give back what a call has not used, once; name the budgets of which it used more than its bound.

        `reports` tells whether a span of the call names its leases.
        """
        beyond: list[str] = []
        with self._lock:
            if reservation.settled:
                return beyond
            reservation.settled = True
            for lease, terms, need in reservation.draws:
                actual = used.usd if terms.unit == "usd" else used.tokens if terms.unit == "tokens" else used.calls
                lease.free += need - actual
                lease.used += actual
                lease.held -= 1
                lease.calls += reports
                if actual > need:
                    beyond.append(terms.budget)
        return beyond

    def taken_decisions(self) -> Mapping[tuple[str, str], int]:
        """Give how often each budget has let a call pass, and begin anew."""
        with self._lock:
            decisions, self._decisions = self._decisions, {}
            return decisions

    def rates(self, scopes: Iterable[Scope]) -> Mapping[Scope, Rates]:
        """Give the rates of those of these scopes whose rates are known."""
        with self._lock:
            plans = {scope: self._plans.get(scope) for scope in scopes}
        return {scope: plan.rates for scope, plan in plans.items() if plan is not None and plan.rates is not None}

    def asks(self, scope: Scope, size: Size) -> None:
        """Take that a lease for such a call is being asked for.

        What is left in leases that are too small for it is given back with the question, which may need it.
        """
        with self._lock:
            plan = self._plans.get(scope)
            if plan is not None:
                needs = amounts(plan.rates or Rates(), size)
                plan.asking = True
                for purse in plan.purses:
                    purse.retire(needs[purse.terms.unit])

    def apply(self, reply: Reply, asked: Sequence[tuple[Scope, Size]], now_s: float) -> None:
        """Take an answer of the exporter to these questions."""
        with self._lock:
            if self._revision != reply.revision:  # what a budget is may have changed: all is asked for anew
                self._revision = reply.revision
                self._plans.clear()
                self._kin.clear()
                for purse in self._purses.values():
                    for lease in purse.leases:
                        lease.retiring = True
            for position, (scope, size) in enumerate(asked):
                granted = reply.granted.get(position)
                denied = reply.denied.get(position)
                plan = self._plan(scope, now_s)
                needs = amounts(plan.rates or Rates(), size)
                plan.asking = False
                plan.answered_s = now_s
                plan.soft = reply.soft.get(position, ())
                if granted is not None:
                    plan.purses = tuple(self._purse(grant, needs, now_s) for grant in granted.leases)
                    plan.rates = granted.rates
                    plan.known = True
                    plan.denial = None
                    self._kin[_without_persons(scope)] = plan
                elif denied is not None:
                    self._deny(scope, plan, denied, denial_of(denied, needs, now_s))
                if reply.dimensions is not None:  # the next calls are told apart by them alone
                    self._plans[_projected(scope, reply.dimensions)] = plan
            self._forget(now_s)

    def _deny(self, scope: Scope, plan: Plan, denied: Denied, denial: Denial) -> None:
        plan.denial = denial
        if denied.terms is not None and not plan.known:
            plan.purses = (self._purse_of(denied.terms),)
            self._kin.setdefault(_without_persons(scope), plan)

    def _plan(self, scope: Scope, now_s: float) -> Plan:
        plan = self._plans.get(scope)
        if plan is None:
            plan = self._plans[scope] = Plan(used_s=now_s)
        return plan

    def _purse(self, grant: Grant, needs: Mapping[str, int], now_s: float) -> Purse:
        purse = self._purse_of(grant.terms)
        purse.add(Lease(grant, now_s), needs[grant.terms.unit])
        return purse

    def _purse_of(self, terms: Terms) -> Purse:
        key = (terms.budget, terms.group, terms.unit, terms.period_start_s)
        purse = self._purses.get(key)
        if purse is None:
            purse = self._purses[key] = Purse(terms)
        purse.terms = terms
        return purse

    def _forget(self, now_s: float) -> None:
        for scope in [scope for scope, plan in self._plans.items() if now_s - plan.used_s > PLAN_S]:
            del self._plans[scope]
        while len(self._plans) > PLANS_MAX:
            del self._plans[next(iter(self._plans))]
        while len(self._kin) > PLANS_MAX:
            del self._kin[next(iter(self._kin))]
        if len(self._purses) > PURSES_MAX:
            for key in [key for key, purse in self._purses.items() if not purse.leases]:
                del self._purses[key]

    @property
    def requests(self) -> int:
        """How many requests it takes to tell of all leases: one at least."""
        with self._lock:
            return max(-(-sum(len(purse.leases) for purse in self._purses.values()) // REPORTS_MAX), 1)

    def reports(self, now_s: float, reports_max: int = REPORTS_MAX, *, ends: bool = False) -> Sequence[LeaseReport]:
        """Tell of the leases, and give back those that are of no more use; at the process's end, of all that can be.

        Not for several threads. Calls go on meanwhile: what one report says is of one moment, but not what all say.
        """
        found: list[LeaseReport] = []
        with self._lock:
            leases = [lease for purse in self._purses.values() for lease in purse.leases]
        for first in range(0, len(leases), _STRETCH):
            with self._lock:
                found += [_report(lease, now_s, ends=ends) for lease in leases[first : first + _STRETCH]]
        if len(found) > reports_max:
            found.sort(key=lambda report: (not report.closed, report.lease.reported_s))
            del found[reports_max:]
        for report in found:
            report.lease.sequence = report.sequence
            report.lease.reported_s = now_s
        return found

    def reported(self, reports: Iterable[LeaseReport], gone: Collection[str], now_s: float) -> None:
        """Take that the exporter has these reports: what it was told of lives on, what was given back is no more.

        Of what is `gone` in its eyes nothing is taken any more.
        """
        with self._lock:
            closed = {report.lease.id for report in reports if report.closed}
            for report in reports:
                lease = report.lease
                lease.expires_s = max(lease.expires_s, now_s + lease.ttl_s)
                lease.retiring = lease.retiring or lease.id in gone
            if closed:
                for purse in self._purses.values():
                    purse.leases = [lease for lease in purse.leases if lease.id not in closed]

    @property
    def is_empty(self) -> bool:
        """Whether there is nothing to tell of, and nothing that may change."""
        with self._lock:
            return not self._plans and not any(purse.leases for purse in self._purses.values())


def _report(lease: Lease, now_s: float, *, ends: bool) -> LeaseReport:
    over = now_s >= lease.period_end_s or now_s >= lease.expires_s
    if ends or over or (not lease.held and now_s - lease.drawn_s > IDLE_S):
        lease.retiring = True
    closed = lease.retiring and not lease.held
    return LeaseReport(lease, lease.sequence + 1, min(max(lease.used, 0), AMOUNT_MAX), lease.calls, closed)


def _projected(scope: Scope, dimensions: Sequence[str]) -> Scope:
    return tuple(row for row in scope if row[0] in dimensions or row[0] in PRICED_BY)


def _without_persons(scope: Scope) -> Scope:
    return tuple(pair for pair in scope if pair[0] not in _PERSONS)


def _of_person(group: str) -> bool:
    """Tell whether a group, such as `team=search, user=u-17`, is one person's."""
    return any(f"{name}=" in group for name in _PERSONS)


def _standing(plan: Plan, needs: Mapping[str, int], now_s: float) -> Denial | None:
    """Give the denial of a scope if it still stands, for as much as this call needs."""
    denial = plan.denial
    if denial is None or not denial.since_s <= now_s < denial.until_s:
        return None
    least, need = (denial.tokens, "tokens") if plan.rates is None else (denial.need, denial.unit)
    return denial if needs[need] >= least else None
