"""Panels of a dashboard -> one page of HTML.

Each asks its own queries, and has the title, unit, colours and place that the dashboard gives it.
"""

import re
from collections.abc import Callable, Sequence
from html import escape
from operator import itemgetter
from typing import Any, Final

from dashboards.boards.colors import GREY, OKABE_ITO
from dashboards.pictures.charts import Line, chart
from dashboards.pictures.units import text
from tests.dashboards.asking import Series

WIDTH: Final = 1200
_UNIT: Final = WIDTH / 24
_ROW: Final = 37
_LEGEND_MAX: Final = 5
_LEGEND_ROW: Final = 17
_BARS_MAX: Final = 16
_NARROW: Final = 600
Panel = dict[str, Any]  # JSON
Found = dict[str, list[Series]]
"""What each query of a panel brought, by its letter."""

_STYLE: Final = f"""
* {{ box-sizing: border-box; margin: 0 }}
body {{ width: {WIDTH}px; background: #fff; font: 13px "DejaVu Sans", sans-serif; color: #24292e }}
section {{ position: absolute; padding: 2px }}
article {{ background: #fff; border: 1px solid #e0e2e4; border-radius: 3px; width: 100%; height: 100%; overflow: hidden;
  padding: 7px 10px; display: flex; flex-direction: column }}
h1 {{ font-size: 15px; font-weight: 600; padding: 12px 6px 0 }}
h2 {{ font-size: 13px; font-weight: 600; padding: 9px 6px 0 }}
h3 {{ font-size: 13px; font-weight: 600; white-space: nowrap }}
.stats {{ display: flex; flex: 1; align-items: center; justify-content: center; gap: 22px; border-radius: 3px }}
.stats div {{ text-align: center; font-size: 27px; font-weight: 600 }}
.stats small {{ display: block; font-size: 12px; font-weight: 400; color: #5a6066 }}
.filled {{ color: #fff }}
.grid {{ stroke: #e6e8ea; stroke-width: 1 }}
.axis {{ font-size: 11px; fill: #5a6066 }}
table {{ border-collapse: collapse; width: 100%; font-size: 12px; margin-top: 3px }}
td, th {{ padding: 2px 6px; text-align: right; white-space: nowrap; font-weight: 400; height: {_LEGEND_ROW}px }}
th {{ color: #0057a3 }}
svg {{ flex: none }}
.narrow {{ font-size: 11px }}
.narrow td, .narrow th {{ padding: 2px 3px }}
.cells th {{ white-space: normal; vertical-align: bottom; line-height: 1.1 }}
td.name, th.name {{ text-align: left }}
.cells td, .cells th {{ border-bottom: 1px solid #e6e8ea; height: 25px }}
.bar {{ display: grid; grid-template-columns: 32% 1fr 84px; align-items: center; gap: 8px; flex: 1; max-height: 26px }}
.bar span {{ white-space: nowrap; overflow: hidden; text-overflow: ellipsis; font-size: 12px }}
.bar i {{ display: block; background: #eceef0; height: 72% }}
.bar b {{ display: block; height: 100% }}
.bars {{ display: flex; flex-direction: column; flex: 1; justify-content: space-evenly; padding-top: 4px }}
i.dot {{ display: inline-block; width: 12px; height: 4px; border-radius: 2px; margin-right: 7px; vertical-align: 3px }}
"""


def page(title: str, panels: Sequence[Panel], ask: Callable[[Panel], Found], now_s: float) -> tuple[str, int]:
    """Draw panels, and rows' headings, where they are on the dashboard; return the page and its height in pixels."""
    parts, shift, end = [f"<h1>{escape(title)}</h1>"], 34, 0
    top = panels[0]["gridPos"]["y"]
    for panel in panels:
        place = panel["gridPos"]
        x, width = place["x"] * _UNIT, place["w"] * _UNIT
        y, height = shift + (place["y"] - top) * _ROW, place["h"] * _ROW
        style = f"left:{x:.0f}px;top:{y:.0f}px;width:{width:.0f}px;height:{height:.0f}px"
        if panel["type"] == "row":
            parts.append(f'<section style="{style}"><h2>{escape(panel["title"])}</h2></section>')
        else:
            inner = _inner(panel, ask(panel), round(width) - 26, round(height) - 40, now_s)
            parts.append(
                f'<section style="{style}"><article><h3>{escape(panel["title"])}</h3>{inner}</article></section>'
            )
        end = max(end, round(y + height))
    return f"<!doctype html><meta charset=utf-8><style>{_STYLE}</style><body>{''.join(parts)}", end + 6


