"""Settings: file, then environment, then flags; all problems at once."""

import re
import subprocess
from pathlib import Path

import pytest

from spanledger_exporter import variables
from spanledger_exporter.config import load
from spanledger_exporter.errors import ConfigError
from spanledger_exporter.setting_texts import Address
from spanledger_exporter.settings import SETTINGS

ROOT = Path(__file__).parents[2]


def test_nothing_said_listens_on_loopback_and_keeps_a_file() -> None:
    config = load(environ={})
    assert (config.grpc, config.http, config.metrics) == tuple(
        Address("127.0.0.1", port) for port in (4317, 4318, 9464)
    )
    assert config.ledger_url.startswith("sqlite:///")
    assert config.ledger_url.endswith("/spanledger/ledger.db")


def test_a_flag_beats_the_environment_which_beats_the_file(tmp_path: Path) -> None:
    file = tmp_path / "spanledger.toml"
    file.write_text('[receiver]\ngrpc = "127.0.0.1:1"\nhttp = "127.0.0.1:1"\n[metrics]\naddress = "127.0.0.1:1"\n')
    environ = {"SPANLEDGER_CONFIG": str(file), "SPANLEDGER_RECEIVER_HTTP": ":2", "SPANLEDGER_METRICS_ADDRESS": ":2"}
    config = load(environ=environ, flags={"metrics": "[::1]:3", "grpc": None})
    assert (config.grpc.port, config.http.port, config.metrics) == (1, 2, Address("::1", 3))


def test_every_problem_is_reported_at_once(tmp_path: Path) -> None:
    file = tmp_path / "spanledger.toml"
    file.write_text('colour = "red"\n[receiver]\ngrpc = 12\nrequest_bytes_max = true\n[ledger]\nurl = "mysql://x/y"\n')
    environ = {"SPANLEDGER_LOG_LEVEL": "chatty", "SPANLEDGER_LEDGER_CELLS_MAX": "-1", "SPANLEDGER_RECEIVER_GRCP": ":1"}
    with pytest.raises(ConfigError) as raised:
        load(file=str(file), environ=environ, flags={"http": "nowhere"})
    said = "\n".join(raised.value.problems)
    for part in (
        "colour",
        "receiver.grpc",
        "request_bytes_max",
        "mysql",
        "chatty",
        "LEDGER_CELLS_MAX",
        "RECEIVER_GRCP",
        "--http: 'nowhere'",
    ):
        assert part in said
    assert len(raised.value.problems) == 8


def test_channels_may_be_a_list_or_one_text_and_are_never_shown(tmp_path: Path) -> None:
    file = tmp_path / "spanledger.toml"
    file.write_text('[notify]\nurls = ["json://127.0.0.1/a", "json://127.0.0.1/b"]\nbudgets = ["team-*", "search"]\n')
    config = load(file=str(file), environ={})
    assert (config.notify_urls, config.notify_budgets) == (
        ("json://127.0.0.1/a", "json://127.0.0.1/b"),
        ("team-*", "search"),
    )
    assert "json://" not in repr(config)
    environ = {"SPANLEDGER_NOTIFY_URLS": "xml://a\nxml://b xml://c", "SPANLEDGER_NOTIFY_BUDGETS": "a, b"}
    config = load(file=str(file), environ=environ)
    assert (config.notify_urls, config.notify_budgets) == (("xml://a", "xml://b", "xml://c"), ("a", "b"))


@pytest.mark.parametrize(
    "content",
    [
        'urls = ["s3cret"]',
        'urls = ["json://ok", 5, "json://s3cret"]',
        'urls = {a = "s3cret"}',
        "urls = 'json://s3cret b'",
        "budgets = [' ']",
        "min_interval_h = 8761",
        "link = 'javascript:alert(1)'",
    ],
)
def test_what_is_wrong_with_channels_is_a_problem_that_keeps_their_secret(tmp_path: Path, content: str) -> None:
    file = tmp_path / "spanledger.toml"
    file.write_text(f"[notify]\n{content}\n")
    with pytest.raises(ConfigError) as raised:
        load(file=str(file), environ={})
    assert "notify." in str(raised.value)
    assert "s3cret" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "said"),
    [("not toml", "not TOML"), (f"a = 1{'0' * 5000}", "not TOML"), (None, "No such file")],
)
def test_an_unreadable_file_is_a_problem(tmp_path: Path, content: str | None, said: str) -> None:
    file = tmp_path / "spanledger.toml"
    if content is not None:
        file.write_text(content)
    with pytest.raises(ConfigError, match=said):
        load(file=str(file), environ={})


