"""The sample service of the end-to-end tests in a process of its own, as anybody would start theirs."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spanledger_demo.provider import Provider
from tests.servers.otelcol import Collector


class Service:
    """The service under `opentelemetry-instrument`, told of a provider, a collector, and what `environ` adds."""

    def __init__(self, folder: Path, provider: Provider, collector: Collector, environ: Mapping[str, str]) -> None:
        instrument = Path(sys.executable).with_name("opentelemetry-instrument")
        usual = {
            "OPENAI_BASE_URL": provider.openai_url,
            "OPENAI_API_KEY": "sk-test",
            "OTEL_SERVICE_NAME": "sample",
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{collector.grpc}",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
        }
        with (folder / "service.log").open("ab") as log:
            self._process = subprocess.Popen(
                [instrument, sys.executable, Path(__file__).with_name("service.py")],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True,
                env={**os.environ, **usual, **environ},
            )  # fmt: skip

    def call(self, count: int) -> list[dict[str, Any]]:
        """Make so many calls, and return what became of each."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(f"{count}\n")
        self._process.stdin.flush()
        return [json.loads(self._process.stdout.readline()) for _ in range(count)]

    def end(self) -> None:
        """Let it come to its end, at which its SDK sends what it still holds."""
        self._process.communicate(timeout=60)

    def __enter__(self) -> "Service":
        return self

    def __exit__(self, *_exc: object) -> None:
        self.end()
