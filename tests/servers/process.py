"""Real servers for tests: found, started on a free port, awaited until they answer, always stopped."""

import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self, TypeVar

import pytest

TIMEOUT_S = 60.0
POLL_INTERVAL_S = 0.02
LOG_TAIL_LINES = 40
# Below Linux's range for outgoing connections (32768 and up), so that no client's socket takes one in between.
PORTS = range(12_000, 32_000)

T = TypeVar("T")


def require(*programs: str, folders: str = "", package: str) -> Path:
    """Find a program, by any of its names, on PATH or else in the folders of a glob under /, the last (newest) first.

    Raises: a skip that says which Debian package brings it; a failure on CI, where nothing may be missing.
    """
    found = next(filter(None, map(shutil.which, programs)), None)
    if found:
        return Path(found)
    matches = sorted(Path("/").glob(f"{folders}/{programs[0]}")) if folders else []
    return matches[-1] if matches else missing(f"{programs[0]} is not installed (Debian's package {package})")


def missing(reason: str) -> NoReturn:
    """Skip the test for want of a server; fail it on CI."""
    if os.environ.get("CI"):
        pytest.fail(f"{reason}, and on CI nothing may be missing")
    pytest.skip(reason)


def free_port() -> int:
    """Return a TCP port of the loopback interface that nobody listens on."""
    while True:
        port = random.choice(PORTS)
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
            return port


def poll(check: Callable[[], T | None], *, what: str, timeout_s: float = TIMEOUT_S) -> T:
    """Call check until it answers something true, and return that; at the deadline, fail and name what."""
    deadline = time.monotonic() + timeout_s
    while True:
        if answer := check():
            return answer
        if time.monotonic() > deadline:
            pytest.fail(f"waited {timeout_s:g} s in vain for {what}")
        time.sleep(POLL_INTERVAL_S)


def get(url: str) -> str | None:
    """Return the body that a local server answers with status 200; None while it does not."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.read().decode()
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return None


class Server:
    """One process, its log in a file; a context manager that stops it.

    One that ends before it is ready, or does not stop when asked, fails the test and shows the end of its log.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        user: str | None = None,
        stop_signal: signal.Signals = signal.SIGTERM,
    ) -> None:
        self.name = Path(command[0]).name
        self.log = log
        self._stop_signal = stop_signal
        with log.open("ab") as output:
            self.process = subprocess.Popen(
                [*_tied_to_us(stop_signal), *map(str, command)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                user=user,
                group=user,
                extra_groups=None if user is None else [],
                cwd=log.parent,
            )

    def wait_until(self, ready: Callable[[], T | None], *, timeout_s: float = TIMEOUT_S) -> T:
        """Wait until ready answers something true, and return that; else stop the process, show its log and fail."""

        def check() -> T | None:
            if self.process.poll() is not None:
                pytest.fail(f"{self.name} ended with status {self.process.returncode} before it was ready")
            return ready()

        try:
            return poll(check, what=f"{self.name} to be ready", timeout_s=timeout_s)
        except BaseException:
            self.kill()
            sys.stderr.write(self.log_tail())  # pytest shows it under the failure
            raise

    def kill(self) -> None:
        """End the process as a crash would, with no chance to save anything."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> int:
        """Ask the process to end, wait until it has, and return its status."""
        if self.process.poll() is None:
            self.process.send_signal(self._stop_signal)
        try:
            return self.process.wait(TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            pytest.fail(f"{self.name} did not stop within {TIMEOUT_S:g} s\n{self.log_tail()}")

    def log_text(self) -> str:
        """Return all that the process has printed."""
        return self.log.read_text(errors="replace")

    def log_tail(self) -> str:
        """Return the last lines that the process has printed, under its name."""
        lines = self.log_text().splitlines()[-LOG_TAIL_LINES:]
        return "\n".join([f"--- the end of {self.name}'s log ({self.log})", *lines, "---"])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _tied_to_us(stop_signal: signal.Signals) -> list[str]:
    """Return the words before a command that make Linux stop it should the tests be killed."""
    setpriv = shutil.which("setpriv")
    return [setpriv, "--pdeathsig", stop_signal.name.removeprefix("SIG"), "--"] if setpriv else []
