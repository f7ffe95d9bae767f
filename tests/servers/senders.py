"""Senders of other languages: the environments that `tests/servers/prepare.sh` brings, and what runs in them."""

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.servers.process import Server, free_port, missing, require

ROOT = Path(__file__).parents[2]
NODE_MODULES = ROOT / ".cache" / "node" / "node_modules"
ROTEL = ROOT / ".cache" / "rotel"
TIMEOUT_S = 120


def node(script: Path, *arguments: str) -> Any:
    """Run a script with the packages of `tests/interop/package.json`, and return the JSON that it prints."""
    program = require("node", package="nodejs")
    if not (NODE_MODULES / ".package-lock.json").exists():
        missing("the packages for Node.js are not there (make setup)")
    # Modules are looked for beside a script, so it runs beside them.
    copy = NODE_MODULES.parent / script.name
    copy.write_bytes(script.read_bytes())
    ran = subprocess.run(
        [program, copy, *arguments], check=True, capture_output=True, text=True, timeout=TIMEOUT_S, env={**os.environ}
    )
    return json.loads(ran.stdout)


class Rotel:
    """A collector that is written in Rust, as PyPI has it, which sends on to an endpoint."""

    def __init__(self, folder: Path, *, endpoint: str, protocol: str, environ: Mapping[str, str] | None = None) -> None:
        found = [path for path in (ROTEL / "rotel" / "rotel-agent",) if path.exists()]
        if not found:
            missing("the package rotel is not there (make setup)")
        self.grpc, self.http = (f"127.0.0.1:{free_port()}" for _ in range(2))
        self.server = Server(
            [
                found[0], "start",
                "--otlp-grpc-endpoint", self.grpc, "--otlp-http-endpoint", self.http,
                "--otlp-exporter-endpoint", f"http://{endpoint}", "--otlp-exporter-protocol", protocol,
            ],
            log=folder / "rotel.log",
            env=environ,
        )  # fmt: skip
