"""Every query of the dashboards, asked as Grafana asks it, and what is wrong with the answer."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from tests.dashboards import boards, grafana
from tests.dashboards.grafana import Chosen, Window
from tests.servers.prometheus import Prometheus

Dashboard = dict[str, Any]  # JSON
ALL: Final[Chosen] = {}
_LABEL: Final = re.compile(r"\{\{\s*(\w+)\s*\}\}")
_LABEL_VALUES: Final = re.compile(r"label_values\((?:(.+),\s*)?(\w+)\)")


class Series(NamedTuple):
    """One series of an answer, and its values."""

    labels: Mapping[str, str]
    values: Sequence[float]
    times_s: Sequence[float]


class Answer(NamedTuple):
    """What a query brought."""

    where: str
    query: Mapping[str, Any]
    series: Sequence[Series]

    @property
    def expr(self) -> str:
        """The query as the dashboard has it."""
        return self.query["expr"]

    @property
    def finite(self) -> bool:
        """Whether all values are numbers."""
        return all(math.isfinite(value) for each in self.series for value in each.values)

    @property
    def faults(self) -> Iterator[str]:
        """What a panel could not show: values that are none, and names in the legend that no series has."""
        if not self.finite:
            yield f"{self.where}: not all values are numbers"
        # A label without a value is one that a series does not have; one that no series has was lost by the query.
        named = set(_LABEL.findall(self.query.get("legendFormat") or ""))
        if self.series and (lost := named - {name for each in self.series for name in each.labels}):
            yield f"{self.where}: the legend's {', '.join(sorted(lost))} is in no series"


def variables(dashboard: Dashboard) -> list[grafana.Variable]:
    """The variables of a dashboard that have values: all but the sources of data."""
    return [each for each in dashboard["templating"]["list"] if each["type"] != "datasource"]


def answers(prometheus: Prometheus, dashboard: Dashboard, window: Window, chosen: Chosen = ALL) -> Iterator[Answer]:
    """Ask all panels' queries in PromQL for one window."""
    for panel, query in boards.expressions(dashboard):
        expr = grafana.promql(query["expr"], window, variables(dashboard), chosen)
        where = f"{dashboard['title']} / {panel['title']} {query['refId']}"
        yield Answer(where, query, ask(prometheus, expr, window, instant=query.get("instant", False)))


def ask(prometheus: Prometheus, expr: str, window: Window, *, instant: bool) -> list[Series]:
    """Ask for a range, or for its end."""
    if instant:
        found = prometheus.ask("query", query=expr, time=window.to_s)["result"]
        return [_series(each["metric"], [each["value"]]) for each in found]
    found = prometheus.ask("query_range", query=expr, start=window.first_s, end=window.to_s, step=window.step_s)[
        "result"
    ]
    return [_series(each["metric"], each["values"]) for each in found]


def _series(labels: Mapping[str, str], points: Sequence[tuple[float, str]]) -> Series:
    return Series(labels, [float(value) for _, value in points], [at_s for at_s, _ in points])


def values(prometheus: Prometheus, variable: grafana.Variable, dashboard: Dashboard, window: Window) -> list[str]:
    """Return what a variable that asks Prometheus lets choose, with all chosen of the others."""
    found = _LABEL_VALUES.fullmatch(variable["query"])
    assert found, f"{variable['name']}: {variable['query']} is no form that is known here"
    bounds = {"start": window.from_s, "end": window.to_s}
    if found[1]:
        bounds["match[]"] = grafana.promql(found[1], window, variables(dashboard), ALL)
    return [value for value in prometheus.ask(f"label/{found[2]}/values", **bounds) if value]


def annotations(prometheus: Prometheus, dashboard: Dashboard, window: Window) -> Iterator[Answer]:
    """Ask the queries of the marks over the panels."""
    for each in dashboard["annotations"]["list"]:
        expr = grafana.promql(each["target"]["expr"], window, variables(dashboard), ALL)
        series = ask(prometheus, expr, window, instant=False)
        legend = f"{each.get('titleFormat', '')} {each.get('textFormat', '')}"
        yield Answer(f"{dashboard['title']} / marks {each['name']}", {"legendFormat": legend}, series)


def exemplars(
    prometheus: Prometheus, dashboard: Dashboard, window: Window
) -> Iterator[tuple[str, list[Mapping[str, str]]]]:
    """Ask for single calls where panels show them; return the labels of each."""
    for panel, query in boards.expressions(dashboard):
        if query.get("exemplar"):
            expr = grafana.promql(query["expr"], window, variables(dashboard), ALL)
            found = prometheus.ask("query_exemplars", query=expr, start=window.from_s, end=window.to_s)
            where = f"{dashboard['title']} / {panel['title']} {query['refId']}"
            yield where, [exemplar["labels"] for series in found for exemplar in series["exemplars"]]
