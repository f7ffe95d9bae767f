"""Calls that wait for a lease -> one question for each scope: how many of them it is for, and what they need at most.

The smallest calls come first. So what is denied to one is denied to all that wait with it, and each answer decides some
of them: with the largest first, a budget that is nearly spent would have to deny one after the other.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from spanledger_instrumentation.bound import AMOUNT_MAX, Rates, Size, amounts
from spanledger_instrumentation.ticket import Ticket
from spanledger_instrumentation.wallet import Scope

__all__ = ["CALLS_MAX", "Want", "by_need", "wanted"]

CALLS_MAX: Final = 1024
"""Calls that one question asks for at once."""


class Want(NamedTuple):
    """One question: the smallest of the calls, and what all of them need together."""

    scope: Scope
    size: Size
    calls: int
    usd_micro: int
    tokens: int

    def document(self) -> Any:
        """Give it as JSON."""
        return {
            "scope": dict(self.scope),
            "usd_micro": min(self.usd_micro, AMOUNT_MAX),
            "tokens": min(self.tokens, AMOUNT_MAX),
            "calls": self.calls,
            # Of one call: what the exporter prices itself, since we may not know the rates yet.
            "input_tokens": min(self.size.input_tokens, AMOUNT_MAX),
            "output_tokens": self.size.output_tokens(Rates()),
        }


def wanted(scope: Scope, sizes: Sequence[Size], rates: Rates, calls_max: int) -> Want:
    """Ask for the smallest of these calls, no more than so many."""
    needs = sorted([(*_need(rates, size), size) for size in sizes], key=lambda each: each[:2])[:calls_max]
    return Want(scope, needs[0][2], len(needs), sum(each[0] for each in needs), sum(each[1] for each in needs))


def by_need(tickets: Sequence[Ticket], rates: Mapping[Scope, Rates]) -> list[Ticket]:
    """Sort those that wait: the smallest first, as they are asked for."""
    return sorted(tickets, key=lambda ticket: _need(rates.get(ticket.scope, Rates()), ticket.size))


def _need(rates: Rates, size: Size) -> tuple[int, int]:
    needs = amounts(rates, size)
    return needs["usd"], needs["tokens"]
