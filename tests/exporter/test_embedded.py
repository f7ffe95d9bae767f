"""Embedded mode: the app's own process prices and stores, beside others on the same file."""

import json
import os
import subprocess
import sys
from pathlib import Path

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult

from spanledger_exporter.config import load
from spanledger_exporter.embedded import LedgerSpanExporter
from tests.exporter.otlp_requests import CHAT
from tests.servers.exporter import entries

APP = """
import os
from opentelemetry import trace
tracer = trace.get_tracer("spanledger")
for number in range(int(os.environ["CALLS"])):
    with tracer.start_as_current_span("chat", attributes={attributes!r}):
        pass
    with tracer.start_as_current_span("GET /"):
        pass
if os.environ.get("FORK") and os.fork() == 0:
    with tracer.start_as_current_span("chat", attributes={attributes!r}):
        pass
    trace.get_tracer_provider().force_flush()
    os._exit(0)
"""


def started(sqlite_url: str, tmp_path: Path, calls: int, app: str = APP, **environ: str) -> subprocess.Popen[str]:
    program = tmp_path / f"app-{calls}.py"
    attributes = {key: list(value) if isinstance(value, tuple) else value for key, value in CHAT.items()}
    program.write_text(app.format(attributes=attributes))
    settings = {
        "OTEL_TRACES_EXPORTER": "spanledger", "OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none",
        "OTEL_SERVICE_NAME": "shop", "SPANLEDGER_LEDGER_URL": sqlite_url, "CALLS": str(calls),
    }  # fmt: skip
    instrument = Path(sys.executable).with_name("opentelemetry-instrument")
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(
        [instrument, sys.executable, program], env={**os.environ, **settings, **environ}, text=True, **pipes
    )


def finished(process: subprocess.Popen[str]) -> str:
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    return errors


def test_several_processes_share_one_file(sqlite_url: str, tmp_path: Path) -> None:
    processes = [started(sqlite_url, tmp_path, 50) for _ in range(4)]
    for process in processes:
        assert "lost" not in finished(process)
    stored = entries(sqlite_url)
    assert len(stored) == 200
    assert {(entry["service"], entry["cost_usd"]) for entry in stored} == {("shop", "0.000024")}


FORKING_APP = """
import os, sys
from opentelemetry import trace
tracer = trace.get_tracer("spanledger")
def call():
    with tracer.start_as_current_span("chat", attributes={attributes!r}):
        pass
    trace.get_tracer_provider().force_flush()
call()
if os.fork() == 0:
    call()
    print("ready", flush=True)
    sys.stdin.readline()
    for _ in range(20):
        call()
    print("done", flush=True)
    os._exit(0)
"""


def test_a_child_that_outlives_its_parent_keeps_and_harms_nothing(sqlite_url: str, tmp_path: Path) -> None:
    """The parent ends, another process opens and closes the file, and only then does the child go on."""
    family = started(sqlite_url, tmp_path, 0, app=FORKING_APP)
    assert family.stdin is not None
    assert family.stdout is not None
    assert family.stdout.readline() == "ready\n"
    assert family.wait(timeout=60) == 0
    finished(started(sqlite_url, tmp_path, 5))
    assert len(entries(sqlite_url)) == 7
    family.stdin.write("go on\n")
    family.stdin.flush()
    assert family.stdout.readline() == "done\n"
    finished(family)
    finished(started(sqlite_url, tmp_path, 1))
    assert len(entries(sqlite_url)) == 28


def test_a_forked_process_writes_too(sqlite_url: str, tmp_path: Path) -> None:
    finished(started(sqlite_url, tmp_path, 3, FORK="1"))
    assert len(entries(sqlite_url)) == 4


def test_spans_of_the_sdk_become_priced_entries(sqlite_url: str) -> None:
    exporter = LedgerSpanExporter(load(environ={}, flags={"ledger_url": sqlite_url}))
    provider = TracerProvider(resource=Resource.create({"service.name": "shop"}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("spanledger").start_as_current_span("chat", attributes=dict(CHAT)):
        pass
    provider.shutdown()
    (entry,) = entries(sqlite_url)
    assert json.dumps(entry["cost_usd"]) == '"0.000024"'


def test_prices_that_change_while_the_program_runs_are_followed(sqlite_url: str, tmp_path: Path) -> None:
    """A file that cannot be used changes nothing, and is looked at again."""
    file, now_s = tmp_path / "prices.toml", [0.0]
    flags = {"ledger_url": sqlite_url, "prices_file": str(file)}
    file.write_text("")
    exporter = LedgerSpanExporter(load(environ={}, flags=flags), clock_s=lambda: now_s[0])
    provider = TracerProvider(resource=Resource.create({"service.name": "shop"}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    override = '[[override]]\nname = "all"\nmodel = "*"\nmultiplier = 2\n'
    for content in ("", override, "not TOML", override.replace("2", "3")):
        file.write_text(content)
        for waited_s in (0, 3600):
            now_s[0] += waited_s
            with provider.get_tracer("spanledger").start_as_current_span("chat", attributes=dict(CHAT)):
                pass
    provider.shutdown()
    costs = [entry["cost_usd"] for entry in reversed(entries(sqlite_url))]
    one, two, three = "0.000024", "0.000048", "0.000072"
    assert costs == [one, one, one, two, two, two, two, three]


def test_a_ledger_that_fails_fails_the_export_and_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    exporter = LedgerSpanExporter(load(environ={}, flags={"ledger_url": f"sqlite:///{tmp_path}/file/ledger.db"}))
    assert exporter.export([]) is SpanExportResult.FAILURE
    exporter.shutdown()
