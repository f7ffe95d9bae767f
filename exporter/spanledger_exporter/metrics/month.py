"""What the month has cost so far, and what it is likely to come to: gauges that are read from the database.

A counter knows what was spent since the ledger began, not since the month did; `increase()` over a month is an
estimate between scrapes. So these are read from the sums by the hour, every minute; days that have been over for two
days hardly change, and reading them takes a hundredth of the time at most, but for once an hour. Every exporter on a
ledger shows the same. Months are those of UTC.

Units: USD; inside, pico-USD and Unix seconds.
"""

import logging
import threading
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Connection, func, select

from spanledger_exporter.budgets.forecast import Forecast
from spanledger_exporter.budgets.month import OUTLOOK_DAYS, month_of, outlook
from spanledger_exporter.errors import UnavailableError
from spanledger_exporter.ledger.cells import Cell
from spanledger_exporter.ledger.database import Database
from spanledger_exporter.ledger.schema import DIMENSIONS, cells, rollup_hours
from spanledger_exporter.metrics.dimensions import Places
from spanledger_exporter.money import PUSD_PER_MICRO_USD, usd_float

_logger = logging.getLogger(__name__)
_DAY_S: Final = 86_400
_INTERVAL_S: Final = 60
_KEPT_S: Final = 3600
_KEPT_PARTS: Final = 100
_FRESH_DAYS: Final = 2
_REST_PARTS: Final = 9
_QUANTILES: Final = (("0.1", "low"), ("0.5", "middle"), ("0.9", "high"))

Days = Mapping[int, Mapping[int, int]]
"""What cells cost, by the beginning of the day and the number of the cell."""


class Month(NamedTuple):
    """What the current month has cost: by the values of the dimensions, and what it is likely to come to in all.

    Units: `at_s` Unix seconds, 0 before the first look; amounts pico-USD. `outlook` is `None` before the first day of
    spending is over.
    """

    at_s: float = 0.0
    spent: Mapping[tuple[str, ...], int] = {}
    outlook: Forecast | None = None


class MonthReader:
    """Reads the month of a ledger, and remembers the days that are over."""

    def __init__(self, database: Database, places: Places) -> None:
        self._database = database
        self._places = places
        self._cells: dict[int, Cell] = {}
        self._old: Days = {}
        self._old_until_s = 0
        self._old_read_s = 0
        self._old_kept_s = 0.0

    def read(self, now_s: int) -> Month:
        """Return the month of a moment.

        Raises: `UnavailableError` when the database does not answer.
        """
        days = self._days(now_s)
        bounds = month_of(now_s)
        by_cell: dict[int, int] = {}
        for day_s, amounts in days.items():
            if bounds.start_s <= day_s < bounds.end_s:
                for number, amount in amounts.items():
                    by_cell[number] = by_cell.get(number, 0) + amount
        totals = {day_s: sum(amounts.values()) for day_s, amounts in days.items()}
        return Month(now_s, self._by_dimensions(by_cell), outlook(totals, now_s))

    def _days(self, now_s: int) -> Days:
        today_s = now_s // _DAY_S * _DAY_S
        fresh_s = today_s - _FRESH_DAYS * _DAY_S
        with self._database.read() as connection:
            if fresh_s != self._old_until_s or not 0 <= now_s - self._old_read_s < self._old_kept_s:
                began_s = time.monotonic()
                self._old = _read(connection, today_s - OUTLOOK_DAYS * _DAY_S, fresh_s)
                self._old_until_s, self._old_read_s = fresh_s, now_s
                self._old_kept_s = min(_KEPT_S, _KEPT_PARTS * (time.monotonic() - began_s))
            fresh = _read(connection, fresh_s, 2**62)
            asked = {number for amounts in (*self._old.values(), *fresh.values()) for number in amounts}
            if not asked <= self._cells.keys():
                rows = connection.execute(select(cells.c.cell_id, *(cells.c[name] for name in DIMENSIONS)))
                self._cells = {number: Cell(*values) for number, *values in rows}
        return {**self._old, **fresh}

    def _by_dimensions(self, by_cell: Mapping[int, int]) -> dict[tuple[str, ...], int]:
        found: dict[tuple[str, ...], int] = {}
        for number in sorted(by_cell):
            cell = self._cells[number]
            if cell.price_status not in {"priced", "free"}:
                continue
            _, labels = self._places.of(cell)
            found[labels] = found.get(labels, 0) + by_cell[number]
        return found


