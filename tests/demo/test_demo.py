"""`spanledger demo` from end to end: real processes, real SDKs, a real ledger."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.request
from contextlib import contextmanager
from decimal import Decimal

import pytest

from spanledger_demo.collector import BINARY_VARIABLE
from tests.servers.otelcol import program
from tests.servers.process import free_port, get, poll

COMMAND = [sys.executable, "-m", "spanledger_exporter.cli", "demo", "--json"]
TIMEOUT_S = 120


@contextmanager
def running_demo(folder, *flags, **variables):
    command = [*COMMAND, "--folder", str(folder), *flags]
    environment = {**os.environ, **variables}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def finish(process):
    out, err = process.communicate(timeout=TIMEOUT_S)
    return process.returncode, json.loads(out) if out else None, err


def assert_all_equal(result):
    assert result["differences"] == []
    assert result["match"] is True
    assert result["provider_calls"] == result["ledger_entries"] == result["metrics_calls"] > 0
    classes = [name.removeprefix("provider_") for name in result if name.startswith("provider_")]
    assert {"input_tokens", "output_tokens", "cache_read_tokens", "cache_write_1h_tokens"} <= set(classes)
    for name in set(classes) - {"calls", "cost_usd"}:
        assert result[f"provider_{name}"] == result[f"ledger_{name}"]
    assert Decimal(result["cost_usd"]) == Decimal(result["provider_cost_usd"]) > 0
    assert result["unpriced"] == 0


@pytest.fixture(scope="module")
def first_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo")
    # The user's own settings are no business of the demo's.
    foreign = {
        "OTEL_SDK_DISABLED": "true",
        "OPENAI_BASE_URL": "http://127.0.0.1:9/v1",
        "HTTP_PROXY": "http://127.0.0.1:9",
    }
    with running_demo(folder, "--seconds", "3", "--error-rate", "0.3", **foreign) as process:
        return finish(process)


def test_every_call_is_in_the_ledger_to_the_token_and_to_the_last_decimal(first_run):
    status, result, err = first_run
    assert (status, err) == (0, "")
    assert_all_equal(result)
    assert result["ledger_errors"] > 0
    assert result["ledger_cache_read_tokens"] > 0
    assert result["ledger_cache_write_5m_tokens"] > 0
    assert result["ledger_cache_write_1h_tokens"] > 0
    assert result["ledger_reasoning_tokens"] > 0


def test_a_budget_pages_at_each_threshold_and_refuses_what_is_beyond_it(tmp_path):
    flags = ("--seconds", "6", "--budget-reviews", "2", "--budget-usd", "0.005", "--error-rate", "0")
    command = [word for word in COMMAND if word != "--json"]
    done = subprocess.run(
        [*command, "--folder", str(tmp_path), *flags], capture_output=True, text=True, timeout=TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    pages = [line for line in done.stdout.splitlines() if line.startswith("PAGER: ")]
    assert len(pages) == len(set(pages)) > 1
    assert any("dearest-model: 100 % of 2 calls" in page for page in pages)
    assert any("support-desk" in page for page in pages)
    kept = [json.loads(line) for line in entries_of(tmp_path)]
    asked = [entry for entry in kept if entry["request_model"] == "claude-sonnet-5-5"]
    assert sum(entry["error_type"] is None for entry in asked) == 2
    assert {entry["error_type"] for entry in asked} == {None, "budget_exceeded"}
    assert "never saw them" in done.stdout


def entries_of(folder):
    ledger = f"sqlite:///{folder / 'ledger.db'}"
    command = [*COMMAND[:3], "entries", "--json", "--ledger", ledger]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()


def test_a_call_that_nobody_watched_is_said_loudly(tmp_path):
    port = free_port()
    with running_demo(tmp_path, "--seconds", "3", "--provider-listen", f"127.0.0.1:{port}") as process:
        poll(lambda: get(f"http://127.0.0.1:{port}/healthz"), what="the provider")
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/v1/embeddings",
            data=json.dumps({"model": "text-embedding-3-small", "input": "abcd"}).encode(),
            headers={"authorization": "Bearer sk-stranger", "content-type": "application/json"},
        )
        with urllib.request.urlopen(request) as response:
            assert response.status == 200
        status, result, err = finish(process)
    assert status == 1
    assert "DIFFERENCE" in err
    assert result["match"] is False
    assert result["provider_calls"] == result["ledger_entries"] + 1
    assert Decimal(result["provider_cost_usd"]) - Decimal(result["cost_usd"]) == Decimal("0.0000001")


def test_ctrl_c_ends_the_calls_and_reconciles_what_was_done(tmp_path):
    port = free_port()
    with running_demo(tmp_path, "--seconds", "100", "--provider-listen", f"127.0.0.1:{port}") as process:
        poll(
            lambda: json.loads(get(f"http://127.0.0.1:{port}/tally") or '{"calls": 0}')["calls"] > 5,
            what="the first calls",
        )
        process.send_signal(signal.SIGINT)
        status, result, err = finish(process)
    assert (status, err) == (0, "")
    assert_all_equal(result)


def test_broken_streams_are_entries_too_and_what_nobody_said_is_unknown(tmp_path):
    with running_demo(tmp_path, "--seconds", "3", "--cut-rate", "0.9") as process:
        status, result, err = finish(process)
    assert (status, err, result["differences"]) == (0, "", [])
    assert result["ledger_errors"] > 0
    assert result["unpriced"] > 0


def test_a_second_run_on_the_same_ledger_counts_its_own_calls_only(first_run, tmp_path):
    _, first, _ = first_run
    with running_demo(tmp_path, "--seconds", "1", "--ledger", first["ledger"]) as process:
        status, result, err = finish(process)
    assert (status, err, result["ledger"]) == (0, "", first["ledger"])
    assert_all_equal(result)


def test_a_taken_port_is_said(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with running_demo(tmp_path, "--provider-listen", f"127.0.0.1:{port}") as process:
            status, result, err = finish(process)
    assert (status, result) == (2, None)
    assert f"cannot listen on 127.0.0.1:{port}" in err


def test_a_missing_collector_is_said(tmp_path):
    with running_demo(tmp_path, "--collector", **{BINARY_VARIABLE: "/no/such/program"}) as process:
        status, result, err = finish(process)
    assert (status, result) == (2, None)
    assert f"{BINARY_VARIABLE} is /no/such/program" in err


@pytest.mark.timeout(900)  # a first run builds the collector
def test_every_call_goes_through_a_real_collector(tmp_path):
    with running_demo(tmp_path, "--seconds", "3", "--collector", **{BINARY_VARIABLE: str(program())}) as process:
        status, result, err = finish(process)
    assert (status, err) == (0, "")
    assert result["collector"] is True
    assert_all_equal(result)
