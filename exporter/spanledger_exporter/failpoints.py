"""SPANLEDGER_FAILPOINTS -> places where a test lets the exporter die, fail or dawdle.

What a crash at the worst instant does can only be shown by a crash at that instant. Nothing but the variable arms a
point, no setting does, and a point that is not armed costs one look into an empty dict.
"""

import logging
import os
import re
import signal
import time
from collections.abc import Callable, Mapping
from typing import Final

from spanledger_exporter.errors import ConfigError, UnavailableError

VARIABLE: Final = "SPANLEDGER_FAILPOINTS"
BEFORE_INSERT: Final = "before_insert"
BEFORE_COMMIT: Final = "before_commit"
AFTER_COMMIT: Final = "after_commit"
POINTS: Final = (BEFORE_INSERT, BEFORE_COMMIT, AFTER_COMMIT)
"""In a ledger's transaction before its entries are written, when all is written, and after it, before the answer."""
BEFORE_SENDING: Final = "before_sending"
AFTER_SENDING: Final = "after_sending"
SENDING_POINTS: Final = (BEFORE_SENDING, AFTER_SENDING)
"""When a message about a budget is taken, before it is sent; when a channel has it, before that is written down."""

_POINT: Final = re.compile(r"(\w+)=(?:(kill|raise)(?::([1-9]\d{0,8}))?|sleep:(\d{1,3}(?:\.\d{1,3})?))")
_logger = logging.getLogger(__name__)


class Failpoints:
    """The points that are armed; made by `parse`. Each is reached by one thread: which commits, or the notifier's."""

    def __init__(self, armed: Mapping[str, Callable[[], None]]) -> None:
        self._armed = armed

    def reach(self, name: str) -> None:
        """Do what the point is armed with: nothing, nearly always.

        Raises: `UnavailableError` where the point is armed with `raise`.
        """
        act = self._armed.get(name)
        if act is not None:
            act()


NONE: Final = Failpoints({})


def from_environment() -> Failpoints:
    """Return the points that the environment arms.

    Raises:
        ConfigError: the variable names a point or an action that there is not.
    """
    armed = parse(os.environ.get(VARIABLE, ""))
    if armed is not NONE:
        _logger.warning("%s is set: this exporter fails on purpose", VARIABLE)
    return armed


def parse(text: str) -> Failpoints:
    """Read points and what each does.

    Shape: `before_insert=kill,before_commit=raise:3,after_commit=sleep:0.2`; a number says at the how manieth time.

    Raises:
        ConfigError: there is no such point or action.
    """
    if not text:
        return NONE
    armed: dict[str, Callable[[], None]] = {}
    for part in text.split(","):
        found = _POINT.fullmatch(part.strip())
        points = (*POINTS, *SENDING_POINTS)
        if found is None or found[1] not in points:
            known = f"points are {', '.join(points)}, actions kill, kill:N, raise, raise:N and sleep:SECONDS"
            raise ConfigError([f"{VARIABLE}: {part.strip()!r} is no point=action; {known}"])
        name, action, time_, seconds = found.groups()
        armed[name] = _sleeping(float(seconds)) if seconds else _nth(int(time_ or 1), _ACTIONS[action](name))
    return Failpoints(armed)


def _sleeping(seconds: float) -> Callable[[], None]:
    return lambda: time.sleep(seconds)


def _nth(wanted: int, act: Callable[[], None]) -> Callable[[], None]:
    times = 0

    def reached() -> None:
        nonlocal times
        times += 1
        if times == wanted:
            act()

    return reached


def _killing(_name: str) -> Callable[[], None]:
    return lambda: os.kill(os.getpid(), signal.SIGKILL)


def _raising(name: str) -> Callable[[], None]:
    def fail() -> None:
        raise UnavailableError(f"the failpoint {name} is armed to fail")

    return fail


_ACTIONS: Final[Mapping[str, Callable[[str], Callable[[], None]]]] = {"kill": _killing, "raise": _raising}
