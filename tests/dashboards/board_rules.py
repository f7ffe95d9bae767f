"""What every dashboard must obey, each rule a function from a dashboard to what is wrong with it.

Most are those of Grafana's dashboard-linter, in our words; its rules of the labels `job` and `instance` are left out,
for the exporter's figures are the ledger's, and each replica shows them whole.

Source: github.com/grafana/dashboard-linter, docs/rules, read in November 2026.
"""

import json
import re
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import unquote

import promql_parser as promql

from dashboards.boards import colors
from tests.dashboards import boards, replicas
from tests.dashboards.boards import Dashboard

SOURCES = {"${datasource}": "prometheus", "${postgresql}": "grafana-postgresql-datasource"}
_COUNTER = re.compile(r"_(total|bucket|count|sum)$")
_LETTERS = 5.75  # for each of the 24 columns
Complaints = Iterator[str]


def uneditable(dashboard: Dashboard) -> Complaints:
    """It is changed in the code, not in Grafana."""
    if dashboard["editable"]:
        yield "it can be edited"


def known_and_linked(dashboard: Dashboard) -> Complaints:
    """It has a uid, our tags, and a link to the others that takes variables and time along."""
    if not re.fullmatch(r"spanledger-[a-z]+", dashboard["uid"]):
        yield f"uid {dashboard['uid']}"
    if set(dashboard["tags"]) != {"genai", "spanledger"}:
        yield f"tags {dashboard['tags']}"
    linked = [link for link in dashboard["links"] if link["type"] == "dashboards" and "spanledger" in link["tags"]]
    if not any(link["includeVars"] and link["keepTime"] for link in linked):
        yield "no link to the others"


def common_settings(dashboard: Dashboard) -> Complaints:
    """It is of the format that provisioning takes, in the reader's time zone, with one crosshair for all panels."""
    expected = {"schemaVersion": 42, "timezone": "browser", "graphTooltip": 1}
    yield from (f"{name} {dashboard.get(name)}" for name, value in expected.items() if dashboard.get(name) != value)


def source_is_a_variable(dashboard: Dashboard) -> Complaints:
    """Where data come from is chosen in Grafana."""
    kinds = {each["name"]: each["query"] for each in dashboard["templating"]["list"] if each["type"] == "datasource"}
    if {"datasource": "prometheus"}.items() <= kinds.items():
        return
    if kinds.get("postgresql") != "grafana-postgresql-datasource":
        yield "no variable for the source of data"


def panels_use_the_variable(dashboard: Dashboard) -> Complaints:
    """No panel and no query names a source of its own."""
    chosen = {f"${{{each['name']}}}" for each in dashboard["templating"]["list"] if each["type"] == "datasource"}
    for panel in boards.panels(dashboard):
        for source in [panel["datasource"], *(query.get("datasource") for query in panel.get("targets") or [])]:
            if not source or source["uid"] not in chosen or SOURCES.get(source["uid"]) != source["type"]:
                yield f"{panel.get('title')}: {source}"


def variables_are_read_anew(dashboard: Dashboard) -> Complaints:
    """What can be chosen follows the time that is shown; any, several or all may be."""
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            wanted = {"refresh": 2, "multi": True, "includeAll": True}
            yield from (f"{variable['name']}: {name}" for name, value in wanted.items() if variable.get(name) != value)
            if variable.get("allValue") not in (".*", "'__all__'"):
                yield f"{variable['name']}: all is {variable.get('allValue')}"
            if variable["datasource"]["uid"] not in SOURCES:
                yield f"{variable['name']}: {variable['datasource']}"


def variables_exist(dashboard: Dashboard) -> Complaints:
    """A query and a link of it name no variable that is not there."""
    known = {each["name"] for each in dashboard["templating"]["list"]}
    for target in boards.targets(dashboard):
        text = target.query.get("expr") or target.query.get("rawSql") or ""
        named = re.findall(r"\$\{?(\w+)", re.sub(r"\$__\w+", "", text))
        yield from (f"{target.where}: ${name}" for name in named if name not in known)
    for panel in boards.panels(dashboard):
        for url in _urls(panel):
            named = [name for name in re.findall(r"\$\{(\w+)", url) if not name.startswith("__")]
            yield from (f"{panel['title']}: link with ${name}" for name in named if name not in known)


