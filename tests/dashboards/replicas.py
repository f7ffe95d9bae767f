"""How an expression puts together what several exporters show, against what docs/metrics.md says of each metric.

What each reads from the ledger all show whole, and one of them is taken; what each counts of its own doing is summed.
"""

from collections.abc import Iterator
from functools import cache
from typing import Any, Final

import promql_parser as promql

from tests.dashboards import boards
from tests.dashboards.boards import Series
from tests.test_docs import code, docs

# As the parser writes them.
_MOST, _LEAST = (f"{each} without (instance, pod)({each}_over_time(" for each in ("max", "min"))
_OF_PARTS: Final = ("_bucket", "_sum", "_count")
# The share that is left of a rate limit is the least of any replica's, and what is used the most.
_OF_A_SHARE: Final = {"genai_rate_limit_limit": "min", "genai_rate_limit_remaining": "max"}


@cache
def ways() -> dict[str, str]:
    """What docs/metrics.md says of each metric: `max`, `min`, `sum`, or `each`, of which nothing is asked."""
    return {code(row.cells["metric"])[0]: row.cells["replicas"] for row in docs("metrics.md", "metric")}


def wrongly(node: Any) -> Iterator[str]:
    """What in an expression is put together in another way."""
    for each in boards.series(node):
        way = ways().get(_metric(each.name), "each")
        if way == "each" or rises(each) or _only_filters(each):
            continue
        # Nearest first: how its series are put together before anything else is.
        ops = [str(other.op) for other in reversed(each.around) if _puts_replicas_together(other)]
        if not ops and each.name.startswith("spanledger_"):  # shown of each exporter by itself
            continue
        divided = any(isinstance(other, promql.BinaryExpr) and str(other.op) == "/" for other in each.around)
        allowed = {way, _OF_A_SHARE.get(each.name, way)} if divided else {way}
        if not ops or ops[0] not in allowed:
            yield f"{each.name} is put together by {ops[:1]}, not by {way}"
        calls = {other.func.name for other in each.around if isinstance(other, promql.Call)}
        if way != "sum" and each.name.startswith("genai_") and "increase" in calls:
            yield f"increase of {each.name}"


def rises(each: Series) -> bool:
    """Tell whether a selector is part of the most of any replica less the least of any."""
    differences = (node for node in each.around if isinstance(node, promql.BinaryExpr) and str(node.op) == "-")
    for node in differences:
        most, least = str(node.lhs), str(node.rhs)
        if most.startswith(_MOST) and least == most.replace(_MOST, _LEAST, 1):
            return True
    return False


def _metric(name: str) -> str:
    return next((name.removesuffix(part) for part in _OF_PARTS if name.removesuffix(part) in ways()), name)


def _only_filters(each: Series) -> bool:
    """Tell whether a selector says only which series are taken: it is on the right of `and` or `unless`."""
    sets = (node for node in each.around if isinstance(node, promql.BinaryExpr) and str(node.op) in {"and", "unless"})
    return any(each.name in str(node.rhs) and each.name not in str(node.lhs) for node in sets)


def _puts_replicas_together(node: Any) -> bool:
    if not isinstance(node, promql.AggregateExpr):
        return False
    kept = node.modifier
    return kept is None or kept.type != promql.AggModifierType.By or "instance" not in kept.labels
