"""Dashboards: rows of panels, with what all dashboards have in common -> Grafana's JSON.

Each has a fixed uid, the tags `genai` and `spanledger`, and a link to all others of the latter, which takes variables
and time along. Alerts of ours that fire are marks over all panels.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from grafana_foundation_sdk.builders import prometheus
from grafana_foundation_sdk.builders.dashboard import AnnotationQuery, Dashboard, DashboardLink
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models import dashboard as models

from dashboards.boards import colors
from dashboards.boards.links import PREFIX, with_choices, with_panel
from dashboards.boards.panels import Row
from dashboards.boards.queries import ALERTS
from dashboards.boards.variables import PROMETHEUS

TAGS: Final = ("genai", "spanledger")
_WIDTH: Final = 24
# What the SDK writes and Grafana's own types refuse: into every variable what only intervals have, and into tables the
# footer that they had before Grafana 12.
_OF_INTERVALS: Final = ("auto", "auto_count", "auto_min")


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    """A dashboard; `name` is its uid without the prefix, and `since` what it shows at first."""

    name: str
    title: str
    description: str
    variables: Sequence[models.VariableModel]
    rows: Sequence[Row]
    since: str = "now-24h"
    alerts: str = ALERTS
    """Which alerts are marks over the panels; none where the dashboard does not ask Prometheus."""

    @property
    def uid(self) -> str:
        """What its address names it by."""
        return PREFIX + self.name


def texts_of(boards: Sequence[Board]) -> dict[str, str]:
    """Return dashboards that lead to one another as the texts of their files, by their uids."""
    variables = {board.uid: [variable.name for variable in board.variables] for board in boards}
    built = {board.uid: _built(board) for board in boards}
    panels = {uid: _numbers(dashboard) for uid, dashboard in built.items()}
    return {uid: _text_of(dashboard, variables, panels) for uid, dashboard in built.items()}


def _numbers(dashboard: models.Dashboard) -> dict[str, int]:
    return {panel.title or "": panel.id_val or 0 for panel in dashboard.panels or []}


def _text_of(
    dashboard: models.Dashboard, variables: Mapping[str, Sequence[str]], panels: Mapping[str, Mapping[str, int]]
) -> str:
    document = cast("dict[str, Any]", json.loads(json.dumps(dashboard, cls=JSONEncoder)))  # Any: JSON
    for variable in document["templating"]["list"]:
        for name in _OF_INTERVALS:
            variable.pop(name, None)
    for panel in document["panels"]:
        panel.get("options", {}).pop("footer", None)
        for link in _links(panel.get("fieldConfig", {})):
            url = with_choices(with_panel(link["url"], panels), variables[document["uid"]], variables)
            link["url"] = url
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False) + "\n"


def _links(fields: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """The links of a panel's data, and of single columns."""
    yield from fields.get("defaults", {}).get("links", [])
    for override in fields.get("overrides", []):
        for each in override["properties"]:
            yield from each["value"] if each["id"] == "links" else []


def _built(board: Board) -> models.Dashboard:
    link = DashboardLink("Dashboards").type(models.DashboardLinkType.DASHBOARDS).tags([TAGS[1]])
    built = (
        Dashboard(board.title)
        .uid(board.uid)
        .description(board.description)
        .tags(list(TAGS))
        .timezone("browser")
        .readonly()
        .tooltip(models.DashboardCursorSync.CROSSHAIR)
        .time(board.since, "now")
        .refresh("1m")
        .link(link.as_dropdown(True).include_vars(True).keep_time(True))
        .annotations([_alerts(board.alerts)] if board.alerts else [])
        .build()
    )
    built.templating.list_val = list(board.variables)
    built.panels = _laid_out(board.rows)
    return built


def _alerts(names: str) -> AnnotationQuery:
    expr = f'ALERTS{{alertname=~"{names}",alertstate="firing"}}'
    return (
        AnnotationQuery()
        .name("Alerts")
        .datasource(PROMETHEUS)
        .enable(True)
        .icon_color(colors.VERMILION)
        .target(prometheus.Dataquery().ref_id("Anno").expr(expr).range())
        .title_format("{{alertname}}")
        .text_format("{{severity}} {{budget}} {{group}}")
        .tag_keys("alertname,severity,budget")
    )


def _laid_out(rows: Sequence[Row]) -> list[models.Panel | models.RowPanel]:
    """Put panels side by side while there is room, each row under its heading."""
    placed: list[models.Panel | models.RowPanel] = []
    top = 0
    for row in rows:
        heading = models.GridPos(x=0, y=top, w=_WIDTH, h=1)
        placed.append(models.RowPanel(title=row.title, grid_pos=heading, id_val=len(placed) + 1))
        top, left, tallest = top + 1, 0, 0
        for panel in row.panels:
            place = panel.grid_pos
            assert place is not None
            if left + place.w > _WIDTH:
                top, left, tallest = top + tallest, 0, 0
            place.x, place.y = left, top
            panel.id_val = len(placed) + 1
            placed.append(panel)
            left, tallest = left + place.w, max(tallest, place.h)
        top += tallest
    return placed
