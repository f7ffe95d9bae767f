"""A real terminal for programs that draw: a pty, an emulator that says what is on its screen, and the keys."""

import contextlib
import fcntl
import os
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pyte
import pytest

from tests.servers.process import TIMEOUT_S

_READ_BYTES = 65_536
_POLL_S = 0.05


class Terminal:
    """A program in a terminal of its own, as its session's leader; a context manager that kills what is left of it."""

    def __init__(
        self,
        command: Sequence[str | Path],
        *,
        width: int = 120,
        height: int = 40,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        self._master, self._slave = os.openpty()
        self._screen = pyte.Screen(width, height)
        self._stream = pyte.ByteStream(self._screen)
        self.output = b""
        self.resize(width, height)
        self.settings = self.settings_now()
        plain = {name: value for name, value in os.environ.items() if name not in {"COLUMNS", "LINES", "NO_COLOR"}}
        self.process = subprocess.Popen(
            [*map(str, command)],
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            env={**plain, "TERM": "xterm-256color", "PYTHONUTF8": "1", **(environ or {})},
            start_new_session=True,
            preexec_fn=_as_a_shell_starts_it,  # noqa: PLW1509 -- calls of the system, and no other way to be sent Ctrl-C
        )

    def settings_now(self) -> list[Any]:  # as termios has them
        """Return how the terminal is set: echo, lines, special characters."""
        return termios.tcgetattr(self._slave)

    def resize(self, width: int, height: int) -> None:
        """Give the terminal another size, of which it tells its programs."""
        self._screen.resize(height, width)
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))

    def press(self, keys: str) -> None:
        """Type something."""
        os.write(self._master, keys.encode())

    def text(self) -> str:
        """Return what is on the screen now, line by line."""
        while select.select([self._master], [], [], 0)[0]:
            self._read()
        return "\n".join(line.rstrip() for line in self._screen.display)

    def wait_for(self, shown: Callable[[str], object], *, what: str) -> str:
        """Wait until the screen satisfies something, and return its text."""
        deadline = time.monotonic() + TIMEOUT_S
        while not shown(text := self.text()):
            if time.monotonic() > deadline or self.process.poll() is not None:
                pytest.fail(f"waited in vain for {what}; status {self.process.poll()}, on the screen is\n{text}")
            select.select([self._master], [], [], _POLL_S)
        return text

    def wait_until_stopped(self) -> None:
        """Wait until the program is suspended."""
        _, status = os.waitpid(self.process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status)

    def ended(self) -> int:
        """Wait until the program has ended, and return its status."""
        deadline = time.monotonic() + TIMEOUT_S
        while self.process.poll() is None:
            if time.monotonic() > deadline:
                pytest.fail(f"the program does not end; on the screen is\n{self.text()}")
            if select.select([self._master], [], [], _POLL_S)[0]:  # it may have to be read for it to go on
                self._read()
        self.text()
        return self.process.returncode

    def _read(self) -> None:
        data = os.read(self._master, _READ_BYTES)
        self.output += data
        self._stream.feed(data)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        os.close(self._master)
        os.close(self._slave)


def _as_a_shell_starts_it() -> None:
    """With the terminal, and with no signal ignored; whoever started the tests in the background ignores some."""
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGHUP, signal.SIGTERM, signal.SIGTSTP):
        signal.signal(number, signal.SIG_DFL)
