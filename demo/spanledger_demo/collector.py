"""The real OpenTelemetry collector in the demo: where its binary and its configuration are, and what it is told."""

from __future__ import annotations

import itertools
import os
import random
import shutil
import socket
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from spanledger_demo.processes import DemoError

BINARY_VARIABLE = "SPANLEDGER_OTELCOL"
BINARY_NAMES = ("otelcol-spanledger", "otelcol-contrib", "otelcol")
CONFIG_NAME = "otel-collector.yaml"
# Below the range from which systems take ports for outgoing connections, which could take one in between.
PORTS = range(12_000, 32_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Collector:
    """Hold how the collector is started, and where it listens."""

    command: Sequence[str]
    environment: Mapping[str, str]
    grpc: str
    health: str
    metrics: str


def plan_collector(*, exporter_grpc: str, folder: Path) -> Collector:
    """Decide how to run the collector in front of the exporter, on ports that are free now.

    Raises: DemoError where there is no collector.
    """
    binary, config = find_binary(), find_config()
    grpc, http, health, metrics, services = _free_ports(5)
    return Collector(
        command=[str(binary), "--config", str(config)],
        environment={
            "SPANLEDGER_ENDPOINT": exporter_grpc,
            "SPANLEDGER_COLLECTOR_DIR": str(folder / "collector-queue"),
            "SPANLEDGER_COLLECTOR_GRPC": f"127.0.0.1:{grpc}",
            "SPANLEDGER_COLLECTOR_HTTP": f"127.0.0.1:{http}",
            "SPANLEDGER_COLLECTOR_HEALTH": f"127.0.0.1:{health}",
            "SPANLEDGER_COLLECTOR_METRICS_HOST": "127.0.0.1",
            "SPANLEDGER_COLLECTOR_METRICS_PORT": str(metrics),
            "SPANLEDGER_COLLECTOR_SERVICES": f"127.0.0.1:{services}",
        },
        grpc=f"127.0.0.1:{grpc}",
        health=f"http://127.0.0.1:{health}/",
        metrics=f"http://127.0.0.1:{metrics}/metrics",
    )


def find_binary() -> Path:
    """Find a collector: named by a variable, on the PATH, or built for the tests.

    Raises: DemoError where there is none.
    """
    if named := os.environ.get(BINARY_VARIABLE):
        if not os.access(named, os.X_OK):
            raise DemoError(f"{BINARY_VARIABLE} is {named}, which is no program.")
        return Path(named)
    for name in BINARY_NAMES:
        if found := shutil.which(name):
            return Path(found)
    # Builds of older manifests may lack what the configuration wants.
    built = max(_builds().glob(f"*/{BINARY_NAMES[0]}"), key=lambda path: path.stat().st_mtime, default=None)
    if built:
        return built
    raise DemoError(
        f"No OpenTelemetry collector was found: put one of {', '.join(BINARY_NAMES)} on the PATH, or name it in "
        f"{BINARY_VARIABLE}. The demo runs without it too: leave out --collector."
    )


def find_config() -> Path:
    """Find the collector's configuration: in the checkout, or inside the installed package.

    Raises: DemoError where neither has it.
    """
    for folder in (_checkout(), Path(__file__).parent):
        if (folder / CONFIG_NAME).is_file():
            return folder / CONFIG_NAME
    raise DemoError(f"{CONFIG_NAME} is neither in a checkout nor in the installed package.")


def _checkout() -> Path:
    return Path(__file__).parents[2]


def _builds() -> Path:
    """Return where tests/collector/build.py keeps what it has built."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "spanledger" / "otelcol"


def _free_ports(count: int) -> list[int]:
    """Find ports that nobody listens on now."""
    return list(itertools.islice(filter(_is_free, random.sample(PORTS, len(PORTS))), count))


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True
