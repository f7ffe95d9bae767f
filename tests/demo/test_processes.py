"""Child processes: none is left behind, and what they complain about is shown."""

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import pytest

from spanledger_demo.processes import DemoError, Processes, wait_ready

FOREVER = "import time; print('ready a=1 b=x=y', flush=True); time.sleep(600)"


def is_alive(pid: int) -> bool:
    with suppress(ChildProcessError):
        os.waitpid(pid, os.WNOHANG)
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return not is_zombie(pid)


def is_zombie(pid: int) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False).stdout
    return state.startswith("Z")


def wait_gone(pid: int) -> None:
    deadline = time.monotonic() + 20
    while is_alive(pid):
        assert time.monotonic() < deadline, f"process {pid} outlived the demo"
        time.sleep(0.05)


def test_processes_end_with_the_block(tmp_path):
    with Processes(tmp_path) as processes:
        child = processes.start("sleeper", [sys.executable, "-c", FOREVER], os.environ)
        assert wait_ready(child, 30) == {"a": "1", "b": "x=y"}
    assert child.process.returncode == -signal.SIGTERM


def test_processes_end_when_the_demo_is_killed(tmp_path):
    program = (
        "import os, sys, time; from pathlib import Path; from spanledger_demo.processes import Processes\n"
        f"with Processes(Path({str(tmp_path)!r})) as processes:\n"
        f"    child = processes.start('sleeper', [sys.executable, '-c', {FOREVER!r}], os.environ)\n"
        "    print(child.process.pid, flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as demo:
        assert demo.stdout is not None
        pid = int(demo.stdout.readline())
        demo.kill()
    wait_gone(pid)


def test_a_process_that_fails_is_quoted(tmp_path):
    with Processes(tmp_path) as processes:
        child = processes.start(
            "exporter", [sys.executable, "-c", "raise SystemExit('port 4317 is taken')"], os.environ
        )
        with pytest.raises(DemoError, match=r"(?s)exporter ended with status 1.*port 4317 is taken"):
            wait_ready(child, 30)


def test_a_process_that_is_never_ready_is_named(tmp_path):
    with Processes(tmp_path) as processes:
        child = processes.start("exporter", [sys.executable, "-c", "import time; time.sleep(600)"], os.environ)
        with pytest.raises(DemoError, match="exporter was not ready"):
            wait_ready(child, 0.1)
