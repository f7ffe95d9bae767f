"""The ledger as the demo watches it: the entries of its own service since it began, while the exporter writes them."""

from __future__ import annotations

from typing import Any

from spanledger_demo.budgets import refused
from spanledger_exporter.ledger.filters import Filter
from spanledger_exporter.ledger.reader import Reader


class LedgerWindow:
    """Read each entry of one service that comes after now, in the form of `spanledger entries --json`."""

    def __init__(self, reader: Reader, *, service: str) -> None:
        self._reader = reader
        self._filter = Filter(service=service)
        self._before_id = self._seen_id = reader.last_entry_id()
        self.seen = self.answered = 0

    def new(self) -> list[dict[str, Any]]:
        """Read the entries that came since the last time, oldest first."""
        entries = list(self._reader.entries_after(self._seen_id, self._filter))
        if entries:
            self._seen_id = entries[-1]["entry_id"]
        self.seen += len(entries)
        self.answered += sum(not refused(entry) for entry in entries)
        return entries

    def all(self) -> list[dict[str, Any]]:
        """Read the entries since the window was opened, whether seen before or not."""
        return list(self._reader.entries_after(self._before_id, self._filter))
