"""What a terminal sends -> keys, and a terminal that sends each key at once.

The only module that knows the two kinds of terminals: POSIX (termios) and Windows (msvcrt).
"""

import codecs
import contextlib
import os
import re
import sys
from collections.abc import Callable, Generator
from typing import Final

from spanledger_exporter.top.view import BACKSPACE, CLEAR, ENTER, ESCAPE, HANGUP

_READ_BYTES: Final = 1024
_LOCAL_MODES: Final = 3
_CONTROL_CHARACTERS: Final = 6
# Arrows, function keys, pastes in brackets, mice: ECMA-48 control sequences, and what xterm sends after ESC O.
_SEQUENCE: Final = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|O[@-~])")
_NAMED: Final = {
    "\r": ENTER,
    "\n": ENTER,
    "\x1b": ESCAPE,
    "\x7f": BACKSPACE,
    "\x08": BACKSPACE,
    "\x15": CLEAR,
}
_WINDOWS_PREFIXES: Final = ("\x00", "\xe0")


class Keyboard:
    """Bytes of a terminal, in any pieces -> keys; a character that comes in two pieces is one key.

    An escape sequence is no key of ours and is passed over; ESC alone is one, so the sequence has to come in one piece.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, data: bytes) -> list[str]:
        """Return the keys of what was read."""
        text = _SEQUENCE.sub("", self._decoder.decode(data))
        return [_NAMED.get(char, char) for char in text]


if sys.platform == "win32":
    import msvcrt

    @contextlib.contextmanager
    def unbuffered() -> Generator[None]:
        """Do nothing: msvcrt reads keys one by one, and unseen, as it is."""
        yield

    def listen(heard: Callable[[str], None]) -> None:
        """Tell of each key, for ever."""
        while True:
            char = msvcrt.getwch()
            if char in _WINDOWS_PREFIXES:
                msvcrt.getwch()  # the second half of an arrow or a function key
            else:
                heard(_NAMED.get(char, char))

else:
    import termios

    @contextlib.contextmanager
    def unbuffered() -> Generator[None]:
        """Let the terminal on stdin send each key at once, and unseen; afterwards it is as it was."""
        terminal = sys.stdin.fileno()
        before = termios.tcgetattr(terminal)
        changed = [*before]
        changed[_LOCAL_MODES] &= ~(termios.ICANON | termios.ECHO)
        characters = list(before[_CONTROL_CHARACTERS])
        characters[termios.VMIN], characters[termios.VTIME] = 1, 0
        changed[_CONTROL_CHARACTERS] = characters
        try:
            termios.tcsetattr(terminal, termios.TCSANOW, changed)
            yield
        finally:
            # At once: what was typed and not read stays for whoever reads next; no halted terminal is waited for.
            with contextlib.suppress(termios.error):  # it may be gone
                termios.tcsetattr(terminal, termios.TCSANOW, before)

    def listen(heard: Callable[[str], None]) -> None:
        """Tell of each key until the terminal is gone, and then of that."""
        keyboard = Keyboard()
        while True:
            try:
                data = os.read(sys.stdin.fileno(), _READ_BYTES)
            except OSError:
                data = b""
            if not data:
                heard(HANGUP)
                return
            for key in keyboard.feed(data):
                heard(key)