@pytest.mark.parametrize("text", ["", "4317", "host:", "host:x", "host:70000", "::1:4317", "host:-1"])
def test_an_address_needs_a_host_and_a_port(text: str) -> None:
    with pytest.raises(ValueError, match="is no address"):
        Address.parse(text)


def test_every_setting_has_its_own_variable_and_key() -> None:
    assert (
        len({setting.key for setting in SETTINGS}) == len({setting.variable for setting in SETTINGS}) == len(SETTINGS)
    )


# -- variables -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("SPANLEDGER_METRIC_DIMENSIONS", "SPANLEDGER_METRICS_DIMENSIONS"),
        ("SPANLEDGER_TOKENS_FILE", "SPANLEDGER_AUTH_TOKENS_FILE"),
        ("SPANLEDGER_LEDGR_URL", "SPANLEDGER_LEDGER_URL"),
        ("SPANLEDGER_CONFIGS", "SPANLEDGER_CONFIG"),
        ("SPANLEDGER_COLOUR", None),
    ],
)
def test_a_variable_that_is_no_setting_is_warned_of_with_the_nearest_name(
    caplog: pytest.LogCaptureFixture, name: str, meant: str | None
) -> None:
    assert load(environ={name: "s3cret"}) == load(environ={})
    said = "" if meant is None else f"; did you mean {meant}?"
    assert caplog.messages == [f"{name} is no setting, and nothing reads it{said}"]


def test_a_variable_of_a_section_that_is_no_setting_is_a_problem_with_the_nearest_name() -> None:
    with pytest.raises(
        ConfigError, match=r"unknown variable; did you mean SPANLEDGER_METRICS_DIMENSIONS\?; known are "
    ):
        load(environ={"SPANLEDGER_METRICS_DIMENSION": "team"})


def test_every_variable_that_is_read_anywhere_in_the_repository_is_known() -> None:
    # Tests set what is no setting on purpose; pages name nothing that is not read (tests/test_docs.py).
    found = subprocess.run(
        ["git", "grep", "-hoP", r"(?<![A-Z_])SPANLEDGER_[A-Z0-9_]*[A-Z0-9]", "--", ":!tests", ":!*.md"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    read = set(found.stdout.split())
    assert {"SPANLEDGER_OTELCOL", "SPANLEDGER_FAILPOINTS", "SPANLEDGER_COLLECTOR_KEEP", "SPANLEDGER_TOKEN"} <= read
    assert variables.unknown(dict.fromkeys(read, "1")) == ([], [])


def test_every_variable_that_is_known_and_no_setting_is_read_somewhere() -> None:
    code = "".join(path.read_text() for path in ROOT.glob("*/spanledger_*/**/*.py") if path.name != "variables.py")
    code += (ROOT / "otel-collector.yaml").read_text()
    named = re.findall(r"SPANLEDGER_[A-Z_]*[A-Z]", (Path(variables.__file__)).read_text())
    assert {name for name in named if name not in code} == set()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("SPANLEDGER_SERVICE_HOST", "10.0.0.7"),
        ("SPANLEDGER_METRICS_SERVICE_PORT_HTTP", "9464"),
        ("SPANLEDGER_PORT", "tcp://10.0.0.7:4317"),
        ("SPANLEDGER_RECEIVER_PORT_4317_TCP_ADDR", "10.0.0.7"),
    ],
)
def test_what_kubernetes_sets_is_passed_over(caplog: pytest.LogCaptureFixture, name: str, value: str) -> None:
    load(environ={name: value})
    assert caplog.messages == []


# -- dimensions ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", [", ,", ",", " "])
def test_dimensions_without_a_name_are_a_problem(text: str) -> None:
    with pytest.raises(ConfigError, match=r"SPANLEDGER_METRICS_DIMENSIONS: '.+' names no dimension; in a file"):
        load(environ={"SPANLEDGER_METRICS_DIMENSIONS": text})


def test_no_dimensions_are_an_empty_list_in_a_file(tmp_path: Path) -> None:
    file = tmp_path / "spanledger.toml"
    file.write_text("[metrics]\ndimensions = []\n")
    assert load(file=str(file), environ={}).metrics_dimensions == ()
