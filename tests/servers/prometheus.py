"""A real Prometheus that runs a given configuration, and promtool beside it."""

import json
import subprocess
import urllib.parse
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.servers.process import Server, free_port, get, require

PACKAGE = "prometheus"


class Prometheus:
    """A running Prometheus, asked through its HTTP API."""

    def __init__(self, server: Server, address: str) -> None:
        self.server = server
        self.address = address

    def query(self, expression: str) -> list[dict[str, Any]]:  # the API's own JSON: `metric` and `value`
        """Return the series of an instant query."""
        answer = get(f"http://{self.address}/api/v1/query?{urllib.parse.urlencode({'query': expression})}")
        return json.loads(answer)["data"]["result"] if answer else []

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


def promtool(*arguments: str | Path, text: str = "") -> str:
    """Run promtool with a text on its standard input; return what it printed, and fail if it found fault."""
    command = [require("promtool", package=PACKAGE), *arguments]
    done = subprocess.run(command, input=text, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    assert done.returncode == 0, done.stdout
    return done.stdout
