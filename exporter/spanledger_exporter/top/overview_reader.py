"""The ledger -> an overview, by exact sums and in one short transaction, so that whatever writes goes on.

Of a window, whole hours come from the sums by the hour and the rest from those by the minute. Today and the month are
days in UTC, whole ones: a call whose clock runs ahead is in them, as in `spanledger report`.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from sqlalchemy import ColumnElement, Connection, Table, func, select

from spanledger_exporter.budgets.month import OUTLOOK_DAYS, month_of, outlook
from spanledger_exporter.budgets.past import Past
from spanledger_exporter.ledger.cells import Cell
from spanledger_exporter.ledger.database import Database
from spanledger_exporter.ledger.reader import line_of
from spanledger_exporter.ledger.rollups import Sums
from spanledger_exporter.ledger.schema import DIMENSIONS, cells, entries, rollup_hours, rollup_minutes
from spanledger_exporter.money import PUSD_PER_MICRO_USD
from spanledger_exporter.top.budget_lines import read_budgets
from spanledger_exporter.top.overview import (
    BUDGETS_MAX,
    CALLS_MAX,
    LINES_MAX,
    MINUTES,
    TEXT_CHARS_MAX,
    Call,
    Figures,
    Line,
    Minute,
    Outlook,
    Overview,
    Window,
    total,
)

_MINUTE_S, _HOUR_S, _DAY_S = 60, 3600, 86_400
_NS_PER_S, _NS_PER_MS = 10**9, 10**6

_WINDOW_MINUTES: Final[Mapping[Window, int]] = {"15m": 15, "1h": 60, "24h": 24 * 60}
_STATUSES: Final[tuple[str, ...]] = ("outcome", "usage_status", "price_status")
_SUMMED: Final = ("calls", "input_tokens", "output_tokens", "cost_micro_usd", "cost_rest_pusd")
_CALL_COLUMNS: Final = (
    *("entry_id", "start_ns", "end_ns", "service", "provider", "request_model", "response_model", "operation"),
    *("outcome", "error_type", "input_tokens", "output_tokens", "usage_status", "price_status", "price_reason"),
    "cost_pusd",
)


class _Stretch(NamedTuple):
    """A stretch of time in one table of sums."""

    table: Table
    time: ColumnElement[int]
    since_s: int
    until_s: int


def _hours(since_s: int, until_s: int) -> _Stretch:
    return _Stretch(rollup_hours, rollup_hours.c.hour_s, since_s, until_s)


def _minutes(since_s: int, until_s: int) -> _Stretch:
    return _Stretch(rollup_minutes, rollup_minutes.c.minute_s, since_s, until_s)


class OverviewReader:
    """Reads overviews of one ledger.

    Raises: `UnavailableError` from `read` when the database does not answer.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._past = Past()
        self._cells: dict[int, Cell] = {}

    def read(self, window: Window, now_s: int) -> Overview:
        """Return how things stand at a moment."""
        with self._database.view() as connection:
            since_s, stretches = _stretches(window, now_s)
            lines = self._lines(connection, stretches)
            kept, rest = lines[:LINES_MAX], lines[LINES_MAX:]
            today_s, month = now_s // _DAY_S * _DAY_S, month_of(now_s)
            today = self._total(connection, _hours(today_s, today_s + _DAY_S))
            other_days = (_hours(month.start_s, today_s), _hours(today_s + _DAY_S, month.end_s))
            ahead = outlook(_days(connection, now_s), now_s)
            budgets, groups = read_budgets(connection, now_s, self._past)
            return Overview(
                at_s=now_s,
                window=window,
                since_s=since_s,
                total=total(line.figures for line in lines),
                today=today,
                month=total([today, *(self._total(connection, stretch) for stretch in other_days)]),
                outlook=None
                if ahead is None
                else Outlook(low_pusd=ahead.low, middle_pusd=ahead.middle, high_pusd=ahead.high),
                minutes=_history(connection, now_s),
                lines=tuple(kept),
                lines_left_out=len(rest),
                left_out=total(line.figures for line in rest),
                budgets=tuple(budgets[:BUDGETS_MAX]),
                budgets_left_out=len(budgets[BUDGETS_MAX:]),
                groups=tuple(groups[:BUDGETS_MAX]),
                calls=_calls(connection),
            )

    def _lines(self, connection: Connection, stretches: Iterable[_Stretch]) -> list[Line]:
        """Return what was spent, by service, provider and model, the costliest first."""
        found: dict[tuple[str, ...], Figures] = {}
        for stretch in stretches:
            for cell, figures in self._figures(connection, stretch):
                key = (cell.service, cell.provider, cell.model)
                found[key] = found[key].plus(figures) if key in found else figures
        lines = [
            Line(service=key[0], provider=key[1], model=key[2], figures=figures)
            for key, figures in found.items()
            if figures.calls  # what was moved to another cell by a correction leaves a row of nothing
        ]
        return sorted(lines, key=lambda line: (-(line.figures.cost_pusd or 0), -line.figures.calls, _names(line)))

    def _total(self, connection: Connection, stretch: _Stretch) -> Figures:
        return total(figures for _, figures in self._figures(connection, stretch))

    def _figures(self, connection: Connection, stretch: _Stretch) -> Iterator[tuple[Cell, Figures]]:
        """Return what the calls of a stretch add up to, by cell.

        Cells are not joined, but known: a database is several times as fast where it sums by a number alone.
        """
        number = stretch.table.c.cell_id
        query = select(number, *_sums_within(stretch)).where(*_within(stretch)).group_by(number)
        for cell_id, *sums in connection.execute(query):
            cell = self._cell(connection, cell_id)
            yield cell, _figures_of(cell._asdict(), sums)

    def _cell(self, connection: Connection, number: int) -> Cell:
        if number not in self._cells:
            rows = connection.execute(select(cells.c.cell_id, *(cells.c[name] for name in DIMENSIONS)))
            self._cells = {cell_id: Cell(*names) for cell_id, *names in rows}
        return self._cells[number]


