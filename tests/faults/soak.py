"""Exporters that are killed at random under senders that never give up; `python -m tests.faults.soak` runs long.

Each round makes calls, deals their reports to senders, kills and restarts the exporters while they send, and ends with
the ledger, its sums and the counters compared with the senders' own tally. The seed makes calls, deals and kills.
"""

import argparse
import random
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from spanledger_exporter.ledger.rollups import Sums
from tests.faults.books import assert_balanced
from tests.faults.traffic import Sender, deal, traffic
from tests.servers import postgresql
from tests.servers.exporter import Exporter
from tests.servers.process import free_port, poll

SENDERS = 3


@dataclass(slots=True)
class Soak:
    """One ledger, its exporters, and what was sent to it so far."""

    url: str
    folder: Path
    dice: random.Random
    replicas: int = 1
    tally: Sums = field(default_factory=Sums)
    kills: int = 0
    retries: int = 0
    deliveries: int = 0

    def round(self, calls: int, kills: int) -> None:
        """Send calls through kills, then compare the books."""
        sent = traffic(self.dice, calls)
        addresses = [f"127.0.0.1:{free_port()}" for _ in range(self.replicas)]
        running = [self._start(address) for address in addresses]
        dealt = deal(self.dice, sent.reports, SENDERS, twice=0.1 if self.replicas == 1 else 0.5)
        senders = [Sender(addresses, reports, seed=self.dice.getrandbits(32)) for reports in dealt]
        for sender in senders:
            sender.start()
        for number in range(kills):
            _wait_for(senders, (number + 1) * sum(map(len, dealt)) // (kills + 2))
            victim = self.dice.randrange(self.replicas)
            running[victim].server.kill()
            self.kills += 1
            running[victim] = self._start(addresses[victim])
        for sender in senders:
            sender.finish()
        self.tally = self.tally.plus(sent.tally)
        self.retries += sum(sender.retries for sender in senders)
        self.deliveries += sum(len(sender.delivered) for sender in senders)
        alone = running if self.replicas == 1 else []  # several count from when they started
        assert_balanced(self.url, self.tally, *alone)
        for exporter in running:
            assert exporter.server.stop() == 0

    def _start(self, address: str) -> Exporter:
        folder = Path(tempfile.mkdtemp(dir=self.folder))
        return Exporter(self.url, folder, grpc=address)


def _wait_for(senders: Sequence[Sender], reports: int) -> None:
    def enough() -> bool:
        failed = [sender.error for sender in senders if sender.error is not None]
        if failed:
            raise failed[0]
        return sum(len(sender.acknowledged) for sender in senders) >= reports

    poll(enough, what=f"{reports} reports to be acknowledged", timeout_s=240)


def run(url: str, name: str, *, seed: int, until_s: float, replicas: int, say: Callable[[str], object]) -> None:
    """Soak one ledger until a time."""
    with tempfile.TemporaryDirectory(prefix="spanledger-soak-") as folder:
        soak = Soak(url, Path(folder), random.Random(seed), replicas)
        while time.monotonic() < until_s:
            soak.round(calls=2000, kills=4)
            say(
                f"{name} {replicas} exporters: {soak.tally.calls:,} calls, {soak.tally.cost_pusd:,} pico-USD, "
                f"{soak.kills} kills, {soak.retries:,} retries, {soak.deliveries:,} batches: all equal"
            )


def main(argv: Sequence[str] | None = None) -> int:
    """Soak SQLite, PostgreSQL, and two exporters on one PostgreSQL, a third of the time each."""
    parser = argparse.ArgumentParser(prog="make soak ARGS=", description=main.__doc__)
    parser.add_argument("minutes", nargs="?", type=float, default=10, help="how long in all (default 10)")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="what to repeat a run with")
    arguments = parser.parse_args(argv)

    def say(line: str) -> None:
        sys.stdout.write(f"{time.strftime('%H:%M:%S')} {line}\n")
        sys.stdout.flush()

    say(f"seed {arguments.seed}")
    share_s = arguments.minutes * 20
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="spanledger-soak-") as folder:
        url = f"sqlite:///{folder}/ledger.db"
        run(url, "sqlite", seed=arguments.seed, until_s=began_s + share_s, replicas=1, say=say)
    with postgresql.running(fsync=True) as cluster:
        for replicas in (1, 2):
            until_s = began_s + (1 + replicas) * share_s
            with cluster.database() as url:
                run(url, "postgresql", seed=arguments.seed, until_s=until_s, replicas=replicas, say=say)
    return 0


if __name__ == "__main__":
    sys.exit(main())