def panels_say_what_they_show(dashboard: Dashboard) -> Complaints:
    """A panel has a title, a unit, queries, and a description that names each metric or view."""
    for panel in boards.panels(dashboard):
        title = panel.get("title") or ""
        if not title:
            yield f"panel {panel['id']} has no title"
        if not panel["fieldConfig"]["defaults"].get("unit"):
            yield f"{title}: no unit"
        if not panel.get("targets"):
            yield f"{title}: no queries"
        description = panel.get("description") or ""
        missing = [name for name in _read(panel) if f"`{name}`" not in description]
        if not description or missing:
            yield f"{title}: the description does not name {missing}"


def _read(panel: dict[str, Any]) -> Iterator[str]:
    for query in panel.get("targets") or []:
        if "expr" in query:
            for found in boards.series(boards.parsed(query["expr"])):
                if "|" not in found.name:  # a regular expression of several
                    yield found.name.removesuffix("_bucket")
        else:
            yield from re.findall(r"\bFROM (\w+)", query["rawSql"])


def rates_say_what_of(dashboard: Dashboard) -> Complaints:
    """A chart of how much there is in a time says on its axis of what, and in which time: no unit says it of calls.

    A part of something, and a quantile, are in no time.
    """
    for target in boards.expressions(dashboard):
        node = boards.parsed(target.query["expr"])
        label = target.panel["fieldConfig"]["defaults"].get("custom", {}).get("axisLabel") or ""
        if target.panel["type"] == "timeseries" and (wanted := _pace(node)) and wanted not in label:
            yield f"{target.where}: '{label}' does not say '{wanted}'"
    for panel in boards.panels(dashboard):
        if panel["fieldConfig"]["defaults"].get("unit") == "ops":
            yield f"{panel['title']}: calls, spans and tokens are no operations"


def _pace(node: Any) -> str:
    """In which time an expression says how much there is."""
    for each in boards.nodes(node):
        if isinstance(each, promql.BinaryExpr) and str(each.op) == "/":
            return ""
        if isinstance(each, promql.Call) and each.func.name == "histogram_quantile":
            return ""
        if isinstance(each, promql.BinaryExpr) and isinstance(each.lhs, promql.NumberLiteral) and each.lhs.val == 3600:
            return " an hour"
        if isinstance(each, promql.Call) and each.func.name in {"rate", "increase"}:
            return " a second" if each.func.name == "rate" else "in the last hour"
    return ""


def quantiles_have_their_name(dashboard: Dashboard) -> Complaints:
    """A quantile is called p50, p95 or p99 where it is shown, and on one dashboard as on all others."""
    for target in boards.expressions(dashboard):
        found = re.search(r"histogram_quantile\(0?(\.\d+)", target.query["expr"])
        if found is None:
            continue
        name = f"p{round(float(found[1]) * 100)}"
        if name not in " ".join([target.panel["title"], target.query.get("legendFormat") or "", boards.column(target)]):
            yield f"{target.where}: not called {name}"
        if name not in {"p50", "p95", "p99"}:
            yield f"{target.where}: {name}"


def titles_have_room(dashboard: Dashboard) -> Complaints:
    """A title is not cut off: of a panel as narrow as a stat, about 23 letters can be seen."""
    for panel in boards.panels(dashboard):
        if len(panel["title"]) > panel["gridPos"]["w"] * _LETTERS:
            yield f"{panel['title']}: too long for its width"


def bars_are_in_order(dashboard: Dashboard) -> Complaints:
    """Bars stand in the order of their length, not of their names."""
    for target in boards.expressions(dashboard):
        node = boards.parsed(target.query["expr"])
        sorts = isinstance(node, promql.AggregateExpr) and str(node.op) in {"topk", "bottomk"}
        sorts = sorts or (isinstance(node, promql.Call) and node.func.name in {"sort", "sort_desc"})
        if target.panel["type"] == "bargauge" and not sorts and boards.labels_of(node) != frozenset():
            yield target.where


def nothing_is_said(dashboard: Dashboard) -> Complaints:
    """Where there is nothing a panel says so: neither an empty field nor NaN."""
    for panel in boards.panels(dashboard):
        fields = panel["fieldConfig"]["defaults"]
        special = [each["options"] for each in fields.get("mappings") or [] if each["type"] == "special"]
        if fields.get("noValue") is None or not any(each["match"] == "null+nan" for each in special):
            yield panel["title"]


def panels_lead_on(dashboard: Dashboard) -> Complaints:
    """Each panel has a link to what lies behind it."""
    yield from (panel["title"] for panel in boards.panels(dashboard) if not list(_urls(panel)))


