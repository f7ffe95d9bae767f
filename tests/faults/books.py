"""The end of every test here: the ledger, its sums and the exporter's counters against the senders' own tally."""

from prometheus_client import CollectorRegistry
from prometheus_client.parser import text_string_to_metric_families

from spanledger_exporter.ledger.database import open_database
from spanledger_exporter.ledger.ledger import Ledger
from spanledger_exporter.ledger.rollups import Sums
from spanledger_exporter.metrics.spend import SpendMetrics
from tests.exporter.rebuilt import assert_sums_are_those_of_the_entries
from tests.servers.exporter import Exporter
from tests.servers.process import get

Counters = dict[tuple[str, frozenset[tuple[str, str]]], float]


def assert_balanced(url: str, tally: Sums, *exporters: Exporter) -> None:
    """Compare all of them; the exporters are those that alone wrote to the ledger while they ran."""
    database = open_database(url)
    try:
        assert assert_sums_are_those_of_the_entries(database) == tally
        ledger = Ledger(database, cells_max=100)
        expected = _of_ledger(ledger)
    finally:
        database.close()
    for exporter in exporters:
        assert scraped(exporter) == expected


def _of_ledger(ledger: Ledger) -> Counters:
    """The counters that an exporter would begin with."""
    spend = SpendMetrics(CollectorRegistry(), *ledger.standings.read())
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in spend.collect()
        for sample in family.samples
    }


def scraped(exporter: Exporter) -> Counters:
    """The counters of what was spent that an exporter shows."""
    page = get(f"http://{exporter.metrics}/metrics")
    assert page is not None
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(page)
        for sample in family.samples
        if family.type == "counter" and family.name.startswith("genai_")
    }
