"""The panels that ask PostgreSQL, on a real one, as the role that may only read: they show what our commands say."""

import json
import re
from datetime import UTC, datetime
from typing import Any

import psycopg
import pytest

from tests.dashboards import asking, boards, grafana
from tests.dashboards.calls import DAY_S, DAYS
from tests.dashboards.grafana import Chosen, Window
from tests.dashboards.stage import READER, Stage, select, spanledger

pytestmark = pytest.mark.xdist_group("dashboards")
HOUR_S = 3600
BOARD = boards.load("spanledger-ledger")
TITLES = [panel["title"] for panel in boards.panels(BOARD)]
Rows = list[dict[str, Any]]  # by the names of the query's columns


@pytest.mark.parametrize("place", range(len(TITLES)), ids=TITLES)
def test_every_panel_has_rows(stage: Stage, place: int) -> None:
    panel = list(boards.panels(BOARD))[place]
    for target in panel["targets"]:
        rows = run(stage, target["rawSql"], month(stage))
        assert rows
        assert all(value is not None for row in rows for name, value in row.items() if name == "value")
        if target["format"] == "time_series":
            assert {"time", "metric"} < rows[0].keys()


def test_every_variable_offers_what_panels_take(stage: Stage) -> None:
    window = month(stage)
    for variable in asking.variables(BOARD):
        if variable["type"] == "query":
            (name,) = {name for row in run(stage, variable["query"], window) for name in row}
            offered = [row[name] for row in run(stage, variable["query"], window)]
            assert offered, variable["name"]
            for panel in boards.panels(BOARD):
                for target in panel["targets"]:
                    run(stage, target["rawSql"], window, {variable["name"]: [offered[0], "it's another"]})


def test_what_is_typed_is_text(stage: Stage) -> None:
    user = stage.select("SELECT user_id FROM entries WHERE user_id IS NOT NULL LIMIT 1")[0]["user_id"]
    rows = run(stage, sql_of("By user"), month(stage), {"user": [user]})
    assert [row["user"] for row in rows] == [user]
    assert run(stage, sql_of("By user"), month(stage), {"user": ["' OR true OR '' = '"]}) == []


def test_the_figures_are_the_reports(stage: Stage) -> None:
    window = day(stage)
    total = stage.report("--since", iso(window.from_s))["total"]
    titles = ("Cost", "Calls", "Tokens", "Cost unknown")
    shown = {title: float(run(stage, sql_of(title), window)[0]["value"]) for title in titles}
    assert shown == {
        "Cost": pytest.approx(float(total["cost_usd"]), rel=1e-12),
        "Calls": total["calls"],
        "Tokens": total["input_tokens"] + total["output_tokens"],
        "Cost unknown": total["unpriced_calls"],
    }


@pytest.mark.parametrize(
    ("title", "names"),
    [
        ("By team and project", ("team", "project")),
        ("By service and environment", ("service", "environment")),
        ("By provider and model", ("provider", "model")),
        ("By tenant and feature", ("tenant", "feature")),
        ("Days", ("day",)),
    ],
)
def test_a_table_is_the_reports(stage: Stage, title: str, names: tuple[str, ...]) -> None:
    """Row for row, and exactly; a cost that is not known is none, not 0."""
    window = whole_days(stage)
    columns = {"cost": "cost_usd", "input": "input_tokens", "output": "output_tokens", "unpriced": "unpriced_calls"}
    reported = stage.report("--by", ",".join(names), "--since", iso(window.from_s))["rows"]
    rows = run(stage, sql_of(title), window)
    assert rows
    compared = [name for name in ("calls", "cost", "input", "output", "errors", "unpriced") if name in rows[0]]
    shown = {tuple(key(row[name]) for name in names): [plain(row[name]) for name in compared] for row in rows}
    wanted = {
        tuple(key(row[name]) for name in names): [plain(row[columns.get(name, name)]) for name in compared]
        for row in reported
    }
    assert shown == wanted


def test_users_and_calls_are_all_there(stage: Stage) -> None:
    window = day(stage)
    entries = [
        json.loads(line)
        for line in spanledger(
            "entries", "--ledger", stage.ledger, "--json", "--since", iso(window.from_s)
        ).splitlines()
    ]
    by_user = {row["user"]: row["calls"] for row in run(stage, sql_of("By user"), window)}
    counted: dict[str, int] = {}
    for entry in entries:
        if entry["user_id"] is not None:
            counted[entry["user_id"]] = counted.get(entry["user_id"], 0) + 1
    assert by_user == counted
    newest = [row["entry"] for row in run(stage, sql_of("Calls", "table"), window)]
    assert len(newest) == min(len(entries), 500)
    assert set(newest) <= {entry["entry_id"] for entry in entries}


