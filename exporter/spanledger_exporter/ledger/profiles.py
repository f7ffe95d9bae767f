"""What entries share -> its number: each combination is kept once, with the cell of the rollups that it belongs to.

A row of an entry then holds its own figures only, and everything that depends on the combination alone, its cell and
the labels of its metrics, is worked out once for each.
"""

import hashlib
import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from sqlalchemy import Connection, select

from spanledger_exporter.ledger.cells import Cell, Cells, cell_of
from spanledger_exporter.ledger.insert import insert_ignore
from spanledger_exporter.ledger.schema import profiles
from spanledger_exporter.records import PricedRecord, Profile

_KNOWN_MAX = 50_000
_DIGEST_BYTES = 16
_Rest = tuple[object, ...]  # what else decides: the book, the status of usage and price, and how the price was found


class Numbered(NamedTuple):
    """A profile's number and the cell of its calls; `folded` where the cell stands for others as well."""

    profile_id: int
    cell_id: int
    cell: Cell
    folded: bool


class Profiles:
    """Numbers profiles, on a connection that it is given; `settled` tells it how the transaction ended."""

    def __init__(self, cells: Cells, *, known_max: int = _KNOWN_MAX) -> None:
        self._cells = cells
        self._known_max = known_max
        self._known: dict[tuple[Profile, _Rest], Numbered] = {}
        # By the profile's identity first: nearly every call shares the very object with others, and hashing one anew
        # takes longer than all the rest. The object is kept beside, so that the identity stays its own.
        self._by_identity: dict[tuple[int, _Rest], tuple[Profile, Numbered]] = {}
        self._fresh: dict[tuple[Profile, _Rest], Numbered] = {}

    def number(self, connection: Connection, priced: PricedRecord, book_number: int) -> Numbered:
        """Return the number of what this call shares with others."""
        record, price, _ = priced
        profile = record[5]
        status, _, reason, _, model, match, context, _ = price
        rest = (book_number, record[6], status, model, match, context, reason, record[14])
        known = self._by_identity.get((id(profile), rest))
        if known is not None and known[0] is profile:
            return known[1]
        key = (profile, rest)
        found = self._known.get(key)
        if found is not None:
            if len(self._by_identity) >= self._known_max:
                self._by_identity.clear()
            self._by_identity[id(profile), rest] = (profile, found)
            return found
        found = self._fresh.get(key)
        if found is None:
            found = self._fresh[key] = self._insert(connection, priced, book_number)
        return found

    def at(self, connection: Connection, profile_id: int, cell_id: int) -> Numbered:
        """Return a profile that the ledger has, with its cell."""
        return Numbered(profile_id, cell_id, self._cells.at(connection, cell_id), folded=False)

    def settled(self, *, committed: bool) -> None:
        """Remember what the transaction added, or forget it."""
        self._cells.settled(committed=committed)
        if committed and self._fresh:
            if len(self._known) >= self._known_max:
                self._known.clear()
            self._known.update(self._fresh)
        self._fresh = {}

    def _insert(self, connection: Connection, priced: PricedRecord, book_number: int) -> Numbered:
        shared = shared_of(priced, book_number)
        digest = hashlib.blake2b(json.dumps(list(shared.values())).encode(), digest_size=_DIGEST_BYTES).digest()
        cell, cell_id, folded = self._cells.number(connection, cell_of(priced))
        insert_ignore(connection, profiles, ("digest",), [{"digest": digest, "cell_id": cell_id, **shared}])
        query = select(profiles.c.profile_id, profiles.c.cell_id).where(profiles.c.digest == digest)
        profile_id, kept_cell_id = connection.execute(query).one()
        if kept_cell_id != cell_id:  # numbered before, when the cells had room or had not
            cell, cell_id = self._cells.at(connection, kept_cell_id), kept_cell_id
        return Numbered(profile_id, cell_id, cell, folded)


def shared_of(priced: PricedRecord, book_number: int) -> Mapping[str, Any]:
    """Return the values of a profile's row, in the order of its columns."""
    record, price, _ = priced
    return {
        **record.profile._asdict(),
        "usage_status": record.usage_status,
        "ambiguity": record.ambiguity,
        "price_status": price.status,
        "price_reason": price.reason,
        "price_model": price.model,
        "price_match": price.match,
        "price_context": price.context,
        "price_book_id": book_number,
    }
