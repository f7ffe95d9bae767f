"""A lease server in memory that speaks the exporter's API on a real socket, with books that tests can read."""

import contextlib
import json
import math
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from tests import wire_server
from tests.wire_server import Reply, Request, WireServer, json_reply

TTL_S = 300
SLICE_PARTS = 10


@dataclass
class Budget:
    """One budget; amounts in its unit."""

    name: str
    limit: int
    unit: str = "usd"
    mode: str = "hard"
    scope: dict[str, str] = field(default_factory=dict)
    per: tuple[str, ...] = ()
    on_unpriced: str = "alert"
    on_unreachable: str = "open"
    safe_allowance: int = 0
    spent: Counter[str] = field(default_factory=Counter)
    period: tuple[int, int] | None = None

    def holds(self, scope: dict[str, str]) -> bool:
        return all(scope.get(name) == value for name, value in self.scope.items())

    def group(self, scope: dict[str, str]) -> str:
        return ",".join(f"{name}={scope.get(name, '')}" for name in self.per)

    def bounds(self, now_s: float) -> tuple[int, int]:
        start_s = int(now_s) // 86400 * 86400
        return self.period or (start_s, start_s + 86400)


@dataclass
class Lease:
    id: str
    budget: Budget
    group: str
    granted: int
    process: str
    used: int = 0
    calls: int = 0
    sequence: int = 0
    closed: bool = False

    @property
    def held(self) -> int:
        """What of the limit it holds: all that was granted, or what was used once it is closed."""
        return self.used if self.closed else max(self.granted, self.used)


