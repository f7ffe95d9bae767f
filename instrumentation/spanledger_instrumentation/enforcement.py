"""A call that is about to be sent -> admitted, with what it may spend taken from its budgets' leases, or refused.

Off unless an exporter is named to lease from. What is known in memory is decided there; the first call of a scope waits
for one answer, with a deadline. Where no answer comes, each budget says what becomes of its calls; of what nothing is
known, the settings do. A mistake of ours refuses nothing.
"""

import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from functools import lru_cache
from math import ceil
from typing import Final
from weakref import WeakSet

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation.admission import Admission
from spanledger_instrumentation.bound import Size
from spanledger_instrumentation.estimate import Ratios
from spanledger_instrumentation.lease_address import LeaseAddress
from spanledger_instrumentation.lease_client import LeaseClient
from spanledger_instrumentation.lease_messages import Denied
from spanledger_instrumentation.providers.values import AttributeValue
from spanledger_instrumentation.ticket import Ticket
from spanledger_instrumentation.wallet import PRICED_BY, Denial, Reservation, Scope

__all__ = ["Enforcer", "scope_of"]

_LOGGER = logging.getLogger(__name__)

NOTICES_MAX: Final = 4096
"""Thresholds of soft budgets that were said to be crossed; beyond, all are forgotten, and may be said again."""
_DIMENSIONS: Final = (
    ("api_key", names.API_KEY_HASH),
    ("feature", names.FEATURE),
    ("model", names.REQUEST_MODEL),
    ("organization", names.ORGANIZATION),
    ("project", names.PROJECT),
    ("provider", names.PROVIDER_NAME),
    ("session", names.SESSION_ID),
    ("team", names.TEAM),
    ("user", names.USER_ID),
)
"""What a budget may look at, and where a call has it. Service and environment are the process's own."""


@lru_cache(maxsize=8)
def _rows(dimensions: frozenset[str] | None) -> tuple[tuple[str, str], ...]:
    if dimensions is None:
        return _DIMENSIONS
    return tuple(row for row in _DIMENSIONS if row[0] in dimensions or row[0] in PRICED_BY)


def scope_of(attributes: Mapping[str, AttributeValue], dimensions: frozenset[str] | None) -> Scope:
    """Say whose call this is, as far as budgets look at it; `None`: at everything."""
    return tuple([(name, attributes[at]) for name, at in _rows(dimensions) if at in attributes])


class Enforcer:
    """Decide of each call of this process."""

    def __init__(
        self,
        address: LeaseAddress,
        whose: Callable[[], Mapping[str, str]],
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.timeout_s = address.timeout_s
        self.client = LeaseClient(address, whose, clock=clock)
        self.ratios = Ratios()
        self._bytes_per_token = address.bytes_per_token
        self._closed = address.closed
        self._clock = clock
        self._said: set[tuple[str, str, int, int]] = set()
        _ENFORCERS.add(self)

    def admit(self, attributes: Mapping[str, AttributeValue], size: Size, wire_owner: str) -> Admission:
        """Decide of a call, at once or, where that must be asked first, when it has waited.

        The size has a token of the input for each byte of the request.
        """
        client = self.client
        model = attributes.get(names.PROVIDER_NAME), attributes.get(names.REQUEST_MODEL)
        admission = Admission(self, size.input_tokens, model, wire_owner)
        if self._bytes_per_token > 1:
            size = size._replace(input_tokens=ceil(size.input_tokens / self._bytes_per_token))
        scope = scope_of(attributes, client.dimensions)
        answer = client.wallet.take(scope, size, self._clock())
        if answer is None:
            ticket = None if client.unreachable else client.ask(scope, size)
            if ticket is None:
                self._decide_unasked(admission, scope, size)
            else:
                admission.decide(None, waits=ticket)
            return admission
        self._take(admission, answer, scope, size)
        return admission

    def _take(self, admission: Admission, answer: Reservation | Denial, scope: Scope, size: Size) -> None:
        admission.decide(answer)
        self._count(answer)
        if isinstance(answer, Reservation) and answer.low:
            self.client.prefetch(scope, size)

    def conclude(self, admission: Admission, ticket: Ticket) -> None:
        """Take what the ticket has been decided by, or decide it now: it was waited for long enough."""
        if not ticket.decided and ticket.decide(lambda: None, finally_=True) and ticket.answer is None:
            self.client.unanswered()
        if ticket.answer is None:
            self._decide_unasked(admission, ticket.scope, ticket.size)
        else:
            self._take(admission, ticket.answer, ticket.scope, ticket.size)

    def _decide_unasked(self, admission: Admission, scope: Scope, size: Size) -> None:
        self.client.prefetch(scope, size)
        answer = self.client.wallet.take_unasked(scope, size, self._clock())
        if answer is None and self._closed:
            answer = _NOTHING_KNOWN
        admission.decide(answer)
        self._count(answer)

    def _count(self, answer: Reservation | Denial | None) -> None:
        count = self.client.count
        if isinstance(answer, Denial):
            count(answer.budget, "closed" if answer.reason in _UNASKED else "refused")
        elif answer is not None:  # what was taken is counted where it is taken
            for budget in answer.open_budgets:
                count(budget, "failed_open")
        else:
            count("", "failed_open")

    def notice(self, soft: Iterable[Denied]) -> str:
        """Give the header that tells of soft budgets near their limits, and say once in the log what is crossed."""
        found: list[str] = []
        for each in soft:
            percent = 100 if each.limit <= 0 else each.spent * 100 // each.limit
            found.append(f"{each.budget} {percent}%")
            self._say(each, percent, percent if each.threshold is None else each.threshold)
        return ", ".join(found).encode("ascii", "replace").decode()

    def _say(self, soft: Denied, percent: int, threshold: int) -> None:
        key = (soft.budget, soft.group, soft.period_end_s, threshold)
        if key in self._said:
            return
        if len(self._said) >= NOTICES_MAX:
            self._said.clear()
        self._said.add(key)
        _LOGGER.warning(
            "spanledger: budget %s%s has spent %d %% of its limit, and is over its threshold of %d %%",
            soft.budget,
            f" ({soft.group})" if soft.group else "",
            percent,
            threshold,
        )

    def stop(self) -> None:
        """Give all leases back."""
        self.client.stop()


_UNASKED: Final = frozenset({"unreachable", "allowance", "nothing_known"})
_NOTHING_KNOWN: Final = Denial(
    budget="", group="", unit="usd", limit=0, spent=0, leased=0, period_end_s=0, reason="nothing_known"
)
_ENFORCERS: WeakSet[Enforcer] = WeakSet()


def _after_fork() -> None:
    for enforcer in list(_ENFORCERS):
        enforcer.client.begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
