"""`spanledger rules generate` as a person types it. What the rules do is tests/dashboards' to show."""

import contextlib
from pathlib import Path

import pytest
import yaml

from spanledger_exporter import cli
from spanledger_exporter.alerts.rules import Links
from spanledger_exporter.alerts.rules_commands import generated
from spanledger_exporter.budgets.budget import Budget
from spanledger_exporter.budgets.periods import Period
from spanledger_exporter.budgets.shelf import BudgetShelf
from spanledger_exporter.ledger.database import open_database
from tests.servers.prometheus import promtool

BUDGETS = """
[[budget]]
name = "company"
limit_usd = 500
thresholds = [50, 100]

[[budget]]
name = "a-day"
limit_calls = 1000
period = "day"
mode = "hard"
per = ["team"]
"""
DECLARED = [
    Budget(name="company", limit=500_000_000, thresholds=(50, 100)),
    Budget(name="a-day", limit=1000, unit="calls", period=Period(kind="day"), mode="hard", per=("team",)),
]


@pytest.fixture
def budgets(tmp_path: Path) -> str:
    file = tmp_path / "budgets.toml"
    file.write_text(BUDGETS)
    return str(file)


def generate(*words: str) -> int:
    return cli.main(["rules", "generate", *words])


def groups(text: str) -> list[str]:
    return [group["name"] for group in yaml.safe_load(text)["groups"]]


