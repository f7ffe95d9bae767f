"""One call at the gate of its budgets: what was decided, the wait for it, and the settlement at its end."""

import sys
import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from spanledger_instrumentation.bound import amounts, cost_usd_micro
from spanledger_instrumentation.estimate import Ratios
from spanledger_instrumentation.lease_messages import Denied
from spanledger_instrumentation.refusals import Refusal, refusal_of
from spanledger_instrumentation.ticket import Ticket
from spanledger_instrumentation.usage import Usage, UsageStatus
from spanledger_instrumentation.wallet import Denial, Reservation, Used

if TYPE_CHECKING:  # loaded where budgets are enforced
    from spanledger_instrumentation.lease_client import LeaseClient

__all__ = ["Admission"]


class Decider(Protocol):
    """Who decides of the calls of this process (enforcement.py)."""

    timeout_s: float
    client: "LeaseClient"
    ratios: Ratios

    def conclude(self, admission: "Admission", ticket: Ticket) -> None:
        """Take what the ticket has been decided by, or decide it now."""
        ...

    def notice(self, soft: Iterable[Denied]) -> str:
        """Give the header that tells of soft budgets."""
        ...


class Admission:
    """What was decided of one call, or is still to be; then what it has taken, until it is settled."""

    __slots__ = ("_enforcer", "_model", "_sent_bytes", "_ticket", "_wire_owner", "denial", "reservation")

    def __init__(self, enforcer: "Decider", sent_bytes: int, model: tuple[object, object], wire_owner: str) -> None:
        self._enforcer = enforcer
        self._model = model
        self._wire_owner = wire_owner
        self._sent_bytes = sent_bytes
        self._ticket: Ticket | None = None
        self.denial: Denial | None = None
        self.reservation: Reservation | None = None

    @property
    def pending(self) -> bool:
        """Whether it must be waited for."""
        return self._ticket is not None

    @property
    def holds(self) -> bool:
        """Whether it has taken anything that must be settled."""
        return self.reservation is not None and bool(self.reservation.draws)

    @property
    def lease_ids(self) -> tuple[str, ...]:
        """Name the leases that the call's span is to name."""
        return () if self.reservation is None else self.reservation.lease_ids

    def refusal(self) -> Refusal | None:
        """Give the answer to a call that is refused, as its provider would give it."""
        return None if self.denial is None else refusal_of(self.denial, str(self._model[0]), self._wire_owner)

    def decide(self, answer: "Reservation | Denial | None", *, waits: Ticket | None = None) -> None:
        """Take what was found out, or the ticket to wait for."""
        self._ticket = waits
        if isinstance(answer, Denial):
            self.denial = answer
        else:
            self.reservation = answer

    def wait(self) -> None:
        """Wait until it is decided, in this thread, or until the deadline."""
        ticket = self._ticket
        if ticket is not None:
            try:
                decided = threading.Event()
                ticket.when_decided(decided.set)
                decided.wait(self._enforcer.timeout_s)
            except BaseException:
                self._abandon(ticket)
                raise
            self._enforcer.conclude(self, ticket)

    async def wait_async(self) -> None:
        """Wait until it is decided, and let the event loop go on: asyncio's or trio's."""
        ticket = self._ticket
        if ticket is None:
            return
        try:
            trio: Any = sys.modules.get("trio")  # no dependency: loaded only if the app runs on it
            if trio is not None and trio.lowlevel.in_trio_task():
                await _wait_in_trio(trio, ticket, self._enforcer.timeout_s)
            else:
                await _wait_in_asyncio(ticket, self._enforcer.timeout_s)
        except BaseException:  # the task was cancelled, above all
            self._abandon(ticket)
            raise
        self._enforcer.conclude(self, ticket)

    def _abandon(self, ticket: Ticket) -> None:
        """Wait no more; what was taken for it meanwhile is settled when the call ends."""
        ticket.decide(lambda: None, finally_=True)
        self.decide(ticket.answer)

    def notice(self) -> str:
        """Give the header that tells of soft budgets near their limits."""
        return (
            ""
            if self.reservation is None or not self.reservation.soft
            else self._enforcer.notice(self.reservation.soft)
        )

    def settle(self, usage: Usage | None, status: UsageStatus, received_bytes: int | None, *, reports: bool) -> None:
        """Take the end of the call; give back what it did not use.

        `received_bytes` are those of a stream's decoded body, `None` where no stream came; `reports` tells whether a
        span of the call names its leases.
        """
        if self._ticket is not None:  # nobody waits for it any more, and what comes must not be taken for it
            self._abandon(self._ticket)
        reservation = self.reservation
        if reservation is None or not reservation.draws:
            return
        ratios = self._enforcer.ratios
        if status == "reported" and usage is not None:
            ratios.learn(self._model, usage, self._sent_bytes, received_bytes)
        estimate = ratios.estimate(self._model, self._sent_bytes, received_bytes)
        used = _used(reservation, usage, status, received_bytes, estimate)
        for budget in self._enforcer.client.wallet.settle(reservation, used, reports=reports):
            self._enforcer.client.count(budget, "over_bound")


async def _wait_in_asyncio(ticket: Ticket, timeout_s: float) -> None:
    import asyncio  # which the app has loaded, and a program without one is spared

    loop, decided = asyncio.get_running_loop(), asyncio.Event()

    def wake() -> None:
        with suppress(RuntimeError):  # the loop is closed: nobody waits any more
            loop.call_soon_threadsafe(decided.set)

    ticket.when_decided(wake)
    with suppress(TimeoutError):
        await asyncio.wait_for(decided.wait(), timeout_s)


async def _wait_in_trio(trio: Any, ticket: Ticket, timeout_s: float) -> None:
    token, decided = trio.lowlevel.current_trio_token(), trio.Event()

    def wake() -> None:
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(decided.set)

    ticket.when_decided(wake)
    with trio.move_on_after(timeout_s):
        await decided.wait()


def _used(
    reservation: Reservation,
    usage: Usage | None,
    status: UsageStatus,
    received_bytes: int | None,
    estimate: tuple[int | None, int | None],
) -> Used:
    """Say what a call came to, by the dearest rates; what is not known is never taken for less than it may be.

    1. Nothing was sent, or nothing is billed: nothing. 2. The provider's figures. 3. A stream that was left: its input,
    and the output that came, as figures say, else as the model's other calls have shown, else a token for each byte;
    never more than the bound. 4. Nothing is known: the bound.
    """
    size, rates = reservation.size, reservation.rates
    if status == "none":
        return Used(0, 0, 1)
    known = usage or Usage()
    inputs, outputs = known.input_tokens, known.output_tokens
    if status == "reported" and (inputs is not None or outputs is not None):
        return _priced(reservation, inputs or 0, outputs or 0)
    if received_bytes is not None and status != "reported":
        if inputs is None:
            inputs = size.input_tokens if estimate[0] is None else min(estimate[0], size.input_tokens)
        came = received_bytes if estimate[1] is None else estimate[1]
        return _priced(reservation, inputs, max(outputs or 0, min(came, size.output_tokens(rates))))
    bound = amounts(rates, size)
    return Used(bound["usd"], bound["tokens"], 1)


def _priced(reservation: Reservation, inputs: int, outputs: int) -> Used:
    return Used(cost_usd_micro(reservation.rates, inputs, outputs), inputs + outputs, 1)