def _inner(panel: Panel, found: Found, width: int, height: int, now_s: float) -> str:
    defaults = panel["fieldConfig"]["defaults"]

    def said(value: float) -> str:
        return text(value, defaults["unit"], defaults.get("decimals"), now_s)

    if not any(found.values()):
        return f'<div class="stats" style="color:{GREY}"><div>{escape(defaults["noValue"])}</div></div>'
    match panel["type"]:
        case "stat":
            return _stat(panel, found, width, said)
        case "bargauge":
            return _bars(panel, found, said)
        case "table":
            return _table(panel, found, width, height, now_s)
        case _:
            return _lines(panel, found, width, height, said)


def _stat(panel: Panel, found: Found, width: int, said: Callable[[float], str]) -> str:
    filled = panel["options"]["colorMode"] == "background"
    named = panel["options"]["textMode"] == "value_and_name"
    items: list[str] = []
    named_series = _named(panel, found)
    letters = sum(len(said(series.values[-1])) + 2 for _, series in named_series)
    size = min(27, width / letters / 0.66)
    for name, series in named_series:
        color = _step(panel["fieldConfig"]["defaults"]["thresholds"], series.values[-1])
        style = f"background:{color};padding:12px 20px;border-radius:3px" if filled else f"color:{color}"
        small = f"<small>{escape(name)}</small>" if named else ""
        style = f"{style};font-size:{size:.0f}px"
        items.append(
            f'<div class="{"filled" if filled else ""}" style="{style}">{small}{said(series.values[-1])}</div>'
        )
    return f'<div class="stats">{"".join(items)}</div>'


def _bars(panel: Panel, found: Found, said: Callable[[float], str]) -> str:
    defaults = panel["fieldConfig"]["defaults"]
    series = _named(panel, found)
    largest = defaults.get("max") or max(each.values[-1] for _, each in series) or 1
    rows: list[str] = []
    for name, each in series[:_BARS_MAX]:
        value = each.values[-1]
        part = max(0.0, min(value / largest, 1.0))
        color = _step(defaults["thresholds"], value)
        filled = f'<i><b style="width:{part:.1%};background:{color}"></b></i>'
        rows.append(f'<div class="bar"><span>{escape(name)}</span>{filled}<span>{said(value)}</span></div>')
    if len(series) > _BARS_MAX:
        rows.append(f'<div class="bar"><span>and {len(series) - _BARS_MAX} more</span></div>')
    return f'<div class="bars">{"".join(rows)}</div>'


def _lines(panel: Panel, found: Found, width: int, height: int, said: Callable[[float], str]) -> str:
    fixed = {each["matcher"]["options"]: _color(each["properties"]) for each in panel["fieldConfig"]["overrides"]}
    lines = [
        Line(
            name,
            fixed.get(name) or OKABE_ITO[place % len(OKABE_ITO)],
            dict(zip(each.times_s, each.values, strict=True)),
        )
        for place, (name, each) in enumerate(_named(panel, found))
    ]
    times_s = sorted({at_s for line in lines for at_s in line.points})
    rows = [
        f'<tr><td class="name"><i class="dot" style="background:{line.color}"></i>{escape(line.name)}</td>'
        f"<td>{said(values[-1])}</td><td>{said(sum(values) / len(values))}</td><td>{said(max(values))}</td></tr>"
        for line in lines[:_LEGEND_MAX]
        for values in [[*line.points.values()]]
    ]
    if len(lines) > _LEGEND_MAX:
        rows.append(f'<tr><td class="name">and {len(lines) - _LEGEND_MAX} more</td></tr>')
    head = '<tr><th class="name">name</th><th>last</th><th>mean</th><th>max</th></tr>'
    legend = f"<table>{head}{''.join(rows)}</table>"
    left = height - (len(rows) + 1) * (_LEGEND_ROW + 1)
    custom = panel["fieldConfig"]["defaults"]["custom"]
    stack, axis = custom.get("stacking", {}).get("mode") == "normal", custom.get("axisLabel", "")
    return chart(lines, times_s, width=width, height=max(left, 80), stack=stack, axis=axis, text=said) + legend


