"""A process of a service that spends: 16 threads that call a make-believe provider as often as their leases allow.

    python -m tests.exporter.budgets.spender HTTP_ADDRESS FOLDER ON_UNREACHABLE ALLOWANCE SKEW_S

SKEW_S is by how many seconds its clock is wrong.

What the provider would bill is written to the file `bill` as each call is sent, a line each, so that it is known
whatever becomes of this process; each call that is refused while nobody answers is a byte of the file `refused`. It
ends once nothing is granted any more, or when there is a file `over`, and prints what it knows.
"""

import http.client
import json
import os
import queue
import random
import secrets
import sys
import threading
import time
from pathlib import Path
from typing import Any, Final

from tests.exporter.budgets.wallets import Size, Taken, Wallet
from tests.exporter.otlp_requests import CHAT, request, span

THREADS: Final = 16
REFUSALS_MAX: Final = 10
"""A thread that was refused so often in a row asks no more."""
INPUT_PUSD, OUTPUT_PUSD = 150_000, 600_000  # a token of gpt-4o-mini, as the ledger prices it
PATH: Final = "/v1/budgets/leases"
_TIMEOUT_S: Final = 5


class Spender:
    """The process: its wallet, what waits for leases, and the spans that wait to be sent."""

    def __init__(self, address: str, folder: Path, wallet: Wallet, skew_s: int) -> None:
        self._skew_s = skew_s
        self._host, _, port = address.rpartition(":")
        self._port = int(port)
        self._bill = os.open(folder / "bill", os.O_WRONLY | os.O_APPEND)
        self._refused = os.open(folder / "refused", os.O_WRONLY | os.O_APPEND)
        self._over = folder / "over"
        self._wallet = wallet
        self._asking = threading.Lock()
        self._spans: queue.Queue[Any] = queue.Queue()
        self._answered = True

    def run(self) -> None:
        """Spend until nothing is left, then deliver every span and give back every lease."""
        threads = [threading.Thread(target=self._spend) for _ in range(THREADS)]
        sender = threading.Thread(target=self._send)
        for thread in (*threads, sender):
            thread.start()
        for thread in threads:
            thread.join()
        self._spans.put(None)
        sender.join()
        self._exchange(None, ends=True)
        known = {"open": self._wallet.passed_open, "allowed": sum(self._wallet.allowed.values())}
        sys.stdout.write(json.dumps(known))

    def _now_s(self) -> float:
        return time.time() + self._skew_s

    def _now_ns(self) -> int:
        return time.time_ns() + self._skew_s * 10**9

    def _spend(self) -> None:
        chance = random.Random()
        refusals = 0
        while refusals < REFUSALS_MAX and not self._over.exists():
            size = Size(chance.randint(2_000, 20_000), chance.randint(1_000, 8_000))
            taken = self._take(size)
            if isinstance(taken, Taken):
                refusals = 0
                self._call(size, taken, chance)
            else:
                refusals += self._answered
                if not self._answered:
                    os.write(self._refused, b".")
                time.sleep(chance.uniform(0.05, 0.2))

    def _take(self, size: Size) -> Taken | str:
        taken = self._wallet.take(size, self._now_s())
        if taken != "ask":
            return taken
        with self._asking:
            taken = self._wallet.take(size, self._now_s())  # somebody else may have asked meanwhile
            if taken != "ask":
                return taken
            if not self._exchange(size):
                return self._wallet.take_unasked(size, 0)
        return self._wallet.take(size, self._now_s())

    def _call(self, size: Size, taken: Taken, chance: random.Random) -> None:
        input_tokens, output_tokens = chance.randint(1, size.input_tokens), chance.randint(0, size.output_tokens)
        cost_pusd = input_tokens * INPUT_PUSD + output_tokens * OUTPUT_PUSD
        os.write(self._bill, f"{cost_pusd}\n".encode())  # sent: it will be billed
        start_ns = self._now_ns()
        time.sleep(chance.uniform(0.001, 0.02))
        leases = {} if taken.held is None else {"spanledger.budget.leases": [taken.held.lease_id]}
        made = span({**CHAT, "gen_ai.response.id": f"chatcmpl-{secrets.token_hex(16)}",
                     "gen_ai.usage.cache_read.input_tokens": 0, "gen_ai.usage.input_tokens": input_tokens,
                     "gen_ai.usage.output_tokens": output_tokens, **leases},
                    end_ns=self._now_ns())  # fmt: skip
        made.start_time_unix_nano = start_ns
        self._spans.put(made)
        self._wallet.settle(taken, -(-cost_pusd // 10**6), self._now_s())

    def _send(self) -> None:
        """Deliver spans in batches, each until it is acknowledged; tell of the leases now and then."""
        reported_s = self._now_s()
        while (first := self._spans.get()) is not None:
            batch = [first]
            while len(batch) < 100 and not self._spans.empty():
                more = self._spans.get()
                if more is None:
                    self._spans.put(None)
                    break
                batch.append(more)
            body = request(*batch).SerializeToString()
            while self._post("/v1/traces", body, "application/x-protobuf") is None and not self._over.exists():
                time.sleep(0.05)
            if self._now_s() - reported_s > 0.5:
                reported_s = self._now_s()
                with self._asking:
                    self._exchange(None)

    def _exchange(self, size: Size | None, *, ends: bool = False) -> bool:
        sent = self._wallet.request(self._now_s(), size, ends=ends)
        answer = self._post(PATH, json.dumps(sent).encode(), "application/json")
        self._answered = answer is not None
        if answer is None:
            return False
        self._wallet.answered(sent, json.loads(answer), self._now_s())
        return True

    def _post(self, path: str, body: bytes, kind: str) -> bytes | None:
        connection = http.client.HTTPConnection(self._host, self._port, timeout=_TIMEOUT_S)
        try:
            connection.request("POST", path, body, {"content-type": kind})
            answer = connection.getresponse()
            received = answer.read()
            return received if answer.status == 200 else None
        except (OSError, http.client.HTTPException):
            return None
        finally:
            connection.close()


def main() -> None:
    """Spend."""
    address, folder, on_unreachable, allowance, skew_s = sys.argv[1:]
    wallet = Wallet(on_unreachable=on_unreachable, allowance=int(allowance), denied_s=0.2)
    Spender(address, Path(folder), wallet, int(skew_s)).run()


if __name__ == "__main__":
    main()
