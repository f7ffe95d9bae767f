"""Pinned source distributions -> the provider traffic that was recorded in them.

Downloaded by pip into `.cache/recordings`, which git ignores; pip checks the hashes of tests/data/recordings.txt. All
of them are built with hatchling, which the development environment has, so that no build environment is set up.
"""

import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml
from filelock import FileLock

_REQUIREMENTS = Path(__file__).parent / "data" / "recordings.txt"
_CACHE = Path(__file__).parent.parent / ".cache" / "recordings"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class MissingRecordingsError(Exception):
    """The recordings cannot be had here."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Interaction:
    """One recorded request and its answer."""

    source: str
    method: str
    host: str
    path: str
    request: bytes
    status: int
    headers: Mapping[str, str]
    response: bytes
    """The body as it was recorded: some recorders kept it compressed."""


def fetch() -> list[Path]:
    """Download what is not in the cache yet; give the archives.

    Raises: MissingRecordingsError: skip on a developer's machine, fail in CI.
    """
    _CACHE.mkdir(parents=True, exist_ok=True)
    with FileLock(_CACHE / "lock"):
        done = _CACHE / "complete.txt"  # written last: the requirements that the cache holds
        if not done.exists() or done.read_text() != _REQUIREMENTS.read_text():
            _download()
            done.write_text(_REQUIREMENTS.read_text())
    names = [line.split("==") for line in _REQUIREMENTS.read_text().splitlines() if "==" in line]
    versions = [(name.replace("-", "_"), version.split()[0]) for name, version in names]
    return [_CACHE / f"{name}-{version}.tar.gz" for name, version in versions]


def _download() -> None:
    pip = [sys.executable, "-m", "pip", "--no-input", "--disable-pip-version-check", "download", "--quiet"]
    options = ["--no-deps", "--no-binary", ":all:", "--no-build-isolation", "--require-hashes"]
    command = [*pip, *options, "--dest", str(_CACHE), "--requirement", str(_REQUIREMENTS)]
    try:
        ran = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    except subprocess.TimeoutExpired as error:
        raise MissingRecordingsError("pip did not finish in time") from error
    if ran.returncode != 0:
        raise MissingRecordingsError(ran.stderr.strip()[-2000:])


def interactions() -> Iterator[Interaction]:
    """Read every recorded interaction, in a stable order."""
    for archive in fetch():
        with tarfile.open(archive) as tar:
            for member in sorted(tar.getmembers(), key=lambda member: member.name):
                if member.name.endswith(".yaml") and (file := tar.extractfile(member)) is not None:
                    yield from _read(member.name, yaml.load(file.read(), Loader=_LOADER))


def _read(name: str, cassette: Any) -> Iterator[Interaction]:
    for recorded in cassette["interactions"]:
        request, response = recorded["request"], recorded["response"]
        url = urlsplit(request["uri"])
        yield Interaction(
            source=name,
            method=request["method"],
            host=url.hostname or "",
            path=url.path,
            request=_bytes(request["body"]),
            status=response["status"]["code"],
            headers={key.lower(): values[0] for key, values in response["headers"].items()},
            response=_bytes(response["body"].get("string")),
        )


def _bytes(value: str | bytes | None) -> bytes:
    return value.encode() if isinstance(value, str) else value or b""