def _urls(panel: dict[str, Any]) -> Iterator[str]:
    fields = panel["fieldConfig"]
    yield from (link["url"] for link in fields["defaults"].get("links") or [])
    for override in fields["overrides"]:
        found = [each["value"] for each in override["properties"] if each["id"] == "links"]
        yield from (link["url"] for links in found for link in links)


def links_have_their_values(dashboard: Dashboard) -> Complaints:
    """What a link takes from the series or the row that is clicked is there."""
    for panel in boards.panels(dashboard):
        for url in _urls(panel):
            for label in re.findall(r"\$\{__field\.labels\.(\w+)", url):
                for query in panel["targets"]:
                    labels = _labels(query)
                    if "expr" not in query or (labels is not None and label not in labels):
                        yield f"{panel['title']} {query['refId']}: no {label}"
            known = set().union(*map(_columns, panel["targets"]))
            columns = re.findall(r"\$\{__data\.fields\.(\w+)", url)
            yield from (f"{panel['title']}: no column {name}" for name in columns if name not in known)


def _labels(query: dict[str, Any]) -> frozenset[str] | None:
    return boards.labels_of(boards.parsed(query["expr"])) if "expr" in query else None


def _columns(query: dict[str, Any]) -> set[str]:
    """The columns of a table: labels, or what a statement of SQL names."""
    if "expr" in query:
        return set(_labels(query) or ())
    named = re.split(r"\bFROM\b", query["rawSql"])[0]
    plain = re.findall(r"(?:SELECT|,)\s*(\w+)\s*(?=,|\n|$)", named)
    return {*plain, *re.findall(r"\bAS \"?(\w+)", named)}


def links_take_choices_along(dashboard: Dashboard) -> Complaints:
    """A link to a dashboard carries each variable that both have, once: a value of its own, or what is chosen."""
    here = {each["name"] for each in dashboard["templating"]["list"]}
    for panel in boards.panels(dashboard):
        for url in _urls(panel):
            found = re.match(r"/d/([\w-]+)\?", url)
            if found is None:
                continue
            there = {each["name"] for each in boards.load(found[1])["templating"]["list"]}
            carried = re.findall(r"&var-(\w+)=|&\$\{(\w+):queryparam\}", url)
            names = sorted(given or chosen for given, chosen in carried)
            if (wanted := sorted({*names} | here & there)) != names or not {*names} <= there:
                yield f"{panel['title']}: a link to {found[1]} carries {names} of {wanted}"
            if "__all_variables" in url:
                yield f"{panel['title']}: a link to {found[1]} says some variables twice"


def links_are_heeded(dashboard: Dashboard) -> Complaints:
    """What a link says of a variable narrows what it leads to: the one panel that it names, else most of the dashboard.

    Without that it would show all calls under the name of a budget.
    """
    for panel in boards.panels(dashboard):
        for url in _urls(panel):
            found = re.match(r"/d/([\w-]+)\?", url)
            if found is None:
                continue
            there, one = list(boards.panels(boards.load(found[1]))), re.search(r"&viewPanel=panel-(\d+)\b", url)
            shown = [each for each in there if one is None or each["id"] == int(one[1])]
            if not shown:
                yield f"{panel['title']}: a link to a panel that {found[1]} does not have"
            for name in re.findall(r"&var-(\w+)=(?!\$__all)", url):
                heeding = [each for each in shown if re.search(rf"\$\{{?{name}\b", str(each["targets"]))]
                if len(heeding) * 2 <= len(shown):
                    yield f"{panel['title']}: a link to {found[1]} for one {name}, which shows all"


def explore_is_asked_something(dashboard: Dashboard) -> Complaints:
    """A link to Explore has queries, and PromQL in it is PromQL."""
    for panel in boards.panels(dashboard):
        for url in _urls(panel):
            if not url.startswith("/explore"):
                continue
            found = re.fullmatch(r"/explore\?schemaVersion=1&panes=(.+)", url)
            queries = _queries(found[1]) if found else []
            if not queries:
                yield f"{panel['title']}: a link to Explore without a query"
            for query in queries:
                try:
                    asked = query["query"] if query["datasource"]["type"] == "tempo" else boards.parsed(query["expr"])
                except (KeyError, ValueError):
                    asked = None
                if not asked:
                    yield f"{panel['title']}: a link to Explore asks {query}"


def _queries(panes: str) -> list[dict[str, Any]]:
    """The queries that the address of Explore has."""
    try:
        return [query for pane in json.loads(unquote(panes)).values() for query in pane["queries"]]
    except (ValueError, KeyError):
        return []


