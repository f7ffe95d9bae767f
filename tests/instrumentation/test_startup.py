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
from spanledger_instrumentation.instrumentor import SpanledgerInstrumentor
SpanledgerInstrumentor().instrument(tracer_provider=TracerProvider())
import httpx2
answer = httpx2.Response(200, content=iter([b"{}"]))  # not loaded: with an SDK that is not disabled it is wrapped
with httpx2.Client(transport=httpx2.MockTransport(lambda _: answer)) as client:
    with client.stream("POST", "http://x/v1/chat/completions", json={}) as response:
        print(type(response.stream).__name__)
"""


@pytest.mark.parametrize(("disabled", "stream"), [("true", "BoundSyncStream"), ("false", "SyncTee")])
def test_a_disabled_sdk_means_no_work(disabled: str, stream: str) -> None:
    assert run(DISABLED, OTEL_SDK_DISABLED=disabled) == stream


LEFT_OPEN = """
{}
import httpx2
events = [b'data: {{"id": "c1", "choices": [{{"index": 0, "delta": {{}}}}]}}\\n\\n', b"data: [DONE]\\n\\n"]
answer = lambda _: httpx2.Response(200, headers={{"content-type": "text/event-stream"}}, content=iter(events))
client = httpx2.Client(transport=httpx2.MockTransport(answer))
body = {{"model": "m", "stream": True}}
stream = client.send(client.build_request("POST", "http://x/v1/chat/completions", json=body), stream=True)
for chunk in stream.iter_bytes():
    break
httpx2.kept = client.send(client.build_request("POST", "http://x/v1/chat/completions", json=body), stream=True)
"""
BY_THE_LOADER = "from opentelemetry.instrumentation.auto_instrumentation import initialize; initialize()"
PROVIDER_LAST = """
from opentelemetry import trace
from spanledger_instrumentation.instrumentor import SpanledgerInstrumentor
SpanledgerInstrumentor().instrument()
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, ConsoleSpanExporter
trace.set_tracer_provider(TracerProvider())
trace.get_tracer_provider().add_span_processor(BatchSpanProcessor(ConsoleSpanExporter()))
"""


@pytest.mark.parametrize("start", [BY_THE_LOADER, PROVIDER_LAST], ids=["by the loader", "provider last"])
def test_streams_that_a_program_leaves_open_at_its_end_are_reported(start: str) -> None:
    chosen = {"OTEL_TRACES_EXPORTER": "console", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none"}
    ran = subprocess.run(
        [sys.executable, "-c", LEFT_OPEN.format(start)],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        env=os.environ | chosen,
    )
    assert ran.stdout.count('"spanledger.usage.status": "unreported"') == 2
    assert not ran.stderr


FORKED = """
import os, sys
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from spanledger_instrumentation.instrumentor import SpanledgerInstrumentor
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
SpanledgerInstrumentor().instrument(tracer_provider=provider)
import httpx2
client = httpx2.Client(transport=httpx2.MockTransport(lambda _: httpx2.Response(200, content=iter([b"{}"]))))
stream = client.send(client.build_request("POST", "http://x/v1/chat/completions", json={}), stream=True)
child = os.fork()
stream.close()
if child:
    os.waitpid(child, 0)
sys.stdout.flush()
"""


def test_a_fork_leaves_the_open_calls_to_its_parent() -> None:
    assert run(FORKED).count('"spanledger.usage.status"') == 1
