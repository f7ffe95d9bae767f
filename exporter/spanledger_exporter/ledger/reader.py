"""The ledger, read: entries by filter, sums by dimension, and price books, while another process writes.

Entries come out as documents, plain dicts of JSON types: times as RFC 3339 in UTC with nanoseconds, ids in hex,
money as exact decimal text in USD.
"""

import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, NamedTuple, Self

from sqlalchemy import ColumnElement, Connection, RowMapping, and_, func, or_, select

from spanledger_exporter.errors import LedgerError
from spanledger_exporter.ledger.database import Database, open_readonly
from spanledger_exporter.ledger.filters import Filter
from spanledger_exporter.ledger.rollups import Sums, sums_of_row, unreported
from spanledger_exporter.ledger.rows import price_of, record_of, record_of_document
from spanledger_exporter.ledger.schema import (
    DIMENSIONS,
    ROLLUP_SUMS,
    adjustments,
    cells,
    entries,
    price_books,
    reports,
    rollup_hours,
)
from spanledger_exporter.ledger.usage_columns import others_of
from spanledger_exporter.money import usd_text
from spanledger_exporter.prices.price_book import PriceBook
from spanledger_exporter.records import Price, UsageRecord

Document = dict[str, Any]
_NS_PER_S = 10**9
_DAY_S = 86_400
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_TIME_NS_MAX = 2**63 - 1
_PAGE_ROWS = 1000
_SPAN_ID_HEX_CHARS = 16


class ReportLine(NamedTuple):
    """The sums of one group of calls; `group` has a value for each dimension that was asked for."""

    group: tuple[str, ...]
    sums: Sums
    errors: int
    reported: int
    priced: int
    unpriced: int
    unreported: int


class History(NamedTuple):
    """The reports of an entry that several instrumentations reported, none for one, and the adjustments of its price.

    Shape: an adjustment is `{"made", "reason", "before": {"status", "cost_usd", ...}, "after": {...}}`.
    """

    reports: list[UsageRecord]
    adjustments: list[Document]


