"""manifest.yaml -> a real OpenTelemetry Collector, built once per manifest and kept outside the repository.

`python3 tests/collector/build.py` prints the program's path, and its progress on stderr; with `--ready` it builds
nothing, and fails if that is needed. Only the standard library is used, so that a build can start before anything is
installed. `SPANLEDGER_OTELCOL` names a ready program to use instead.
"""

import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

MANIFEST = Path(__file__).with_name("manifest.yaml")
PROGRAM = "otelcol-spanledger"


class BuildError(Exception):
    """The collector cannot be built here; the message says why."""


def ready() -> Path | None:
    """Return the collector to use, if there is one already."""
    if named := os.environ.get("SPANLEDGER_OTELCOL"):
        return Path(named)
    program = _folder() / PROGRAM
    return program if program.exists() else None


def build() -> Path:
    """Return the collector, building it first if need be; of several at a time one builds and the others wait.

    Raises:
        BuildError: there is no Go, or the build failed.
    """
    if program := ready():
        return program
    folder = _folder()
    folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder / "lock"):
        return ready() or _compile(folder)


def _folder() -> Path:
    """Return where this manifest's program is kept: in the user's cache, so that all clones share it."""
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    key = hashlib.sha256(MANIFEST.read_bytes() + f"{platform.system()}/{platform.machine()}".encode()).hexdigest()
    return Path(cache) / "spanledger" / "otelcol" / key[:16]


@contextmanager
def _locked(path: Path) -> Generator[None]:
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("waiting for the build that is under way")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _compile(folder: Path) -> Path:
    go = shutil.which("go")
    if go is None:
        raise BuildError("Go is not on PATH (go.dev); or name a ready collector in SPANLEDGER_OTELCOL")
    _say(f"building version {_version()}, once: about three minutes of two cores")
    log = folder / "build.log"
    with tempfile.TemporaryDirectory(dir=folder, prefix="build-") as stage:
        shutil.copy(MANIFEST, stage)
        builder = f"go.opentelemetry.io/collector/cmd/builder@v{_version()}"
        # No flag and no workspace of the machine's reaches into this build.
        env = {**os.environ, "GOFLAGS": "-mod=mod", "GOWORK": "off"}
        _run([go, "run", builder, "--config", MANIFEST.name], cwd=Path(stage), env=env, log=log)
        (Path(stage) / "build" / PROGRAM).replace(folder / PROGRAM)
    _say("ready")
    return folder / PROGRAM


def _run(command: list[str], *, cwd: Path, env: dict[str, str], log: Path) -> None:
    """Run the builder; pass on the name of each of its steps, and keep the rest for when it fails."""
    with (
        log.open("w") as kept,
        subprocess.Popen(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        ) as process,
    ):
        assert process.stdout is not None
        for line in process.stdout:
            kept.write(line)
            if step := re.search(r"\tINFO\t\S+\t(Getting go modules|Compiling)", line):
                _say(step[1].lower())
    if process.returncode:
        raise BuildError("\n".join([f"the build failed ({log}):", *log.read_text().splitlines()[-20:]]))


def _version() -> str:
    found = re.search(r"^  version: (\S+)$", MANIFEST.read_text(), re.MULTILINE)
    assert found, f"{MANIFEST} names no version"
    return found[1]


def _say(what: str) -> None:
    sys.stderr.write(f"otelcol: {what}\n")


if __name__ == "__main__":
    if "--ready" in sys.argv and ready() is None:
        sys.exit(1)
    try:
        sys.stdout.write(f"{build()}\n")
    except BuildError as error:
        sys.exit(f"otelcol: {error}")
