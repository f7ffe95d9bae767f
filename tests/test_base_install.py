"""`pip install spanledger` without extras: what the instrumentation may import, and what the command says.

The environment is made of the files of the base requirements alone, linked into an empty folder: whatever else is
installed for the tests cannot be imported by mistake.
"""

import os
import re
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FORBIDDEN = (
    "httpx",
    "httpx2",
    "grpc",
    "sqlalchemy",
    "prometheus_client",
    "pydantic",
    "opentelemetry.sdk",
    "google.protobuf",
)


def requirements(distribution: str) -> set[str]:
    """The names of a distribution's requirements outside its extras, and theirs in turn."""
    found: set[str] = set()
    for line in metadata.requires(distribution) or ():
        name, _, marker = line.partition(";")
        if "extra" not in marker:
            name = re.split(r"[^A-Za-z0-9._-]", name.strip())[0]
            if is_installed(name):  # a requirement of another Python version or platform is not
                found |= {name, *requirements(name)}
    return found


def is_installed(name: str) -> bool:
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


@pytest.fixture(scope="module")
def base_install(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site-packages")
    for name in sorted(requirements("spanledger")):
        for file in metadata.distribution(name).files or ():
            source, target = Path(str(file.locate())), folder / str(file)
            if ".." not in file.parts and source.is_file() and source.suffix != ".pyc":
                target.parent.mkdir(parents=True, exist_ok=True)
                target.symlink_to(source)
    for half in ("instrumentation/spanledger_instrumentation", "exporter/spanledger_exporter"):
        (folder / Path(half).name).symlink_to(ROOT / half)
    return folder


def run(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    environ = {"PATH": os.environ["PATH"], "PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    return subprocess.run(
        [sys.executable, "-S", "-c", code], env=environ, capture_output=True, text=True, check=False, timeout=60
    )


def test_the_instrumentation_works_and_imports_nothing_heavy(base_install: Path) -> None:
    code = f"""
import sys
from spanledger_instrumentation.instrumentor import SpanledgerInstrumentor
SpanledgerInstrumentor().instrument()
print([name for name in {FORBIDDEN!r} if name in sys.modules])
"""
    done = run(base_install, code)
    assert (done.returncode, done.stdout, done.stderr) == (0, "[]\n", "")


@pytest.mark.parametrize("name", FORBIDDEN)
def test_the_base_install_brings_nothing_heavy(base_install: Path, name: str) -> None:
    assert run(base_install, f"import {name}").returncode == 1


def test_the_command_says_which_extra_is_missing(base_install: Path) -> None:
    done = run(base_install, "import sys; from spanledger_exporter.cli import main; sys.exit(main(['serve']))")
    assert (done.returncode, done.stdout) == (2, "")
    assert "pip install 'spanledger[exporter]'" in done.stderr
    assert "Traceback" not in done.stderr
