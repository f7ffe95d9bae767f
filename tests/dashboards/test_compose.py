"""What is in docker-compose.yaml and the Dockerfile exists and fits; no Docker runs in the tests."""

import re
import shlex
import subprocess
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml

from spanledger_exporter import cli
from spanledger_exporter.config import CONFIG_VARIABLE, load
from spanledger_exporter.settings import SETTINGS
from tests.dashboards import boards
from tests.servers.process import require
from tests.servers.prometheus import promtool

ROOT = boards.FOLDER.parents[1]
COMPOSE: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "Dockerfile").read_text()


def mounts() -> list[tuple[str, str]]:
    """What is mounted where; of what is in a volume, the volume's name."""
    pairs = [volume.split(":")[:2] for service in SERVICES.values() for volume in service.get("volumes", ())]
    return [(source, target) for source, target in pairs]


def test_every_part_is_there() -> None:
    parts = {"exporter", "collector", "prometheus", "alertmanager", "grafana", "postgres"}
    assert parts <= SERVICES.keys()


def test_every_image_is_of_a_fixed_version() -> None:
    images = [service["image"] for service in SERVICES.values() if service["image"] != "spanledger"]
    images += re.findall(r"^FROM (\S+)", DOCKERFILE, flags=re.MULTILINE)
    assert [image for image in images if not re.search(r":v?\d+\.\d+(\.\d+)?(-\w+)*$", image)] == []


def test_only_this_host_reaches_the_ports() -> None:
    ports = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert ports
    assert all(re.fullmatch(r"127\.0\.0\.1:\d+:\d+", port) for port in ports)


def test_services_that_hold_budgets_reach_the_exporter_where_the_documents_say() -> None:
    hosts = [port.split(":")[1] for service in SERVICES.values() for port in service.get("ports", ())]
    assert len(set(hosts)) == len(hosts)
    (published,) = {port.split(":")[1] for port in SERVICES["exporter"]["ports"] if port.endswith(":4318")}
    arguments = cli.parser().parse_args(SERVICES["exporter"]["command"])
    assert arguments.http == "0.0.0.0:4318"
    # As of an exporter behind a collector on one host, without containers.
    assert f"--http 127.0.0.1:{published} " in (ROOT / "otel-collector.yaml").read_text()
    for page in ("enforcement.md", "collector.md"):
        assert f"http://127.0.0.1:{published}`" in (ROOT / "docs" / page).read_text()


def test_what_is_mounted_is_there() -> None:
    for source, _ in mounts():
        assert (ROOT / source).exists() if source.startswith(".") else source in COMPOSE["volumes"], source


def test_what_is_waited_for_can_be_seen_to_be_well() -> None:
    own_checks = {"spanledger": "HEALTHCHECK" in DOCKERFILE}
    for service in SERVICES.values():
        for name, wanted in service.get("depends_on", {}).items():
            waited = SERVICES[name]
            if wanted["condition"] == "service_healthy":
                assert "healthcheck" in waited or own_checks.get(waited["image"]), name
            else:
                assert (wanted["condition"], waited["restart"]) == ("service_completed_successfully", "no")


def test_every_password_has_a_default_that_can_be_replaced() -> None:
    text = (ROOT / "docker-compose.yaml").read_text()
    assert all(re.fullmatch(r"\w+:-.+", named) for named in re.findall(r"\$\{([^}]+)\}", text))
    secrets = re.findall(r"^\s+\w*PASSWORD: (.*)$", text, flags=re.MULTILINE)
    assert secrets
    assert all(secret.startswith("${") for secret in secrets)


@pytest.mark.parametrize("name", [name for name, service in SERVICES.items() if service["image"] == "spanledger"])
def test_the_commands_can_be_typed_and_the_variables_are_settings(name: str) -> None:
    cli.parser().parse_args(SERVICES[name]["command"])
    known = {setting.variable for setting in SETTINGS} | {CONFIG_VARIABLE}
    assert SERVICES[name]["environment"].keys() <= known


def test_no_registry_is_asked_for_the_image_that_is_built_here() -> None:
    ours = {name: service for name, service in SERVICES.items() if service["image"] == "spanledger"}
    assert {service["pull_policy"] for service in ours.values() if "build" in service} == {"build"}
    assert {service["pull_policy"] for service in ours.values() if "build" not in service} == {"never"}


def test_the_settings_of_the_exporter_can_be_read_also_those_in_comments(tmp_path: Path) -> None:
    exporter = SERVICES["exporter"]
    (folder,) = exporter["volumes"]
    source, target, _ = folder.split(":")
    name = exporter["environment"][CONFIG_VARIABLE].removeprefix(f"{target}/")
    shipped = ROOT / source / name
    assert load(file=str(shipped), environ={}) == load(environ={})
    written_out = tmp_path / name
    written_out.write_text(re.sub(r"^# (?=\[\w+\]$|\w+ = )", "", shipped.read_text(), flags=re.MULTILINE))
    config = load(file=str(written_out), environ={})
    assert (config.budgets_file, str(config.notify_urls_file)) == (f"{target}/budgets.toml", f"{target}/channels")


