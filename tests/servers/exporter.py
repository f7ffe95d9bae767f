"""The real exporter as operators run it: `spanledger serve` in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.servers.process import Server

SPANLEDGER = Path(sys.executable).with_name("spanledger")
ANY_PORT = "127.0.0.1:0"


class Exporter:
    """A running `spanledger serve`, and the addresses that it announced."""

    def __init__(
        self,
        ledger: str,
        folder: Path,
        *,
        grpc: str = ANY_PORT,
        http: str = ANY_PORT,
        metrics: str = ANY_PORT,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self.ledger = ledger
        self.server = Server(
            [SPANLEDGER, "serve", "--grpc", grpc, "--http", http, "--metrics", metrics, "--ledger", ledger],
            log=folder / "exporter.log",
            # No Prometheus watches most of them, for which a new series would be held at 0.
            env={"SPANLEDGER_METRICS_NEW_SERIES_HOLD_S": "0", **(environ or {})},
        )
        announced = self.server.wait_until(self._announced)
        self.grpc, self.http, self.metrics = (announced[name] for name in ("grpc", "http", "metrics"))

    def _announced(self) -> dict[str, str] | None:
        """Return what the line `ready grpc=ADDR http=ADDR metrics=ADDR ledger=URL` says, once it is there."""
        for line in self.server.log_text().splitlines(keepends=True):
            if line.startswith("ready ") and line.endswith("\n"):
                return dict(word.split("=", 1) for word in line.split()[1:])
        return None


def entries(ledger: str) -> list[dict[str, Any]]:  # JSON objects: their keys are the ledger's columns
    """Return all entries of a ledger, as `spanledger entries --json` prints them."""
    printed = subprocess.run(
        [SPANLEDGER, "entries", "--ledger", ledger, "--json"], check=True, capture_output=True, text=True
    )
    return [json.loads(line) for line in printed.stdout.splitlines()]
