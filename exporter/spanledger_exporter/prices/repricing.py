"""Entries of the ledger and a price book -> the adjustments that give them its prices, and what those add up to."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import NamedTuple

from spanledger_exporter.prices.price_book import PriceBook
from spanledger_exporter.prices.pricer import Pricer
from spanledger_exporter.records import Adjustment, Price, UsageRecord

_ADJUSTED_AT_ONCE = 1000
Stored = tuple[int, UsageRecord, Price]  # an entry's number, its record and the price that the ledger has for it

Adjust = Callable[[Sequence[Adjustment]], object]


class ModelChange(NamedTuple):
    """What pricing the entries of one model again does to them.

    Units: pico-USD, of the entries that have a price. `unpriced` entries have none before and after.
    """

    model: str
    entries: int = 0
    changed: int = 0
    unpriced: int = 0
    before_pusd: int = 0
    after_pusd: int = 0


class Repricing:
    """Prices entries again, and adds up by model what that changes.

    Only what is unpriced is looked at, or all entries; a call that has nothing to pay for stays so. An entry keeps the
    price that it has where the book has none: a price is never taken away.
    """

    def __init__(self, pricer: Pricer, reason: str, *, all_entries: bool = False) -> None:
        self._pricer = pricer
        self._reason = reason
        self._all = all_entries
        self._changes: dict[str, ModelChange] = {}

    @property
    def book(self) -> PriceBook:
        """The price book that the entries are priced with."""
        return self._pricer.book

    def adjustments(self, entries: Iterable[Stored]) -> Iterator[Adjustment]:
        """Return an adjustment for each entry that gets another price."""
        for entry_id, record, before in entries:
            if before.status == "none" or not (self._all or before.status == "unpriced"):
                continue
            after = self._pricer.price(record)
            known = after.cost_pusd is not None
            changed = known and (after.status, after.cost_pusd) != (before.status, before.cost_pusd)
            self._count(record, before, after if changed else before, changed=changed)
            if changed:
                yield Adjustment(entry_id, after, self._pricer.book.book_id, self._reason, record)

    def run(
        self, entries: Iterable[Stored], adjust: Callable[[Sequence[Adjustment]], object] | None
    ) -> list[ModelChange]:
        """Adjust the entries, a thousand in one transaction, or only add up what that would change."""
        found = self.adjustments(entries)
        while batch := list(islice(found, _ADJUSTED_AT_ONCE)):
            if adjust is not None:
                adjust(batch)
        return sorted(self._changes.values(), key=lambda each: (each.before_pusd - each.after_pusd, each.model))

    def _count(self, record: UsageRecord, before: Price, after: Price, *, changed: bool) -> None:
        model = f"{record.profile.provider or '?'}/{record.profile.model or '?'}"
        one = self._changes.get(model, ModelChange(model))
        self._changes[model] = ModelChange(
            model,
            one.entries + 1,
            one.changed + changed,
            one.unpriced + (after.cost_pusd is None),
            one.before_pusd + (before.cost_pusd or 0),
            one.after_pusd + (after.cost_pusd or 0),
        )