def test_periods_of_budgets_are_what_budgets_say(stage: Stage) -> None:
    """The newest stand first; a group is told by its values."""
    newest_last = reversed(run(stage, sql_of("Periods of budgets"), month(stage)))
    told = json.loads(spanledger("budgets", "--ledger", stage.ledger, "--json", "--groups", "1000"))
    states = [state for each in told["budgets"] for state in each["states"]]
    columns = ("limit", "spent", "used")
    shown = {(row["budget"], row["group"]): [float(row[name]) for name in columns] for row in newest_last}
    wanted = {
        (state["budget"], ", ".join("not said" if value is None else value for value in state["group"].values())): [
            float(state[f"limit_{state['unit']}"]),
            float(state[f"spent_{state['unit']}"]),
            state["used_ratio"],
        ]
        for state in states
    }
    assert shown.keys() == wanted.keys()
    # Budgets are told of to a micro-USD.
    assert all(shown[key] == pytest.approx(figures, abs=1e-6, rel=1e-6) for key, figures in wanted.items())


def test_a_group_of_any_values_is_shown(stage: Stage) -> None:
    """Also one that services made up, which no JSON of PostgreSQL's can be made of."""
    shown, *_ = re.findall(r"CASE.*?END", sql_of("Periods of budgets"), flags=re.DOTALL)
    keys = ["", '["shop"]', '["shop",null]', '["a, \\"b\\""]', '["a\\u0000"]']
    texts = [
        stage.select(f"SELECT {shown} AS text FROM (SELECT '{key}'::text AS group_key) AS keys")[0]["text"]
        for key in keys
    ]
    assert texts == ["", "shop", "shop, not said", 'a, "b"', '["a\\u0000"]']


def test_what_was_asked_again_cost_what_all_but_the_earliest_did(stage: Stage) -> None:
    window = month(stage)
    bounds = f"end_ns BETWEEN {round(window.from_s * 1e9)} AND {round(window.to_s * 1e9)}"
    made = stage.select(
        "SELECT service, coalesce(response_model, request_model) AS model, request_hash AS request, cost_pusd FROM "
        f"entries WHERE request_hash IS NOT NULL AND {bounds} ORDER BY end_ns, entry_id"
    )
    costs: dict[tuple[str, ...], list[int | None]] = {}
    for row in made:
        costs.setdefault((row["service"], row["model"], row["request"]), []).append(row["cost_pusd"])
    known = {key: [cost for cost in found if cost is not None] for key, found in costs.items() if len(found) > 1}
    wanted = {key: sum(found[1:]) / 1e12 if found else None for key, found in known.items()}
    rows = run(stage, sql_of("The same request again"), window)
    shown = {(row["service"], row["model"], row["request"]): plain(row["again"]) for row in rows}
    assert shown == {key: plain(wanted[key]) for key in shown}
    dearest = sorted((cost for cost in wanted.values() if cost is not None), reverse=True)[: len(shown)]
    assert [cost for cost in shown.values() if cost is not None] == [plain(cost) for cost in dearest]
    assert any(len(found) != len(costs[key]) for key, found in known.items()), "none of them without a price"


@pytest.mark.parametrize(
    "statement",
    ["SELECT * FROM ledger_entries", "SELECT * FROM budgets", "DELETE FROM entries", "CREATE TABLE mine (one int)"],
)
def test_the_role_reads_the_views_and_nothing_else(stage: Stage, statement: str) -> None:
    with pytest.raises(psycopg.Error, match=r"permission denied|cannot delete from view"):
        select(stage.ledger, statement, role=READER)


def run(stage: Stage, raw: str, window: Window, chosen: Chosen = asking.ALL) -> Rows:
    """What a query brings to the role that Grafana has."""
    return select(stage.ledger, grafana.sql(raw, window, asking.variables(BOARD), chosen), role=READER)


def sql_of(title: str, kind: str = "") -> str:
    panels = (panel for panel in boards.panels(BOARD) if panel["title"] == title and kind in panel["type"])
    return next(panels)["targets"][0]["rawSql"]


def month(stage: Stage) -> Window:
    return Window(stage.now_s - DAYS * DAY_S, stage.now_s, 60)


def day(stage: Stage) -> Window:
    """About a day, from the beginning of an hour, for reports begin there."""
    return Window(stage.now_s // HOUR_S * HOUR_S - DAY_S, stage.now_s, 60)


def whole_days(stage: Stage) -> Window:
    return Window(stage.now_s // DAY_S * DAY_S - 7 * DAY_S, stage.now_s, 60)


def iso(at_s: float) -> str:
    return datetime.fromtimestamp(at_s, UTC).strftime("%Y-%m-%dT%H:%MZ")


def key(value: Any) -> str:
    """A value of a dimension; one that was not said is empty in the one, and none in the other."""
    return value or ""


def plain(value: Any) -> float | None:
    return None if value is None else round(float(value), 9)
