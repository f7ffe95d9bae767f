"""The dashboards' files, from the package or a checkout -> a folder of the user's.

What is there already and differs stays, unless the user says otherwise: it may have been changed by hand.
"""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from spanledger_exporter.errors import RejectedError

Result = Literal["written", "replaced", "unchanged"]
_FOLDERS = ("grafana", "provisioning")


def files() -> dict[str, bytes]:
    """Return the files by their path: `grafana/*.json`, and `provisioning/*/*.yaml` for Grafana's own configuration.

    Raises: RejectedError where neither the package nor a checkout has them.
    """
    # In a wheel they are in the package, in a checkout beside it. First in it: what is beside it may be anybody's.
    for top in (Path(__file__).parent, Path(__file__).parents[3] / "dashboards"):
        found = {path.relative_to(top).as_posix(): path.read_bytes() for path in _paths(top)}
        if found:
            return found
    raise RejectedError("this installation has no dashboards: they are neither in the package nor in a checkout")


def export(folder: Path, *, force: bool) -> dict[Path, Result]:
    """Write the files, none where one of them may not be replaced, and return what became of each.

    Raises: RejectedError where a file differs and `force` does not say that it may be replaced, or cannot be written.
    """
    wanted = {folder / name: content for name, content in files().items()}
    try:
        results: dict[Path, Result] = {path: _result(path, content) for path, content in wanted.items()}
        differing = [str(path) for path, result in results.items() if result == "replaced"]
        if differing and not force:
            raise RejectedError(f"changed, and not replaced without --force: {', '.join(differing)}")
        _write({path: content for path, content in wanted.items() if results[path] != "unchanged"})
    except OSError as exc:
        raise RejectedError(f"{exc.filename or folder} cannot be written: {exc.strerror}") from exc
    return results


def _paths(top: Path) -> Iterator[Path]:
    for folder in _FOLDERS:
        yield from sorted(path for path in (top / folder).rglob("*") if path.suffix in {".json", ".yaml"})


def _result(path: Path, content: bytes) -> Result:
    if not path.exists():
        return "written"
    return "unchanged" if path.read_bytes() == content else "replaced"


def _write(contents: Mapping[Path, bytes]) -> None:
    """Replace files, each in one step, and none before there is room for all: Grafana looks at them all the time."""
    unfinished = {path: path.with_name(f"{path.name}.unfinished") for path in contents}
    try:
        for path, content in contents.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            with unfinished[path].open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())  # some file systems say only now that they are full
        for path in contents:
            unfinished[path].replace(path)
    finally:
        for left in unfinished.values():
            with contextlib.suppress(OSError):
                left.unlink(missing_ok=True)


def dashboards() -> Mapping[str, bytes]:
    """Return the dashboards alone, by their file's name."""
    return {Path(name).name: content for name, content in files().items() if name.startswith("grafana/")}
