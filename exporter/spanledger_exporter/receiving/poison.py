"""A request that fails again and again for no reason that may pass -> how often, and the letters of what made it fail.

Without an end to it, one such request would stand at the head of a collector's queue for ever.
"""

import hashlib
import threading
from collections import OrderedDict

from spanledger_exporter.receiving.dead_letters import DeadLetter, Reason, Sender, letter
from spanledger_exporter.receiving.fragments import Fragment, fragments
from spanledger_exporter.records import Key

_NOTHING = Fragment(b"", b"", b"")


class Tries:
    """Counts how often requests of the same bytes have failed; the `requests_max` that failed last are remembered."""

    def __init__(self, requests_max: int = 1000) -> None:
        self._requests_max = requests_max
        self._lock = threading.Lock()  # receivers and the committing thread both find failures
        self._counts: OrderedDict[bytes, int] = OrderedDict()

    def failed(self, body: bytes) -> int:
        """Count one more failure, and return how many there are."""
        digest = hashlib.sha256(body).digest()
        with self._lock:
            count = self._counts.pop(digest, 0) + 1
            self._counts[digest] = count
            if len(self._counts) > self._requests_max:
                self._counts.popitem(last=False)
        return count

    def forget(self, body: bytes) -> None:
        """Count from the beginning, should the same bytes come again."""
        digest = hashlib.sha256(body).digest()
        with self._lock:
            self._counts.pop(digest, None)


class Poison:
    """Finds the spans of a request from which records were made, to set those aside that cannot be committed."""

    def __init__(self, body: bytes, sender: Sender, attempts: int) -> None:
        self._body = body
        self._sender = sender
        self._attempts = attempts
        self._by_key: dict[Key, Fragment] | None = None

    def letter(self, key: Key, error: Exception) -> DeadLetter:
        """Return the letter of the record with that key."""
        if self._by_key is None:
            self._by_key = {fragment.key: fragment for fragment in fragments(self._body)}
        return self.of(self._by_key.get(key, _NOTHING), error)

    def refused(self, key: Key, reason: Reason, detail: str) -> DeadLetter:
        """Return the letter of the record with that key, which the ledger refuses."""
        if self._by_key is None:
            self._by_key = {fragment.key: fragment for fragment in fragments(self._body)}
        return letter(self._by_key.get(key, _NOTHING), detail, reason, self._sender)

    def of(self, fragment: Fragment, error: Exception) -> DeadLetter:
        """Return the letter of a span; of the error only its kind is told, for its text may quote what was sent."""
        return letter(fragment, type(error).__name__, "poison", self._sender, attempts=self._attempts)