def test_a_file_of_budgets_becomes_rules_for_each(budgets: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert generate("--budgets", budgets) == 0
    text = capsys.readouterr().out
    assert groups(text)[:2] == ["spanledger-budget-a-day", "spanledger-budget-company"]
    promtool("check", "rules", "/dev/stdin", text=text)
    assert "genai_budget_spend_calls_total{" in text
    assert "genai_budget_spend_tokens_total{" not in text


def test_the_same_budgets_in_a_ledger_or_a_file_in_any_order_are_the_same_rules(
    budgets: str, ledger_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.closing(open_database(ledger_url)) as database:
        for budget in DECLARED:
            BudgetShelf(database).set(budget, "somebody")
    assert generate("--ledger", ledger_url) == generate("--budgets", budgets) == 0
    shown = capsys.readouterr().out
    assert shown == 2 * generated(DECLARED[::-1], Links())


def test_a_file_is_checked_without_being_written(
    budgets: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rules = tmp_path / "rules.yml"
    told = ("--budgets", budgets, "--output", str(rules))
    assert generate(*told, "--check") == 1
    assert not rules.exists()
    assert generate(*told) == generate(*told, "--check") == 0
    before = rules.read_text()
    Path(budgets).write_text(BUDGETS.replace("500", "600"))
    assert generate(*told, "--check") == 1
    assert rules.read_text() == before
    assert generate(*told) == 0
    assert "600 USD a month" in rules.read_text()
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.splitlines() == [
        f"spanledger: there is no {rules}",
        f"spanledger: {rules} is not up to date; without --check it is written anew",
    ]


def test_nothing_but_the_file_is_left_and_a_link_stays_a_link(budgets: str, tmp_path: Path) -> None:
    folder = tmp_path / "rules"
    folder.mkdir()
    (tmp_path / "link.yml").symlink_to(folder / "rules.yml")
    assert generate("--budgets", budgets, "--output", str(tmp_path / "link.yml")) == 0
    assert [file.name for file in folder.iterdir()] == ["rules.yml"]
    assert (tmp_path / "link.yml").is_symlink()


def test_what_cannot_be_written_or_read_is_said(
    budgets: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    nowhere = tmp_path / "no" / "rules.yml"
    assert generate("--budgets", budgets, "--output", str(nowhere)) == 1
    assert generate("--budgets", budgets, "--output", str(tmp_path), "--check") == 1
    assert generate("--budgets", budgets, "--check") == 2
    assert generate("--budgets", str(tmp_path / "none.toml")) == 2
    assert generate("--ledger", f"sqlite:///{tmp_path}/none.db") == 2
    assert len(capsys.readouterr().err.splitlines()) == 5


def test_names_of_groups_the_job_links_and_the_floor_are_options(
    budgets: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert (
        generate(
            *("--budgets", budgets, "--group-prefix", "llm", "--job", "exporter-eu"),
            *("--runbooks", "https://wiki.example/r/", "--grafana", "https://g.example/", "--floor-usd", "2.5"),
        )
        == 0
    )
    text = capsys.readouterr().out
    assert all(name.startswith("llm-") for name in groups(text))
    assert 'up{job="exporter-eu"}' in text
    assert 'up{job="spanledger"}' not in text
    assert '"https://wiki.example/r/SpanledgerExporterDown.md"' in text
    assert '"https://g.example/d/spanledger-exporter"' in text
    assert '(increase(genai_budget_spend_usd_total{budget="company"}[1h])) < 2.5' in text


@pytest.mark.parametrize("words", [("--floor-usd", "-1"), ("--floor-usd", "nan"), ("--job", 'a"b'), ("--job", "")])
def test_an_option_that_would_break_the_rules_is_refused(
    words: tuple[str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        generate("--any-budget", *words)
    assert words[0] in capsys.readouterr().err


def test_without_a_floor_nothing_is_too_little(capsys: pytest.CaptureFixture[str]) -> None:
    assert generate("--any-budget", "--floor-usd", "0") == 0
    assert "increase(genai_budget_spend_usd_total" not in capsys.readouterr().out


def test_what_somebody_wrote_of_a_budget_is_text_and_no_template() -> None:
    hostile = 'say "{{ .Labels }}"\n\x7f\u0085\u2028\\ \U0001f4b8 {{ template "x" }} # - |'
    text = generated([Budget(name="company", limit=10**6, description=hostile)], Links("{{ r }}", "{{ g }}"))
    promtool("check", "rules", "/dev/stdin", text=text)
    (group, *_) = yaml.safe_load(text)["groups"]
    (alert, *_) = (rule for rule in group["rules"] if "alert" in rule)
    opened = '{{ "{{" }}'
    assert alert["annotations"]["description"].endswith(hostile.replace("{{", opened))
    assert alert["annotations"]["runbook_url"].startswith(f"{opened} r }}}}/")


def test_no_budgets_leave_the_rules_that_need_none() -> None:
    text = generated([], Links())
    assert groups(text)[0] == "spanledger-spend"
    promtool("check", "rules", "/dev/stdin", text=text)


@pytest.mark.parametrize(
    ("period", "windows"),
    [
        (Period(kind="hour"), set()),
        (Period(kind="day"), {"5m", "15m", "2h"}),
        (Period(kind="days", days=3), {"5m", "15m", "2h"}),
        (Period(kind="week"), {"5m", "30m", "1h", "6h"}),
        (Period(kind="month"), {"5m", "30m", "1h", "2h", "6h", "1d"}),
        (Period(kind="quarter"), {"30m", "2h", "6h", "1d"}),
        (Period(kind="year"), {"2h", "6h", "1d", "3d"}),
        (Period(kind="range", since=None, until=None), set()),
    ],
    ids=lambda value: value.kind if isinstance(value, Period) else "",
)
def test_the_windows_are_those_of_the_period(period: Period, windows: set[str]) -> None:
    (group, *_) = yaml.safe_load(generated([Budget(name="b", limit=10**6, period=period)], Links()))["groups"]
    recorded = {rule["record"].partition(":rate")[2] for rule in group["rules"] if ":rate" in rule.get("record", "")}
    assert recorded == windows
    alerts = {rule["alert"] for rule in group["rules"] if "alert" in rule}
    assert ("SpanledgerBudgetBurnFast" in alerts) == ("SpanledgerBudgetRunOutSoon" in alerts) == bool(windows)


def test_a_budget_without_thresholds_has_no_alert_for_any() -> None:
    each = Budget(name="each", limit=1, per=("user",), thresholds=())
    text = generated([Budget(name="quiet", limit=10**6, thresholds=()), each], Links())
    assert "SpanledgerBudgetForecastOver" in text
    assert "SpanledgerBudgetThreshold" not in text


def test_a_budget_with_many_thresholds_has_one_range_for_each() -> None:
    budget = Budget(name="b", limit=10**6, thresholds=(150, 50, 80, 100, 50))
    (group, *_) = yaml.safe_load(generated([budget], Links()))["groups"]
    rows = [
        (rule["labels"]["threshold"], rule["labels"]["severity"], rule["expr"].partition(" ")[2])
        for rule in group["rules"]
        if rule.get("alert") == "SpanledgerBudgetThreshold"
    ]
    assert rows == [
        ("50", "info", ">= 0.5 < 0.8"),
        ("80", "warning", ">= 0.8 < 1"),
        ("100", "critical", ">= 1 < 1.5"),
        ("150", "critical", ">= 1.5"),
    ]
