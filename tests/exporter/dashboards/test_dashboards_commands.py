"""The shipped dashboards get into a Grafana and into a folder, and what stands in the way is said."""

import json
from collections.abc import Generator
from pathlib import Path

import pytest

from spanledger_exporter import cli
from spanledger_exporter.dashboards.dashboards_commands import TOKEN_VARIABLE
from spanledger_exporter.dashboards.files import dashboards, files
from tests.servers.grafana import FakeGrafana, running
from tests.servers.process import free_port


@pytest.fixture
def grafana(monkeypatch: pytest.MonkeyPatch) -> Generator[FakeGrafana]:
    with running() as fake:
        monkeypatch.setenv(TOKEN_VARIABLE, fake.token)
        yield fake


def test_every_dashboard_is_installed_in_its_folder(grafana: FakeGrafana, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["dashboards", "install", "--url", f"{grafana.url}/"]) == 0
    printed = capsys.readouterr().out
    assert grafana.folders == {"spanledger": "Spanledger"}
    assert set(grafana.dashboards) == {each["uid"] for each in dashboards()} != set()
    for kept in grafana.dashboards.values():
        assert kept["folderUid"] == "spanledger"
        assert f"{kept['dashboard']['title']}: {grafana.url}/d/{kept['dashboard']['uid']}/" in printed
    assert "Grafana 13.2.3" in printed
    assert grafana.token not in printed


def test_to_install_again_brings_them_up_to_date(grafana: FakeGrafana) -> None:
    for _ in range(2):
        assert cli.main(["dashboards", "install", "--url", grafana.url, "--folder", "LLM"]) == 0
    assert grafana.folders == {"spanledger": "LLM"}
    assert len(grafana.dashboards) == len(dashboards())


@pytest.mark.parametrize(
    ("path", "status", "answer", "code", "said"),
    [
        ("/api/health", 200, {"status": "ok"}, 1, "it is no Grafana"),
        ("/api/health", 404, b"<html>not here</html>", 1, "answers 404 to /api/health: it is no Grafana"),
        ("/api/folders/spanledger", 401, {"message": "Invalid API key"}, 1, "does not know the token: Invalid API key"),
        ("/api/folders", 403, {"message": "You'll need additional permissions"}, 1, "(role Editor)"),
        (
            "/api/folders",
            409,
            {"message": "a folder with the same name\nexists"},
            1,
            "409: a folder with the same name exi",
        ),
        ("/api/dashboards/db", 412, {"message": "provisioned", "status": "x"}, 1, "412: provisioned"),
        ("/api/dashboards/db", 500, b"", 1, "now: 500"),
        ("/api/dashboards/db", 400, ["no object"], 1, "does not keep the dashboard"),
    ],
)
def test_what_grafana_does_not_do_is_said(
    grafana: FakeGrafana,
    capsys: pytest.CaptureFixture[str],
    path: str,
    status: int,
    answer: object,
    code: int,
    said: str,
) -> None:
    grafana.failures[path] = (status, answer)
    assert cli.main(["dashboards", "install", "--url", grafana.url]) == code
    printed = capsys.readouterr()
    assert said in printed.err
    assert grafana.token not in printed.err + printed.out


def test_the_token_goes_to_nobody_else(grafana: FakeGrafana, capsys: pytest.CaptureFixture[str]) -> None:
    with running() as other:
        grafana.moved_to = f"{other.url}/api/health"
        grafana.failures["/api/health"] = (302, {})
        assert cli.main(["dashboards", "install", "--url", grafana.url]) == 1
        assert other.asked == []
    assert "sends to" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--url", "grafana:3000", "--token", "t"], "begins with http:// or https://"),
        (["--url", "http://admin:admin@127.0.0.1:3000", "--token", "t"], "must not hold a user"),
        (["--url", "http://127.0.0.1:3000"], f"--token or {TOKEN_VARIABLE}"),
        (["--url", "http://127.0.0.1:3000", "--token", "a\nb"], f"--token or {TOKEN_VARIABLE}"),
    ],
)
def test_a_command_line_that_cannot_be_right_ends_with_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    monkeypatch.delenv(TOKEN_VARIABLE, raising=False)
    assert cli.main(["dashboards", "install", *arguments]) == 2
    assert said in capsys.readouterr().err


def test_a_grafana_that_is_not_there_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert cli.main(["dashboards", "install", "--url", url, "--token", "t"]) == 1
    assert f"{url} does not answer" in capsys.readouterr().err


def test_the_files_are_written_and_left_alone_where_they_are_the_same(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "made" / "grafana"
    assert cli.main(["dashboards", "export", str(folder)]) == 0
    assert {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()} == {
        each.path for each in files()
    }
    assert cli.main(["dashboards", "export", str(folder)]) == 0
    assert capsys.readouterr().out.endswith(f"0 files were written, {len(files())} were there already.\n")


def test_files_that_somebody_changed_are_replaced_only_by_force(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cli.main(["dashboards", "export", str(tmp_path)])
    changed = tmp_path / files()[0].path
    changed.write_text("{}")
    (tmp_path / files()[1].path).unlink()
    assert cli.main(["dashboards", "export", str(tmp_path)]) == 1
    assert f"{files()[0].path}; --force replaces them" in capsys.readouterr().err
    assert not (tmp_path / files()[1].path).exists()
    assert cli.main(["dashboards", "export", "--force", str(tmp_path)]) == 0
    assert json.loads(changed.read_bytes())["uid"] == dashboards()[0]["uid"]


def test_a_folder_that_cannot_be_written_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "file").write_text("")
    assert cli.main(["dashboards", "export", str(tmp_path / "file")]) == 1
    assert "file" in capsys.readouterr().err
