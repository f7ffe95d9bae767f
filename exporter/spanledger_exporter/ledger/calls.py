"""Reports that may be of one call -> entries made, changed and joined.

Only what the window suspects comes here: nearly every report is of a call that nobody else reports. Every choice is
made from what the ledger holds, in the transaction that writes it.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Literal

from sqlalchemy import Connection, RowMapping, and_, bindparam, delete, insert, select, update

from spanledger_exporter.ledger.folding import different_calls, merged, same_call
from spanledger_exporter.ledger.profiles import Numbered, Profiles
from spanledger_exporter.ledger.rollups import Moves
from spanledger_exporter.ledger.rows import document_of, price_of, record_of, record_of_document, row_of
from spanledger_exporter.ledger.schema import ENTRY_COLUMNS, adjustments, entries, ledger_entries, profiles, reports
from spanledger_exporter.ledger.usage_columns import leases_of
from spanledger_exporter.ledger.window import Mark, Sifted, mark_of
from spanledger_exporter.records import Key, PricedRecord, UsageRecord

_PAGE: Final = 500
_KEY: Final = ("end_ns", "span_id", "trace_id")


class Call:
    """One call: its reports, the first of which gives its entry the key and the time, and its entry if it has one."""

    def __init__(self, kept: list[UsageRecord], row: RowMapping | None = None) -> None:
        self.reports = kept
        self.row = row
        self.kept = len(kept) if row is not None and row["reports"] is not None else 0  # that have rows of their own
        self.changed = False
        self.joined_to: Call | None = None

    @property
    def entry_id(self) -> int:
        """The number of its entry."""
        assert self.row is not None, "only a call that is in the ledger has a number"
        return self.row["entry_id"]

    def has(self, report: UsageRecord) -> bool:
        """Tell whether a report is of this call."""
        return any(same_call(report, each) for each in self.reports) and not self.is_another_than([report])

    def is_another_than(self, reports: Sequence[UsageRecord]) -> bool:
        """Tell whether one of these reports is of another call than one of its own."""
        return any(different_calls(one, other) for one in self.reports for other in reports)

    def take(self, report: UsageRecord) -> None:
        """Add a report."""
        self.reports.append(report)
        self.changed = True


class Calls:
    """The calls that the suspects of one batch belong to, on the connection of its transaction."""

    def __init__(
        self,
        connection: Connection,
        price: Callable[[UsageRecord], PricedRecord],
        rank: Callable[[str], int],
        known: Callable[[Connection, Sequence[Key]], dict[Key, int]],
    ) -> None:
        self._connection = connection
        self._price = price
        self._rank = rank
        self._known = known
        self._calls: list[Call] = []

    def sort_out(self, records: Sequence[PricedRecord], sifted: Sifted) -> dict[Key, Literal["duplicate", "folded"]]:
        """Find the call of each suspect; return which of them make no entry: those delivered before, those folded."""
        other: dict[Key, Literal["duplicate", "folded"]] = {}
        places = sorted(sifted.suspects)
        known = self._known(self._connection, [records[place].record.key for place in places])
        asked = {number for numbers in sifted.known.values() for number in numbers} | set(known.values())
        stored = load(self._connection, asked)
        self._calls = list(stored.values())
        of_place: dict[int, Call] = {}
        for place in places:
            record = records[place].record
            number = known.get(record.key)
            if number is not None:
                other[record.key] = "duplicate"
                if number in stored:
                    of_place[place] = stored[number]
                continue
            candidates = [stored[number] for number in sifted.known.get(place, ()) if number in stored]
            candidates += [of_place[other] for other in sifted.near.get(place, ()) if other in of_place]
            of_place[place] = self._place(record, candidates)
        for place, call in of_place.items():  # only now: a later report may have joined a call to another
            record = records[place].record
            if record.key not in other and _final(call).reports[0] is not record:
                other[record.key] = "folded"
        return other

    def _place(self, record: UsageRecord, candidates: Iterable[Call]) -> Call:
        found = dict.fromkeys(_final(call) for call in candidates)  # each once, in their order
        same = [call for call in found if call.has(record)]
        if not same:
            made = Call([record])
            self._calls.append(made)
            return made
        first, *others = sorted(same, key=_age)  # one that has an entry keeps it
        first.take(record)
        for other in others:
            if not first.is_another_than(other.reports):
                first.reports += other.reports
                other.joined_to = first
        return first

    def new(self) -> list[tuple[PricedRecord, int | None]]:
        """Return the calls that have no entry yet, with the number of their reports where there are several."""
        made = (call for call in self._calls if call.row is None and call.joined_to is None)
        return [(self._together(call), len(call.reports) if len(call.reports) > 1 else None) for call in made]

    def _together(self, call: Call) -> PricedRecord:
        return self._price(merged(call.reports, self._rank))

    def keep_reports(self, numbers: Mapping[Key, int]) -> list[tuple[Mark, int]]:
        """Keep the reports of calls that have several, and return what they are found by.

        `numbers` are those of new entries, by the key of the first report.
        """
        rows: list[dict[str, Any]] = []
        marks: list[tuple[Mark, int]] = []
        for call in self._calls:
            if call.joined_to is not None or (call.row is None and len(call.reports) == 1):
                continue
            number = numbers.get(call.reports[0].key) if call.row is None else call.entry_id
            if number is None or not (call.changed or call.row is None):
                continue
            marks += [(mark_of(report), number) for report in call.reports]
            rows += [_report_row(report, number) for report in call.reports[call.kept :]]
        if rows:
            self._connection.execute(insert(reports), rows)
        return marks

    def change(self, number: Callable[[PricedRecord], Numbered], profiles_: Profiles, moves: Moves) -> None:
        """Write the entries that got more reports, and take those away that turned out to be of the same call."""
        for call in self._calls:
            if call.row is None:
                continue
            if call.joined_to is not None:
                self._join(call, profiles_, moves)
            elif call.changed:
                priced = self._together(call)
                replace(self._connection, call.row, priced, number(priced), profiles_, moves, len(call.reports))

    def _join(self, call: Call, profiles_: Profiles, moves: Moves) -> None:
        assert call.row is not None, "one without an entry needs no writing"
        assert _final(call).row is not None, "a call with an entry is joined to one that has one"
        take_away(self._connection, call.row, profiles_, moves)
        here = ledger_entries.c
        self._connection.execute(
            delete(ledger_entries).where(here.entry_id == call.entry_id, here.end_ns == call.row["end_ns"])
        )
        self._connection.execute(delete(adjustments).where(adjustments.c.entry_id == call.entry_id))
        if call.kept:
            self._connection.execute(delete(reports).where(reports.c.entry_id == call.entry_id))


def _age(call: Call) -> tuple[bool, int]:
    return call.row is None, 0 if call.row is None else call.entry_id


def _final(call: Call) -> Call:
    while call.joined_to is not None:
        call = call.joined_to
    return call


def load(connection: Connection, numbers: Iterable[int]) -> dict[int, Call]:
    """Return the calls of these entries, with all their reports, the first first."""
    found: dict[int, Call] = {}
    wanted = sorted(numbers)
    for start in range(0, len(wanted), _PAGE):
        part = wanted[start : start + _PAGE]
        rows = connection.execute(_ROWS.where(ledger_entries.c.entry_id.in_(part))).mappings().all()
        several = [row["entry_id"] for row in rows if row["reports"] is not None]
        documents = _documents(connection, several)
        for row in rows:
            number = row["entry_id"]
            found[number] = Call(documents.get(number) or [record_of_entry(row)], row)
    return found


_ROWS: Final = select(entries, ledger_entries.c.details).join_from(
    ledger_entries,
    entries,
    and_(entries.c.entry_id == ledger_entries.c.entry_id, entries.c.end_ns == ledger_entries.c.end_ns),
)


def record_of_entry(row: RowMapping) -> UsageRecord:
    """Return the record of a loaded entry, with its leases."""
    return record_of(row)._replace(leases=leases_of(row["details"]))


def _documents(connection: Connection, numbers: Sequence[int]) -> dict[int, list[UsageRecord]]:
    if not numbers:
        return {}
    query = select(reports.c.entry_id, reports.c.document).where(reports.c.entry_id.in_(numbers))
    found: dict[int, list[UsageRecord]] = {}
    for number, document in connection.execute(query.order_by(reports.c.report_id)):
        found.setdefault(number, []).append(record_of_document(document))
    return found


def replace(
    connection: Connection,
    row: RowMapping,
    priced: PricedRecord,
    numbered: Numbered,
    profiles_: Profiles,
    moves: Moves,
    count: int | None,
) -> None:
    """Write other figures, or another price, into an entry, and move the sums by the difference."""
    take_away(connection, row, profiles_, moves)
    moves.add(row["end_ns"], numbered, priced)
    values = dict(zip(ENTRY_COLUMNS, row_of(priced, numbered.profile_id, row["received_ns"], count), strict=True))
    changed = {name: value for name, value in values.items() if name not in _KEY}
    statement = update(ledger_entries).where(
        ledger_entries.c.entry_id == bindparam("number"), ledger_entries.c.end_ns == bindparam("at")
    )
    connection.execute(statement, {"number": row["entry_id"], "at": row["end_ns"], **changed})


def take_away(connection: Connection, row: RowMapping, profiles_: Profiles, moves: Moves) -> None:
    """Take an entry's figures out of the sums, from where they were added."""
    before = PricedRecord(record_of_entry(row), price_of(row), "")
    query = select(profiles.c.cell_id).where(profiles.c.profile_id == row["profile_id"])
    cell_id = connection.execute(query).scalar_one()
    moves.take_away(row["end_ns"], profiles_.at(connection, row["profile_id"], cell_id), before)


def _report_row(report: UsageRecord, number: int) -> dict[str, Any]:
    return {
        "entry_id": number,
        "end_ns": report.end_ns,
        "span_id": report.span_id,
        "trace_id": report.trace_id,
        "document": document_of(report),
    }
