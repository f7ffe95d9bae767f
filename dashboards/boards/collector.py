"""The collector, on the dashboard of the exporter's health: whether what it holds is on its way."""

from grafana_foundation_sdk.models.dashboard import DashboardLink, Panel

from dashboards.boards import colors
from dashboards.boards.panels import COUNT, RATIO, lines
from dashboards.boards.queries import RATE
from dashboards.boards.targets import Prom


def panels(there: list[DashboardLink]) -> list[Panel]:
    """Return the panels; they link where the others of the dashboard do."""
    return [_queue(there), _lost(there)]


def _queue(there: list[DashboardLink]) -> Panel:
    by = "instance, exporter"
    expr = f"max by ({by}) (otelcol_exporter_queue_size) / (max by ({by}) (otelcol_exporter_queue_capacity) > 0)"
    return lines(
        "Queue of the collector",
        "Share of its room that is taken by what the exporters have not committed yet.",
        RATIO,
        Prom(expr, "{{instance}} {{exporter}}"),
        links=there,
        steps=((None, colors.BLUE), (0.8, colors.VERMILION)),
        high=1,
        nothing="no collector",
    )


def _lost(there: list[DashboardLink]) -> Panel:
    names = "otelcol_(exporter_send_failed|exporter_enqueue_failed|receiver_refused)_spans(_total)?"
    expr = f'sum by (instance) (rate({{__name__=~"{names}"}}[{RATE}]))'
    return lines(
        "Spans that the collector could not pass on",
        "A second: refused, not put into its queue (`otelcol_exporter_enqueue_failed_spans`, "
        "`otelcol_receiver_refused_spans`), or given up (`otelcol_exporter_send_failed_spans`).",
        COUNT,
        Prom(expr, "{{instance}}"),
        axis="spans a second",
        links=there,
        nothing="no collector, or none lost",
    )
