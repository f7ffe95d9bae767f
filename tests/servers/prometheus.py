"""A real Prometheus that runs a given configuration, and promtool beside it."""

import json
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from tests.servers.process import Server, free_port, get, require

PACKAGE = "prometheus"
SHIPPED = Path(__file__).parents[2] / "dashboards" / "prometheus.yml"
RULES = SHIPPED.with_name("spanledger.rules.yml")


class Prometheus:
    """A running Prometheus, asked through its HTTP API."""

    def __init__(self, server: Server, address: str) -> None:
        self.server = server
        self.address = address

    def query(self, expression: str) -> list[dict[str, Any]]:  # the API's own JSON: `metric` and `value`
        """Return the series of an instant query."""
        answer = get(f"http://{self.address}/api/v1/query?{urllib.parse.urlencode({'query': expression})}")
        return json.loads(answer)["data"]["result"] if answer else []

    def ask(self, path: str, **parameters: object) -> Any:  # the API's own JSON, under `data`
        """Return what a path of the API answers, such as `query_range`; fail with what it says if that is an error."""
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters, doseq=True)}"
        try:
            with urllib.request.urlopen(url, timeout=60) as answer:
                return json.loads(answer.read())["data"]
        except urllib.error.HTTPError as exc:
            raise AssertionError(f"{parameters}: {exc.read().decode()}") from exc

    def exemplars(self, selector: str, start_s: float, end_s: float) -> list[dict[str, Any]]:
        """Return the exemplars of some series within a time: `labels`, `value` and `timestamp` of each."""
        asked = urllib.parse.urlencode({"query": selector, "start": start_s, "end": end_s})
        answer = get(f"http://{self.address}/api/v1/query_exemplars?{asked}")
        return [each for series in json.loads(answer)["data"] for each in series["exemplars"]] if answer else []


@contextmanager
def running(config: Path, folder: Path, *options: str) -> Generator[Prometheus]:
    """Start Prometheus with a configuration file and further options, its data in a folder."""
    address = f"127.0.0.1:{free_port()}"
    command = [
        require("prometheus", package=PACKAGE),
        f"--config.file={config}",
        f"--web.listen-address={address}",
        f"--storage.tsdb.path={folder / 'prometheus'}",
        *options,
    ]
    with Server(command, log=folder / "prometheus.log") as server:
        server.wait_until(lambda: get(f"http://{address}/-/ready"))
        yield Prometheus(server, address)


@contextmanager
def as_shipped(
    folder: Path,
    targets: Mapping[str, str],
    *,
    alerts_to: str = "",
    rules: str = "",
    holds: Mapping[str, str] = MappingProxyType({}),
    options: Sequence[str] = (),
) -> Generator[Prometheus]:
    """Start Prometheus with what is shipped, in seconds instead of minutes.

    `targets` are the addresses of the jobs that are scraped, several apart by blanks; `alerts_to` is Alertmanager's.
    `rules` stand for the shipped ones, and `holds` says of alerts how long their expressions must be true here.
    """
    config = yaml.safe_load(SHIPPED.read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    jobs = {job["job_name"]: job for job in config["scrape_configs"]}
    config["scrape_configs"] = [
        {**jobs[name], "static_configs": [{"targets": addresses.split()}]} for name, addresses in targets.items()
    ]
    config["alerting"]["alertmanagers"][0]["static_configs"] = [{"targets": [alerts_to] if alerts_to else []}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    (folder / RULES.name).write_text(_hurried(rules or RULES.read_text(), holds))
    # What it tells before it knows of Alertmanager is lost, and told again after this time: a minute by default.
    soon = "--rules.alert.resend-delay=1s"
    with running(folder / "prometheus.yml", folder, soon, *options) as server:
        yield server


def _hurried(rules: str, holds: Mapping[str, str]) -> str:
    document = yaml.safe_load(rules)
    for group in document["groups"]:
        group["interval"] = "1s"
        for rule in group["rules"]:
            if (hold := holds.get(rule.get("alert", ""))) is not None:
                assert "for" in rule
                rule["for"] = hold
    return yaml.safe_dump(document)


def promtool(*arguments: str | Path, text: str = "") -> str:
    """Run promtool with a text on its standard input; return what it printed, and fail if it found fault."""
    command = [require("promtool", package=PACKAGE), *arguments]
    done = subprocess.run(command, input=text, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout
