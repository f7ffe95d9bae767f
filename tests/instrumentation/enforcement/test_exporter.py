"""The real exporter: leases over its port, spans into its ledger, and its counters when all has come to an end."""

import os
import socket
import sqlite3
import subprocess
import sys
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.servers.exporter import Exporter
from tests.servers.process import poll
from tests.wire_server import Request, WireServer, json_reply

PROGRAM = """
import sys
import openai
client = openai.OpenAI(base_url=sys.argv[1] + "/v1", api_key="a-key-of-some-length")
told = [{"role": "user", "content": "Hello"}]
for _ in range(int(sys.argv[2])):
    try:
        client.chat.completions.create(model="gpt-5-mini", messages=told, max_completion_tokens=1000)
        print("sent")
    except openai.APIStatusError as error:
        print(error.status_code, error.code, error.message)
"""
BUDGETS = """
[[budget]]
name = "tight"
limit_usd = "{}"
mode = "hard"
scope = {{ service = "{}" }}
on_unreachable = "{}"
"""
TOKEN_PUSD = 2_000_000
"""Of output: 1,000 tokens are 0.002 USD."""


@pytest.fixture
def exporter(tmp_path: Path) -> Any:
    """A function that starts an exporter with one hard budget of so many USD."""
    running: list[Exporter] = []

    def start(limit_usd: str, service: str = "shop", *, closed: bool = False, **places: str) -> Exporter:
        budgets = tmp_path / "budgets.toml"
        budgets.write_text(BUDGETS.format(limit_usd, service, "closed" if closed else "open"))
        environ = {"SPANLEDGER_BUDGETS_FILE": str(budgets)}
        running.append(Exporter(f"sqlite:///{tmp_path}/ledger.db", tmp_path, environ=environ, **places))
        return running[-1]

    yield start
    for each in running:
        each.server.stop()


def answer(_: Request) -> Any:
    usage = {"prompt_tokens": 0, "completion_tokens": 1000, "total_tokens": 1000}
    choices = [{"index": 0, "message": {"role": "assistant", "content": "Hi"}, "finish_reason": "stop"}]
    made = f"chatcmpl-{uuid.uuid4().hex}"
    return json_reply({"id": made, "model": "gpt-5-mini", "choices": choices, "usage": usage})


def environment(exporter: Exporter) -> dict[str, str]:
    return {
        "OTEL_SERVICE_NAME": "shop",
        "OTEL_TRACES_EXPORTER": "otlp",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://{exporter.grpc}",
        "OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_ENDPOINT": f"http://{exporter.http}",
        "OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_TIMEOUT": "10",
        "PYTHONWARNINGS": "ignore::DeprecationWarning",
    }


def run(exporter: Exporter, server: WireServer, calls: int) -> list[str]:
    server.answer = answer
    command = [str(Path(sys.executable).parent / "opentelemetry-instrument"), sys.executable, "-c", PROGRAM]
    ran = subprocess.run(
        [*command, server.url, str(calls)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | environment(exporter),
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    return ran.stdout.splitlines()


def counters(exporter: Exporter) -> tuple[int, int]:
    """Read what is spent and what is leased, in micro-USD."""
    with closing(sqlite3.connect(exporter.ledger.removeprefix("sqlite:///"))) as connection:
        query = "select coalesce(sum(cost_micro_usd), 0), coalesce(sum(leased), 0) from budget_counters"
        found = connection.execute(query).fetchone()
    return found[0], found[1]


def test_calls_pass_until_the_budget_has_no_room_for_another_and_the_books_are_even(
    exporter: Any, server: WireServer
) -> None:
    running = exporter("0.05")
    said = run(running, server, 40)
    sent, refused = said.count("sent"), [line for line in said if line != "sent"]
    assert 13 <= sent <= 25  # each is 0.002 USD, and no more than 0.0036 USD, the dearest price, until its span comes
    assert len(server.requests) == sent
    assert len(refused) == 40 - sent
    assert all(line.startswith("402 budget_exceeded ") and '"tight"' in line for line in refused)
    spent_usd_micro = sent * 1000 * TOKEN_PUSD // 10**6
    poll(lambda: counters(running) == (spent_usd_micro, 0), what="the spans to settle their leases")
    assert spent_usd_micro <= 50_000


def test_what_one_process_has_spent_is_not_there_for_the_next(exporter: Any, server: WireServer) -> None:
    running = exporter("0.05")
    assert run(running, server, 10) == ["sent"] * 10
    poll(lambda: counters(running) == (20_000, 0), what="the spans to settle their leases")
    assert run(running, server, 20).count("sent") >= 8  # what the bounds held beyond the price is there again
    poll(lambda: counters(running)[1] == 0, what="the spans to settle their leases")
    assert counters(running)[0] == len(server.requests) * 2000 <= 50_000


def test_a_service_that_no_budget_holds_is_not_refused(exporter: Any, server: WireServer) -> None:
    assert run(exporter("0.001", service="another"), server, 2) == ["sent", "sent"]


CROWD = """
import sys, threading, time
import httpx2
URL = sys.argv[1] + "/v1/chat/completions"
BODY = {"model": "gpt-5-mini", "messages": [], "max_completion_tokens": 1000}
def ask():
    exhausted, deadline = 0, time.monotonic() + 90
    with httpx2.Client(timeout=60) as client:
        while exhausted < 3 and time.monotonic() < deadline:
            response = client.post(URL, json=BODY)
            if response.status_code == 402:
                exhausted += "too little left" in response.text
                time.sleep(0.02)
threads = [threading.Thread(target=ask) for _ in range(8)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
"""


def port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def test_processes_that_race_while_one_and_the_exporter_are_killed_stay_within_the_limit(
    exporter: Any, server: WireServer
) -> None:
    """Four processes of eight threads, each call at its bound or less; nobody fails open."""
    server.answer = answer
    places = {"grpc": f"127.0.0.1:{port()}", "http": f"127.0.0.1:{port()}"}
    first = exporter("0.2", closed=True, **places)
    command = [str(Path(sys.executable).parent / "opentelemetry-instrument"), sys.executable, "-c", CROWD]
    environ = os.environ | environment(first) | {"OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_ON_UNREACHABLE": "closed"}
    crowd = [subprocess.Popen([*command, server.url], env=environ, stderr=subprocess.DEVNULL) for _ in range(4)]
    try:
        poll(lambda: len(server.requests) >= 10, what="some calls", timeout_s=60)
        first.server.kill()
        crowd[0].kill()
        second = exporter("0.2", closed=True, **places)
        sent_before = len(server.requests)
        for process in crowd:
            process.wait(150)
    finally:
        for process in crowd:
            process.kill()
            process.wait()
    assert [process.returncode for process in crowd[1:]] == [0, 0, 0]
    assert len(server.requests) > sent_before  # they went on when it was back
    assert len(server.requests) * 2000 <= 200_000
    spent, leased = counters(second)
    assert spent <= len(server.requests) * 2000
    assert spent + leased <= 200_000
