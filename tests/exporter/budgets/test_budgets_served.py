"""A running exporter, and the command line beside it: what one changes the other knows at once."""

import json
import os
import secrets
import subprocess
import time
import urllib.request
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest

from tests.exporter.otlp_requests import CHAT, body, span
from tests.servers.exporter import SPANLEDGER, Exporter
from tests.servers.process import get, poll


@pytest.fixture
def exporter(ledger_url: str, tmp_path: Path) -> Generator[Exporter]:
    started = Exporter(ledger_url, tmp_path, environ={**os.environ, "SPANLEDGER_BUDGETS_EVALUATION_S": "1"})
    with started.server:
        yield started


def run(exporter: Exporter, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [SPANLEDGER, "budgets", "--ledger", exporter.ledger, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def metric(exporter: Exporter, name: str) -> float | None:
    for line in (get(f"http://{exporter.metrics}/metrics") or "").splitlines():
        if line.startswith(name):
            return float(line.split()[-1])
    return None


def send(exporter: Exporter, calls: int) -> None:
    now_ns = time.time_ns()
    spans = [
        span({**CHAT, "gen_ai.response.id": f"chatcmpl-{secrets.token_hex(8)}"}, end_ns=now_ns) for _ in range(calls)
    ]
    headers = {"content-type": "application/x-protobuf"}
    sent = urllib.request.Request(f"http://{exporter.http}/v1/traces", body(*spans), headers)
    urllib.request.urlopen(sent).close()


def test_a_budget_that_is_set_while_calls_come_is_counted_shown_and_checked(exporter: Exporter) -> None:
    send(exporter, 3)
    assert run(exporter, "set", "company", "--limit-calls", "10", "--period", "year").returncode == 0
    spent = 'genai_budget_spent_calls{budget="company",group=""}'
    poll(lambda: metric(exporter, spent) == 3, what="the calls that were there before")
    send(exporter, 8)
    poll(lambda: metric(exporter, spent) == 11, what="the calls that came after")
    assert metric(exporter, 'genai_budget_used_ratio{budget="company",group=""}') == 1.1
    assert metric(exporter, 'genai_budget_groups{at_least="100",budget="company"}') is None
    checked = run(exporter, "check", "--json")
    document: dict[str, Any] = json.loads(checked.stdout)
    assert (checked.returncode, checked.stderr, document["over"]) == (3, "", True)
    assert run(exporter, "set", "company", "--limit-calls", "20").returncode == 0
    poll(lambda: metric(exporter, 'genai_budget_limit_calls{budget="company",group=""}') == 20, what="the new limit")
    assert run(exporter, "check").returncode == 0
    assert run(exporter, "remove", "company").returncode == 0
    poll(lambda: metric(exporter, spent) is None, what="an evaluation without the budget")