def _stretches(window: Window, now_s: int) -> tuple[int, list[_Stretch]]:
    """Return when a window begins, and where its sums are."""
    if window == "month":
        month = month_of(now_s)
        return month.start_s, [_hours(*month)]
    until_s = now_s // _MINUTE_S * _MINUTE_S + _MINUTE_S
    since_s = until_s - _WINDOW_MINUTES[window] * _MINUTE_S
    first_s, last_s = -(-since_s // _HOUR_S) * _HOUR_S, until_s // _HOUR_S * _HOUR_S
    if first_s >= last_s:
        return since_s, [_minutes(since_s, until_s)]
    return since_s, [_minutes(since_s, first_s), _hours(first_s, last_s), _minutes(last_s, until_s)]


def _names(line: Line) -> tuple[str, ...]:
    return line.service, line.provider, line.model


def _sums_within(stretch: _Stretch) -> tuple[ColumnElement[Any], ...]:
    return tuple(func.sum(stretch.table.c[name]) for name in _SUMMED)


def _within(stretch: _Stretch) -> tuple[ColumnElement[bool], ...]:
    return stretch.time >= stretch.since_s, stretch.time < stretch.until_s


def _figures_of(statuses: Mapping[str, Any], summed: Iterable[Any]) -> Figures:
    """Return what calls of one outcome and status add up to, from the sums of `_SUMMED`."""
    calls, input_tokens, output_tokens, micro_usd, rest_pusd = (int(each) for each in summed)  # decimals in PostgreSQL
    cost_pusd = micro_usd * PUSD_PER_MICRO_USD + rest_pusd
    line = line_of((), statuses, Sums(calls=calls))
    return Figures(
        calls=calls,
        errors=line.errors,
        unpriced_calls=line.unpriced,
        unreported_calls=line.unreported,
        input_tokens=input_tokens if line.reported else None,
        output_tokens=output_tokens if line.reported else None,
        cost_pusd=cost_pusd if line.priced else None,
    )


def _history(connection: Connection, now_s: int) -> tuple[Minute, ...]:
    """Return the last minutes one by one, also those without a call."""
    last_s = now_s // _MINUTE_S * _MINUTE_S
    stretch = _minutes(last_s - (MINUTES - 1) * _MINUTE_S, last_s + _MINUTE_S)
    keys = (stretch.time, *(cells.c[name] for name in _STATUSES))
    query = select(*keys, *_sums_within(stretch)).join_from(stretch.table, cells)
    found: dict[int, Figures] = {}
    for row in connection.execute(query.where(*_within(stretch)).group_by(*keys)):
        minute_s, statuses, sums = row[0], row[1 : len(keys)], row[len(keys) :]
        figures = _figures_of(dict(zip(_STATUSES, statuses, strict=True)), sums)
        found[minute_s] = found.get(minute_s, Figures()).plus(figures)
    return tuple(
        Minute(start_s=each, calls=sums.calls, unpriced_calls=sums.unpriced_calls, cost_pusd=sums.cost_pusd)
        for each in range(stretch.since_s, stretch.until_s, _MINUTE_S)
        for sums in (found.get(each, Figures()),)
    )


def _days(connection: Connection, now_s: int) -> dict[int, int]:
    """Return what the days cost that say what is ahead, and those of the month."""
    stretch = _hours(now_s // _DAY_S * _DAY_S - OUTLOOK_DAYS * _DAY_S, month_of(now_s).end_s)
    costs = func.sum(rollup_hours.c.cost_micro_usd), func.sum(rollup_hours.c.cost_rest_pusd)
    # In the order of the key; days are added up here, which is faster than there.
    query = select(stretch.time, *costs).where(*_within(stretch)).group_by(stretch.time)
    found: dict[int, int] = {}
    for hour_s, micro_usd, rest_pusd in connection.execute(query):
        day_s = hour_s // _DAY_S * _DAY_S
        found[day_s] = found.get(day_s, 0) + int(micro_usd) * PUSD_PER_MICRO_USD + int(rest_pusd)
    return found


def _calls(connection: Connection) -> tuple[Call, ...]:
    """Return the calls that ended last, the newest first."""
    here = entries.c
    query = select(*(here[name] for name in _CALL_COLUMNS)).order_by(here.end_ns.desc(), here.entry_id.desc())
    rows = connection.execute(query.limit(CALLS_MAX)).mappings().all()
    return tuple(
        Call(
            entry_id=row["entry_id"],
            end_s=row["end_ns"] // _NS_PER_S,
            duration_ms=(row["end_ns"] - row["start_ns"]) // _NS_PER_MS,
            service=_cut(row["service"]),
            provider=_cut(row["provider"]),
            model=_cut(row["response_model"] or row["request_model"]),
            operation=_cut(row["operation"]),
            outcome=row["outcome"],
            error_type=None if row["error_type"] is None else _cut(row["error_type"]),
            input_tokens=row["input_tokens"],
            output_tokens=row["output_tokens"],
            usage_status=row["usage_status"],
            price_status=row["price_status"],
            price_reason=row["price_reason"],
            cost_pusd=row["cost_pusd"],
        )
        for row in rows
    )


def _cut(text: str | None) -> str:
    return (text or "")[:TEXT_CHARS_MAX]