class Reader:
    """Reads one ledger; use it as a context manager.

    Raises: `LedgerError` when there is no such ledger or entry, `UnavailableError` when the database does not answer.
    """

    def __init__(self, url: str) -> None:
        self._database: Database = open_readonly(url)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self._database.close()

    def entries(self, wanted: Filter, *, limit: int | None = None) -> Iterator[Document]:
        """Return entries, the newest first; at most `limit` of them."""
        here = entries.c
        query = select(entries).where(*_conditions(wanted)).order_by(here.end_ns.desc(), here.entry_id.desc())

        def before(row: RowMapping) -> ColumnElement[bool]:
            earlier = or_(here.end_ns < row["end_ns"], here.entry_id < row["entry_id"])
            return and_(here.end_ns <= row["end_ns"], earlier)

        yield from self._documents(query, before, limit)

    def entries_after(self, entry_id: int, wanted: Filter) -> Iterator[Document]:
        """Return the entries that were committed after the one of that number, the oldest first."""
        number = entries.c.entry_id
        query = select(entries).where(number > entry_id, *_conditions(wanted)).order_by(number)
        yield from self._documents(query, lambda row: number > row["entry_id"])

    def last_entry_id(self) -> int:
        """Return the number of the newest entry, 0 for an empty ledger."""
        with self._database.read() as connection:
            return connection.execute(select(func.max(entries.c.entry_id))).scalar() or 0

    def priced(self, wanted: Filter, *, unpriced: bool) -> Iterator[tuple[int, UsageRecord, Price]]:
        """Return entries as records with the prices that the ledger has for them, the oldest first, in pages.

        Of a page nothing is open any more when its entries are used: they may be adjusted meanwhile. `unpriced` leaves
        out those that have a price.
        """
        conditions = [*_conditions(wanted), *([entries.c.price_status == "unpriced"] if unpriced else [])]
        last = 0
        while True:
            query = select(entries).where(entries.c.entry_id > last, *conditions)
            with self._database.read() as connection:
                rows = connection.execute(query.order_by(entries.c.entry_id).limit(_PAGE_ROWS)).mappings().all()
            for row in rows:
                yield row["entry_id"], record_of(row), price_of(row)
            if len(rows) < _PAGE_ROWS:
                return
            last = rows[-1]["entry_id"]

    def entry(self, name: str) -> tuple[Document, UsageRecord, PriceBook]:
        """Return the entry of that number, span id (16 hex digits) or response id, its record and its price book."""
        query = select(entries).where(_named(name)).order_by(entries.c.entry_id).limit(2)
        with self._database.read() as connection:
            rows = connection.execute(query).mappings().all() or _reported(connection, name)
            if not rows:
                raise LedgerError(
                    f"no entry {name!r}; give an entry's number, span id or response id (see `spanledger entries`)"
                )
            if len(rows) > 1:
                numbers = " and ".join(str(row["entry_id"]) for row in rows)
                raise LedgerError(f"{name!r} names several entries; give the number of one, such as {numbers}")
            same = price_books.c.price_book_id == rows[0]["price_book_id"]
            content = connection.execute(select(price_books.c.content).where(same)).scalar_one()
        return _document(rows[0]), record_of(rows[0]), PriceBook(json.loads(zlib.decompress(content)))

    def history(self, entry_id: int) -> "History":
        """Return what was reported of an entry, the first report first, and how its price was adjusted since."""
        told = select(reports.c.document).where(reports.c.entry_id == entry_id).order_by(reports.c.report_id)
        made = (
            select(adjustments.c.made_ns, adjustments.c.reason, adjustments.c.before, adjustments.c.after)
            .where(adjustments.c.entry_id == entry_id)
            .order_by(adjustments.c.adjustment_id)
        )
        with self._database.read() as connection:
            documents = connection.execute(told).scalars().all()
            changes = connection.execute(made).all()
        return History(
            [record_of_document(document) for document in documents],
            [
                {"made": _rfc3339(at), "reason": reason, "before": json.loads(before), "after": json.loads(after)}
                for at, reason, before, after in changes
            ],
        )

    def report(self, by: Iterable[str], wanted: Filter) -> list[ReportLine]:
        """Return the sums of calls by some of `REPORT_DIMENSIONS`; a `day` is one in UTC.

        They come from the hourly rollups: `since` and `until` are taken at the beginning of their hour.
        """
        day = (rollup_hours.c.hour_s - rollup_hours.c.hour_s % _DAY_S).label("day")
        columns = (*(cells.c[name] for name in DIMENSIONS), day)
        query = (
            select(*columns, *(func.sum(rollup_hours.c[name]) for name in ROLLUP_SUMS))
            .join_from(rollup_hours, cells)
            .where(*_rollup_conditions(wanted))
            .group_by(*columns)
        )
        names = tuple(by)
        lines: dict[tuple[str, ...], ReportLine] = {}
        with self._database.read() as connection:
            for row in connection.execute(query):
                dimensions: dict[str, Any] = dict(zip((*DIMENSIONS, "day"), row, strict=False))
                dimensions["day"] = datetime.fromtimestamp(int(dimensions["day"]), tz=UTC).date().isoformat()
                group = tuple(str(dimensions[name]) for name in names)
                line = line_of(group, dimensions, sums_of_row(row[len(DIMENSIONS) + 1 :]))
                lines[group] = joined(lines[group], line) if group in lines else line
        return sorted(lines.values(), key=lambda line: (-line.sums.cost_pusd, line.group))

    def _documents(
        self, query: Any, beyond: Callable[[RowMapping], ColumnElement[bool]], limit: int | None = None
    ) -> Iterator[Document]:  # Any: a Select of one row type; SQLAlchemy's generics say no more
        """Return rows in pages, each of its own moment.

        Whoever reads slowly would otherwise hold on to one state of the database for as long, and SQLite could not
        empty its write-ahead log meanwhile.
        """
        page = query
        while limit is None or limit > 0:
            size = _PAGE_ROWS if limit is None else min(limit, _PAGE_ROWS)
            with self._database.read() as connection:
                rows = connection.execute(page.limit(size)).mappings().all()
            yield from map(_document, rows)
            if len(rows) < size:
                return
            limit = None if limit is None else limit - size
            page = query.where(beyond(rows[-1]))


