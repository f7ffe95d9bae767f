"""A real Alertmanager that runs a given configuration, alone: it looks for no peers."""

import json
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from tests.servers.process import Server, free_port, get, require

SHIPPED = Path(__file__).parents[2] / "dashboards" / "alertmanager.yml"


@contextmanager
def running(config: Path, folder: Path) -> Generator[str]:
    """Start Alertmanager with a configuration file, its data in a folder, and yield its address."""
    address = f"127.0.0.1:{free_port()}"
    command = [
        require("prometheus-alertmanager", "alertmanager", package="prometheus-alertmanager"),
        f"--config.file={config}",
        f"--web.listen-address={address}",
        f"--storage.path={folder / 'alertmanager'}",
        "--cluster.listen-address=",
    ]
    with Server(command, log=folder / "alertmanager.log") as server:
        server.wait_until(lambda: get(f"http://{address}/-/ready"))
        yield address


def shipped(webhook: str, *, mail_to: str = "") -> dict[str, Any]:  # Alertmanager's own terms
    """Return what is shipped, in seconds instead of minutes, with a web hook's URL for each receiver.

    With the address of a mail server the receiver `mail` stays one for mails.
    """
    config = yaml.safe_load(SHIPPED.read_text())
    del config["global"]
    if mail_to:
        config["global"] = {
            "smtp_smarthost": mail_to,
            "smtp_from": "spanledger@example.com",
            "smtp_require_tls": False,
        }
    for receiver in config["receivers"]:
        if receiver["name"] == "mail" and mail_to:
            continue
        (kind,) = receiver.keys() - {"name"}
        resolved = receiver.pop(kind)[0].get("send_resolved", True)
        receiver["webhook_configs"] = [{"url": webhook, "send_resolved": resolved}]
    for route in (config["route"], *config["route"]["routes"]):
        route.update(group_wait="1s", group_interval="1s")
    return config


def alerts(address: str) -> list[dict[str, Any]]:
    """Return the alerts that Alertmanager has, those held back too; none while it does not answer."""
    return json.loads(get(f"http://{address}/api/v2/alerts") or "[]")


def looks(address: str) -> float:
    """Return how often Alertmanager has held a group of alerts against its log of notifications."""
    lines = (get(f"http://{address}/metrics") or "").splitlines()
    return sum(float(line.split()[1]) for line in lines if line.startswith("alertmanager_nflog_queries_total"))