def test_the_commands_for_containers_can_be_typed() -> None:
    page = (ROOT / "docs" / "containers.md").read_text()
    shown = re.findall(r"^docker compose exec exporter spanledger (.*)$", page, flags=re.MULTILINE)
    shown += re.findall(r"^  .* spanledger (serve .*)$", page, flags=re.MULTILINE)
    assert len(shown) == 4
    for words in shown:
        cli.parser().parse_args(shlex.split(words))
    assert set(re.findall(r"^docker compose exec (\w+)", page, flags=re.MULTILINE)) <= SERVICES.keys()
    ports = {port.rsplit(":", 1)[0] for service in SERVICES.values() for port in service.get("ports", ())}
    assert ports == set(re.findall(r"127\.0\.0\.1:\d+", page)) - {"127.0.0.1:8089"}  # the demo's provider


def test_the_collectors_variables_are_in_its_configuration() -> None:
    known = set(re.findall(r"\$\{env:(\w+)", (ROOT / "otel-collector.yaml").read_text()))
    assert SERVICES["collector"]["environment"].keys() <= known


def test_grafana_gets_all_that_its_provisioning_asks_for() -> None:
    folder = ROOT / "dashboards" / "provisioning"
    named = set(re.findall(r"\$\{(\w+)\}", (folder / "datasources" / "spanledger.yaml").read_text()))
    assert named <= SERVICES["grafana"]["environment"].keys()
    (provider,) = yaml.safe_load((folder / "dashboards" / "spanledger.yaml").read_text())["providers"]
    targets = {target: source for source, target in mounts()}
    assert targets[provider["options"]["path"]] == "./dashboards/grafana"
    assert SERVICES["grafana"]["environment"]["LEDGER_USER"] == SERVICES["grant"]["command"][-1]


def test_prometheus_takes_its_configuration_and_scrapes_what_there_is(tmp_path: Path) -> None:
    config = tmp_path / "prometheus.yml"
    config.write_bytes((ROOT / "compose" / "prometheus.yml").read_bytes())
    (tmp_path / "spanledger.rules.yml").write_bytes((ROOT / "dashboards" / "spanledger.rules.yml").read_bytes())
    assert "SUCCESS" in promtool("check", "config", config)
    document = yaml.safe_load(config.read_text())
    shipped = yaml.safe_load((ROOT / "dashboards" / "prometheus.yml").read_text())
    assert [job["job_name"] for job in document["scrape_configs"]] == [
        job["job_name"] for job in shipped["scrape_configs"]
    ]
    assert document["global"] == shipped["global"]
    hosts = {target.split(":")[0] for target in re.findall(r'"([\w.]+:\d+)"', config.read_text())}
    assert hosts <= SERVICES.keys()


def test_alertmanager_takes_its_configuration() -> None:
    amtool = require("amtool", package="prometheus-alertmanager")
    command = [amtool, "check-config", ROOT / "compose" / "alertmanager.yml"]
    assert subprocess.run(command, capture_output=True, text=True, check=False, timeout=60).returncode == 0


def test_the_image_keeps_its_ledger_in_a_volume_of_a_user_that_is_a_number() -> None:
    (volume,) = re.findall(r"^VOLUME (\S+)$", DOCKERFILE, flags=re.MULTILINE)
    (url,) = re.findall(r"SPANLEDGER_LEDGER_URL=(\S+)", DOCKERFILE)
    assert url == f"sqlite:///{volume}/ledger.db"
    assert f"--home-dir {volume} " in DOCKERFILE  # whose owner a new volume has
    (user, group) = re.findall(r"^USER (\d+):(\d+)$", DOCKERFILE, flags=re.MULTILINE)[0]
    assert f"--uid {user} --gid {group} " in DOCKERFILE


def test_the_dockerfile_copies_what_there_is_and_starts_the_exporter() -> None:
    for words in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, flags=re.MULTILINE):
        assert all((ROOT / source).exists() for source in words.split()[:-1]), words
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    included = [*project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]]
    included += project["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    copied = re.findall(r"[\w.-]+", " ".join(re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, flags=re.MULTILINE)))
    assert {Path(name).parts[0] for name in included} <= set(copied)
    extras = re.findall(r"--extra (\w+)", DOCKERFILE)
    assert set(extras) >= {"exporter", "postgres"}
    assert set(extras) <= project["project"]["optional-dependencies"].keys()
    (command,) = re.findall(r"^CMD (\[.*\])$", DOCKERFILE, flags=re.MULTILINE)
    cli.parser().parse_args(yaml.safe_load(command))
