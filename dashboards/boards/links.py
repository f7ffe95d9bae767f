"""Where a panel leads: to the traces of what it shows in Tempo, to the entries in the ledger, to another dashboard.

A link keeps the time that is shown and, to another dashboard, what is chosen of all variables that it has, too. Values
go through `percentencode`, for a model may be called `a&b`. Those of a variable that may be several go to Explore as
`pipe` joins them: what `regex` would write has backslashes, which end the JSON of the address.

What a budget holds no view says, so that of budgets only their periods can be asked in the ledger, not their calls.

Source: grafana.com/docs/grafana v13.2, "Configure data links", "Variable syntax"; Explore's address, schemaVersion 1; a
dashboard's with `viewPanel`, which shows one panel alone.
"""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Final, cast
from urllib.parse import quote

from grafana_foundation_sdk.models.dashboard import DashboardLink, DashboardLinkType, Panel
from grafana_foundation_sdk.models.prometheus import Dataquery

PREFIX: Final = "spanledger-"
PERIODS: Final = "Periods of budgets"
TIME: Final = "from=${__from}&to=${__to}"
_TO_A_BOARD: Final = re.compile(r"/d/([\w-]+)\?")
_ONE_PANEL: Final = re.compile(r"&viewPanel=([^&]+)$")
_GIVEN: Final = re.compile(r"&var-(\w+)=")
_ATTRIBUTES: Final[Mapping[str, tuple[str, ...]]] = {
    "service": ("resource.service.name",),
    "environment": ("resource.deployment.environment.name",),
    "team": ("span.spanledger.team",),
    "project": ("span.spanledger.project",),
    "provider": ("span.gen_ai.provider.name",),
    "model": ("span.gen_ai.response.model", "span.gen_ai.request.model"),
    "operation": ("span.gen_ai.operation.name",),
    "error_type": ("span.error.type",),
}
"""Where a span says what a label says; the model is the one that answered, else the one that was asked for."""


def field(label: str) -> str:
    """Return a label of the series that was clicked, for an address."""
    return f"${{__field.labels.{label}:percentencode}}"


def cell(column: str) -> str:
    """Return the value of a column in the row that was clicked, for an address."""
    return f"${{__data.fields.{column}:percentencode}}"


def traces(
    *labels: str, column: bool = False, failed: bool = False, variables: tuple[str, ...] = ("service",)
) -> DashboardLink:
    """Lead to the traces of a series, told by its labels (or the columns of a row) and the dashboard's variables."""
    conditions = ["span.gen_ai.operation.name != nil", *(["status = error"] if failed else [])]
    conditions += [_any(name, f'= "{cell(name) if column else field(name)}"') for name in labels]
    conditions += [_any(name, f'=~ "${{{name}:pipe}}"') for name in variables if name not in labels]
    return link("Traces in Tempo", _in_tempo("{ " + " && ".join(conditions) + " }"))


def trace(column: str) -> DashboardLink:
    """Lead to one trace, by its id in a column."""
    return link("Trace in Tempo", _in_tempo(cell(column)))


def board(name: str, title: str, **variables: str) -> DashboardLink:
    """Lead to a dashboard with these values of variables; `with_choices` adds those that are chosen of the others."""
    chosen = "".join(f"&var-{variable}={value}" for variable, value in variables.items())
    return link(title, f"/d/{PREFIX}{name}?{TIME}{chosen}")


def with_choices(url: str, here: Sequence[str], there: Mapping[str, Sequence[str]]) -> str:
    """Return the address of a link with what is chosen of those variables that both dashboards have.

    `here` are the variables of the dashboard that has the link, `there` those of each dashboard, by its uid. All of
    `here` at once, `${__all_variables}`, would come beside the values that the link gives some of them; and one that
    is not `here` Grafana would leave in the address as it is written.
    """
    found = _TO_A_BOARD.match(url)
    if found is None:
        return url
    given = set(_GIVEN.findall(url))
    kept = [name for name in here if name in there[found[1]] and name not in given]
    return url + "".join(f"&${{{name}:queryparam}}" for name in kept)


def ledger(*labels: str, column: bool = False) -> DashboardLink:
    """Lead to the entries of a series in the ledger."""
    said = {name: cell(name) if column else field(name) for name in labels}
    return board("ledger", "Entries in the ledger", **said)


def periods(budget: str = "") -> DashboardLink:
    """Lead to what the periods of a budget came to in the ledger, else to those of the budgets that are chosen."""
    said = {"budget": budget} if budget else {}
    led = board("ledger", "Periods of the budget" if budget else "Periods of budgets", **said)
    led.url = f"{led.url}&viewPanel={PERIODS}"
    return led


def with_panel(url: str, panels: Mapping[str, Mapping[str, int]]) -> str:
    """Return the address of a link with the number of the one panel that it names by its title.

    `panels` has the numbers of each dashboard, by its uid.
    """
    board_of, named = _TO_A_BOARD.match(url), _ONE_PANEL.search(url)
    if board_of is None or named is None:
        return url
    return f"{url[: named.start()]}&viewPanel=panel-{panels[board_of[1]][named[1]]}"


def asked(panel: Panel) -> DashboardLink:
    """Lead to the queries of a panel, which ask Prometheus, in Explore."""
    targets = cast("Sequence[Dataquery]", panel.targets)
    queries = [{"expr": _chosen(query.expr), "instant": query.instant, "range": query.range_val} for query in targets]
    return link("Queries in Explore", _explore("prometheus", "${datasource}", queries))


def _chosen(expr: str) -> str:
    """Return a query with what is chosen of variables; the intervals that Grafana has, Explore has, too."""
    return re.sub(r"\$(?!__)(\w+)", r"${\1:pipe}", expr)


def link(title: str, url: str) -> DashboardLink:
    """Return a link of a panel's data."""
    return DashboardLink(title=title, type_val=DashboardLinkType.LINK, url=url, target_blank=False, tags=[])


def _any(name: str, condition: str) -> str:
    conditions = [f"{attribute} {condition}" for attribute in _ATTRIBUTES[name]]
    return conditions[0] if len(conditions) == 1 else "(" + " || ".join(conditions) + ")"


def _in_tempo(query: str) -> str:
    """Return the address of Explore with a query of TraceQL."""
    return _explore("tempo", "${tempo}", [{"queryType": "traceql", "limit": 20, "query": query}])


def _explore(kind: str, uid: str, queries: Sequence[Mapping[str, object]]) -> str:
    """Return the address of Explore with queries; what the dashboard fills in is left as it is."""
    source = {"type": kind, "uid": uid}
    pane = {
        "datasource": uid,
        "queries": [{"refId": chr(65 + place), "datasource": source, **query} for place, query in enumerate(queries)],
        "range": {"from": "${__from}", "to": "${__to}"},
    }
    text = json.dumps({"spanledger": pane}, separators=(",", ":"))
    parts = re.split(r"(\$\{[^{}]+\})", text)
    return "/explore?schemaVersion=1&panes=" + "".join(
        part if number % 2 else quote(part, safe="") for number, part in enumerate(parts)
    )
