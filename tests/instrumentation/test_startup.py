"""Activation is light, and is left out when the user says so."""

import os
import subprocess
import sys

import pytest

HEAVY = ("httpx", "httpx2", "grpc", "sqlalchemy", "prometheus_client", "openai", "anthropic", "pydantic")
ACTIVATE = """
import sys
from importlib.metadata import entry_points
(found,) = entry_points(group="opentelemetry_instrumentor", name="spanledger")
found.load()().instrument()
print(*[name for name in sys.argv[1:] if name in sys.modules])
"""
AUTOMATIC = """
from opentelemetry.instrumentation.auto_instrumentation import initialize
initialize()
import httpx2
print(hasattr(httpx2.Client.send, "__wrapped__"))
"""


def run(program: str, *arguments: str, **environment: str) -> str:
    """Run a program in a process of its own."""
    ran = subprocess.run(
        [sys.executable, "-c", program, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | environment,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.strip()


def test_activation_imports_no_client_and_nothing_heavy() -> None:
    assert not run(ACTIVATE, *HEAVY)


@pytest.mark.parametrize(
    ("variable", "value", "patched"),
    [
        ("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "", "True"),
        ("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "redis, spanledger", "False"),
        ("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "*", "False"),
    ],
)
def test_the_loader_activates_us_unless_told_otherwise(variable: str, value: str, patched: str) -> None:
    exporters = dict.fromkeys(["OTEL_TRACES_EXPORTER", "OTEL_METRICS_EXPORTER", "OTEL_LOGS_EXPORTER"], "none")
    assert run(AUTOMATIC, **{variable: value}, **exporters) == patched


DISABLED = """
from opentelemetry.sdk.trace import TracerProvider
from spanledger_instrumentation import call
from spanledger_instrumentation.instrumentor import SpanledgerInstrumentor
SpanledgerInstrumentor().instrument(tracer_provider=TracerProvider())
import httpx2
answer = httpx2.Response(200, json={})
with httpx2.Client(transport=httpx2.MockTransport(lambda _: answer)) as client:
    with client.stream("POST", "http://x/v1/chat/completions", json={}) as response:
        print(type(response.stream).__name__)
"""


def test_a_disabled_sdk_means_no_work() -> None:
    assert run(DISABLED, OTEL_SDK_DISABLED="true") == "BoundSyncStream"
