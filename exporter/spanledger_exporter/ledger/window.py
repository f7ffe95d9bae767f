"""The calls of late, by what another report of them would carry: response id, span, parent.

Two reports of one call arrive within seconds of each other. So the window keeps a bounded number of calls in memory, in
two generations: when the younger is full it becomes the older, and what was the older is forgotten. Nothing is looked
up in the database for a call that nobody else reports.
"""

from collections.abc import Iterable, Sequence
from typing import NamedTuple, TypeVar

from spanledger_exporter.ledger.identity import distinctive
from spanledger_exporter.records import UsageRecord


class Mark(NamedTuple):
    """What a report is found by; a failed attempt is no child that its parent's report could be of."""

    response_id: str | None
    span_id: bytes
    parent_span_id: bytes | None


def mark_of(record: UsageRecord) -> Mark:
    """Return what a record is found by."""
    parent_span_id = record.parent_span_id if record.profile.outcome == "ok" else None
    return Mark(record.response_id, record.span_id, parent_span_id)


_Key = TypeVar("_Key")
_Where = int | tuple[int, ...]
_SAME_KEY_MAX = 8
"""Calls under one key that are remembered, the latest: children of one parent, or an id that a server gives to many."""


class _Places:
    """Where calls are, by the hash of their id, by their span, and by the span that is their parent.

    An id in full is hashed anyway; as a number it takes a third of the memory. A key that several calls have stands for
    all of them.
    """

    __slots__ = ("children", "ids", "spans")

    def __init__(self) -> None:
        self.ids: dict[int, _Where] = {}
        self.spans: dict[bytes, _Where] = {}
        self.children: dict[bytes, _Where] = {}


class Sifted:
    """What the window finds of a batch: reports that may be of one call with an entry, or with each other.

    `known` are the entries that a suspect may be of, `near` the other positions.
    """

    def __init__(self) -> None:
        self.places = _Places()
        self.known: dict[int, set[int]] = {}
        self.near: dict[int, set[int]] = {}

    @property
    def suspects(self) -> frozenset[int]:
        """The positions that need a closer look."""
        return frozenset(self.known.keys() | self.near.keys())

    def found(self, place: int, young: _Where | None, old: _Where | None, near: _Where | None) -> None:
        """Note what a report may be one call with: entries of either generation, and other reports of the batch."""
        for entry_ids in (young, old):
            if entry_ids is not None:
                self.known.setdefault(place, set()).update(_each(entry_ids))
        if near is not None:
            for other in _each(near):
                self.near.setdefault(place, set()).add(other)
                self.near.setdefault(other, set()).add(place)


class Window:
    """Finds the entries that a report may be of. `calls_max` is how many calls it remembers at most."""

    def __init__(self, calls_max: int) -> None:
        self._generation_max = max(1, calls_max // 2)
        self._young = _Places()
        self._old = _Places()
        self.forgotten = 0

    def sift(self, records: Sequence[UsageRecord]) -> Sifted:
        """Return which reports of a batch may be of one call with an entry, or with each other."""
        sifted = Sifted()
        # Written out, and for speed: every report comes through here, and nearly none is found.
        here, young, old = sifted.places, self._young, self._old
        ids, spans, children = here.ids, here.spans, here.children
        young_ids, old_ids = young.ids, old.ids
        for place, record in enumerate(records):
            response_id, span_id, parent_id = record[8], record[1], record[4]
            if response_id is not None:
                by_id = hash(response_id)
                if (by_id in ids or by_id in young_ids or by_id in old_ids) and distinctive(response_id):
                    sifted.found(place, young_ids.get(by_id), old_ids.get(by_id), ids.get(by_id))
                ids[by_id] = place if by_id not in ids else _with(ids[by_id], place)
            if span_id in children or span_id in young.children or span_id in old.children:
                sifted.found(place, young.children.get(span_id), old.children.get(span_id), children.get(span_id))
            spans[span_id] = place
            if parent_id is not None:
                if parent_id in spans or parent_id in young.spans or parent_id in old.spans:
                    sifted.found(place, young.spans.get(parent_id), old.spans.get(parent_id), spans.get(parent_id))
                if record[5].outcome == "ok":
                    children[parent_id] = place if parent_id not in children else _with(children[parent_id], place)
        return sifted

    def remember(self, sifted: Sifted, numbers: Sequence[int | None]) -> None:
        """Remember a batch once it is committed; `numbers` are the entries of its reports, by position."""
        young, here = self._young, sifted.places
        _remember(young.ids, here.ids, numbers)
        _remember(young.spans, here.spans, numbers)
        _remember(young.children, here.children, numbers)
        self._age()

    def add(self, marks: Iterable[tuple[Mark, int]]) -> None:
        """Remember other reports of entries."""
        young = self._young
        for (response_id, span_id, parent_id), entry_id in marks:
            if response_id is not None:
                _add(young.ids, hash(response_id), entry_id)
            young.spans[span_id] = entry_id
            if parent_id is not None:
                _add(young.children, parent_id, entry_id)
        self._age()

    def _age(self) -> None:
        if len(self._young.spans) >= self._generation_max:
            self.forgotten += len(self._old.spans)
            self._old, self._young = self._young, _Places()


def _remember(table: dict[_Key, _Where], added: dict[_Key, _Where], numbers: Sequence[int | None]) -> None:
    for key, where in added.items():
        if isinstance(where, int) and key not in table:  # nearly always
            number = numbers[where]
            if number is not None:
                table[key] = number
            continue
        for place in _each(where):
            number = numbers[place]
            if number is not None:
                _add(table, key, number)


def _add(table: dict[_Key, _Where], key: _Key, number: int) -> None:
    before = table.get(key)
    table[key] = number if before is None else _with(before, number)


def _with(before: _Where, number: int) -> tuple[int, ...]:
    kept = tuple(each for each in _each(before) if each != number)
    return (*kept[1 - _SAME_KEY_MAX :], number)


def _each(where: _Where) -> tuple[int, ...]:
    return (where,) if isinstance(where, int) else where