def legends_have_their_labels(dashboard: Dashboard) -> Complaints:
    """A legend names only labels that the series have."""
    for target in boards.expressions(dashboard):
        labels = _labels(target.query)
        named = re.findall(r"\{\{\s*(\w+)\s*\}\}", target.query.get("legendFormat") or "")
        yield from (f"{target.where}: {name}" for name in named if labels is not None and name not in labels | {"le"})
        if labels is not None and not set(named) >= labels and target.query["format"] == "time_series":
            yield f"{target.where}: {sorted(labels - set(named))} not told apart"


def rates_have_their_interval(dashboard: Dashboard) -> Complaints:
    """`rate` is over `$__rate_interval`; `$__range` is only for the one figure of the whole time.

    `increase` over `$__rate_interval` would count at several points what is between them once.
    """
    for target in boards.expressions(dashboard):
        for node in boards.nodes(boards.parsed(target.query["expr"])):
            if not isinstance(node, promql.Call) or node.func.name not in {"rate", "irate", "increase"}:
                continue
            over = node.args[0].range
            if over == boards.RANGE and not target.query["instant"]:
                yield f"{target.where}: $__range over time"
            if (over == boards.RATE) if node.func.name == "increase" else over not in (boards.RATE, boards.RANGE):
                yield f"{target.where}: {node.func.name} over {over}"


def counters_are_rated_and_summed(dashboard: Dashboard) -> Complaints:
    """A counter is never shown as it is, and never by process where that is not asked for."""
    for target in boards.expressions(dashboard):
        for each in boards.series(boards.parsed(target.query["expr"])):
            if not _COUNTER.search(each.name.removesuffix("(_total)?")):
                continue
            calls = [node.func.name for node in each.around if isinstance(node, promql.Call)]
            if not {"rate", "increase", "irate"} & set(calls) and not replicas.rises(each):
                yield f"{target.where}: {each.name} as it is"
            if not any(isinstance(node, promql.AggregateExpr) for node in each.around):
                yield f"{target.where}: {each.name} by process"


def replicas_are_put_together(dashboard: Dashboard) -> Complaints:
    """What several exporters show is put together as docs/metrics.md says.

    How much a counter of the ledger rose in a time is the most of any replica less the least of any: `increase` would
    see of each that came or went in the time only its own part.
    """
    for target in boards.expressions(dashboard):
        for complaint in replicas.wrongly(boards.parsed(target.query["expr"])):
            yield f"{target.where}: {complaint}"


def divisions_are_guarded(dashboard: Dashboard) -> Complaints:
    """Nothing is divided by nothing."""
    for target in boards.expressions(dashboard):
        for node in boards.nodes(boards.parsed(target.query["expr"])):
            if isinstance(node, promql.BinaryExpr) and str(node.op) == "/" and not _above_zero(node.rhs):
                yield target.where


def _above_zero(node: Any) -> bool:
    while isinstance(node, promql.ParenExpr):
        node = node.expr
    if isinstance(node, promql.NumberLiteral):
        return node.val != 0
    is_greater = isinstance(node, promql.BinaryExpr) and str(node.op) == ">"
    return is_greater and isinstance(node.rhs, promql.NumberLiteral) and node.rhs.val == 0


def zero_is_said_where_it_is_true(dashboard: Dashboard) -> Complaints:
    """`vector(0)` makes a figure out of nothing: only of alerts is no series none."""
    for target in boards.expressions(dashboard):
        if "vector(" in target.query["expr"] and {
            each.name for each in boards.series(boards.parsed(target.query["expr"]))
        } != {"ALERTS"}:
            yield target.where


def unknown_tokens_are_not_none(dashboard: Dashboard) -> Complaints:
    """Tokens are shown only where they are known: of a call whose usage was not reported, 0 is no figure.

    A share of tokens is guarded by what it is divided by, and where there are more than 0, they are known.
    """
    for target in boards.expressions(dashboard):
        for each in boards.series(boards.parsed(target.query["expr"])):
            if each.name != "genai_tokens_total":
                continue
            operators = [node for node in each.around if isinstance(node, promql.BinaryExpr)]
            known = any(str(node.op) == "unless" and "genai_unreported_calls_total" in str(node) for node in operators)
            shared = any(str(node.op) == "/" and "genai_tokens_total" in str(node.rhs) for node in operators)
            more = any(str(node.op) == ">" and "genai_tokens_total" in str(node.lhs) for node in operators)
            if not known and not shared and not more:
                yield f"{target.where}: tokens that may not be known"


