"""The shipped dashboards as tests see them: panels, queries with the variables filled in, and what PromQL they are."""

import json
import re
from collections.abc import Iterator
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import promql_parser as promql

FOLDER = Path(__file__).parents[2] / "dashboards" / "grafana"
RATE, RANGE = timedelta(minutes=7), timedelta(hours=13)
"""What `$__rate_interval` and `$__range` are taken for, so that they are told from a duration that is written out."""
_FILLED_IN = {"$__rate_interval": "7m", "$__range": "13h", "$__interval": "1m"}
Dashboard = dict[str, Any]  # JSON


class Target(NamedTuple):
    """One query of a panel."""

    panel: dict[str, Any]
    query: dict[str, Any]

    @property
    def where(self) -> str:
        return f"{self.panel.get('title')} {self.query.get('refId')}"


class Series(NamedTuple):
    """One selector of an expression: its metric, its matchers' labels, and what stands around it, the nearest last."""

    name: str
    labels: frozenset[str]
    around: tuple[Any, ...]


@cache
def names() -> tuple[str, ...]:
    return tuple(sorted(file.stem for file in FOLDER.glob("*.json")))


def load(name: str) -> Dashboard:
    return json.loads((FOLDER / f"{name}.json").read_text())


def panels(dashboard: Dashboard) -> Iterator[dict[str, Any]]:
    """The panels of a dashboard without its headings."""
    return (panel for panel in dashboard["panels"] if panel["type"] != "row")


def targets(dashboard: Dashboard) -> Iterator[Target]:
    for panel in panels(dashboard):
        for query in panel.get("targets") or []:
            yield Target(panel, query)


def expressions(dashboard: Dashboard) -> Iterator[Target]:
    """The queries in PromQL."""
    return (target for target in targets(dashboard) if "expr" in target.query)


def column(target: Target) -> str:
    """What the column of a table is called that a query fills."""
    organized = (each["options"] for each in target.panel.get("transformations") or [] if each["id"] == "organize")
    renamed = next(organized, {}).get("renameByName", {})
    return renamed.get(f"Value #{target.query['refId']}", "")


def filled_in(expr: str) -> str:
    """An expression with all values chosen: it is PromQL then."""
    for name, value in _FILLED_IN.items():
        expr = expr.replace(name, value)
    return re.sub(r"\$\w+|\$\{\w+:pipe\}", ".*", expr)


def parsed(expr: str) -> Any:
    return promql.parse(filled_in(expr))


def inner(node: Any) -> list[Any]:
    """What an expression is made of."""
    if isinstance(node, promql.Call):
        return list(node.args)
    if isinstance(node, promql.BinaryExpr):
        return [node.lhs, node.rhs]
    if isinstance(node, promql.MatrixSelector):
        return [node.vector_selector]
    return [node.expr] if hasattr(node, "expr") else []


def nodes(node: Any) -> Iterator[Any]:
    """An expression and all within it."""
    yield node
    for each in inner(node):
        yield from nodes(each)


def series(node: Any, around: tuple[Any, ...] = ()) -> Iterator[Series]:
    """The selectors of an expression."""
    if isinstance(node, promql.VectorSelector):
        matchers = node.matchers.matchers
        regexps = [each.value for each in matchers if each.name == "__name__"]
        labels = frozenset(each.name for each in matchers) - {"__name__"}
        yield from (Series(name, labels, around) for name in ([node.name] if node.name else regexps))
    for each in inner(node):
        yield from series(each, (*around, node))


def labels_of(node: Any) -> frozenset[str] | None:
    """The labels that the series of an expression have; `None` where they are those of the metric."""
    if isinstance(node, promql.AggregateExpr):
        return labels_of(node.expr) if str(node.op) in {"topk", "bottomk"} else _grouped(node.modifier)
    found = [labels_of(each) for each in inner(node) if not isinstance(each, promql.NumberLiteral)]
    if isinstance(node, promql.BinaryExpr):
        found = [labels for labels in found if labels] or [None if None in found else frozenset()]
    labels = None if isinstance(node, promql.VectorSelector) else (found or [frozenset()])[0]
    is_quantile = isinstance(node, promql.Call) and node.func.name == "histogram_quantile"
    return labels - {"le"} if labels and is_quantile else labels


def _grouped(modifier: Any) -> frozenset[str] | None:
    if modifier is None:
        return frozenset()
    return frozenset(modifier.labels) if modifier.type == promql.AggModifierType.By else None
