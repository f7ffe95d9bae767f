"""`spanledger dashboards install` against a local stand-in for Grafana's API: what it puts there, and what it says."""

import io
import json
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import NamedTuple

import pytest

from spanledger_exporter.cli import main
from tests.dashboards import boards
from tests.servers import grafana
from tests.servers.authority import Authority
from tests.servers.grafana import TOKEN, Answer, Grafana
from tests.servers.process import free_port

VARIABLE = "SPANLEDGER_GRAFANA_TOKEN"
SECRET = TOKEN.removeprefix("glsa_")


@pytest.fixture
def server() -> Iterator[Grafana]:
    with grafana.listening() as running:
        yield running


class Ran(NamedTuple):
    """What a command ended with, and what it said."""

    returncode: int
    stdout: str
    stderr: str


def run(url: str, *more: str, token: str | None = TOKEN, **environ: str) -> Ran:
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(VARIABLE, raising=False)
        for name, value in {**({} if token is None else {VARIABLE: token}), **environ}.items():
            patch.setenv(name, value)
        with redirect_stdout(io.StringIO()) as stdout, redirect_stderr(io.StringIO()) as stderr:
            status = main(["dashboards", "install", "--url", url, *more])
    return Ran(status, stdout.getvalue(), stderr.getvalue())


def failed(ran: Ran, status: int) -> str:
    """What a command said that failed, in one line, and without the token."""
    assert (ran.returncode, ran.stdout) == (status, "")
    assert SECRET not in ran.stderr
    (line,) = ran.stderr.splitlines()
    return line


def test_every_dashboard_is_put_into_the_folder_and_its_address_is_told(server: Grafana) -> None:
    ran = run(server.address)
    assert (ran.returncode, ran.stderr) == (0, "")
    *addresses, summary = ran.stdout.splitlines()
    assert addresses == [f"{server.address}/d/{name}/{name}" for name in boards.names()]
    assert summary == f"{len(addresses)} of {len(addresses)} dashboards are now in the folder Spanledger"
    (uid,) = server.folders
    assert server.folders[uid] == "Spanledger"
    for name in boards.names():
        kept = server.dashboards[name]
        assert kept["dashboard"] == {**boards.load(name), "id": None}
        assert (kept["folderUid"], kept["overwrite"]) == (uid, True)


def test_a_folder_of_the_name_is_used_and_dashboards_are_replaced(server: Grafana) -> None:
    server.folders = {"a": "Others", "b": "Money"}
    assert run(server.address, "--folder", "Money").returncode == 0
    assert run(server.address + "/", "--folder", "Money").returncode == 0
    assert server.folders == {"a": "Others", "b": "Money"}
    assert {kept["folderUid"] for kept in server.dashboards.values()} == {"b"}


def test_the_token_may_be_given_as_an_option_or_stand_in_the_configuration(server: Grafana, tmp_path: Path) -> None:
    assert run(server.address, "--token", TOKEN, token=None).returncode == 0
    file = tmp_path / "spanledger.toml"
    file.write_text(f'[grafana]\ntoken = "{TOKEN}"\n')
    assert run(server.address, "--config", str(file), token=None).returncode == 0
    assert set(server.tokens) == {f"Bearer {TOKEN}"}


def test_grafana_may_be_behind_a_path() -> None:
    with grafana.listening("/grafana") as server:
        ran = run(server.address)
        name = boards.names()[0]
        assert (ran.returncode, ran.stdout.splitlines()[0]) == (0, f"{server.address}/d/{name}/{name}")


def test_the_command_says_that_a_token_is_wanted(server: Grafana) -> None:
    said = failed(run(server.address, token=None), 2)
    assert said == f"spanledger: Grafana wants a token: set {VARIABLE}, or give --token"
    assert server.asked == []


def test_an_unknown_token_is_told(server: Grafana) -> None:
    ran = run(server.address, token="glsa_another")
    assert (ran.returncode, "another" in ran.stdout + ran.stderr) == (1, False)
    assert ran.stderr == f"spanledger: {server.address}: the token is not known (401): Invalid API key\n"


@pytest.mark.parametrize("token", ["glsa_with\nline", "glsa_with blank", "glsa_ü"])
def test_what_is_no_token_is_sent_to_nobody(server: Grafana, token: str) -> None:
    ran = run(server.address, token=token)
    assert (ran.returncode, server.asked) == (2, [])
    assert "glsa_" not in ran.stdout + ran.stderr


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(403, '{"message":"no access"}'), "may not do this (403); it needs the role Editor: no access"),
        (Answer(500, '{"message":"database is locked"}'), "cannot do it now (500): database is locked"),
        (Answer(429, ""), "cannot do it now (429)"),
        (Answer(404, "page not found"), "is no Grafana, or has another path: there is no /api/folders"),
        (Answer(302, "", {"location": "https://login.example/"}), "sends on to 'https://login.example/' (302)"),
        (Answer(200, "<html>"), "is no Grafana: /api/folders?limit=1000 does not answer in JSON"),
        (Answer(200, "\xff".encode("latin-1")), "does not answer in JSON"),
        (Answer(400, json.dumps({"message": "\x1b[31mred\n" + "x" * 999})), "refuses it (400):  [31mred xxx"),
        (Answer(400, '["message"]'), "refuses it (400)"),
    ],
)  # fmt: skip
def test_a_failure_is_told_in_one_line(server: Grafana, answer: Answer, said: str) -> None:
    server.failing["/api/folders"] = answer
    line = failed(run(server.address), 1)
    assert said in line
    assert len(line) < 500
    assert server.dashboards == {}