def heatmaps_are_of_buckets(dashboard: Dashboard) -> Complaints:
    """What a heatmap shows is asked for as one: only then is each bucket surely without what is in those below it.

    Source: Grafana, packages/grafana-prometheus/src/result_transformer.ts, `transformToHistogramOverTime`.
    """
    for target in boards.targets(dashboard):
        if target.panel["type"] == "heatmap" and target.query.get("format") != "heatmap":
            yield f"{target.where}: {target.query.get('format')}"


def latencies_have_exemplars(dashboard: Dashboard) -> Complaints:
    """Histograms of calls over time show single calls, which lead to their traces."""
    for target in boards.expressions(dashboard):
        buckets = [
            each.name for each in boards.series(boards.parsed(target.query["expr"])) if each.name.endswith("_bucket")
        ]
        of_calls = any(name.startswith("genai_") for name in buckets)
        if of_calls and target.query["range"] and not target.query["exemplar"]:
            yield target.where


def thresholds_are_no_money(dashboard: Dashboard) -> Complaints:
    """What is dear to one is nothing to another: limits are budgets, not colours."""
    for panel in boards.panels(dashboard):
        fields = panel["fieldConfig"]["defaults"]
        if fields["unit"] == "currencyUSD" and len(fields["thresholds"]["steps"]) > 1:
            yield panel["title"]
        for override in panel["fieldConfig"]["overrides"]:
            values = {each["id"]: each["value"] for each in override["properties"]}
            if values.get("unit") == "currencyUSD" and "thresholds" in values:
                yield f"{panel['title']}: {override['matcher']['options']}"


def colours_can_be_told_apart(dashboard: Dashboard) -> Complaints:
    """All colours are those of Okabe and Ito, or grey; series without one of their own take them, too."""
    allowed = {*colors.OKABE_ITO, colors.GREY}
    yield from (f"colour {each}" for each in _values(dashboard["panels"], "fixedColor", "color") if each not in allowed)
    modes = {mode for mode in _values(dashboard["panels"], "mode") if mode.startswith(("palette", "continuous"))}
    yield from (f"palette {mode}" for mode in modes - {colors.PALETTE})


def _values(node: Any, *keys: str) -> Iterator[str]:
    """The texts under some keys, wherever they are."""
    if isinstance(node, list):
        for each in node:
            yield from _values(each, *keys)
    elif isinstance(node, dict):
        for key, value in node.items():
            if key in keys and isinstance(value, str):
                yield value
            yield from _values(value, *keys)


def panels_have_room(dashboard: Dashboard) -> Complaints:
    """Panels have numbers of their own and do not lie on one another."""
    taken: set[tuple[int, int]] = set()
    numbers = [panel["id"] for panel in dashboard["panels"]]
    if len(set(numbers)) != len(numbers):
        yield "two panels have one number"
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        here = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        if here & taken or place["x"] + place["w"] > 24:
            yield f"{panel.get('title')} lies on another"
        taken |= here


def alerts_are_marked(dashboard: Dashboard) -> Complaints:
    """Alerts that fire are marks over the panels, wherever Prometheus is asked."""
    queries = [each["target"]["expr"] for each in dashboard["annotations"].get("list") or [] if each["enable"]]
    if any(boards.expressions(dashboard)) and not any(expr.startswith("ALERTS{") for expr in queries):
        yield "no marks of alerts"


RULES: tuple[Callable[[Dashboard], Complaints], ...] = (
    uneditable,
    known_and_linked,
    common_settings,
    source_is_a_variable,
    panels_use_the_variable,
    variables_are_read_anew,
    variables_exist,
    panels_say_what_they_show,
    rates_say_what_of,
    quantiles_have_their_name,
    titles_have_room,
    bars_are_in_order,
    nothing_is_said,
    panels_lead_on,
    links_have_their_values,
    links_take_choices_along,
    links_are_heeded,
    explore_is_asked_something,
    legends_have_their_labels,
    rates_have_their_interval,
    counters_are_rated_and_summed,
    replicas_are_put_together,
    divisions_are_guarded,
    zero_is_said_where_it_is_true,
    unknown_tokens_are_not_none,
    heatmaps_are_of_buckets,
    latencies_have_exemplars,
    thresholds_are_no_money,
    colours_can_be_told_apart,
    panels_have_room,
    alerts_are_marked,
)
