"""The dashboards and provisioning files that come with the package, as Grafana takes them.

In a checkout they stand in `dashboards/`, in an installed package beside this module.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from spanledger_exporter.errors import ConfigError

_KINDS = ("grafana", "provisioning")


class Shipped(NamedTuple):
    """A file: its path beneath the folder of dashboards, and what it says."""

    path: str
    content: bytes


def dashboards() -> list[dict[str, Any]]:
    """Return the dashboards, in Grafana's own JSON, in the order of their names.

    Raises: `ConfigError` where the package was installed without them.
    """
    return [json.loads(each.content) for each in files() if each.path.startswith("grafana/")]


def files() -> list[Shipped]:
    """Return all files.

    Raises: `ConfigError` where the package was installed without them.
    """
    folder = _folder()
    return [Shipped(path.relative_to(folder).as_posix(), path.read_bytes()) for path in sorted(_paths(folder))]


def _paths(folder: Path) -> Iterator[Path]:
    for kind in _KINDS:
        yield from (path for path in (folder / kind).rglob("*") if path.suffix in {".json", ".yaml", ".yml"})


def _folder() -> Path:
    for folder in (Path(__file__).parents[3] / "dashboards", Path(__file__).with_name("shipped")):
        if (folder / "grafana").is_dir():
            return folder
    raise ConfigError(["the dashboards are neither in a checkout nor in the installed package"])
