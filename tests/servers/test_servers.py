"""What the tests' servers promise to the tests that use them."""

import sys
from pathlib import Path

import pytest
from sqlalchemy import create_engine, inspect, text

from tests.servers import alertmanager
from tests.servers.process import Server, get, missing, require

ALERTMANAGER_CONFIG = "route: {receiver: nobody}\nreceivers: [{name: nobody}]\n"


@pytest.mark.parametrize("turn", [1, 2])
def test_each_test_gets_an_empty_database(postgresql_url: str, turn: int) -> None:
    engine = create_engine(postgresql_url)
    try:
        assert inspect(engine).get_table_names() == []
        with engine.begin() as connection:
            connection.execute(text("CREATE TABLE leftover (turn integer)"))
    finally:
        engine.dispose()


def test_alertmanager_answers_while_it_runs_and_is_gone_afterwards(tmp_path: Path) -> None:
    config = tmp_path / "alertmanager.yml"
    config.write_text(ALERTMANAGER_CONFIG)
    with alertmanager.running(config, tmp_path) as address:
        assert get(f"http://{address}/-/healthy")
    assert get(f"http://{address}/-/healthy") is None


def test_a_server_that_ends_early_fails_the_test_at_once_and_shows_its_log(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = Server([sys.executable, "-c", "print('no such setting'); exit(3)"], log=tmp_path / "log")
    with pytest.raises(pytest.fail.Exception, match="ended with status 3"):
        server.wait_until(lambda: False)
    assert "no such setting" in capsys.readouterr().err


def test_a_missing_server_skips_a_test_on_a_developers_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CI", raising=False)
    with pytest.raises(pytest.skip.Exception, match="no-such-server is not installed"):
        require("no-such-server", package="none")


def test_a_missing_server_fails_a_test_on_ci(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", "true")
    with pytest.raises(pytest.fail.Exception, match="nothing may be missing"):
        missing("no-such-server")
