"""What the shipped and the generated rules do, said by promtool; and that each alert is explained and can be seen."""

import re
from pathlib import Path

import pytest
import yaml

from tests.dashboards.rules import (
    SHIPPED,
    alerts_of,
    cases,
    cases_of,
    promtool_tests,
    rules_of,
    text_of,
    without_others,
)  # fmt: skip
from tests.servers.prometheus import promtool

KINDS = ("shipped", "generated")
RUNBOOKS = Path(__file__).parents[2] / "docs" / "runbooks"
ALERTS = sorted({rule["alert"] for rule in alerts_of("shipped")})


@pytest.mark.parametrize("kind", KINDS)
def test_promtool_takes_the_rules(kind: str, tmp_path: Path) -> None:
    file = tmp_path / "rules.yml"
    file.write_text(text_of(kind))
    assert f"{len(rules_of(kind))} rules found" in promtool("check", "rules", file)


@pytest.mark.parametrize("alert", ALERTS)
@pytest.mark.parametrize("kind", KINDS)
def test_the_alert_fires_when_it_should_and_only_then(kind: str, alert: str, tmp_path: Path) -> None:
    (tmp_path / "rules.yml").write_text(without_others(kind, alert))
    found = [case for case in cases_of(kind) if case.alert == alert]
    files: list[Path] = []
    for every in {case.every for case in found}:
        file = tmp_path / f"{every}.yml"
        tests = promtool_tests(kind, "rules.yml", [case for case in found if case.every == every])
        file.write_text(yaml.safe_dump(tests))
        files.append(file)
    assert promtool("test", "rules", *files).count("SUCCESS") == len(files)


@pytest.mark.parametrize("kind", KINDS)
def test_each_alert_is_seen_firing_in_each_severity_and_silent(kind: str) -> None:
    shown = {
        (case.alert, alert["severity"], alert.get("threshold"))
        for case in cases_of(kind)
        for alerts in case.at.values()
        for alert in alerts
    }
    silent = {case.alert for case in cases_of(kind) for alerts in case.at.values() if not alerts}
    for rule in alerts_of(kind):
        labels = rule["labels"]
        assert (rule["alert"], labels["severity"], labels.get("threshold")) in shown
        assert rule["alert"] in silent
    assert {case.alert for case in cases()} == set(ALERTS)


@pytest.mark.parametrize("kind", KINDS)
def test_each_alert_says_what_it_is_and_where_to_look(kind: str) -> None:
    for rule in alerts_of(kind):
        assert rule["labels"]["severity"] in ("critical", "warning", "info")
        annotations = rule["annotations"]
        assert annotations.keys() == {"summary", "description", "runbook_url", "dashboard_url"}
        assert annotations["runbook_url"] == f"docs/runbooks/{rule['alert']}.md"
        assert all(annotations.values())


@pytest.mark.parametrize("alert", ALERTS)
def test_each_alert_has_a_runbook(alert: str) -> None:
    page = (RUNBOOKS / f"{alert}.md").read_text()
    titles = re.findall(r"^#+ (.*)$", re.sub(r"^```.*?^```", "", page, flags=re.M | re.S), flags=re.M)
    assert titles == [alert, "Meaning", "Impact", "Diagnosis", "Mitigation"]
    assert all(section.strip() for section in re.split(r"^## .*$", page, flags=re.M)[1:])


def test_no_runbook_is_of_an_alert_that_is_gone() -> None:
    assert sorted(page.stem for page in RUNBOOKS.iterdir()) == ALERTS


def test_the_shipped_rules_are_those_that_the_command_makes(capsys: pytest.CaptureFixture[str]) -> None:
    from spanledger_exporter import cli

    assert cli.main(["rules", "generate", "--any-budget", "--check", "--output", str(SHIPPED)]) == 0
    assert capsys.readouterr() == ("", "")