def test_a_dashboard_that_is_refused_is_named_and_the_others_are_put(server: Grafana) -> None:
    server.failing["/api/dashboards/db"] = Answer(
        412, '{"message":"A dashboard with the same name exists","status":"name-exists"}'
    )
    ran = run(server.address)
    assert (ran.returncode, ran.stdout) == (1, "")
    lines = ran.stderr.splitlines()
    assert [line.split(": ")[1] for line in lines] == [f"{name}.json" for name in boards.names()]
    assert all(line.endswith("under this name or uid (412): A dashboard with the same name exists") for line in lines)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (Answer(500, '{"message":"db locked"}'), "cannot do it now (500): db locked"),
        (Answer(403, "{}"), "may not do this (403)"),
        (Answer(404, "page not found"), "is no Grafana, or has another path: there is no /api/dashboards/db (404)"),
        (Answer(302, "", {"location": "/login"}), "sends on to '/login' (302)"),
        (Answer(200, "<html>"), "/api/dashboards/db does not answer in JSON"),
        (Answer(200, "{}"), "answers as no Grafana does: no url"),
    ],
)
def test_what_any_dashboard_would_meet_is_said_once_with_those_that_were_not_tried(
    server: Grafana, answer: Answer, said: str
) -> None:
    names = boards.names()
    server.spared = 2
    server.failing["/api/dashboards/db"] = answer
    ran = run(server.address)
    assert (ran.returncode, ran.stdout.splitlines()[-1]) == (
        1, f"2 of {len(names)} dashboards are now in the folder Spanledger"
    )  # fmt: skip
    (line,) = ran.stderr.splitlines()
    assert line.startswith(f"spanledger: {names[2]}.json: {server.address}")
    assert said in line
    left = ", ".join(f"{name}.json" for name in names[3:])
    assert line.endswith(f"; {len(names) - 3} not tried: {left}")
    assert server.dashboards.keys() == set(names[:2])


@pytest.mark.parametrize("folder", ["", "  "])
def test_a_folder_has_a_name(server: Grafana, folder: str) -> None:
    assert failed(run(server.address, "--folder", folder), 2) == "spanledger: --folder: a folder of Grafana has a name"
    assert server.asked == []


@pytest.mark.parametrize(
    "answer",
    [
        Answer(401, json.dumps({"message": f"bad token Bearer {TOKEN}"})),
        Answer(500, json.dumps({"message": "x" * 280 + TOKEN})),
        Answer(400, json.dumps({"message": TOKEN.upper()})),
        Answer(302, "", {"location": f"https://login.example/?token={TOKEN}"}),
    ],
)
@pytest.mark.parametrize("path", ["/api/health", "/api/dashboards/db"])
def test_a_token_that_a_server_repeats_is_not_shown(server: Grafana, answer: Answer, path: str) -> None:
    server.failing[path] = answer
    said = run(server.address).stderr.lower()
    assert SECRET.lower()[:8] not in said
    assert "***" in said


def test_a_token_in_an_address_that_is_answered_is_not_shown(server: Grafana) -> None:
    server.failing["/api/dashboards/db"] = Answer(200, json.dumps({"url": f"/d/{TOKEN}"}))
    ran = run(server.address)
    assert (ran.returncode, ran.stdout.splitlines()[0]) == (0, f"{server.address}/d/***")


def test_a_token_that_others_on_the_way_can_read_is_warned_of_once() -> None:
    warned, failure = run("http://grafana.invalid").stderr.splitlines()
    assert warned.startswith("spanledger: warning: the token goes to grafana.invalid by http: ")
    assert "cannot be reached" in failure


def test_a_login_page_elsewhere_never_gets_the_token(server: Grafana) -> None:
    with grafana.listening() as elsewhere:
        server.failing["/api/health"] = Answer(302, "", {"location": f"{elsewhere.address}/api/health"})
        assert "sends on to" in failed(run(server.address), 1)
        assert elsewhere.asked == []


@pytest.mark.parametrize("body", ["{}", "[]", "null", '"ok"'])
def test_another_server_that_answers_is_no_grafana(server: Grafana, body: str) -> None:
    server.failing["/api/health"] = Answer(200, body)
    assert "is no Grafana" in failed(run(server.address), 1)
    assert server.asked == [("GET", "/api/health")]


@pytest.mark.parametrize("body", ["{}", "[]", '{"url": 7, "uid": 7}'])
def test_an_answer_without_an_address_is_told(server: Grafana, body: str) -> None:
    server.failing["/api/dashboards/db"] = Answer(200, body)
    ran = run(server.address)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert "answers as no Grafana does: no url" in ran.stderr


def test_nobody_there_is_told() -> None:
    url = f"http://127.0.0.1:{free_port()}"
    assert failed(run(url), 1) == f"spanledger: {url} cannot be reached: Connection refused"


def test_a_certificate_that_is_not_trusted_is_told_and_one_that_is_is_taken(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    with grafana.listening(identity=authority.issue()) as server:
        assert "a certificate that is not trusted here" in failed(run(server.address), 1)
        assert server.tokens == []
        assert run(server.address, SSL_CERT_FILE=str(authority.certificate)).returncode == 0
        assert server.dashboards.keys() == set(boards.names())


def test_plain_http_at_the_other_end_is_told(server: Grafana) -> None:
    assert "does not speak TLS" in failed(run(server.address.replace("http:", "https:")), 1)


@pytest.mark.parametrize(
    "url", ["grafana.example", "ftp://grafana.example", "https://", "http://[::1", "http://a:99999", "http://a/?b=c"]
)
def test_what_is_no_address_is_told(url: str) -> None:
    assert failed(run(url), 2).startswith("spanledger: --url: ")


def test_a_password_in_the_address_is_refused_and_not_repeated() -> None:
    said = failed(run("https://admin:hunter2@grafana.example"), 2)
    assert "hunter2" not in said