class MonthMetrics(Collector):
    """The gauges of the month, read by a thread of its own every minute; a scrape reads memory.

    A look that fails is logged and tried again; what was known before stays, with the time at which it was true.
    """

    def __init__(
        self,
        registry: CollectorRegistry,
        read: Callable[[int], Month],
        names: tuple[str, ...],
        *,
        clock_s: Callable[[], float] = time.time,
    ) -> None:
        self._read = read
        self._names = names
        self._clock_s = clock_s
        self._month = Month()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="spanledger-month", daemon=True)
        registry.register(self)

    def start(self) -> None:
        """Look for the first time, and go on in a thread."""
        self._thread.start()

    def close(self, timeout_s: float) -> None:
        """Stop after the look that is being taken."""
        self._closing.set()
        if self._thread.ident is not None:
            self._thread.join(timeout_s)

    def look(self) -> bool:
        """Read the month, and tell whether that succeeded."""
        try:
            self._month = self._read(int(self._clock_s()))
        except UnavailableError as exc:
            _logger.error("what the month has cost could not be read, and is asked for again: %s", exc)
        except Exception:  # the fence of the thread: it must outlive any trouble
            _logger.exception("what the month has cost could not be read, and is asked for again")
        else:
            return True
        return False

    def collect(self) -> Iterable[Metric]:
        """Return the gauges as of the last look."""
        month = self._month
        if month.at_s and month_of(int(month.at_s)) != month_of(int(self._clock_s())):
            month = Month(month.at_s)  # what is known is of a month that is over
        spent, outlook, looked = _families(self._names)
        for labels, amount in month.spent.items():
            spent.add_metric(labels, usd_float(amount))
        for quantile, name in _QUANTILES if month.outlook is not None else ():
            outlook.add_metric((quantile,), usd_float(getattr(month.outlook, name)))
        looked.add_metric((), month.at_s)
        return spent, outlook, looked

    def describe(self) -> Iterable[Metric]:
        """Return the metrics without samples."""
        return _families(self._names)

    def _run(self) -> None:
        while True:
            began_s = time.monotonic()
            self.look()
            # However large the ledger is, its database has time for others.
            if self._closing.wait(max(_INTERVAL_S, _REST_PARTS * (time.monotonic() - began_s))):
                return


def _families(names: tuple[str, ...]) -> tuple[GaugeMetricFamily, GaugeMetricFamily, GaugeMetricFamily]:
    return (
        GaugeMetricFamily(
            "genai_month_to_date_cost_usd", "Cost of the LLM calls of this month, in UTC, so far.", labels=names
        ),
        GaugeMetricFamily(
            "genai_month_forecast_usd",
            "What this month is likely to come to, all spend together.",
            labels=("quantile",),
        ),
        GaugeMetricFamily(
            "spanledger_month_timestamp_seconds",
            "When the month's figures were read from the ledger; 0 before the first time.",
            labels=(),
        ),
    )


def _read(connection: Connection, since_s: int, until_s: int) -> dict[int, dict[int, int]]:
    """Return what cells cost by the day, since the beginning of one and before that of another."""
    hour, day = rollup_hours.c.hour_s, rollup_hours.c.hour_s - rollup_hours.c.hour_s % _DAY_S
    costs = func.sum(rollup_hours.c.cost_micro_usd), func.sum(rollup_hours.c.cost_rest_pusd)
    query = (
        select(day, rollup_hours.c.cell_id, *costs)
        .where(hour >= since_s, hour < until_s)
        .group_by(day, rollup_hours.c.cell_id)
    )
    found: dict[int, dict[int, int]] = {}
    for day_s, number, micro_usd, rest_pusd in connection.execute(query):
        found.setdefault(int(day_s), {})[number] = int(micro_usd) * PUSD_PER_MICRO_USD + int(rest_pusd)
    return found
