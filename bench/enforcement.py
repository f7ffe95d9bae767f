"""What enforcing budgets adds to a call: the decision before it is sent, and the settlement at its end.

In one process and one thread, with leases that are large enough never to be asked for again: the hot path, on which
nothing is sent. CPU time by the call, the median of many turns, with one hard budget and with four (company, team,
project, user), each for a scope of nine dimensions, which stays the same or is one of a thousand users'. Beside it, how
many decisions eight threads make in a second, of one budget and under one lock.
"""

import argparse
import json
import statistics
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation.bound import size_of
from spanledger_instrumentation.enforcement import Enforcer, scope_of
from spanledger_instrumentation.lease_address import LeaseAddress
from spanledger_instrumentation.lease_messages import Granted, read_reply
from spanledger_instrumentation.providers.values import AttributeValue
from spanledger_instrumentation.usage import Usage

LIMIT_US: Final = 10.0
"""Of a decision, with one budget."""
TURNS: Final = 41
CALLS: Final = 2000
THREADS: Final = 8
USERS: Final = 1000
BODY_BYTES: Final = 2048
USED: Final = Usage(input_tokens=500, output_tokens=300)


def request(user: int) -> dict[str, AttributeValue]:
    """The attributes of a call."""
    return {
        names.OPERATION_NAME: "chat",
        names.PROVIDER_NAME: "openai",
        names.REQUEST_MODEL: "gpt-5-mini",
        names.REQUEST_MAX_TOKENS: 1000,
        names.TEAM: "search",
        names.PROJECT: "assistant",
        names.FEATURE: "summary",
        names.USER_ID: f"u-{user}",
        names.SESSION_ID: "s-1",
        names.API_KEY_HASH: "0f9d1c2b3a4857665544332211000fed",
        names.ORGANIZATION: "org-1",
    }


def enforcer_of(budgets: int, users: int) -> Enforcer:
    """An enforcer that holds large leases of so many budgets, for the scopes of so many users."""
    enforcer = Enforcer(LeaseAddress(url="http://127.0.0.1:9"), dict)
    lease = {
        "group": "",
        "unit": "usd",
        "granted": 2**50,
        "limit": 2**52,
        "period_start_s": 0,
        "period_end_s": 2**40,
    }
    leases = [{**lease, "lease": f"l{number}", "budget": f"b{number}"} for number in range(budgets)]
    rates = {"input_pusd": 250_000, "output_pusd": 2_000_000, "request_pusd": 0}
    reply = read_reply(
        {"revision": 1, "ttl_s": 2**30, "granted": [{"want": 0, "leases": leases, "rates": rates}], "denied": []}
    )
    assert isinstance(reply.granted[0], Granted)
    for user in range(users):
        scope = scope_of(request(user), None)
        size = size_of(request(user), BODY_BYTES)
        enforcer.client.wallet.asks(scope, size)
        enforcer.client.wallet.apply(reply, [(scope, size)], time.time())
    return enforcer


def cpu_us(work: Callable[[int], object]) -> float:
    """The CPU time of one call.

    Units: microseconds.
    """
    taken: list[float] = []
    for _ in range(TURNS):
        begun = time.process_time()
        for number in range(CALLS):
            work(number)
        taken.append((time.process_time() - begun) / CALLS * 1e6)
    return statistics.median(taken)


def decision_us(budgets: int, users: int) -> tuple[float, float]:
    """Measure a decision alone, and one with the settlement of its call."""
    enforcer = enforcer_of(budgets, users)
    requests = [request(user) for user in range(users)]

    def decide(number: int) -> object:
        attributes = requests[number % users]
        return enforcer.admit(attributes, size_of(attributes, BODY_BYTES), "openai")

    def whole(number: int) -> None:
        attributes = requests[number % users]
        admission = enforcer.admit(attributes, size_of(attributes, BODY_BYTES), "openai")
        assert admission.holds
        admission.settle(USED, "reported", None, reports=True)

    return cpu_us(decide), cpu_us(whole)


def decisions_per_s() -> float:
    """Let threads decide and settle at once, of one budget."""
    enforcer = enforcer_of(1, 1)
    attributes = request(0)
    size = size_of(attributes, BODY_BYTES)

    def work() -> None:
        for _ in range(CALLS):
            enforcer.admit(attributes, size, "openai").settle(USED, "reported", None, reports=True)

    threads = [threading.Thread(target=work) for _ in range(THREADS)]
    begun = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    found = THREADS * CALLS / (time.perf_counter() - begun)
    (report,) = enforcer.client.wallet.reports(time.time())
    assert report.calls == THREADS * CALLS, "a settlement was lost"
    return found


def measure() -> Mapping[str, float]:
    """Measure everything."""
    found: dict[str, float] = {}
    for name, budgets, users in (("one_budget", 1, 1), ("four_budgets", 4, 1), ("thousand_users", 4, USERS)):
        decided, settled = decision_us(budgets, users)
        found[f"{name}_decision_us"] = round(decided, 2)
        found[f"{name}_with_settlement_us"] = round(settled, 2)
    found["decisions_per_s_8_threads"] = round(decisions_per_s())
    return {**found, "limit_us": LIMIT_US}


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures; fail beyond the limit."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    options = parser.parse_args(argv)
    found = measure()
    if options.json:
        print(json.dumps(found))
    else:
        for name, value in found.items():
            print(f"{name:34} {value:12,.2f}")
    return 0 if found["one_budget_decision_us"] < LIMIT_US else 1


if __name__ == "__main__":
    sys.exit(main())
