"""Ends the demo's processes if the demo itself is killed: `python -m spanledger_demo.warden` reads its standard input.

The demo writes `+PID` for each process group that it starts and `-PID` for each that it has seen end. When the pipe
closes, because the demo has gone, in whatever way, what is left is ended.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterable

GRACE_S = 3.0


def groups_left(lines: Iterable[str]) -> list[int]:
    """Read all lines and return the process groups that were started and not seen to end."""
    left: list[int] = []
    for line in lines:
        number = int(line[1:])
        if line.startswith("+"):
            left.append(number)
        else:
            left.remove(number)
    return left


def end(groups: Iterable[int], signal_number: int) -> None:
    """Send a signal to each group that still exists."""
    for group in groups:
        try:
            os.killpg(group, signal_number)
        except ProcessLookupError:
            continue


def main() -> None:
    """Wait for the demo's end."""
    left = groups_left(sys.stdin)
    if left:
        end(left, signal.SIGTERM)
        time.sleep(GRACE_S)
        end(left, signal.SIGKILL)


if __name__ == "__main__":
    main()
