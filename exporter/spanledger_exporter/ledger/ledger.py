"""PricedRecords -> committed ledger entries: each call once, its sums in the same transaction.

The insert itself decides which entries are new, and only those move the sums: a batch that is delivered twice, or by
two senders at once, counts once. What several instrumentations report of one call becomes one entry (folding.py).
When `append` returns, all of it is on disk.
"""

import json
import logging
import time
import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from sqlalchemy import Connection, RowMapping, func, insert, select

from spanledger_exporter import failpoints
from spanledger_exporter.budgets.current_budgets import CurrentBudgets
from spanledger_exporter.failpoints import AFTER_COMMIT, BEFORE_COMMIT, BEFORE_INSERT, Failpoints
from spanledger_exporter.ledger import held_counters
from spanledger_exporter.ledger.calls import Calls, load, record_of_entry, replace
from spanledger_exporter.ledger.cells import Cell, Cells
from spanledger_exporter.ledger.database import Database
from spanledger_exporter.ledger.held_counters import Marks
from spanledger_exporter.ledger.insert import insert_ignore
from spanledger_exporter.ledger.postgresql_entries import PostgresqlEntries
from spanledger_exporter.ledger.profiles import Numbered, Profiles
from spanledger_exporter.ledger.rollups import Moves, Sums
from spanledger_exporter.ledger.rows import Row, price_of, record_of_document, row_of
from spanledger_exporter.ledger.schema import adjustments, ledger_entries, price_books, profiles, reports
from spanledger_exporter.ledger.sqlite_entries import SqliteEntries
from spanledger_exporter.ledger.standings import Standings
from spanledger_exporter.ledger.state import count_commit, floor_ns
from spanledger_exporter.ledger.window import Mark, Window, mark_of
from spanledger_exporter.metrics.spend import raises
from spanledger_exporter.money import usd_text
from spanledger_exporter.prices import pricing
from spanledger_exporter.prices.price_book import PriceBook
from spanledger_exporter.receiving import dead_letters
from spanledger_exporter.receiving.dead_letters import DeadLetter
from spanledger_exporter.receiving.plausibility import Refused, kept_from, plausible
from spanledger_exporter.records import Adjustment, Key, Price, PricedRecord, UsageRecord

_logger = logging.getLogger(__name__)
WINDOW_CALLS_MAX: Final = 200_000
_REPORTS_LOOKED_BACK_MAX: Final = 10_000


Became = Literal["duplicate", "folded", "refused"]


class Appended(NamedTuple):
    """What one commit added: the entries that were new, the cell of each, and what all cells were moved by.

    `other` says what became of the reports that are no new entry, by key: delivered before, folded into the entry of a
    call that somebody else had reported, or refused. `letters` are the dead letters that it wrote, and
    `letters_dropped` is how many older ones had to go for them.
    """

    new: Sequence[PricedRecord]
    cells: Sequence[Cell]
    sums: Mapping[Cell, Sums]
    other: Mapping[Key, Became]
    refused: Sequence[Refused] = ()
    letters: Sequence[DeadLetter] = ()
    letters_dropped: int = 0

    @property
    def folded(self) -> int:
        """How many reports were folded."""
        return sum(became == "folded" for became in self.other.values())


class Adjusted(NamedTuple):
    """How many entries got another price, and what all cells were moved by."""

    changed: int
    sums: Mapping[Cell, Sums]


Falls = Callable[[Mapping[Cell, Sums]], Marks]
"""What cells move by -> how far counters are to be held that fall by it."""


