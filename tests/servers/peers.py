"""The environment of the other instrumentations: `.cache/peers`, which `make setup` brings."""

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.servers.process import missing

ROOT = Path(__file__).parent.parent.parent
ENVIRONMENT = ROOT / ".cache/peers"
TIMEOUT_S = 240.0


def run(module: str, *arguments: str, environment: dict[str, str] | None = None) -> Any:
    """Run a module of the tests in that environment, from the project's folder, and return the JSON that it prints."""
    if not (ENVIRONMENT / ".ready").exists():
        missing("the environment .cache/peers is not ready (make setup)")
    ran = subprocess.run(
        [ENVIRONMENT / "bin/python", "-m", module, *arguments],
        cwd=ROOT,
        env=os.environ | (environment or {}),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_S,
        check=False,
    )
    if ran.returncode:
        pytest.fail(f"{module} {' '.join(arguments)} ended with status {ran.returncode}\n{ran.stderr}")
    return json.loads(ran.stdout)
