"""Tokens: who is let in, what a file may say, and that a change of it turns nobody away by mistake."""

import hashlib
import os
from pathlib import Path

import pytest

from spanledger_exporter.cli import main
from spanledger_exporter.errors import ConfigError, DeniedError
from spanledger_exporter.receiving.tokens import Caller, Tokens, line_of, new_token, open_gate


def line(token: str, name: str = "collector", scopes: str = "ingest", tenant: str | None = None) -> str:
    return line_of(token, name, frozenset(scopes.split(",")), tenant) + "\n"


def write(path: Path, content: str) -> None:
    """Write a file as a deployment does, in one step."""
    aside = path.with_suffix(".new")
    aside.write_text(content)
    aside.replace(path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tokens"


def test_a_token_of_the_file_is_let_in_for_its_scopes_with_its_tenant(path: Path) -> None:
    write(path, "# who may come\n\n" + line("one", tenant="acme") + line("two", "prometheus", "read,admin"))
    gate = Tokens(path)
    assert gate("Bearer one", "ingest") == Caller("collector", "acme")
    assert gate("bearer two", "read") == gate("Bearer  two ", "admin") == Caller("prometheus", None)


@pytest.mark.parametrize("sent", [None, "", "Bearer", "Bearer ", "one", "Basic one", "Bearer onee", "Bearer \ud800"])
def test_whoever_has_no_token_of_ours_is_unknown(path: Path, sent: str | None) -> None:
    write(path, line("one"))
    with pytest.raises(DeniedError) as raised:
        Tokens(path)(sent, "ingest")
    assert not raised.value.known
    assert "onee" not in str(raised.value)


def test_a_token_for_something_else_is_known_and_denied(path: Path) -> None:
    write(path, line("one", scopes="read"))
    with pytest.raises(DeniedError, match="the token collector is not for ingest") as raised:
        Tokens(path)("Bearer one", "ingest")
    assert raised.value.known


def test_two_tokens_of_one_name_are_let_in_while_one_replaces_the_other(path: Path) -> None:
    write(path, line("old"))
    gate = Tokens(path)
    write(path, line("old") + line("new"))
    gate.refresh()
    assert gate("Bearer old", "ingest") == gate("Bearer new", "ingest")
    write(path, line("new"))
    gate.refresh()
    with pytest.raises(DeniedError):
        gate("Bearer old", "ingest")


@pytest.mark.parametrize("break_it", [Path.unlink, lambda path: write(path, "half a li"), lambda path: write(path, "")])
def test_a_file_that_cannot_be_used_any_more_leaves_the_last_good_one(
    path: Path, break_it: object, caplog: pytest.LogCaptureFixture
) -> None:
    failures: list[int] = []
    write(path, line("one"))
    gate = Tokens(path, failed=lambda: failures.append(1))
    break_it(path)  # type: ignore[operator]
    for _ in range(3):
        gate.refresh()
        assert gate("Bearer one", "ingest").name == "collector"
    assert failures == [1]  # said once, not every second
    assert "stays in force" in caplog.text
    write(path, line("two"))
    gate.refresh()
    assert gate("Bearer two", "ingest").name == "collector"


def test_an_unchanged_file_is_not_read_again(path: Path) -> None:
    write(path, line("one"))
    gate = Tokens(path)
    seen = path.stat()
    with path.open("r+b") as file:  # the same size and time: nothing says that it changed
        file.write(b"x")
    os.utime(path, ns=(seen.st_atime_ns, seen.st_mtime_ns))
    gate.refresh()
    assert gate("Bearer one", "ingest").name == "collector"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("", "no token in it"),
        ("# nothing\n", "no token in it"),
        ("collector ingest", "line 1: write NAME SCOPES SHA256"),
        ("collector ingest s3cret", "64 lower-case hex digits"),
        ("collector write " + "0" * 64, "scopes are of ingest, read, admin"),
        ("-x ingest " + "0" * 64, "a name or tenant is"),
        ("x ingest " + "0" * 64 + " a/b", "a name or tenant is"),
        ("\n\nx y\n", "line 3"),
        ("x ingest 0\n" * 1001, "longer than 1000 lines"),
        ("#" * 2**20 + "#", "longer than"),
    ],
)
def test_a_file_that_is_wrong_is_refused_at_the_start_without_quoting_it(path: Path, content: str, said: str) -> None:
    write(path, content)
    with pytest.raises(ConfigError, match=said) as raised:
        Tokens(path)
    assert "s3cret" not in str(raised.value)


def test_a_file_that_is_not_there_is_refused_at_the_start(path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        Tokens(path)


def test_a_file_that_is_no_text_is_refused(path: Path) -> None:
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        Tokens(path)


def test_without_tokens_everybody_is_let_in() -> None:
    assert open_gate(None, "admin") == Caller(None, None)


def test_the_command_prints_a_token_once_and_the_line_that_lets_it_in(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tokens", "new", "collector", "--scope", "read", "--scope", "ingest", "--tenant", "acme"]) == 0
    said = dict(each.split(": ") for each in capsys.readouterr().out.splitlines())
    token, shown = said["token, shown this once"], said["line for the tokens file"]
    assert len(token) == 43  # 256 bits in base64
    assert shown == f"collector ingest,read {hashlib.sha256(token.encode()).hexdigest()} acme"
    write(path, shown)
    assert Tokens(path)(f"Bearer {token}", "read") == Caller("collector", "acme")


def test_each_token_is_another() -> None:
    assert len({new_token() for _ in range(100)}) == 100


@pytest.mark.parametrize("words", [["new", "a b", "--scope", "ingest"], ["new", "x"], ["new", "x", "--scope", "all"]])
def test_a_command_that_makes_no_sense_is_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit):
        main(["tokens", *words])
