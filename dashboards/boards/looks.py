"""What panels of all kinds have in common, and the columns of tables.

Every panel has a title, a unit, a description that ends with the metrics or views that it shows, a text for where there
is nothing, and a link to what lies behind. A share of nothing is no number: it is shown as that text, never as 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from grafana_foundation_sdk.models import dashboard as models

from dashboards.boards import colors
from dashboards.boards.targets import Prom, Sql
from dashboards.boards.variables import POSTGRESQL, PROMETHEUS

NO_TRAFFIC: Final = "no traffic"
Colors = Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """What a column of a table looks like."""

    unit: str
    decimals: int | None = None
    steps: colors.Steps | None = None
    links: tuple[models.DashboardLink, ...] = ()
    bar: bool = False
    absent: str | None = None

    def properties(self) -> list[models.DynamicConfigValue]:
        """Return it as an override has it."""
        found: dict[str, Any] = {"unit": self.unit}  # Any: each property has a shape of its own
        if self.decimals is not None:
            found["decimals"] = self.decimals
        if self.links:
            found["links"] = list(self.links)
        if self.steps is not None:
            found["thresholds"] = _thresholds(self.steps)
            found["custom.cellOptions"] = {"type": "color-background", "mode": "basic"}
        if self.absent is not None:
            found["mappings"] = [_absent(self.absent)]
        if self.bar:
            found |= {"custom.cellOptions": {"type": "gauge", "mode": "basic"}, "min": 0, "max": 1}
        return [models.DynamicConfigValue(id_val=name, value=value) for name, value in found.items()]


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """What panels of all kinds have: what they say, in which unit, where they lead, how large they are."""

    title: str
    text: str
    unit: str
    links: Sequence[models.DashboardLink]
    width: int
    height: int
    decimals: float | None = None
    steps: colors.Steps = colors.PLAIN
    nothing: str = NO_TRAFFIC
    absent: str | None = None  # in a cell of a table, where it is not what the whole says for want of rows
    mode: str = "thresholds"
    low: float | None = None
    high: float | None = None
    by_name: Colors = field(default_factory=dict[str, str])
    words: Mapping[str, str] = field(default_factory=dict[str, str])


def dressed(panel: models.Panel, look: Look, queries: Sequence[Prom | Sql]) -> models.Panel:
    """Give a panel what all have."""
    names = list(dict.fromkeys(name for query in queries for name in query.names()))
    panel.title = look.title
    panel.description = f"{look.text}\n\nFrom {', '.join(f'`{name}`' for name in names)}."
    panel.datasource = POSTGRESQL if isinstance(queries[0], Sql) else PROMETHEUS
    panel.targets = [query.target(chr(65 + place)) for place, query in enumerate(queries)]
    panel.grid_pos = models.GridPos(w=look.width, h=look.height)
    panel.field_config = panel.field_config or models.FieldConfigSource()
    fields = panel.field_config.defaults
    fields.unit, fields.decimals, fields.no_value = look.unit, look.decimals, look.nothing
    fields.min_val, fields.max_val = look.low, look.high
    fields.links = list(look.links)
    fields.thresholds = _thresholds(look.steps)
    fields.color = models.FieldColor(mode=look.mode)  # type: ignore[arg-type]  # of Grafana 13, later than the SDK
    fields.mappings = _mappings(look)
    panel.field_config.overrides = [
        _override(name, [models.DynamicConfigValue(id_val="color", value={"mode": "fixed", "fixedColor": color})])
        for name, color in look.by_name.items()
    ]
    return panel


def _thresholds(steps: colors.Steps) -> models.ThresholdsConfig:
    return models.ThresholdsConfig(
        mode=models.ThresholdsMode.ABSOLUTE,
        steps=[models.Threshold(value=value, color=color) for value, color in steps],
    )


def _mappings(look: Look) -> list[models.ValueMapping]:
    absent = look.nothing if look.absent is None else look.absent
    words = {value: models.ValueMappingResult(text=word) for value, word in look.words.items()}
    return [_absent(absent), *([models.ValueMap(options=words)] if words else [])]


def _absent(text: str) -> models.SpecialValueMap:
    special = models.DashboardSpecialValueMapOptions(
        match=models.SpecialValueMatch.NULL_AND_NAN, result=models.ValueMappingResult(text=text, color=colors.GREY)
    )
    return models.SpecialValueMap(options=special)


def _override(name: str, properties: list[models.DynamicConfigValue]) -> models.DashboardFieldConfigSourceOverrides:
    return models.DashboardFieldConfigSourceOverrides(
        matcher=models.MatcherConfig(id_val="byName", options=name), properties=properties
    )


def with_columns(panel: models.Panel, columns: Mapping[str, Column]) -> models.Panel:
    """Give the columns of a table their looks."""
    assert panel.field_config is not None
    panel.field_config.overrides = [_override(name, column.properties()) for name, column in columns.items()]
    return panel
