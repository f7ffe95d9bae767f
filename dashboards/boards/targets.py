"""What panels ask: Prometheus in PromQL, PostgreSQL in SQL."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

from grafana_foundation_sdk.builders import prometheus
from grafana_foundation_sdk.cog.variants import Dataquery
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from dashboards.boards.variables import POSTGRESQL, PROMETHEUS

_NAMED: Final = re.compile(
    r"\b(?:genai|spanledger|otelcol)_[a-z_]+[a-z]\b|\b[a-z_]+:genai_[a-z_]+:[a-z0-9]+\b|\bALERTS\b"
)
_VIEWS: Final = re.compile(r"\b(?:entries|spend_hours|spend_days|budget_spend)\b")


@dataclass(frozen=True, slots=True)
class Prom:
    """A query to Prometheus: of the range that is shown, or of its end alone (`instant`)."""

    expr: str
    legend: str = ""
    instant: bool = False
    exemplars: bool = False
    format: PromQueryFormat = PromQueryFormat.TIME_SERIES

    def target(self, ref: str) -> Dataquery:
        """Return it as a panel has it."""
        query = prometheus.Dataquery().ref_id(ref).datasource(PROMETHEUS).expr(self.expr).format(self.format)
        query = query.instant() if self.instant else query.range()
        if self.legend:
            query = query.legend_format(self.legend)
        return query.exemplar(self.exemplars).build()

    def names(self) -> Iterable[str]:
        """Return the metrics that it reads."""
        return (name.removesuffix("_bucket") for name in _NAMED.findall(self.expr))


@dataclass(frozen=True, slots=True)
class Sql(Dataquery):
    """A query to PostgreSQL, for which the SDK has no type."""

    sql: str
    format: str = "table"
    ref: str = "A"

    def target(self, ref: str) -> Dataquery:
        """Return it as a panel has it."""
        return Sql(self.sql, self.format, ref)

    def names(self) -> Iterable[str]:
        """Return the views that it reads."""
        return _VIEWS.findall(self.sql)

    def to_json(self) -> dict[str, object]:
        """Return it as Grafana has it."""
        return {
            "refId": self.ref,
            "datasource": POSTGRESQL,
            "editorMode": "code",
            "format": self.format,
            "rawQuery": True,
            "rawSql": self.sql,
        }
