"""The demo's child processes: started with their output in files, waited for, and never left behind."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

POLL_S = 0.05
STOP_DEADLINE_S = 15.0
LOG_LINES_MAX = 20


class DemoError(Exception):
    """Say why the demo cannot go on; the message is for the person in front of it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Child:
    """Hold one process, and the files with its output."""

    name: str
    process: subprocess.Popen[bytes]
    out: Path
    err: Path

    @property
    def running(self) -> bool:
        """Tell whether the process has not ended."""
        return self.process.poll() is None

    def complaint(self) -> str:
        """Give the last lines that the process wrote to its standard error."""
        lines = self.err.read_text(errors="replace").strip().splitlines()[-LOG_LINES_MAX:]
        return "\n".join(f"  {self.name}: {line}" for line in lines) or f"  {self.name}: (said nothing)"


class Processes:
    """Start processes, each in a group of its own, so that Ctrl-C in the terminal reaches the demo alone."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._children: list[Child] = []

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "spanledger_demo.warden"]
        self._warden = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)  # noqa: S603  # our own command
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        for child in reversed(self._children):
            self.stop(child)
        assert self._warden.stdin is not None
        self._warden.stdin.close()
        self._warden.wait()

    def start(self, name: str, command: Sequence[str], environment: Mapping[str, str]) -> Child:
        """Start one process."""
        out, err = self._folder / f"{name}.out", self._folder / f"{name}.err"
        with out.open("wb") as out_file, err.open("wb") as err_file:
            process = subprocess.Popen(  # noqa: S603  # our own commands
                command,
                env=dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=out_file,
                stderr=err_file,
                start_new_session=True,
            )
        child = Child(name=name, process=process, out=out, err=err)
        self._children.append(child)
        self._tell_warden("+", child)
        return child

    def stop(self, child: Child) -> int:
        """Ask a process to end, insist after a while, and return its exit status."""
        if child.running:
            child.process.send_signal(signal.SIGTERM)
        return self.wait(child, STOP_DEADLINE_S)

    def wait(self, child: Child, deadline_s: float) -> int:
        """Wait for a process to end by itself, kill it after the deadline, and return its exit status."""
        try:
            status = child.process.wait(timeout=deadline_s)
        except subprocess.TimeoutExpired:
            child.process.kill()
            status = child.process.wait()
        if child in self._children:
            self._children.remove(child)
            self._tell_warden("-", child)
        return status

    def _tell_warden(self, sign: str, child: Child) -> None:
        assert self._warden.stdin is not None
        self._warden.stdin.write(f"{sign}{child.process.pid}\n".encode())
        self._warden.stdin.flush()


def wait_ready(child: Child, deadline_s: float) -> dict[str, str]:
    """Wait for the line `ready NAME=VALUE ...` on a process's standard output, and return its values.

    Raises: DemoError where the process ends first, or takes too long.
    """
    found: list[str] = []

    def ready() -> bool:
        text = child.out.read_text(errors="replace")
        complete = text[: text.rfind("\n") + 1].splitlines()
        found[:] = [line for line in complete if line.startswith("ready ")]
        if not found and not child.running:
            raise DemoError(f"The {child.name} ended with status {child.process.returncode}:\n{child.complaint()}")
        return bool(found)

    if not wait_until(ready, deadline_s):
        raise DemoError(f"The {child.name} was not ready after {deadline_s:.0f} s:\n{child.complaint()}")
    return dict(part.split("=", 1) for part in found[0].split()[1:])


def wait_until(condition: Callable[[], bool], deadline_s: float) -> bool:
    """Ask again and again until it is so, or the deadline has passed."""
    deadline = time.monotonic() + deadline_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True