def line_of(group: tuple[str, ...], dimensions: Mapping[str, Any], sums: Sums) -> ReportLine:
    """Return the sums of one cell's calls; its outcome and statuses say which of them are what."""
    return ReportLine(
        group,
        sums,
        errors=sums.calls if dimensions["outcome"] == "error" else 0,
        reported=sums.calls if dimensions["usage_status"] in {"reported", "partial"} else 0,
        priced=sums.calls if dimensions["price_status"] in {"priced", "free"} else 0,
        unpriced=sums.calls if dimensions["price_status"] == "unpriced" else 0,
        unreported=sums.calls if unreported(dimensions["usage_status"], dimensions["price_status"]) else 0,
    )


def joined(one: ReportLine, other: ReportLine) -> ReportLine:
    """Return the sums of both, under the group of the first."""
    return ReportLine(
        one.group,
        one.sums.plus(other.sums),
        one.errors + other.errors,
        one.reported + other.reported,
        one.priced + other.priced,
        one.unpriced + other.unpriced,
        one.unreported + other.unreported,
    )


def _nanoseconds(moment: datetime) -> int:
    since_epoch = moment - _EPOCH
    unix_ns = (since_epoch.days * _DAY_S + since_epoch.seconds) * _NS_PER_S + since_epoch.microseconds * 1000
    return max(-_TIME_NS_MAX, min(unix_ns, _TIME_NS_MAX))


def _conditions(wanted: Filter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.since is not None:
        conditions.append(entries.c.end_ns >= _nanoseconds(wanted.since))
    if wanted.until is not None:
        conditions.append(entries.c.end_ns < _nanoseconds(wanted.until))
    model = func.coalesce(entries.c.response_model, entries.c.request_model)
    return conditions + _named_conditions(wanted, {**entries.c, "model": model})


def _rollup_conditions(wanted: Filter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.since is not None:
        conditions.append(rollup_hours.c.hour_s >= _hour_s(wanted.since))
    if wanted.until is not None:
        conditions.append(rollup_hours.c.hour_s < _hour_s(wanted.until))
    return conditions + _named_conditions(wanted, {**cells.c})


def _named_conditions(wanted: Filter, columns: Mapping[str, ColumnElement[Any]]) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    for name in ("service", "provider", "model", "outcome"):
        value: str | None = getattr(wanted, name)
        if value is not None and "*" in value:
            pattern = value.replace("/", "//").replace("%", "/%").replace("_", "/_").replace("*", "%")
            conditions.append(columns[name].ilike(pattern, escape="/"))
        elif value is not None:
            conditions.append(columns[name] == value)
    return conditions


def _hour_s(moment: datetime) -> int:
    return _nanoseconds(moment) // _NS_PER_S // 3600 * 3600


def _reported(connection: Connection, name: str) -> Sequence[RowMapping]:
    """Return the entry of which one report, though not the first, has this span id."""
    if len(name) != _SPAN_ID_HEX_CHARS:
        return []
    try:
        span_id = bytes.fromhex(name)
    except ValueError:
        return []
    numbers = select(reports.c.entry_id).where(reports.c.span_id == span_id)
    return connection.execute(select(entries).where(entries.c.entry_id.in_(numbers)).limit(2)).mappings().all()


def _named(name: str) -> ColumnElement[bool]:
    if len(name) == _SPAN_ID_HEX_CHARS:
        try:
            return or_(entries.c.span_id == bytes.fromhex(name), entries.c.response_id == name)
        except ValueError:
            return entries.c.response_id == name
    if name.isascii() and name.isdigit() and len(name) < _SPAN_ID_HEX_CHARS:
        return entries.c.entry_id == int(name)
    return entries.c.response_id == name


def _document(row: RowMapping) -> Document:
    """Return every stored field of an entry, and each cost as text too."""
    document: Document = dict(row)
    for name in ("trace_id", "span_id", "parent_span_id"):
        document[name] = document[name].hex() if document[name] is not None else None
    document["stream"] = bool(document["stream"])
    for name in ("start", "end", "received"):
        document[name] = _rfc3339(document.pop(f"{name}_ns"))
    document["other_usage"] = others_of(row)
    for name in [name for name in document if name.endswith("_pusd")]:
        pusd = document[name]
        document[f"{name.removesuffix('_pusd')}_usd"] = None if pusd is None else usd_text(pusd)
    return document


def _rfc3339(unix_ns: int) -> str:
    seconds, nanoseconds = divmod(unix_ns, _NS_PER_S)
    return f"{datetime.fromtimestamp(seconds, tz=UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"
