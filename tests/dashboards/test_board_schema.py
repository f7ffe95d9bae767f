"""Dashboards against Grafana's own types: npm's @grafana/schema, made strict schemas by ts-json-schema-generator.

What the types lack is listed here, each with the reason; anything else that they refuse is a mistake, and so is an
exception that nothing needs.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from tests.dashboards import boards
from tests.dashboards.boards import Dashboard
from tests.servers.process import missing, require

PACKAGES = boards.FOLDER.parents[1] / ".cache" / "grafana"
SHAPES = Path(__file__).with_name("shapes.ts")
EXCEPTIONS = {
    # A palette of @grafana/data since 13.0 (types/fieldColor), which these types do not have yet.
    r"panels\.\d+\.fieldConfig\.defaults\.color\.mode": "'palette-colorblind' is not one of",
    # What a mark says is its data source's own, as its query is: the types know those of Grafana's store of marks.
    # Source: Grafana 13.2, packages/grafana-prometheus/src/datasource, annotationEvent.
    r"annotations\.list\.\d+": r"\('tagKeys', 'textFormat', 'titleFormat' were unexpected\)",
    r"annotations\.list\.\d+\.target": r"\('expr', 'instant', 'range', 'refId' were unexpected\)|required property",
}


@pytest.fixture(scope="module")
def shapes() -> dict[str, Any]:
    """The schema of each type in shapes.ts."""
    node = require("node", package="nodejs")
    maker = PACKAGES / "node_modules" / "ts-json-schema-generator" / "bin" / "ts-json-schema-generator.js"
    if not maker.exists():
        missing("Grafana's types are not there (make setup)")
    # Modules are looked for beside what imports them.
    beside = PACKAGES / SHAPES.name
    beside.write_bytes(SHAPES.read_bytes())
    command = [node, maker, "--path", beside, "--type", "Shapes", "--expose", "none", "--no-type-check"]
    made = subprocess.run(command, check=True, capture_output=True, text=True, timeout=120, cwd=PACKAGES)
    return json.loads(made.stdout)["definitions"]["Shapes"]["properties"]


def refused(shapes: dict[str, Any], dashboard: Dashboard) -> Iterator[tuple[str, str]]:
    """Where the types refuse a dashboard, and why."""
    yield from against(shapes["dashboard"], dashboard, "")
    for place, panel in enumerate(dashboard["panels"]):
        if panel["type"] != "row":
            options = shapes["options"]["properties"][panel["type"]]
            yield from against(options, panel.get("options", {}), f"panels.{place}.options.")
            custom = panel["fieldConfig"]["defaults"].get("custom", {})
            fields = shapes["custom"]["properties"].get(panel["type"], {"maxProperties": 0})
            yield from against(fields, custom, f"panels.{place}.fieldConfig.defaults.custom.")


def against(schema: dict[str, Any], value: object, prefix: str) -> Iterator[tuple[str, str]]:
    for error in jsonschema.Draft7Validator(schema).iter_errors(value):
        closest = jsonschema.exceptions.best_match([error])
        yield prefix + ".".join(map(str, closest.absolute_path)), closest.message


def excepted(where: str, why: str) -> str | None:
    found = [path for path, text in EXCEPTIONS.items() if re.fullmatch(path, where) and re.search(text, why)]
    return found[0] if found else None


@pytest.mark.parametrize("name", boards.names())
def test_grafanas_types_take_the_dashboard(shapes: dict[str, Any], name: str) -> None:
    assert [each for each in refused(shapes, boards.load(name)) if excepted(*each) is None] == []


def test_every_exception_is_needed(shapes: dict[str, Any]) -> None:
    found = [each for name in boards.names() for each in refused(shapes, boards.load(name))]
    assert {excepted(*each) for each in found} == EXCEPTIONS.keys()


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("panels", 1, "titel"), "Cost"),
        (("panels", 1, "options", "colourMode"), "value"),
        (("panels", 1, "fieldConfig", "defaults", "min"), "0"),
        (("panels", 1, "fieldConfig", "defaults", "custom"), {"lineWidth": 1}),
        (("templating", "list", 0, "auto"), False),
        (("graphTooltip",), 7),
    ],
)
def test_what_grafana_does_not_know_is_refused(shapes: dict[str, Any], where: tuple[Any, ...], value: object) -> None:
    dashboard = boards.load("spanledger-overview")
    parent: Any = dashboard
    for step in where[:-1]:
        parent = parent[step]
    parent[where[-1]] = value
    assert [each for each in refused(shapes, dashboard) if excepted(*each) is None]
