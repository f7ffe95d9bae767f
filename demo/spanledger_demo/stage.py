"""The demo's cast: provider, exporter, perhaps a collector, and the sample service, each a process of its own."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from spanledger_demo.budgets import declare
from spanledger_demo.collector import plan_collector
from spanledger_demo.processes import Child, DemoError, Processes, wait_ready, wait_until
from spanledger_demo.web import is_up

SERVICE = "support-desk"
# No Prometheus watches the demo, for which a new series would be held at 0.
_AT_ONCE = {"SPANLEDGER_METRICS_NEW_SERIES_HOLD_S": "0"}
SPANLEDGER = (sys.executable, "-m", "spanledger_exporter.cli")
READY_DEADLINE_S = 30.0
# Modules that the demo's processes need, beyond what its own import has shown to be there.
NEEDED = (
    "anthropic",
    "openai",
    "httpx2",
    "uvicorn",
    "starlette",
    "opentelemetry.distro",
    "opentelemetry.exporter.otlp.proto.grpc",
    "spanledger_instrumentation",
)
# The demo shows the same on any machine: settings, keys and proxies of its user stay out of its processes.
FOREIGN_PREFIXES = ("OTEL_", "OPENAI_", "ANTHROPIC_", "SPANLEDGER_")
FOREIGN_SUFFIXES = ("_PROXY", "_proxy")
# Streams come as if somebody wrote them, so that the table shows calls of different lengths.
EVENT_INTERVAL_S = 0.01
LATENCY_S = 0.03


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Hold what runs before the service does, and where."""

    provider: Child
    provider_url: str
    exporter: Child
    metrics_url: str
    leases_url: str
    ledger: str
    collector: Child | None
    otlp: str

    @property
    def children(self) -> tuple[Child, ...]:
        """List the processes that have to stay up."""
        return tuple(child for child in (self.provider, self.exporter, self.collector) if child is not None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """Hold what the flags say about the cast."""

    seconds: float
    calls_per_s: float
    error_rate: float
    cut_rate: float
    provider_address: tuple[str, int]
    ledger: str
    collector: bool
    folder: Path
    budget_usd: float
    budget_reviews: int
    pager_url: str


def check_needed() -> None:
    """Make sure that the SDKs are there.

    Raises: DemoError, which says what to install.
    """
    missing = [name for name in NEEDED if not _is_installed(name)]
    if missing:
        raise DemoError(
            f"Not installed: {', '.join(missing)}. To get all that the demo needs: pip install 'spanledger[demo]'"
        )


def _is_installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def set_stage(processes: Processes, options: Options) -> Stage:
    """Start everything that must be there before the service.

    Raises: DemoError where something does not start.
    """
    environment = _clean_environment()
    host, port = options.provider_address
    command = [*SPANLEDGER, "provider", "--json", "--listen", f"{host}:{port}"]
    command += ["--error-rate", str(options.error_rate), "--cut-rate", str(options.cut_rate)]
    command += ["--latency-s", str(LATENCY_S), "--event-interval-s", str(EVENT_INTERVAL_S)]
    provider = processes.start("provider", command, environment)
    provider_url = wait_ready(provider, READY_DEADLINE_S)["provider"]
    any_port = "127.0.0.1:0"
    command = [*SPANLEDGER, "serve", "--grpc", any_port, "--http", any_port]
    command += ["--metrics", any_port, "--ledger", options.ledger]
    exporter = processes.start("exporter", command, {**environment, **_AT_ONCE, **_budgets(options)})
    exporter_said = wait_ready(exporter, READY_DEADLINE_S)
    collector, otlp = None, exporter_said["grpc"]
    if options.collector:
        collector, otlp = _start_collector(processes, environment, otlp, options.folder)
    return Stage(
        provider=provider,
        provider_url=provider_url,
        exporter=exporter,
        metrics_url=f"http://{exporter_said['metrics']}/metrics",
        leases_url=f"http://{exporter_said['http']}",
        ledger=options.ledger,
        collector=collector,
        otlp=otlp,
    )


def _budgets(options: Options) -> dict[str, str]:
    """Return the exporter's settings for the budgets; a service's are looked at more often than a month's need be."""
    file = declare(options.folder, usd=options.budget_usd, reviews=options.budget_reviews)
    return {
        "SPANLEDGER_BUDGETS_FILE": str(file),
        "SPANLEDGER_BUDGETS_EVALUATION_S": "1",
        "SPANLEDGER_NOTIFY_URLS": options.pager_url,
    }


def _start_collector(
    processes: Processes, environment: Mapping[str, str], exporter_grpc: str, folder: Path
) -> tuple[Child, str]:
    plan = plan_collector(exporter_grpc=exporter_grpc, folder=folder)
    child = processes.start("collector", plan.command, {**environment, **plan.environment})
    if not wait_until(lambda: is_up(plan.health) or not child.running, READY_DEADLINE_S) or not child.running:
        raise DemoError(f"The collector did not start:\n{child.complaint()}")
    return child, plan.grpc


def start_service(processes: Processes, stage: Stage, options: Options) -> Child:
    """Start the sample service as anybody would start theirs: unchanged, under `opentelemetry-instrument`."""
    environment = {
        **_clean_environment(),
        "OPENAI_BASE_URL": f"{stage.provider_url}/v1",
        "OPENAI_API_KEY": "sk-demo",
        "ANTHROPIC_BASE_URL": stage.provider_url,
        "ANTHROPIC_API_KEY": "sk-ant-demo",
        "OTEL_SERVICE_NAME": SERVICE,
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{stage.otlp}",
        "OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_ENDPOINT": stage.leases_url,
        # The SDK's default, 5 s between exports, is right for a service and slow for somebody who is watching.
        "OTEL_BSP_SCHEDULE_DELAY": "400",
    }
    command = [_instrument(), sys.executable, "-m", "spanledger_demo.service"]
    command += ["--seconds", str(options.seconds), "--calls-per-s", str(options.calls_per_s)]
    return processes.start("service", command, environment)


def _instrument() -> str:
    beside = Path(sys.executable).with_name("opentelemetry-instrument")
    found = str(beside) if beside.exists() else shutil.which("opentelemetry-instrument")
    if found is None:
        raise DemoError("opentelemetry-instrument was not found. To get it: pip install 'spanledger[demo]'")
    return found


def _clean_environment() -> dict[str, str]:
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(FOREIGN_PREFIXES) and not name.endswith(FOREIGN_SUFFIXES)
    }
