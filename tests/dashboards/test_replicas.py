"""What two real exporters on one ledger show, against what docs/metrics.md says of putting each metric together."""

from collections import defaultdict
from typing import Final

import pytest

from tests.dashboards.replicas import ways
from tests.dashboards.stage import Stage
from tests.dashboards.test_numbers import read_since
from tests.servers.process import poll

pytestmark = pytest.mark.xdist_group("dashboards")
# What depends on when each has looked: how far the time has gone, and what is reached at this pace.
OF_THE_MOMENT: Final = frozenset(
    {
        "genai_budget_anomaly_score",
        "genai_budget_forecast_ratio",
        "genai_budget_run_out_timestamp_seconds",
        "genai_month_forecast_usd",
    }
)
# Of rate limits each knows what it was sent last, so that they need not say the same.
SHOWN_BY_ALL: Final = sorted(
    name for name, way in ways().items() if way in {"max", "min"} and not name.startswith("genai_rate_limit_")
)


@pytest.fixture(scope="module")
def at_s(stage: Stage) -> float:
    """A time at which both have read the month."""
    return poll(lambda: read_since(stage), what="the month to be read", timeout_s=120)


def shown(stage: Stage, selector: str, at_s: float) -> dict[frozenset[tuple[str, str]], dict[str, float]]:
    """What each exporter shows at a time, by its address, of each set of other labels."""
    found: dict[frozenset[tuple[str, str]], dict[str, float]] = defaultdict(dict)
    # Nothing older: the history that was written for one of them ends just before.
    for each in stage.prometheus.ask("query", query=f"last_over_time({selector}[5s])", time=at_s)["result"]:
        labels = dict(each["metric"])
        found[frozenset(labels.items() - {("instance", labels["instance"])})][labels["instance"]] = float(
            each["value"][1]
        )
    return found


@pytest.mark.parametrize("name", SHOWN_BY_ALL)
def test_what_is_read_from_the_ledger_all_show_alike(stage: Stage, name: str, at_s: float) -> None:
    found = shown(stage, name, at_s)
    for labels, values in found.items():
        assert values.keys() == {exporter.metrics for exporter in stage.exporters}, labels
        most, least = max(values.values()), min(values.values())
        assert most == pytest.approx(least, rel=0.02 if name in OF_THE_MOMENT else 1e-12), labels
    assert found


@pytest.mark.parametrize(
    ("selector", "matching"),
    [
        ("genai_call_duration_seconds_count", "start_ns <= end_ns"),
        ("genai_time_to_first_chunk_seconds_count", "time_to_first_chunk_ns IS NOT NULL"),
        ("genai_call_cost_usd_count", "price_status = 'priced'"),
        ('spanledger_spans_total{result="accepted"}', "true"),
    ],
)
def test_of_what_each_counts_itself_only_the_sum_is_all(
    stage: Stage, selector: str, matching: str, at_s: float
) -> None:
    since = f"end_ns > {round((stage.live.from_s - 10) * 1e9)}"
    entries = stage.select(f"SELECT count(*) AS value FROM entries WHERE {since} AND {matching}")[0]["value"]
    counted: dict[str, float] = defaultdict(float)
    for values in shown(stage, selector, at_s).values():
        for exporter, value in values.items():
            counted[exporter] += value
    assert sum(counted.values()) == entries
    assert len(counted) == len(stage.exporters)
    assert max(counted.values()) < entries
