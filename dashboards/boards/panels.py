"""Panels: what each kind looks like.

Source: grafana.com/docs/grafana v13.2, "Panels and visualizations".
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from grafana_foundation_sdk.builders import bargauge, common, heatmap, stat, statetimeline, table, timeseries
from grafana_foundation_sdk.cog.builder import Builder
from grafana_foundation_sdk.models import common as shapes
from grafana_foundation_sdk.models import dashboard as models
from grafana_foundation_sdk.models.heatmap import HeatmapColorMode
from grafana_foundation_sdk.models.prometheus import PromQueryFormat

from dashboards.boards import colors
from dashboards.boards.looks import NO_TRAFFIC, Colors, Column, Look, dressed, with_columns
from dashboards.boards.targets import Prom, Sql

USD: Final = "currencyUSD"
RATIO: Final = "percentunit"
SECONDS: Final = "s"
COUNT: Final = "short"
WHOLE: Final = "locale"
"""All digits: of `short` with no decimals, 1,039 calls would be 1 K."""
CALLS_A_SECOND: Final = "suffix: calls/s"
BYTES: Final = "bytes"
ABSENT: Final = "-"
NONE_REPORTED: Final = "none reported"


@dataclass(frozen=True, slots=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: Sequence[models.Panel]


def number(
    title: str,
    text: str,
    unit: str,
    *queries: Prom | Sql,
    links: Sequence[models.DashboardLink],
    width: int = 4,
    height: int = 4,
    decimals: float | None = None,
    steps: colors.Steps = colors.PLAIN,
    nothing: str = NO_TRAFFIC,
    words: Mapping[str, str] | None = None,
) -> models.Panel:
    """Show the newest value of each series in large."""
    several = len(queries) > 1 or any(isinstance(query, Prom) and query.legend for query in queries)
    built = (
        stat.Panel()
        .graph_mode(shapes.BigValueGraphMode.NONE)
        .color_mode(shapes.BigValueColorMode.BACKGROUND if len(steps) > 1 else shapes.BigValueColorMode.VALUE)
        .text_mode(shapes.BigValueTextMode.VALUE_AND_NAME if several else shapes.BigValueTextMode.VALUE)
        .reduce_options(_newest())
        .build()
    )
    look = Look(
        title=title,
        text=text,
        unit=unit,
        links=links,
        width=width,
        height=height,
        decimals=decimals,
        steps=steps,
        nothing=nothing,
        words=words or {},
    )
    return dressed(built, look, queries)


def lines(
    title: str,
    text: str,
    unit: str,
    *queries: Prom | Sql,
    links: Sequence[models.DashboardLink],
    width: int = 12,
    height: int = 8,
    decimals: float | None = None,
    axis: str = "",
    stack: bool = False,
    by_name: Colors | None = None,
    steps: colors.Steps | None = None,
    low: float | None = 0,
    high: float | None = None,
    nothing: str = NO_TRAFFIC,
) -> models.Panel:
    """Show series over time: lines, or areas upon one another where they add up to something.

    The axis says what the unit does not: of a rate, what of, and in which time.
    """
    legend = (
        common.VizLegendOptions().display_mode(shapes.LegendDisplayMode.TABLE).placement(shapes.LegendPlacement.BOTTOM)
    )
    built = timeseries.Panel().draw_style(shapes.GraphDrawStyle.LINE).line_width(1).fill_opacity(40 if stack else 8)
    built = built.show_points(shapes.VisibilityMode.AUTO).span_nulls(False)
    built = built.legend(legend.show_legend(True).calcs(["lastNotNull", "mean", "max"]))
    built = built.tooltip(
        common.VizTooltipOptions().mode(shapes.TooltipDisplayMode.MULTI).sort(shapes.SortOrder.DESCENDING)
    )
    if axis:
        built = built.axis_label(axis)
    if stack:
        built = built.stacking(common.StackingConfig().mode(shapes.StackingMode.NORMAL).group("A"))
    if steps is not None:
        built = built.thresholds_style(common.GraphThresholdsStyleConfig().mode(shapes.GraphThresholdsStyleMode.DASHED))
    look = Look(
        title=title,
        text=text,
        unit=unit,
        links=links,
        width=width,
        height=height,
        decimals=decimals,
        nothing=nothing,
        steps=steps or colors.PLAIN,
        mode=colors.PALETTE,
        low=low,
        high=high,
        by_name=by_name or {},
    )
    return dressed(built.build(), look, queries)


def bars(
    title: str,
    text: str,
    unit: str,
    *queries: Prom,
    links: Sequence[models.DashboardLink],
    width: int = 12,
    height: int = 8,
    steps: colors.Steps = colors.PLAIN,
    high: float | None = None,
    nothing: str = NO_TRAFFIC,
    decimals: float | None = None,
) -> models.Panel:
    """Show the newest value of each series as a bar."""
    built = (
        bargauge.Panel()
        .orientation(shapes.VizOrientation.HORIZONTAL)
        .display_mode(shapes.BarGaugeDisplayMode.BASIC)
        .value_mode(shapes.BarGaugeValueMode.TEXT)
        .reduce_options(_newest())
        .build()
    )
    look = Look(
        title=title,
        text=text,
        unit=unit,
        links=links,
        width=width,
        height=height,
        decimals=decimals,
        steps=steps,
        nothing=nothing,
        low=0,
        high=high,
    )
    return dressed(built, look, queries)


def spread(
    title: str,
    text: str,
    unit: str,
    query: Prom,
    *,
    links: Sequence[models.DashboardLink],
    width: int = 12,
    height: int = 8,
) -> models.Panel:
    """Show how observations of a histogram are spread, over time; the query is of its buckets.

    Each bucket counts what is in those below it, too: only of what a query calls a heatmap does Grafana take that off.
    """
    color = heatmap.HeatmapColorOptions().mode(HeatmapColorMode.SCHEME).scheme("Cividis").steps(64)
    built = heatmap.Panel().calculate(False).color(color).exemplars_color(colors.VERMILION)
    built = built.y_axis(heatmap.YAxisConfig().unit(unit).axis_placement(shapes.AxisPlacement.LEFT))
    built = built.cell_values(heatmap.CellValues().unit(CALLS_A_SECOND)).show_legend()
    look = Look(title=title, text=text, unit=unit, links=links, width=width, height=height)
    return dressed(built.build(), look, (replace(query, format=PromQueryFormat.HEATMAP),))


def states(
    title: str,
    text: str,
    query: Prom,
    *,
    links: Sequence[models.DashboardLink],
    width: int = 24,
    height: int = 8,
    words: Mapping[str, str],
    nothing: str,
) -> models.Panel:
    """Show since when something has been so."""
    built = statetimeline.Panel().merge_values(True).show_value(shapes.VisibilityMode.NEVER).row_height(0.8)
    look = Look(
        title=title,
        text=text,
        unit=COUNT,
        links=links,
        width=width,
        height=height,
        nothing=nothing,
        words=words,
        steps=((None, colors.ORANGE), (2, colors.VERMILION)),
    )
    return dressed(built.build(), look, (query,))


def grid(
    title: str,
    text: str,
    keys: Sequence[str],
    columns: Mapping[str, tuple[str, Column]],
    *,
    links: Sequence[models.DashboardLink],
    width: int = 24,
    height: int = 9,
    nothing: str = NO_TRAFFIC,
    numbers: Mapping[str, tuple[str, Column]] | None = None,
    sort: str | Sequence[str] = "",
) -> models.Panel:
    """Show one row for each set of labels, and in each column what an expression says of it.

    Rows are in the order of one column, the largest first, or of several, the smallest first. Labels that are `numbers`
    are called something else, and are in order by their value, not by their digits.
    """
    given = numbers or {}
    queries = [Prom(expr, instant=True, format=PromQueryFormat.TABLE) for expr, _ in columns.values()]
    values = [f"Value #{chr(65 + place)}" for place in range(len(columns))] if len(columns) > 1 else ["Value"]
    order = {name: place for place, name in enumerate([*keys, *values])}
    organized = {
        "excludeByName": {"Time": True},
        "indexByName": order,
        "renameByName": dict(zip(values, columns, strict=True)) | {name: title for name, (title, _) in given.items()},
    }
    merged = [models.DataTransformerConfig(id_val="merge", options={})] if len(columns) > 1 else []
    built = _table(sort).build()
    converted = [{"targetField": name, "destinationType": "number"} for name in given]
    if converted:
        merged.append(models.DataTransformerConfig(id_val="convertFieldType", options={"conversions": converted}))
    built.transformations = [*merged, models.DataTransformerConfig(id_val="organize", options=organized)]
    look = Look(
        title=title, text=text, unit=COUNT, links=links, width=width, height=height, nothing=nothing, absent=ABSENT
    )
    looks = {name: column for name, (_, column) in columns.items()} | dict(given.values())
    return with_columns(dressed(built, look, queries), looks)


def rows(
    title: str,
    text: str,
    query: Sql,
    columns: Mapping[str, Column],
    *,
    links: Sequence[models.DashboardLink],
    width: int = 24,
    height: int = 9,
    nothing: str = NO_TRAFFIC,
) -> models.Panel:
    """Show what a query to the ledger returns."""
    look = Look(
        title=title, text=text, unit=COUNT, links=links, width=width, height=height, nothing=nothing, absent=ABSENT
    )
    return with_columns(dressed(_table().build(), look, (query,)), columns)


def _table(sort: str | Sequence[str] = "") -> table.Panel:
    built = table.Panel().show_header(True).cell_height(shapes.TableCellHeight.SM).filterable(True)
    built = built.cell_options(shapes.TableAutoCellOptions())
    if not sort:
        return built
    largest = isinstance(sort, str)
    columns = [sort] if isinstance(sort, str) else sort
    return built.sort_by([common.TableSortByFieldState().display_name(name).desc(largest) for name in columns])


def _newest() -> Builder[shapes.ReduceDataOptions]:
    return common.ReduceDataOptions().calcs(["lastNotNull"]).values(False).fields("")