class Ledger:
    """The entries and sums of one database, for one writing thread.

    Raises: `UnavailableError` when the database is locked, full or gone; nothing was written then, unless all was and
    only the answer to the commit was lost.
    """

    def __init__(
        self,
        database: Database,
        *,
        cells_max: int,
        window_calls_max: int = WINDOW_CALLS_MAX,
        dead_letters_max: int = dead_letters.ROWS_MAX,
        price: Callable[[UsageRecord, PriceBook], Price] = pricing.price,
        rank: Callable[[str], int] = lambda _dialect: 0,
        clock_ns: Callable[[], int] = time.time_ns,
        points: Failpoints = failpoints.NONE,
    ) -> None:
        self._database = database
        self._profiles = Profiles(Cells(cells_max))
        self._window = Window(window_calls_max)
        self._window_calls_max = window_calls_max
        self._entries = SqliteEntries() if database.is_sqlite else PostgresqlEntries(database)
        self._dead_letters_max = dead_letters_max
        self._price = price
        self._rank = rank
        self._clock_ns = clock_ns
        self._points = points
        self._book: PriceBook | None = None
        self._book_numbers: dict[str, int] = {}
        self._seen = _Seen()
        self.standings = Standings(database)
        self._budgets = CurrentBudgets()
        self._falls: Falls = lambda _moved: {}
        self.folded = 0
        """How many entries were summed under `__other__` because the limit of cells was reached."""

    @property
    def groups_folded(self) -> int:
        """How many sums budgets count under `__other__` because the limit of values was reached."""
        return self._budgets.folded

    @property
    def window_forgotten(self) -> int:
        """How many marks of calls the window has forgotten to stay within its limit."""
        return self._window.forgotten

    def keep_book(self, book: PriceBook) -> None:
        """Keep a price book for good, so that the entries that it prices can be explained and replayed."""
        row = {
            "book_id": book.book_id,
            "source": book.source,
            "learnt_ns": self._clock_ns(),
            "content": zlib.compress(book.content),
        }
        with self._database.write() as connection:
            insert_ignore(connection, price_books, ("book_id",), [row])
            same = price_books.c.book_id == book.book_id
            number = connection.execute(select(price_books.c.price_book_id).where(same)).scalar_one()
        self._book_numbers[book.book_id] = number
        self._book = book
        self._entries.prepare_ahead(self._clock_ns())

    def hold_by(self, falls: Falls) -> None:
        """Let each commit keep how far counters are to be held that it lets fall, as `falls` says before it."""
        self._falls = falls

    def append(self, records: Sequence[PricedRecord], letters: Sequence[DeadLetter] = ()) -> Appended:
        """Commit the calls that are not in the ledger yet, with their sums, and dead letters, in one transaction."""
        now_ns = self._clock_ns()
        by_key = {priced[0][:3]: priced for priced in reversed(records)}
        # In the order of the keys, which is that of the index: the pages that a batch touches lie side by side.
        batch, implausible = plausible([by_key[key] for key in sorted(by_key)], now_ns)
        floor = self._seen.floor_ns  # what is before it needs no partition: it will be refused
        self._entries.prepare(priced.record.end_ns for priced in batch if priced.record.end_ns >= floor)
        seen = self._seen
        committed = False
        try:
            with self._database.write() as connection:
                seen = self._follow(connection)
                batch, expired = kept_from(batch, seen.floor_ns)
                appended, remember, seen = self._append(connection, batch, seen, now_ns)
                held_counters.keep_marks(connection, self._fallen(appended))
                dropped = dead_letters.insert(connection, letters, rows_max=self._dead_letters_max, received_ns=now_ns)
                self._points.reach(BEFORE_COMMIT)
            self._points.reach(AFTER_COMMIT)
            committed = True
        finally:
            self._profiles.settled(committed=committed)
            self._budgets.settled(committed=committed)
        self._settle(seen)
        remember()
        refused = (*implausible, *expired)
        other: dict[Key, Became] = {each.priced.record.key: "refused" for each in refused}
        return appended._replace(
            other={**appended.other, **other}, refused=refused, letters=letters, letters_dropped=dropped
        )

    def refused(self, records: Sequence[PricedRecord]) -> Sequence[Refused]:
        """Return those that an append would refuse for their time now; nothing is written."""
        batch, implausible = plausible(sorted(records, key=lambda priced: priced.record.key), self._clock_ns())
        with self._database.read() as connection:
            return (*implausible, *kept_from(batch, floor_ns(connection))[1])

    def _append(
        self, connection: Connection, batch: Sequence[PricedRecord], seen: "_Seen", now_ns: int
    ) -> tuple[Appended, Callable[[], None], "_Seen"]:
        charges = self._budgets.charges()
        moves = Moves(charges)
        # As long as nobody has committed a report beside an entry's own, none of these can be one.
        keys = [priced[0][:3] for priced in batch] if seen.report_id else []
        folded_before = self._entries.folded(connection, keys)
        other: dict[Key, Became] = dict.fromkeys(folded_before, "duplicate")
        if folded_before:
            batch = [priced for priced in batch if priced.record.key not in folded_before]
        sifted = self._window.sift([priced.record for priced in batch])
        made: list[tuple[PricedRecord, int | None]] = [(priced, None) for priced in batch]
        calls = None
        if sifted.suspects:
            calls = Calls(connection, self._priced, self._rank, self._entries.known)
            other |= calls.sort_out(batch, sifted)
            made = [pair for place, pair in enumerate(made) if place not in sifted.suspects] + calls.new()
        numbered = [self._number(connection, priced) for priced, _ in made]
        rows: list[Row] = [
            row_of(priced, of[0], now_ns, count) for (priced, count), of in zip(made, numbered, strict=True)
        ]
        self._points.reach(BEFORE_INSERT)
        numbers = self._entries.insert(connection, rows)
        new: list[PricedRecord] = []
        cells: list[Cell] = []
        for (priced, _), of, number in zip(made, numbered, numbers, strict=True):
            if number is None:
                other[priced[0].key] = "duplicate"
                continue
            moves.add(priced[0][0], of, priced)
            new.append(priced)
            cells.append(of[2])
            self.folded += of[3]
        marks: list[tuple[Mark, int]] = []
        if calls is not None:
            calls.change(lambda priced: self._number(connection, priced), self._profiles, moves)
            of_new = {priced.record.key: number for (priced, _), number in zip(made, numbers, strict=True) if number}
            marks = calls.keep_reports(of_new)
            seen = seen._replace(report_id=_last(connection, reports.c.report_id))
            numbers = [of_new.get(priced.record.key) for priced in batch]
        moved = moves.write(connection, now_ns)
        self._budgets.write(connection, charges)
        seen = seen._replace(entry_id=max((number for number in numbers if number), default=seen.entry_id))

        def remember() -> None:  # once it is committed
            self._window.remember(sifted, numbers)
            self._window.add(marks)

        return Appended(new, cells, moved, other), remember, seen

    def adjust(self, changes: Sequence[Adjustment]) -> Adjusted:
        """Give entries another price, move the sums by the difference, and keep what was changed and why.

        Counters that fall by it are raised by as much for good.

        Entries that are gone, those of which another report has come since they were priced, and those that have the
        price already are passed over; of several changes of one entry the last counts.
        """
        by_entry = {change.entry_id: change for change in changes}
        now_ns = self._clock_ns()
        changed = 0
        committed = False
        try:
            with self._database.write() as connection:
                seen = self._follow(connection)
                charges = self._budgets.charges()
                moves = Moves(charges)
                stored = load(connection, by_entry)
                for change in by_entry.values():
                    call = stored.get(change.entry_id)
                    if call is None or call.row is None or price_of(call.row) == change.price:
                        continue
                    record = record_of_entry(call.row)
                    if change.record not in (None, record._replace(leases=())):  # as whoever priced it has read it
                        continue
                    priced = PricedRecord(record, change.price, change.book_id)
                    numbered = self._number(connection, priced)
                    replace(connection, call.row, priced, numbered, self._profiles, moves, call.row["reports"])
                    connection.execute(insert(adjustments), _adjustment_row(call.row, change, now_ns))
                    changed += 1
                moved = moves.write(connection, now_ns)
                charged = self._budgets.write(connection, charges)
                held_counters.raise_marks(connection, self._budgets.falls(charged))
                held_counters.keep_raised(connection, raises(moved))
            committed = True
        finally:
            self._profiles.settled(committed=committed)
            self._budgets.settled(committed=committed)
        self._settle(seen)
        return Adjusted(changed, moved)

    def _fallen(self, appended: Appended) -> Marks:
        """Return how far counters are to be held that a commit lets fall; only where it changes what was there."""
        if not appended.folded:
            return {}
        try:
            return self._falls(appended.sums)
        except Exception:  # the fence around metrics: whatever becomes of them, calls are committed
            _logger.exception("how far counters are to be held is not known")
            return {}

    def totals(self) -> Mapping[Cell, Sums]:
        """Return what each cell adds up to since the ledger began."""
        return {cell: sums for cell, sums in self.standings.read().totals.items() if any(sums)}

    def ping(self) -> None:
        """Raise `UnavailableError` if the database does not answer."""
        with self._database.read() as connection:
            connection.execute(select(1))

    def close(self) -> None:
        """Close the database."""
        self._database.close()

    def _priced(self, record: UsageRecord) -> PricedRecord:
        assert self._book is not None, "a ledger is given its price book first"
        return PricedRecord(record, self._price(record, self._book), self._book.book_id)

    def _number(self, connection: Connection, priced: PricedRecord) -> Numbered:
        return self._profiles.number(connection, priced, self._book_numbers[priced.book_id])

    def _settle(self, seen: "_Seen") -> None:
        """Know what was committed."""
        self.standings.committed(seen.revision)
        self._seen = seen

    def _follow(self, connection: Connection) -> "_Seen":
        """Count this commit, which makes other writers wait for it, and learn what they have committed meanwhile."""
        revision = count_commit(connection)
        if revision == self._seen.revision + 1:
            return self._seen._replace(revision=revision)
        self._budgets.follow(connection)
        entry_id, report_id = self._look_back(connection)
        return _Seen(revision, floor_ns(connection), entry_id, report_id)

    def _look_back(self, connection: Connection) -> tuple[int, int]:
        """Remember the calls that others have committed since, as many as the window holds."""
        entry, report = ledger_entries.c, reports.c
        query = (
            select(entry.response_id, entry.span_id, entry.parent_span_id, profiles.c.outcome, entry.entry_id)
            .join_from(ledger_entries, profiles, profiles.c.profile_id == entry.profile_id)
            .where(entry.entry_id > self._seen.entry_id)
            .order_by(entry.entry_id.desc())
            .limit(self._window_calls_max // 2)
        )
        rows = connection.execute(query).all()
        self._window.add(
            (Mark(response_id, bytes(span), bytes(parent) if parent and outcome == "ok" else None), number)
            for response_id, span, parent, outcome, number in reversed(rows)
        )
        beside = (
            select(report.entry_id, report.document)
            .where(report.report_id > self._seen.report_id)
            .order_by(report.report_id.desc())
            .limit(_REPORTS_LOOKED_BACK_MAX)
        )
        self._window.add((mark_of(record_of_document(text)), number) for number, text in connection.execute(beside))
        return max(self._seen.entry_id, rows[0][-1] if rows else 0), _last(connection, report.report_id)


class _Seen(NamedTuple):
    """How far this writer knows what is in the ledger."""

    revision: int = -1
    floor_ns: int = 0
    entry_id: int = 0
    report_id: int = 0


def _last(connection: Connection, column: Any) -> int:  # a column of any table
    return connection.execute(select(func.coalesce(func.max(column), 0))).scalar_one()


def _adjustment_row(row: RowMapping, change: Adjustment, now_ns: int) -> dict[str, Any]:
    return {
        "entry_id": change.entry_id,
        "made_ns": now_ns,
        "reason": change.reason,
        "before": _price_text(price_of(row)),
        "after": _price_text(change.price),
    }


def _price_text(price: Price) -> str:
    said = price._asdict()
    cost_pusd = said.pop("cost_pusd")
    said.pop("split")
    cost_usd = None if cost_pusd is None else usd_text(cost_pusd)
    return json.dumps({name: value for name, value in (said | {"cost_usd": cost_usd}).items() if value is not None})
