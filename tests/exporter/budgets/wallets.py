"""A small client of the lease API: what a process knows of its leases, and what it does when nobody answers.

It follows docs/leases.md to the letter and knows nothing of the exporter. Safe for threads; no clock and no network.
"""

import threading
import uuid
from dataclasses import dataclass, field
from typing import Any, Final, Literal, NamedTuple

SCOPE: Final = {"provider": "openai", "model": "gpt-4o-mini"}


class Size(NamedTuple):
    """The most tokens that a call can have."""

    input_tokens: int
    output_tokens: int


@dataclass
class Held:
    """A lease as its process knows it."""

    lease_id: str
    free: int
    expires_s: float
    period_start_s: int
    period_end_s: int
    used: int = 0
    calls: int = 0
    under_way: int = 0
    sequence: int = 0
    idle_since_s: float = 0.0
    retiring: bool = False


class Taken(NamedTuple):
    """What a call has taken: from a lease, or (`None`) from what is allowed while nobody answers."""

    held: Held | None
    bound: int


Refusal = Literal["ask", "refused"]


@dataclass
class Wallet:
    """The leases of one process. Units: micro-USD; seconds of the process's own clock."""

    service: str = "shop"
    on_unreachable: str = "closed"
    allowance: int = 0
    denied_s: float = 20.0
    process: str = field(default_factory=lambda: str(uuid.uuid4()))
    held: list[Held] = field(default_factory=list[Held])
    rates: dict[str, int] | None = None
    revision: int | None = None
    denied_until_s: float = 0.0
    allowed: dict[int, int] = field(default_factory=dict[int, int])
    passed_open: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def bound(self, size: Size) -> int:
        """What a call of that size can come to, at the dearest rates."""
        assert self.rates is not None, "rates come with the first answer"
        pusd = self.rates["input_pusd"] * size.input_tokens + self.rates["output_pusd"] * size.output_tokens
        return -(-(pusd + self.rates["request_pusd"]) // 10**6)

    def take(self, size: Size, now_s: float) -> Taken | Refusal:
        """Take the bound of a call from one lease, or say that one has to be asked for."""
        with self.lock:
            if self.rates is None:
                return "ask"
            bound = self.bound(size)
            for each in self.held:
                good = each.period_start_s <= now_s < each.period_end_s and now_s < each.expires_s
                if good and not each.retiring and each.free >= bound:
                    each.free -= bound
                    each.under_way += 1
                    return Taken(each, bound)
            return "refused" if now_s < self.denied_until_s else "ask"

    def take_unasked(self, size: Size, period_start_s: int) -> Taken | Refusal:
        """Take the bound of a call while the exporter does not answer, as the budget says."""
        with self.lock:
            bound = 0 if self.rates is None else self.bound(size)
            if self.on_unreachable == "open":
                self.passed_open += bound
                return Taken(None, bound)
            used = self.allowed.get(period_start_s, 0)
            if self.on_unreachable == "safe" and self.rates is not None and used + bound <= self.allowance:
                self.allowed[period_start_s] = used + bound
                return Taken(None, bound)
            return "refused"

    def settle(self, taken: Taken, used: int, now_s: float) -> None:
        """Take the end of a call: what it did not use is free again."""
        if taken.held is None:
            return
        with self.lock:
            taken.held.free += taken.bound - used
            taken.held.used += used
            taken.held.calls += 1
            taken.held.under_way -= 1
            taken.held.idle_since_s = now_s

    def request(self, now_s: float, size: Size | None = None, *, ends: bool = False) -> dict[str, Any]:
        """What to send: a report of every lease, and a question if a call of that size waits."""
        with self.lock:
            for each in self.held:
                over = not each.period_start_s <= now_s < each.period_end_s or now_s >= each.expires_s
                small = size is not None and self.rates is not None and each.free < self.bound(size)
                idle = now_s - each.idle_since_s > 60
                each.retiring = each.retiring or ends or over or (not each.under_way and (small or idle))
                each.sequence += 1
            return {
                "process": self.process,
                "service": self.service,
                "now_s": now_s,
                "want": [] if size is None else [self._want(size)],
                "reports": [
                    {
                        "lease": each.lease_id,
                        "sequence": each.sequence,
                        "used": each.used,
                        "calls": each.calls,
                        "closed": each.retiring and not each.under_way,
                    }
                    for each in self.held
                ],
            }

    def _want(self, size: Size) -> dict[str, Any]:
        needed = 0 if self.rates is None else self.bound(size)
        return {"scope": SCOPE, "usd_micro": needed, **size._asdict()}

    def answered(self, sent: dict[str, Any], answer: dict[str, Any], now_s: float) -> None:
        """Take the answer to a request."""
        with self.lock:
            closed = {report["lease"] for report in sent["reports"] if report["closed"]}
            self.held = [each for each in self.held if each.lease_id not in closed]
            by_id = {each.lease_id: each for each in self.held}
            for told in answer["renewed"]:
                each = by_id.get(told["lease"])
                if each is not None and told["state"] == "open":
                    each.expires_s = now_s + answer["ttl_s"]
                elif each is not None:
                    each.retiring = True
            if self.revision not in (None, answer["revision"]):
                for each in self.held:
                    each.retiring = True
            self.revision = answer["revision"]
            for granted in answer["granted"]:
                self.rates = granted["rates"]
                self.denied_until_s = 0.0
                self.held += [_held(lease, now_s, answer["ttl_s"]) for lease in granted["leases"]]
            if answer["denied"]:
                self.denied_until_s = now_s + self.denied_s


def _held(lease: dict[str, Any], now_s: float, ttl_s: int) -> Held:
    return Held(
        lease_id=lease["lease"],
        free=lease["granted"],
        expires_s=now_s + ttl_s,
        period_start_s=lease["period_start_s"],
        period_end_s=lease["period_end_s"],
        idle_since_s=now_s,
    )
