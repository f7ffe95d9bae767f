"""What Grafana is set up with from files fits the dashboards and gives nothing away."""

import re
from typing import Any

import yaml

from tests.dashboards import boards

FOLDER = boards.FOLDER.with_name("provisioning")
PAGE = boards.FOLDER.parents[1] / "docs" / "dashboards.md"


def read(name: str) -> dict[str, Any]:
    return yaml.safe_load((FOLDER / name / "spanledger.yaml").read_text())


def sources() -> dict[str, dict[str, Any]]:
    return {source["type"]: source for source in read("datasources")["datasources"]}


def test_every_kind_of_source_that_a_dashboard_wants_is_set_up() -> None:
    variables = [each for name in boards.names() for each in boards.load(name)["templating"]["list"]]
    assert {each["query"] for each in variables if each["type"] == "datasource"} == sources().keys()


def test_exemplars_lead_to_the_traces() -> None:
    (there,) = sources()["prometheus"]["jsonData"]["exemplarTraceIdDestinations"]
    assert there == {"name": "trace_id", "datasourceUid": sources()["tempo"]["uid"]}


def test_the_interval_is_that_of_the_scrapes() -> None:
    prometheus = yaml.safe_load((FOLDER.with_name("prometheus.yml")).read_text())
    assert sources()["prometheus"]["jsonData"]["timeInterval"] == prometheus["global"]["scrape_interval"]


def test_dashboards_come_from_files_and_stay_as_they_are() -> None:
    (provider,) = read("dashboards")["providers"]
    assert (provider["type"], provider["allowUiUpdates"], provider["disableDeletion"]) == ("file", False, True)
    assert (provider["folder"], provider["folderUid"]) == ("Spanledger", "spanledger")


def test_what_differs_from_place_to_place_is_a_variable_that_is_documented() -> None:
    text = (FOLDER / "datasources" / "spanledger.yaml").read_text()
    named = set(re.findall(r"\$\{(\w+)\}", text))
    rows = re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), flags=re.MULTILINE)
    assert named == {name for name in rows if name.isupper()}
    for source in sources().values():
        assert source["url"].startswith("${")
        assert source["editable"] is False
        assert all(re.fullmatch(r"\$\{\w+\}", secret) for secret in source.get("secureJsonData", {}).values())
