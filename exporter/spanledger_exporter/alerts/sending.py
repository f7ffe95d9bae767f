"""One message, to several channels at once, each in a thread of its own: none waits for another, nobody for ever."""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

from spanledger_exporter.alerts.notices import Texts

Ended = tuple[str, str | None]
"""A channel's name, and what was wrong, `None` for nothing."""


class Mail(NamedTuple):
    """What is sent: the alerts that it is about, the texts, and whether somebody has to act."""

    ids: tuple[int, ...]
    texts: Texts
    grave: bool


class _Attempt:
    """One attempt of a channel: under way, ended well, or ended with a problem."""

    def __init__(self, ids: tuple[int, ...]) -> None:
        self.ids = ids
        self.ended = False
        self.problem: str | None = None


class Channel:
    """Where messages go to: `name` says which it is, `send` sends, however long that takes, and returns what was wrong.

    A server that takes its time holds one thread, and that channel alone.
    """

    def __init__(self, name: str, send: Callable[[Mail], str | None]) -> None:
        self.name = name
        self.send = send
        self._last = _Attempt(())
        self._last.ended = True

    def begin(self, mail: Mail, ended: "queue.SimpleQueue[Ended]") -> None:
        """Start sending a message, unless an earlier attempt has not ended.

        What came of an attempt that ended when nobody waited for it any more is told now, instead of sending it again.
        """
        last = self._last
        if not last.ended:
            ended.put((self.name, "the attempt before has not ended yet"))
        elif mail.ids and last.ids == mail.ids and last.problem is None:
            ended.put((self.name, None))
        else:
            attempt = self._last = _Attempt(mail.ids)
            threading.Thread(
                target=self._run, args=(attempt, mail, ended), name=f"spanledger-{self.name}", daemon=True
            ).start()

    def _run(self, attempt: _Attempt, mail: Mail, ended: "queue.SimpleQueue[Ended]") -> None:
        try:
            attempt.problem = self.send(mail)
        except BaseException:
            attempt.problem = "failed unexpectedly"
            raise
        finally:
            attempt.ended = True
            ended.put((self.name, attempt.problem))


def send_all(channels: Sequence[Channel], mail: Mail, timeout_s: float) -> Iterator[Ended]:
    """Send a message to channels, and return how it went at each, as they end or as time is up."""
    ended: queue.SimpleQueue[Ended] = queue.SimpleQueue()
    deadline_s = time.monotonic() + timeout_s
    waiting = {channel.name for channel in channels}
    for channel in channels:
        channel.begin(mail, ended)
    while waiting:
        try:
            name, problem = ended.get(timeout=max(0.0, deadline_s - time.monotonic()))
        except queue.Empty:
            break
        waiting.discard(name)
        yield name, problem
    yield from ((name, f"no answer within {timeout_s:g} s") for name in sorted(waiting))