class LeaseServer:
    """Grants by the rules of the design: all budgets of a call or none, and no more than there is."""

    def __init__(self, wire: WireServer) -> None:
        self.wire = wire
        wire.answer = self._answer
        self.budgets: list[Budget] = []
        self.rates = {"input_pusd": 0, "output_pusd": 10**6, "request_pusd": 0, "output_tokens": 16384, "known": True}
        self.revision = 1
        self.dimensions: list[str] | None = None
        self.leases: dict[str, Lease] = {}
        self.decisions: Counter[tuple[str, str]] = Counter()
        self.failing: int | None = None
        self.gate: threading.Event | None = None
        self.token = ""
        self.share = 2
        self._lock = threading.Lock()

    @property
    def url(self) -> str:
        return self.wire.url

    @property
    def requests(self) -> list[dict[str, Any]]:
        return [request.json() for request in self.wire.requests]

    @property
    def wants(self) -> list[dict[str, Any]]:
        return [want for request in self.requests for want in request["want"]]

    def held(self, name: str) -> int:
        return sum(lease.held for lease in self.leases.values() if lease.budget.name == name)

    def used(self, name: str) -> int:
        return sum(lease.used for lease in self.leases.values() if lease.budget.name == name)

    def open(self) -> list[Lease]:
        return [lease for lease in self.leases.values() if not lease.closed]

    def _answer(self, request: Request) -> Reply:
        if self.gate is not None:
            self.gate.wait(10)
        if self.failing is not None:
            return json_reply({"error": "failing"}, self.failing)
        if self.token and request.headers.get("authorization") != f"Bearer {self.token}":
            return json_reply({"error": "who are you?"}, 401)
        if request.path != "/v1/budgets/leases":
            return json_reply({"error": "no such place"}, 404)
        with self._lock:
            return json_reply(self._served(json.loads(request.body)))

    def _served(self, asked: dict[str, Any]) -> dict[str, Any]:
        now_s = asked["now_s"]
        renewed = [self._report(report) for report in asked["reports"]]
        for each in asked["decisions"]:
            self.decisions[each["budget"], each["decision"]] += each["count"]
        answer: dict[str, Any] = {"revision": self.revision, "ttl_s": TTL_S, "renewed": renewed}
        if self.dimensions is not None:
            answer["dimensions"] = self.dimensions
        answer |= {"granted": [], "denied": [], "soft": []}
        for position, want in enumerate(asked["want"]):
            scope = {"service": asked.get("service"), "environment": asked.get("environment"), **want["scope"]}
            matching = [budget for budget in self.budgets if budget.holds(scope)]
            hard = [budget for budget in matching if budget.mode == "hard"]
            for budget in matching:
                if budget.mode == "soft" and budget.spent[budget.group(scope)] * 100 >= 75 * budget.limit:
                    percent = budget.spent[budget.group(scope)] * 100 // budget.limit
                    threshold = max(each for each in (75, 90, 100) if percent >= each)
                    standing = self._standing(position, budget, scope, now_s, "threshold")
                    answer["soft"].append({**standing, "threshold": threshold})
            denied = [reason for budget in hard if (reason := self._denied(position, want, budget, scope, now_s))]
            if denied:
                answer["denied"] += denied
            else:
                leases = [
                    self._granted(want, budget, scope, asked["process"], now_s)
                    for budget in hard
                    if self.rates["known"] or budget.unit != "usd"
                ]
                answer["granted"].append({"want": position, "leases": leases, "rates": self.rates})
        return answer

    def _report(self, report: dict[str, Any]) -> dict[str, Any]:
        lease = self.leases.get(report["lease"])
        if lease is None:
            return {"lease": report["lease"], "state": "unknown", "expires_s": 0}
        if report["sequence"] > lease.sequence:
            assert report["used"] >= lease.used, "reports are cumulative"
            assert report["calls"] >= lease.calls, "reports are cumulative"
            lease.sequence, lease.used, lease.calls = report["sequence"], report["used"], report["calls"]
            lease.closed = lease.closed or report["closed"]
        state = "closed" if lease.closed else "open"
        return {"lease": lease.id, "state": state, "expires_s": int(time.time()) + TTL_S}

    def _room(self, budget: Budget, group: str) -> int:
        mine = [each for each in self.leases.values() if each.budget is budget and each.group == group]
        return budget.limit - budget.spent[group] - sum(each.held for each in mine)

    def _need(self, want: dict[str, Any], budget: Budget) -> int:
        pusd = want["input_tokens"] * self.rates["input_pusd"] + want["output_tokens"] * self.rates["output_pusd"]
        usd = max(want["usd_micro"], -(-pusd // 10**6) * want["calls"])
        return max({"usd": usd, "tokens": want["tokens"], "calls": want["calls"]}[budget.unit], 1)

    def _denied(
        self, position: int, want: dict[str, Any], budget: Budget, scope: dict[str, str], now_s: float
    ) -> dict[str, Any] | None:
        if not self.rates["known"] and budget.unit == "usd":
            refuses = budget.on_unpriced == "refuse"
            return self._standing(position, budget, scope, now_s, "unpriced_model") if refuses else None
        if self._need(want, budget) <= self._room(budget, budget.group(scope)):
            return None
        return self._standing(position, budget, scope, now_s, "exhausted")

    def _granted(
        self, want: dict[str, Any], budget: Budget, scope: dict[str, str], process: str, now_s: float
    ) -> dict[str, Any]:
        group = budget.group(scope)
        share = min(self._room(budget, group) // self.share, math.ceil(budget.limit / SLICE_PARTS))
        lease = Lease(f"L{len(self.leases) + 1}", budget, group, max(share, self._need(want, budget)), process)
        self.leases[lease.id] = lease
        start_s, end_s = budget.bounds(now_s)
        return {
            "lease": lease.id,
            "budget": budget.name,
            "group": group,
            "unit": budget.unit,
            "granted": lease.granted,
            "limit": budget.limit,
            "mode": budget.mode,
            "on_unpriced": budget.on_unpriced,
            "on_unreachable": budget.on_unreachable,
            "safe_allowance": budget.safe_allowance,
            "period_start_s": start_s,
            "period_end_s": end_s,
            "expires_s": int(time.time()) + TTL_S,
        }

    def _standing(
        self, position: int, budget: Budget, scope: dict[str, str], now_s: float, reason: str
    ) -> dict[str, Any]:
        group = budget.group(scope)
        mine = [each for each in self.leases.values() if each.budget is budget and each.group == group]
        return {
            "want": position,
            "budget": budget.name,
            "group": group,
            "unit": budget.unit,
            "limit": budget.limit,
            "spent": budget.spent[group],
            "leased": sum(each.held for each in mine),
            "period_end_s": budget.bounds(now_s)[1],
            "reason": reason,
        }


@contextlib.contextmanager
def running() -> Iterator[LeaseServer]:
    """Run a server for the length of the block."""
    with wire_server.running() as wire:
        yield LeaseServer(wire)
