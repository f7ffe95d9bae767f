"""What the newest answers told of the providers' rate limits, as Prometheus gauges.

Of each limit the call that ended last counts. When a limit is whole again and nothing newer was told since, all of it
is left; where the provider does not say when that is, its window is taken, else a minute, as the instrumentation's own
metric does. Several exporters on a ledger each know what they were sent: take the least that is left.

Units: `limit` and `remaining` what the kind counts, times Unix seconds.
"""

import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Final, NamedTuple

from prometheus_client import CollectorRegistry, Counter
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from spanledger_exporter import dialects
from spanledger_exporter.dialects import RateLimit
from spanledger_exporter.records import UsageRecord

SERIES_MAX: Final = 2000
_WINDOW_S: Final = 60.0
_KEPT_S: Final = 24 * 3600
_FORGET_S: Final = 60
"""How long a limit is shown that is whole again: who has not called for a day may never call again."""
_WHOLE_WITHIN_S: Final = 32 * 24 * 3600  # no provider's window is longer than a month
_LABELS: Final = ("service", "provider", "model", "kind")

_Series = tuple[str, str, str, str]


assert UsageRecord._fields[16] == "rate_limits"


class _Told(NamedTuple):
    """A limit, by whom it was told last, and when it is whole again."""

    limit: RateLimit
    end_ns: int
    whole_s: float

    def remaining(self, now_s: float) -> int | None:
        return self.limit.limit if now_s >= self.whole_s else self.limit.remaining


class RateLimitMetrics(Collector):
    """The limits that answers told of; those for which there is no room are counted."""

    def __init__(
        self,
        registry: CollectorRegistry,
        *,
        series_max: int = SERIES_MAX,
        clock_ns: Callable[[], int] = time.time_ns,
    ) -> None:
        self._series_max = series_max
        self._clock_ns = clock_ns
        self._lock = threading.Lock()
        self._told: dict[_Series, _Told] = {}
        self._forgot_s = 0.0
        self._unshown = Counter(
            "spanledger_rate_limits_unshown",
            "Rate limits that answers told of and that are not shown because there are too many series.",
            registry=registry,
        )
        registry.register(self)

    def observe(self, records: Iterable[UsageRecord]) -> None:
        """Take what the answers of some calls told; only the newest of those that are alike is read."""
        newest: dict[int, UsageRecord] = {}
        for record in records:
            if record[16]:  # by position, as every call comes through here
                # Calls with one profile object have attributes of the same names, and so tell of the same limits
                # (`dialects.plans`); of others, more is read than need be.
                alike = id(record[5])
                other = newest.get(alike)
                if other is None or other[0] <= record[0]:
                    newest[alike] = record
        now_ns = self._clock_ns()
        for record in newest.values():
            # A clock that is ahead must not make its calls the newest for as long as it is.
            end_ns, profile = min(record.end_ns, now_ns), record.profile
            for limit in dialects.read_limits(record.rate_limits):
                if limit.limit is not None or limit.remaining is not None:
                    series = (profile.service or "", profile.provider or "", profile.model or "", limit.kind)
                    self._take(series, _Told(limit, end_ns, _whole_s(limit, end_ns / 1e9)), now_ns / 1e9)

    def _take(self, series: _Series, told: _Told, now_s: float) -> None:
        with self._lock:
            before = self._told.get(series)
            if before is None and len(self._told) >= self._series_max:
                if now_s - self._forgot_s >= _FORGET_S:  # it goes through all of them
                    self._forget(now_s)
                if len(self._told) >= self._series_max:
                    self._unshown.inc()
                    return
            if before is None or before.end_ns <= told.end_ns:
                self._told[series] = told

    def _forget(self, now_s: float) -> None:
        self._forgot_s = now_s
        self._told = {series: told for series, told in self._told.items() if now_s < told.whole_s + _KEPT_S}

    def collect(self) -> Iterable[GaugeMetricFamily]:
        """Return the limits as they stand now."""
        now_s = self._clock_ns() / 1e9
        with self._lock:
            self._forget(now_s)
            found = list(self._told.items())
        limits, remaining, resets = self.describe()
        for series, told in found:
            if told.limit.limit is not None:
                limits.add_metric(series, told.limit.limit)
            left = told.remaining(now_s)
            if left is not None:
                remaining.add_metric(series, left)
            if told.limit.reset_at_s is not None:
                resets.add_metric(series, told.limit.reset_at_s)
        return limits, remaining, resets

    def describe(self) -> Sequence[GaugeMetricFamily]:
        """Return the metrics without samples."""
        return (
            GaugeMetricFamily("genai_rate_limit_limit", "How many there may be in a window.", labels=_LABELS),
            GaugeMetricFamily(
                "genai_rate_limit_remaining",
                "How many are left, by the newest answer; all of them once the limit is whole again.",
                labels=_LABELS,
            ),
            GaugeMetricFamily(
                "genai_rate_limit_reset_timestamp_seconds",
                "When the limit is whole again, by the newest answer.",
                labels=_LABELS,
            ),
        )


def _whole_s(limit: RateLimit, end_s: float) -> float:
    window_s = _WINDOW_S if limit.window_s is None else limit.window_s
    whole_s = end_s + window_s if limit.reset_at_s is None else limit.reset_at_s
    return max(end_s, min(whole_s, end_s + _WHOLE_WITHIN_S))
