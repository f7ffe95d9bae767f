"""A real OpenTelemetry Collector that runs otel-collector.yaml, on ports and with a queue of its own."""

from collections.abc import Mapping
from pathlib import Path

from tests.collector import build
from tests.servers.process import Server, free_port, get, missing

CONFIG = Path(__file__).parents[2] / "otel-collector.yaml"


def program() -> Path:
    """Return the collector's program, built first if need be; skip the test where it cannot be (on CI, fail)."""
    try:
        return build.build()
    except build.BuildError as error:
        missing(f"no OpenTelemetry Collector: {error}")


class Collector:
    """A collector that can be started, killed and started again on the same ports and the same queue."""

    def __init__(self, program: Path, folder: Path, *, endpoint: str) -> None:
        self.program = program
        self.folder = folder
        self.endpoint = endpoint
        self.grpc = f"127.0.0.1:{free_port()}"
        self.http = f"127.0.0.1:{free_port()}"
        self._health = f"127.0.0.1:{free_port()}"
        self.metrics_address = f"127.0.0.1:{free_port()}"
        self.services = f"127.0.0.1:{free_port()}"

    def start(self, *, config: Path = CONFIG, env: Mapping[str, str] | None = None) -> Server:
        """Start the collector and wait until it says that it is well."""
        server = Server(
            [self.program, "--config", config],
            log=self.folder / "otelcol.log",
            env={**self._environment(), **(env or {})},
        )
        server.wait_until(lambda: get(f"http://{self._health}/"))
        return server

    def metrics(self) -> str:
        """Return the collector's own metrics; nothing while it does not answer."""
        return get(f"http://{self.metrics_address}/metrics") or ""

    def _environment(self) -> dict[str, str]:
        return {
            "SPANLEDGER_ENDPOINT": self.endpoint,
            "SPANLEDGER_COLLECTOR_DIR": str(self.folder / "queue"),
            "SPANLEDGER_COLLECTOR_GRPC": self.grpc,
            "SPANLEDGER_COLLECTOR_HTTP": self.http,
            "SPANLEDGER_COLLECTOR_HEALTH": self._health,
            "SPANLEDGER_COLLECTOR_METRICS_PORT": self.metrics_address.rpartition(":")[2],
            "SPANLEDGER_COLLECTOR_SERVICES": self.services,
        }
