"""Metrics of what others count or hold, asked when the page of metrics is made."""

from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from spanledger_exporter.metrics.spend import SpendMetrics


class Counted(Collector):
    """A counter of what somebody else counts."""

    def __init__(self, registry: CollectorRegistry, name: str, text: str, count: Callable[[], int] = lambda: 0) -> None:
        self._name = name
        self._text = text
        self.count = count
        registry.register(self)

    def collect(self) -> Iterable[Metric]:
        """Return how many there are now."""
        return [CounterMetricFamily(self._name, self._text, value=self.count())]

    def describe(self) -> Iterable[Metric]:
        """Return the metric without a sample."""
        return [CounterMetricFamily(self._name, self._text)]


class OfCounters(Collector):
    """What is to be known of each counter of spend: what was folded, and how far it stands above the ledger."""

    def __init__(self, spend: SpendMetrics) -> None:
        self._spend = spend

    def collect(self) -> Iterable[Metric]:
        """Return the figures as they stand now."""
        folded, above = self.describe()
        for name, count in self._spend.folded.items():
            folded.add_metric((f"{name}_total",), count)
        for name, value in self._spend.above.items():
            above.add_metric((f"{name}_total",), value)
        return folded, above

    def describe(self) -> tuple[CounterMetricFamily, GaugeMetricFamily]:
        """Return the metrics without samples."""
        return (
            CounterMetricFamily(
                "spanledger_folded_series",
                "Sets of labels that were summed under __other__ because metrics.series_max was reached.",
                labels=("metric",),
            ),
            GaugeMetricFamily(
                "spanledger_above_ledger",
                "By how much a counter's series together stand above the ledger's totals, because of corrections.",
                labels=("metric",),
            ),
        )
