"""What Grafana makes of a query before a data source sees it: variables and macros are put in.

No Grafana runs where the tests do. This is what its documentation says of the parts that our dashboards use; anything
else that begins with `$` is refused, so that nothing passes that was not filled in.

Source: grafana.com/docs/grafana v13.2: "Global variables", "Prometheus template variables", "PostgreSQL query editor"
and "Variable syntax", read 2026-11-28; what they leave open, in grafana/grafana `pkg/promlib/models/query.go`,
`packages/grafana-prometheus/src/escaping.ts` and `pkg/tsdb/grafana-postgresql-datasource/macros.go`.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, NamedTuple

Variable = dict[str, Any]  # JSON
Chosen = Mapping[str, Sequence[str]]
"""The values that were chosen of variables; of those that are not there, all are."""
_POINTS_MAX: Final = 1_000  # about as many as a panel is wide
_STEPS_S: Final = (1, 2, 5, 10, 15, 20, 30, 60, 120, 300, 600, 900, 1200, 1800, 3600, 7200, 10_800, 21_600, 43_200)
_REFERENCE: Final = re.compile(r"\$\{(\w+)(?::(\w+))?\}|\$(\w+)")
_MACRO: Final = re.compile(r"\$__(\w+)\(([^()]*)\)")
_REGEX: Final = re.compile(r"[\\^$*+?.()|\[\]{}]")


class Window(NamedTuple):
    """The time that is shown, and how often the data source says that it scrapes."""

    from_s: float
    to_s: float
    scrape_s: int

    @property
    def step_s(self) -> int:
        """`$__interval`: so long that there are not too many points, and no shorter than from scrape to scrape."""
        least_s = (self.to_s - self.from_s) / _POINTS_MAX
        return max(self.scrape_s, next(step_s for step_s in _STEPS_S if step_s >= least_s))

    @property
    def rate_s(self) -> int:
        """`$__rate_interval`."""
        return max(self.step_s + self.scrape_s, 4 * self.scrape_s)

    @property
    def first_s(self) -> float:
        """Where a range query begins: Grafana puts it onto a multiple of the step."""
        return self.from_s // self.step_s * self.step_s


def promql(expr: str, window: Window, variables: Sequence[Variable], chosen: Chosen) -> str:
    """Fill in a query in PromQL."""
    given = {
        "__rate_interval": f"{window.rate_s}s",
        "__interval": f"{window.step_s}s",
        "__range": f"{round(window.to_s - window.from_s)}s",
        "__range_s": f"{round(window.to_s - window.from_s)}",
    }

    def put(variable: Variable, form: str | None) -> str:
        assert form is None, f"{variable['name']}: the form {form} is not known here"
        values = chosen.get(variable["name"])
        if values is None:
            return variable["allValue"]
        escaped = [_REGEX.sub(lambda found: rf"\\{found[0]}", value) for value in values]
        return escaped[0] if len(escaped) == 1 else f"({'|'.join(escaped)})"

    return _filled_in(expr, given, variables, put)


def sql(raw: str, window: Window, variables: Sequence[Variable], chosen: Chosen) -> str:
    """Fill in a query in PostgreSQL's SQL."""

    def put(variable: Variable, form: str | None) -> str:
        assert form == "sqlstring", f"{variable['name']}: the form {form} is not known here"
        values = chosen.get(variable["name"])
        if values is None and variable["type"] == "query":
            return variable["allValue"]  # a custom value for all is put in as it is
        return ",".join("'" + value.replace("'", "''") + "'" for value in values or [""])

    filled = _filled_in(_MACRO.sub(lambda found: _macro(found[1], found[2], window), raw), {}, variables, put)
    assert "$" not in filled, filled
    return filled


def _filled_in(
    text: str, given: Mapping[str, str], variables: Sequence[Variable], put: Callable[[Variable, str | None], str]
) -> str:
    named = {variable["name"]: variable for variable in variables}

    def value(found: re.Match[str]) -> str:
        name = found[1] or found[3]
        return given[name] if name in given else put(named[name], found[2])

    return _REFERENCE.sub(value, text)


def _macro(name: str, argument: str, window: Window) -> str:
    column, *rest = (part.strip() for part in argument.split(","))
    since_ns, until_ns = round(window.from_s * 1e9), round(window.to_s * 1e9)
    alias = ' AS "time"' if name.endswith("Alias") else ""
    group_s = _seconds(rest[0].strip("'"), window) if rest else 0
    match name.removesuffix("Alias"):
        case "timeFilter":
            return f"{column} BETWEEN '{_iso(window.from_s)}' AND '{_iso(window.to_s)}'"
        case "unixEpochFilter":
            return f"{column} >= {int(window.from_s)} AND {column} <= {int(window.to_s)}"
        case "unixEpochNanoFilter":
            return f"{column} >= {since_ns} AND {column} <= {until_ns}"
        case "timeGroup":
            return f"floor(extract(epoch from {column})/{group_s})*{group_s}{alias}"
        case "unixEpochGroup":
            return f"floor(({column})/{group_s})*{group_s}{alias}"
        case _:
            raise AssertionError(f"the macro {name} is not known here")


def _seconds(text: str, window: Window) -> int:
    if text == "$__interval":
        return window.step_s
    number, unit = int(text[:-1]), text[-1]
    return number * {"s": 1, "m": 60, "h": 3600, "d": 86_400}[unit]


def _iso(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
