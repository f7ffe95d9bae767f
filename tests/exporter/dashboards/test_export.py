"""`spanledger dashboards export`: which files it writes, what it says, and what it leaves alone."""

import errno
import io
import os
import zipfile
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest
from hatchling.builders.wheel import WheelBuilder

from spanledger_exporter.cli import main
from tests.dashboards import boards

SOURCE = boards.FOLDER.parent
NAMES = sorted(
    path.relative_to(SOURCE).as_posix()
    for folder in ("grafana", "provisioning")
    for path in (SOURCE / folder).rglob("*.*")
)


class Ran(NamedTuple):
    """What a command ended with, and what it said."""

    returncode: int
    stdout: str
    stderr: str


def export(folder: Path, *more: str) -> Ran:
    with redirect_stdout(io.StringIO()) as stdout, redirect_stderr(io.StringIO()) as stderr:
        status = main(["dashboards", "export", str(folder), *more])
    return Ran(status, stdout.getvalue(), stderr.getvalue())


def written(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_all_files_are_written_and_named(tmp_path: Path) -> None:
    ran = export(tmp_path / "new" / "folder")
    assert (ran.returncode, ran.stderr) == (0, "")
    assert written(tmp_path / "new" / "folder") == {name: (SOURCE / name).read_bytes() for name in NAMES}
    assert sorted(ran.stdout.splitlines()) == [f"written   {tmp_path / 'new' / 'folder' / name}" for name in NAMES]


def test_what_is_as_it_should_be_is_left_alone(tmp_path: Path) -> None:
    export(tmp_path)
    (tmp_path / NAMES[0]).unlink()
    (tmp_path / "mine.json").write_text("{}")
    before = {name: (tmp_path / name).stat().st_mtime_ns for name in NAMES[1:]}
    results = sorted(line.split()[0] for line in export(tmp_path).stdout.splitlines())
    assert results == ["unchanged"] * (len(NAMES) - 1) + ["written"]
    assert {name: (tmp_path / name).stat().st_mtime_ns for name in NAMES[1:]} == before
    assert (tmp_path / "mine.json").read_text() == "{}"


def test_a_file_that_was_changed_is_replaced_only_by_force(tmp_path: Path) -> None:
    export(tmp_path)
    changed = tmp_path / NAMES[1]
    changed.write_text("mine")
    (tmp_path / NAMES[0]).unlink()
    ran = export(tmp_path)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == f"spanledger: changed, and not replaced without --force: {changed}\n"
    assert (changed.read_text(), (tmp_path / NAMES[0]).exists()) == ("mine", False)
    assert f"replaced  {changed}" in export(tmp_path, "--force").stdout
    assert changed.read_bytes() == (SOURCE / NAMES[1]).read_bytes()


def test_a_folder_that_cannot_be_is_told(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    ran = export(tmp_path / "file")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "cannot be written" in ran.stderr


def test_a_folder_without_a_name_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with redirect_stdout(io.StringIO()) as stdout, redirect_stderr(io.StringIO()) as stderr:
        assert main(["dashboards", "export", ""]) == 2
    assert (stdout.getvalue(), stderr.getvalue()) == (
        "", "spanledger: DIR is an empty text; . is the folder that you are in\n"
    )  # fmt: skip
    assert written(tmp_path) == {}


def test_a_disk_that_is_full_leaves_every_file_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    export(tmp_path)
    for name in NAMES[::2]:
        (tmp_path / name).write_text("mine")
    (tmp_path / NAMES[1]).unlink()
    before = written(tmp_path)
    synced: list[int] = []

    def full(number: int) -> None:
        synced.append(number)
        if len(synced) == 4:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    ran = export(tmp_path, "--force")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert ran.stderr == f"spanledger: {tmp_path} cannot be written: No space left on device\n"
    assert written(tmp_path) == before


def test_the_wheel_has_the_files(tmp_path: Path) -> None:
    (wheel,) = WheelBuilder(str(SOURCE.parent)).build(directory=str(tmp_path), versions=["standard"])
    prefix = "spanledger_exporter/dashboards/"
    with zipfile.ZipFile(wheel) as archive:
        found = {
            name.removeprefix(prefix): archive.read(name) for name in archive.namelist() if name.startswith(prefix)
        }
    assert {name: found.get(name) for name in NAMES} == {name: (SOURCE / name).read_bytes() for name in NAMES}
