"""The demo's command line: what it takes, what it refuses, and how its processes end."""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import openai
import pytest

from spanledger_demo.collector import BINARY_VARIABLE, find_binary, find_config
from spanledger_demo.commands import add_commands, address, positive, share
from spanledger_demo.processes import DemoError


def parse(*flags: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_commands(parser.add_subparsers(required=True))
    return parser.parse_args(flags)


def test_addresses_are_parsed():
    assert address("127.0.0.1:0") == ("127.0.0.1", 0)
    assert parse("provider").listen == ("127.0.0.1", 8089)


@pytest.mark.parametrize("text", ["8089", ":8089", "localhost:", "localhost:x", "localhost:70000"])
def test_a_wrong_address_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="HOST:PORT"):
        address(text)


@pytest.mark.parametrize("text", ["often", "1.1", "-0.1", "nan"])
def test_a_wrong_share_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError):
        share(text)


@pytest.mark.parametrize("text", ["0", "-1", "soon", "nan", "inf"])
def test_a_wrong_time_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError):
        positive(text)


def test_the_commands_import_nothing_heavy():
    program = (
        "import argparse, sys; from spanledger_demo.commands import add_commands;"
        "add_commands(argparse.ArgumentParser().add_subparsers());"
        "print([m for m in ('openai', 'anthropic', 'starlette', 'rich', 'sqlalchemy') if m in sys.modules])"
    )
    assert subprocess.check_output([sys.executable, "-c", program], text=True) == "[]\n"


def test_the_sample_service_knows_nothing_of_us():
    program = (
        "import sys; import spanledger_demo.service;"
        "print([m for m in sys.modules if m.startswith(('opentelemetry', 'spanledger_')) "
        "and not m.startswith('spanledger_demo')])"
    )
    # The anthropic SDK brings its own, optional import of the OpenTelemetry API; the service brings none.
    brought = "import sys; import anthropic, openai; print([m for m in sys.modules if m.startswith('opentelemetry')])"
    ours, theirs = (subprocess.check_output([sys.executable, "-c", each], text=True) for each in (program, brought))
    assert ours == theirs


def test_the_provider_serves_until_a_signal_and_then_prints_its_tally():
    command = [sys.executable, "-m", "spanledger_exporter.cli", "provider", "--listen", "127.0.0.1:0", "--json"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip().removeprefix("ready provider=")
        with openai.OpenAI(base_url=f"{url}/v1", api_key="k") as client:
            client.embeddings.create(model="text-embedding-3-small", input="x")
        process.send_signal(signal.SIGTERM)
        tally = json.loads(process.stdout.read())
    assert process.returncode == 0
    assert (tally["calls"], tally["cost_usd"]) == (1, "0.0000001")


def test_the_provider_says_that_its_port_is_taken():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        command = [sys.executable, "-m", "spanledger_exporter.cli", "provider", "--listen", f"127.0.0.1:{port}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 2
    assert f"127.0.0.1:{port}" in done.stderr
    assert "in use" in done.stderr


def test_the_collectors_configuration_is_found():
    assert "otlp" in find_config().read_text()


def test_a_collector_can_be_named(monkeypatch, tmp_path):
    monkeypatch.setenv(BINARY_VARIABLE, sys.executable)
    assert find_binary() == Path(sys.executable)
    monkeypatch.setenv(BINARY_VARIABLE, str(tmp_path / "nothing"))
    with pytest.raises(DemoError, match=BINARY_VARIABLE):
        find_binary()


def test_the_collector_of_the_tests_is_found_the_one_that_was_built_last(monkeypatch, tmp_path):
    monkeypatch.delenv(BINARY_VARIABLE, raising=False)
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for built_at, manifest in enumerate(("b", "c", "a")):
        program = tmp_path / "spanledger" / "otelcol" / manifest / "otelcol-spanledger"
        program.parent.mkdir(parents=True)
        program.touch()
        os.utime(program, (built_at, built_at))
    assert find_binary().parent.name == "a"
