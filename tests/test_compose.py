"""The containers cannot be run here: what can be known of them without is checked, statement by statement."""

import re
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from spanledger_exporter import cli
from spanledger_exporter.config import SETTINGS
from tests.servers.process import require
from tests.servers.prometheus import promtool

ROOT = Path(__file__).parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = [
    line.strip()
    for line in (ROOT / "Dockerfile").read_text().replace("\\\n", " ").splitlines()
    if line.strip() and not line.startswith("#")
]


def mounts(service: dict[str, Any]) -> list[tuple[str, str]]:
    return [tuple(each.split(":")[:2]) for each in service.get("volumes", ())]


@pytest.mark.parametrize("name", SERVICES)
def test_what_is_mounted_is_there(name: str) -> None:
    for source, target in mounts(SERVICES[name]):
        assert (ROOT / source).exists() if source.startswith("./") else source in COMPOSE["volumes"], source
        assert target.startswith("/")


@pytest.mark.parametrize("name", SERVICES)
def test_who_is_waited_for_can_become_what_is_waited_for(name: str) -> None:
    for other, wait in SERVICES[name].get("depends_on", {}).items():
        if wait["condition"] == "service_healthy":
            built = "build" in SERVICES[other] and any(line.startswith("HEALTHCHECK") for line in DOCKERFILE)
            assert built or "healthcheck" in SERVICES[other], other
        else:
            assert SERVICES[other]["restart"] == "on-failure", other


@pytest.mark.parametrize("name", SERVICES)
def test_every_image_has_a_version_and_every_port_is_on_loopback(name: str) -> None:
    service = SERVICES[name]
    assert "build" in service or re.search(r":v?\d+\.\d+", service["image"])
    assert all(str(port).startswith("127.0.0.1:") for port in service.get("ports", ()))


def test_every_volume_is_used() -> None:
    used = {source for service in SERVICES.values() for source, _ in mounts(service)}
    assert set(COMPOSE["volumes"]) == {source for source in used if not source.startswith("./")}


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if "build" in service])
def test_what_our_containers_are_told_is_what_the_command_line_takes(name: str) -> None:
    service = SERVICES[name]
    cli.parser().parse_args(service["command"])
    known = {setting.variable for setting in SETTINGS}
    assert {key for key in service["environment"] if key.startswith("SPANLEDGER_")} <= known


def test_what_the_collector_is_told_is_what_its_configuration_asks_for() -> None:
    asked = set(re.findall(r"\$\{env:(\w+)", (ROOT / "otel-collector.yaml").read_text()))
    assert set(SERVICES["collector"]["environment"]) <= asked


def test_what_grafana_is_told_is_what_its_provisioning_asks_for() -> None:
    folder = ROOT / "dashboards" / "provisioning"
    text = "".join(path.read_text() for path in folder.rglob("*.yaml"))
    told = {name for name in SERVICES["grafana"]["environment"] if name.startswith("SPANLEDGER_")}
    assert told == {name for name in re.findall(r"\$\{?(\w+)", text) if not name.startswith("__")}
    paths = re.findall(r"path: (\S+)", text)
    assert paths == [target for source, target in mounts(SERVICES["grafana"]) if source == "./dashboards/grafana"]


def test_prometheus_and_alertmanager_take_their_files(tmp_path: Path) -> None:
    (tmp_path / "spanledger.rules.yml").write_bytes((ROOT / "dashboards" / "spanledger.rules.yml").read_bytes())
    (tmp_path / "prometheus.yml").write_bytes((ROOT / "compose" / "prometheus.yml").read_bytes())
    promtool("check", "config", tmp_path / "prometheus.yml")
    command = [require("amtool", package="prometheus-alertmanager"), "check-config", ROOT / "compose/alertmanager.yml"]
    subprocess.run(command, check=True, capture_output=True)


def test_the_addresses_are_those_of_the_containers() -> None:
    config = yaml.safe_load((ROOT / "compose" / "prometheus.yml").read_text())
    shipped = yaml.safe_load((ROOT / "dashboards" / "prometheus.yml").read_text())
    assert [job["job_name"] for job in config["scrape_configs"]] == [
        job["job_name"] for job in shipped["scrape_configs"]
    ]
    targets = [job["static_configs"][0]["targets"][0] for job in config["scrape_configs"]]
    targets += config["alerting"]["alertmanagers"][0]["static_configs"][0]["targets"]
    assert {target.partition(":")[0] for target in targets} <= set(SERVICES)


def test_what_the_image_copies_is_there_and_all_that_the_package_is_made_of() -> None:
    copied = [
        source
        for line in DOCKERFILE
        if line.startswith("COPY ") and "--from" not in line
        for source in line.split()[1:-1]
    ]
    assert all((ROOT / source).exists() for source in copied)
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    needed = {Path(name).parts[0] for name in (*wheel["packages"], *wheel["force-include"])}
    assert needed <= set(copied)
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {f"!{source}" for source in copied} <= set(ignored)


def test_the_image_installs_extras_that_there_are() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    (line,) = (line for line in DOCKERFILE if "uv sync" in line)
    assert set(re.findall(r"--extra (\w+)", line)) <= set(extras)


def test_the_script_of_the_reader_is_a_script() -> None:
    subprocess.run(["sh", "-n", ROOT / "compose" / "reader.sh"], check=True)