def _table(panel: Panel, found: Found, width: int, height: int, now_s: float) -> str:
    """Put what the queries brought side by side, by the labels that all have; the columns are named and placed as said.

    Source: grafana.com/docs/grafana v13.2, "Transform data", Merge series/tables and Organize fields by name.
    """
    transformed = {each["id"]: each["options"] for each in panel["transformations"]}
    organized = transformed["organize"]
    numbers = [each["targetField"] for each in transformed.get("convertFieldType", {}).get("conversions", [])]
    looks = {each["matcher"]["options"]: each["properties"] for each in panel["fieldConfig"]["overrides"]}
    frames = [{name for each in series for name in each.labels} for series in found.values() if series]
    common = sorted(frames[0].intersection(*frames[1:]))
    rows: dict[tuple[str, ...], dict[str, Any]] = {}
    for letter, series in found.items():
        column = f"Value #{letter}" if len(found) > 1 else "Value"
        for each in series:
            row = rows.setdefault(tuple(each.labels.get(name, "") for name in common), {})
            row |= {**each.labels, column: each.values[-1]}
            row |= {name: float(each.labels[name]) for name in numbers}
    columns = sorted(organized["indexByName"], key=organized["indexByName"].get)
    shown = [(column, organized["renameByName"].get(column, column)) for column in columns]
    head = "".join(f'<th class="{_kind(column)}">{escape(name)}</th>' for column, name in shown)
    fitting = max(height // 26 - 2, 1)
    body = [
        "<tr>"
        + "".join(_cell(panel, column, row.get(column), looks.get(name, []), now_s) for column, name in shown)
        + "</tr>"
        for row in _sorted(panel, [*rows.values()], {name: column for column, name in shown})[:fitting]
    ]
    if len(rows) > fitting:
        body.append(f'<tr><td class="name">and {len(rows) - fitting} more</td></tr>')
    return f'<table class="cells{" narrow" if width < _NARROW else ""}"><tr>{head}</tr>{"".join(body)}</table>'


def _sorted(panel: Panel, rows: list[dict[str, Any]], columns: dict[str, str]) -> list[dict[str, Any]]:
    """Put rows into the order that the table has at first; what is absent comes last."""
    for by in reversed(panel["options"].get("sortBy") or []):
        column = columns[by["displayName"]]
        there = sorted((row for row in rows if row.get(column) is not None), key=itemgetter(column), reverse=by["desc"])
        rows = there + [row for row in rows if row.get(column) is None]
    return rows


def _cell(panel: Panel, column: str, value: Any, properties: list[dict[str, Any]], now_s: float) -> str:  # Any: JSON
    look = {each["id"]: each["value"] for each in properties}
    if value is None or isinstance(value, str):
        mapped = look.get("mappings") or panel["fieldConfig"]["defaults"]["mappings"]
        absent = "" if _kind(column) else mapped[0]["options"]["result"]["text"]
        return f'<td class="{_kind(column)}">{escape(value or absent)}</td>'
    said = text(value, look.get("unit", "short"), look.get("decimals"), now_s)
    if look.get("custom.cellOptions", {}).get("type") == "color-background":
        color = _step(look["thresholds"], value)
        return f'<td style="background:{color};color:{"#24292e" if color == "#F0E442" else "#fff"}">{said}</td>'
    return f'<td class="{_kind(column)}">{said}</td>'


def _kind(column: str) -> str:
    return "" if column.startswith("Value") else "name"


def _named(panel: Panel, found: Found) -> list[tuple[str, Series]]:
    """Return all series of a panel under the names that the legends give them."""
    legends = {query["refId"]: query.get("legendFormat") or "" for query in panel["targets"]}
    return [(_name(legends[letter], each), each) for letter, series in found.items() for each in series]


def _name(legend: str, series: Series) -> str:
    return re.sub(r"\{\{\s*(\w+)\s*\}\}", lambda found: series.labels.get(found[1], ""), legend).strip()


def _color(properties: list[dict[str, Any]]) -> str | None:
    return next((each["value"]["fixedColor"] for each in properties if each["id"] == "color"), None)


def _step(thresholds: dict[str, Any], value: float) -> str:
    """Return the colour of the highest step that a value reaches."""
    return [step["color"] for step in thresholds["steps"] if step["value"] is None or value >= step["value"]][-1]
