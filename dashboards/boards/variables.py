"""The variables of the dashboards: sources of data, and what may be chosen.

`.*` stands for all, so that it matches what lacks the label, too. Choices are read again whenever the time that is
shown changes.
"""

from typing import Final

from grafana_foundation_sdk.builders.dashboard import DatasourceVariable, QueryVariable, TextBoxVariable
from grafana_foundation_sdk.models.common import DataSourceRef
from grafana_foundation_sdk.models.dashboard import VariableModel, VariableOption, VariableRefresh, VariableSort

from dashboards.boards.queries import DIMENSIONS

PROMETHEUS: Final = DataSourceRef(type_val="prometheus", uid="${datasource}")
POSTGRESQL: Final = DataSourceRef(type_val="grafana-postgresql-datasource", uid="${postgresql}")
ALL_IN_SQL: Final = "'__all__'"
"""Stands for all where a query asks a list: Grafana puts it in as it is."""
_LABELS: Final = {
    "service": ("Service", "genai_calls_total"),
    "environment": ("Environment", 'genai_calls_total{service=~"$service"}'),
    "team": ("Team", 'genai_calls_total{service=~"$service"}'),
    "project": ("Project", 'genai_calls_total{service=~"$service",team=~"$team"}'),
    "provider": ("Provider", 'genai_calls_total{service=~"$service"}'),
    "model": ("Model", 'genai_calls_total{service=~"$service",provider=~"$provider"}'),
    "budget": ("Budget", "genai_budget_mode_info"),
    "instance": ("Replica", "spanledger_build_info"),
}


def datasource() -> VariableModel:
    """Let the Prometheus be chosen."""
    return _source("datasource", "Data source", "prometheus")


def tempo() -> VariableModel:
    """Let the Tempo be chosen that links to traces lead to."""
    return _source("tempo", "Traces", "tempo")


def postgresql() -> VariableModel:
    """Let the PostgreSQL be chosen that has the ledger."""
    return _source("postgresql", "Data source", "grafana-postgresql-datasource")


def label(name: str) -> VariableModel:
    """Let values of a label be chosen, one, several or all."""
    title, series = _LABELS[name]
    return _choice(name, title, PROMETHEUS, f"label_values({series}, {name})", ".*")


def column(name: str, title: str, sql: str, description: str | None = None) -> VariableModel:
    """Let values of the ledger be chosen, one, several or all."""
    made = _choice(name, title, POSTGRESQL, sql, ALL_IN_SQL)
    made.description = description
    return made


def text(name: str, title: str, description: str) -> VariableModel:
    """Let a text be typed."""
    built = TextBoxVariable(name).label(title).description(description).default_value("").build()
    built.current = VariableOption(selected=True, text="", value="")
    return built


def _source(name: str, title: str, kind: str) -> VariableModel:
    return DatasourceVariable(name).label(title).type(kind).build()


def _choice(name: str, title: str, source: DataSourceRef, query: str, all_value: str) -> VariableModel:
    return (
        QueryVariable(name)
        .label(title)
        .datasource(source)
        .query(query)
        .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
        .sort(VariableSort.ALPHABETICAL_ASC)
        .multi(True)
        .include_all(True)
        .all_value(all_value)
        .current(VariableOption(selected=True, text="All", value="$__all"))
        .build()
    )


def for_spend() -> list[VariableModel]:
    """Return the variables of a dashboard about spend: the sources, and the dimensions."""
    return [datasource(), tempo(), *map(label, DIMENSIONS)]
