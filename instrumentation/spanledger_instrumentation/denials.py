"""What the exporter says of a budget that has no room for a call -> why the call is refused, and for how long."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from spanledger_instrumentation.lease_messages import Denied, Terms

__all__ = ["Denial", "denial_of", "unreachable"]

DENIED_S: Final = 1
"""How long nothing is asked for again of a budget whose rest others hold; they may give it back."""
SPENT_S: Final = 10
"""The same of a budget that is spent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Denial:
    """Why a call is refused."""

    budget: str
    group: str
    unit: str
    limit: int
    spent: int
    leased: int
    period_end_s: int
    reason: str
    """`exhausted` or another one of the exporter's; `unreachable` or `allowance` where it cannot be asked."""
    need: int = 0
    tokens: int = 0
    """What the call can use at most, by which others are told from it where the rates are not known."""
    since_s: float = 0.0
    until_s: float = 0.0
    """When it is worth asking again; or before `since_s`, if the clock was set back."""


def denial_of(denied: Denied, needs: Mapping[str, int], now_s: float) -> Denial:
    """Return why a call that needs so much is refused."""
    pause_s = SPENT_S if denied.spent >= denied.limit else DENIED_S
    return Denial(
        budget=denied.budget,
        group=denied.group,
        unit=denied.unit,
        limit=denied.limit,
        spent=denied.spent,
        leased=denied.leased,
        period_end_s=denied.period_end_s,
        reason=denied.reason,
        need=max(needs[denied.unit], denied.needed),
        tokens=needs["tokens"],
        since_s=now_s,
        until_s=min(now_s + pause_s, max(float(denied.period_end_s), now_s + DENIED_S)),
    )


def unreachable(terms: Terms, need: int) -> Denial:
    """Return why a call is refused where nobody can be asked."""
    return Denial(
        budget=terms.budget,
        group=terms.group,
        unit=terms.unit,
        limit=terms.limit,
        spent=0,
        leased=0,
        period_end_s=terms.period_end_s,
        reason="unreachable" if terms.on_unreachable == "closed" else "allowance",
        need=need,
    )
