"""Whole programs: forks, ends, and the loader's own command. What a process holds is its own, and goes back with it."""

import os
import ssl
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.instrumentation.conftest import Spans, instrumented
from tests.instrumentation.enforcement.lease_server import Budget, LeaseServer
from tests.servers.authority import Authority
from tests.wire_server import Gate, WireServer, json_reply, sse_reply

PATH = "/v1/chat/completions"
BODY: Any = {"model": "gpt-5-mini", "messages": [], "max_tokens": 1000}
ANSWER = {"id": "c", "model": "gpt-5-mini", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 40}}
ENVIRONMENT = {
    "OTEL_TRACES_EXPORTER": "console",
    "OTEL_METRICS_EXPORTER": "none",
    "OTEL_LOGS_EXPORTER": "none",
    "OTEL_SERVICE_NAME": "billing",
    "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=staging",
    "OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_TIMEOUT": "10",
}
PROGRAM = """
import os, sys
import httpx2
URL = sys.argv[1] + "/v1/chat/completions"
BODY = {"model": "gpt-5-mini", "messages": [], "max_tokens": 1000}
client = httpx2.Client()
def ask():
    return client.post(URL, json=BODY).status_code
"""


def run(program: str, lender: LeaseServer, server: WireServer, **more: str) -> subprocess.CompletedProcess[str]:
    command = [str(Path(sys.executable).parent / "opentelemetry-instrument"), sys.executable, "-c", PROGRAM + program]
    environment = {"OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_ENDPOINT": lender.url, **ENVIRONMENT, **more}
    return subprocess.run(
        [*command, server.url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env=os.environ | environment,
    )


@pytest.fixture(autouse=True)
def budget(lender: LeaseServer, server: WireServer) -> Budget:
    server.answer = lambda _: json_reply(ANSWER)
    lender.budgets = [Budget("b", 100_000)]
    return lender.budgets[0]


def test_a_program_says_who_it_is_and_gives_all_back_at_its_end(lender: LeaseServer, server: WireServer) -> None:
    ran = run("print(ask(), ask())", lender, server)
    assert (ran.returncode, ran.stderr) == (0, "")
    assert ran.stdout.startswith("200 200")
    assert "/v1/chat/completions" in ran.stdout  # of the spans of requests
    assert "/v1/budgets" not in ran.stdout  # our own requests are none of the app's
    assert {(asked["service"], asked["environment"]) for asked in lender.requests} == {("billing", "staging")}
    assert not lender.open()
    assert lender.used("b") == 80
    assert sum(lease.calls for lease in lender.leases.values()) == 2
    assert lender.decisions["b", "admitted"] == 2


def test_a_stream_that_a_program_leaves_open_is_settled_before_all_goes_back(
    lender: LeaseServer, server: WireServer
) -> None:
    gate = Gate()
    piece = b'data: {"id": "c", "choices": [{"index": 0, "delta": {"content": "Hi"}}]}\n\n'
    server.answer = lambda _: sse_reply(piece, gate)
    program = """
kept = client.send(client.build_request("POST", URL, json={**BODY, "stream": True}), stream=True)
pieces = kept.iter_raw()
next(pieces)
"""
    ran = run(program, lender, server)
    gate.set()
    assert (ran.returncode, ran.stderr) == (0, "")
    assert not lender.open()
    assert 0 < lender.used("b") <= len(piece)


def test_a_program_ends_though_the_exporter_does_not_answer_any_more(lender: LeaseServer, server: WireServer) -> None:
    program = """
print(ask())
client.get(sys.argv[1] + "/fail")
"""

    def answer(request: Any) -> Any:
        if request.path == "/fail":
            lender.gate = Gate()
        return json_reply(ANSWER)

    server.answer = answer
    ran = run(program, lender, server, OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_TIMEOUT="0.5")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert lender.gate is not None
    lender.gate.set()


def test_a_program_that_asks_for_nothing_opens_no_connection(lender: LeaseServer, server: WireServer) -> None:
    assert run("", lender, server).returncode == 0
    assert not lender.requests


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_fork_holds_nothing_of_its_parents_and_both_give_back_their_own(
    lender: LeaseServer, server: WireServer
) -> None:
    program = """
assert ask() == 200
child = os.fork()
if not child:
    client = httpx2.Client()
assert ask() == 200
if child:
    assert os.waitpid(child, 0)[1] == 0
    assert ask() == 200
"""
    ran = run(program, lender, server, PYTHONWARNINGS="ignore::DeprecationWarning")
    assert (ran.returncode, ran.stderr) == (0, "")
    by_process: dict[str, int] = {}
    for lease in lender.leases.values():
        by_process[lease.process] = by_process.get(lease.process, 0) + lease.used
    assert sorted(by_process.values()) == [40, 120]
    assert not lender.open()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no forks here")
def test_a_call_that_is_under_way_at_a_fork_is_settled_by_the_parent_alone(
    lender: LeaseServer, server: WireServer
) -> None:
    program = """
stream = client.send(client.build_request("POST", URL, json=BODY), stream=True)
child = os.fork()
if not child:
    stream.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
stream.read()
"""
    ran = run(program, lender, server, PYTHONWARNINGS="ignore::DeprecationWarning")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert lender.used("b") == 40


def test_a_process_that_is_killed_leaves_what_it_held_for_the_exporter_to_judge(
    lender: LeaseServer, server: WireServer
) -> None:
    ran = run("ask(); sys.stdout.flush(); os.kill(os.getpid(), 9)", lender, server)
    assert ran.returncode == -9
    assert lender.open()
    assert lender.held("b") > 0


def test_an_exporter_behind_tls_is_asked_with_the_certificates_that_are_named(
    monkeypatch: pytest.MonkeyPatch, lender: LeaseServer, server: WireServer, tmp_path: Path
) -> None:
    authority = Authority(tmp_path)
    service, exporter = authority.issue(), authority.issue()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(exporter.certificate, exporter.key)
    context.load_verify_locations(authority.certificate)
    context.verify_mode = ssl.CERT_REQUIRED
    http = lender.wire._http
    http.socket = context.wrap_socket(http.socket, server_side=True)
    prefix = "OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_"
    for name, value in {
        "ENDPOINT": lender.url.replace("http:", "https:"),
        "CERTIFICATE": str(authority.certificate),
        "CLIENT_CERTIFICATE": str(service.certificate),
        "CLIENT_KEY": str(service.key),
        "TIMEOUT": "10",
        "ON_UNREACHABLE": "closed",
    }.items():
        monkeypatch.setenv(prefix + name, value)
    with instrumented(Spans().provider), httpx2.Client() as client:
        assert client.post(server.url + PATH, json=BODY).status_code == 200
    assert lender.used("b") == 40


def test_a_worker_of_multiprocessing_gives_all_back_at_its_end(lender: LeaseServer, server: WireServer) -> None:
    """It ends without what is registered for the program's end."""
    lender.budgets = [Budget("b", 1_000_000)]
    done = run(
        """
import multiprocessing
worker = multiprocessing.get_context("fork").Process(target=ask)
worker.start()
worker.join()
""",
        lender,
        server,
    )
    assert done.returncode == 0, done.stderr
    assert lender.leases
    assert not lender.open()
