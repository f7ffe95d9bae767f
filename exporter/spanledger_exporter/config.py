"""TOML file, then environment, then flags -> one frozen Config, or every problem at once.

Each setting is one row of `SETTINGS`, which gives its TOML key, its environment variable, its flag and how its text
is read.
"""

import ipaddress
import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self, cast

from spanledger_exporter.errors import ConfigError

CONFIG_VARIABLE = "SPANLEDGER_CONFIG"
_MIB = 1024 * 1024


class Address(NamedTuple):
    """A host and a port to listen on; port 0 lets the system choose."""

    host: str
    port: int

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `host:port`, `[v6]:port` or `:port`, which means the loopback interface.

        Raises:
            ValueError: it is none of these.
        """
        host, colon, port = text.rpartition(":")
        if (
            not colon
            or not port.isascii()
            or not port.isdigit()
            or int(port) > 65535
            or (":" in host and host[0] != "[")
        ):
            raise ValueError(f"{text!r} is no address; write host:port, such as 127.0.0.1:4317 or [::1]:4317")
        return cls(host.strip("[]") or "127.0.0.1", int(port))

    @property
    def is_loopback(self) -> bool:
        """Whether only this host can reach it; a name that is no address may mean any."""
        try:
            return self.host == "localhost" or ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return False

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The exporter's settings.

    Units: `*_bytes_max` bytes, `*_rows_max` ledger rows, `*_s` seconds, `*_days` days, `dead_letters_max` rows.
    """

    grpc: Address
    http: Address
    metrics: Address
    ledger_url: str
    request_bytes_max: int
    in_flight_bytes_max: int
    shutdown_grace_s: int
    read_timeout_s: int
    poison_tries_max: int
    tls_cert_file: Path | None
    tls_key_file: Path | None
    tls_client_ca_file: Path | None
    insecure: bool
    tokens_file: Path | None
    dead_letters_max: int
    commit_rows_max: int
    cells_max: int
    retention_days: int
    prices_file: str
    prices_poll_s: int
    log_level: str


def _whole(least: int, most: int) -> Callable[[str], int]:
    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
            raise ValueError(f"{text!r} is no whole number from {least} to {most}")
        return int(text)

    return read


def _switch(text: str) -> bool:
    if text not in ("true", "false"):
        raise ValueError(f"{text!r} is neither true nor false")
    return text == "true"


def _file(text: str) -> Path | None:
    return Path(text).expanduser() if text else None


def _log_level(text: str) -> str:
    if text not in _LOG_LEVELS:
        raise ValueError(f"{text!r} is no log level; use one of {', '.join(_LOG_LEVELS)}")
    return text


_LOG_LEVELS = ("debug", "info", "warning", "error")


def _ledger_url(text: str) -> str:
    from spanledger_exporter.database import parse_url  # the only part of the configuration that needs SQLAlchemy

    try:
        parse_url(text)
    except ConfigError as exc:
        raise ValueError(str(exc)) from exc
    return text


def default_ledger_url() -> str:
    """Return the URL of the SQLite ledger in the platform's data folder."""
    from platformdirs import user_data_path

    return f"sqlite:///{user_data_path('spanledger', appauthor=False) / 'ledger.db'}"


class Setting(NamedTuple):
    """One setting: where it stands, how its text is read, and what it is when nobody says."""

    field: str
    key: str
    read: Callable[[str], Any]  # each setting has a type of its own
    default: Callable[[], str]
    meaning: str
    flag: str | None = None

    @property
    def variable(self) -> str:
        """Its environment variable."""
        return "SPANLEDGER_" + self.key.upper().replace(".", "_")


def _always(text: str) -> Callable[[], str]:
    return lambda: text


_BYTES = _whole(1024, 2**31 - 1)
SETTINGS = (
    Setting("grpc", "receiver.grpc", Address.parse, _always("127.0.0.1:4317"), "where OTLP/gRPC listens", "--grpc"),
    Setting("http", "receiver.http", Address.parse, _always("127.0.0.1:4318"), "where OTLP/HTTP listens", "--http"),
    Setting(
        "request_bytes_max",
        "receiver.request_bytes_max",
        _BYTES,
        _always(str(64 * _MIB)),
        "largest request, in bytes, before and after decompression",
    ),
    Setting(
        "in_flight_bytes_max",
        "receiver.in_flight_bytes_max",
        _BYTES,
        _always(str(256 * _MIB)),
        "bytes of requests that may wait for their commit; more are told to retry",
    ),
    Setting(
        "shutdown_grace_s",
        "receiver.shutdown_grace_s",
        _whole(0, 3600),
        _always("10"),
        "seconds that accepted requests have to finish after SIGTERM",
    ),
    Setting(
        "read_timeout_s",
        "receiver.read_timeout_s",
        _whole(1, 3600),
        _always("30"),
        "seconds that the head of an HTTP request may take to arrive, and its body again",
    ),
    Setting(
        "poison_tries_max",
        "receiver.poison_tries_max",
        _whole(1, 1000),
        _always("5"),
        "how often a request may fail for no reason that can pass before what makes it fail is set aside",
    ),
    Setting("tls_cert_file", "receiver.tls.cert_file", _file, _always(""), "certificate of all ports, PEM"),
    Setting("tls_key_file", "receiver.tls.key_file", _file, _always(""), "the certificate's key, PEM"),
    Setting(
        "tls_client_ca_file",
        "receiver.tls.client_ca_file",
        _file,
        _always(""),
        "authority of the certificates that clients must have, PEM",
    ),
    Setting(
        "insecure",
        "receiver.insecure",
        _switch,
        _always("false"),
        "listen beyond loopback though TLS or tokens are missing",
        "--insecure",
    ),
    Setting("tokens_file", "auth.tokens_file", _file, _always(""), "hashes of the tokens that callers must have"),
    Setting(
        "dead_letters_max",
        "dead_letters.rows_max",
        _whole(1, 10_000_000),
        _always("10000"),
        "dead letters that are kept; the oldest give way",
    ),
    Setting(
        "metrics",
        "metrics.address",
        Address.parse,
        _always("127.0.0.1:9464"),
        "where /metrics, /healthz and /readyz listen",
        "--metrics",
    ),
    Setting(
        "ledger_url",
        "ledger.url",
        _ledger_url,
        default_ledger_url,
        "SQLAlchemy URL of the ledger, SQLite or PostgreSQL",
        "--ledger",
    ),
    Setting(
        "commit_rows_max",
        "ledger.commit_rows_max",
        _whole(1, 100_000),
        _always("8192"),
        "rows of waiting requests that one transaction gathers",
    ),
    Setting(
        "cells_max",
        "ledger.cells_max",
        _whole(1, 10_000_000),
        _always("10000"),
        "combinations of service, environment, provider, model and outcome that are counted apart",
    ),
    Setting(
        "retention_days",
        "ledger.retention_days",
        _whole(0, 36_500),
        _always("0"),
        "days after which an entry is deleted, while its sums stay; 0 keeps entries for ever",
    ),
    Setting(
        "prices_file",
        "prices.file",
        str,
        _always(""),
        "TOML file of negotiated prices, models of your own and names of deployments",
    ),
    Setting(
        "prices_poll_s",
        "prices.poll_s",
        _whole(1, 86_400),
        _always("60"),
        "seconds between looks for a new price book and for changes of prices.file",
    ),
    Setting("log_level", "log.level", _log_level, _always("info"), f"one of {', '.join(_LOG_LEVELS)}"),
)


def load(
    *, file: str | None = None, environ: Mapping[str, str] | None = None, flags: Mapping[str, str | None] | None = None
) -> Config:
    """Return the configuration.

    `file` is a TOML file's path (else `SPANLEDGER_CONFIG` names it), `flags` maps a setting's field to its flag's text.

    Raises:
        ConfigError: with every problem of the file, the environment and the flags.
    """
    environ = os.environ if environ is None else environ
    problems: list[str] = []
    said = _from_file(file or environ.get(CONFIG_VARIABLE), problems)
    problems.extend(_unknown_variables(environ))
    for setting in SETTINGS:
        if environ.get(setting.variable):
            said[setting.field] = (setting.variable, environ[setting.variable])
        flag = (flags or {}).get(setting.field)
        if flag is not None:
            said[setting.field] = (setting.flag or setting.field, flag)
    values: dict[str, Any] = {}
    for setting in SETTINGS:
        where, text = said.get(setting.field) or (setting.key, setting.default())
        try:
            values[setting.field] = setting.read(text)
        except ValueError as exc:
            problems.append(f"{where}: {exc}")
    if not problems:
        config = Config(**values)
        problems.extend(_contradictions(config))
        if not problems:
            return config
    raise ConfigError(problems)


def _contradictions(config: Config) -> Iterator[str]:
    if config.in_flight_bytes_max < config.request_bytes_max:
        yield "receiver.in_flight_bytes_max must not be less than receiver.request_bytes_max"
    if (config.tls_cert_file is None) != (config.tls_key_file is None):
        yield "receiver.tls.cert_file and receiver.tls.key_file belong together"
    if config.tls_client_ca_file is not None and config.tls_cert_file is None:
        yield "receiver.tls.client_ca_file needs receiver.tls.cert_file and receiver.tls.key_file"


def require_safe_addresses(config: Config) -> None:
    """See to it that nobody unknown can reach the exporter.

    Raises:
        ConfigError: an address is beyond loopback, and TLS or a way to tell callers apart is missing.
    """
    callers_are_known = config.tokens_file is not None or config.tls_client_ca_file is not None
    if config.insecure or (config.tls_cert_file is not None and callers_are_known):
        return
    named = {"receiver.grpc": config.grpc, "receiver.http": config.http, "metrics.address": config.metrics}
    problems = [
        f"{key}: {address} can be reached from other hosts; that needs receiver.tls.cert_file and key_file, and "
        "auth.tokens_file or receiver.tls.client_ca_file; --insecure goes without"
        for key, address in named.items()
        if not address.is_loopback
    ]
    if problems:
        raise ConfigError(problems)


def _unknown_variables(environ: Mapping[str, str]) -> list[str]:
    """Return a problem for each variable that can only be a misspelt setting: it begins as settings do, and is none."""
    known = {setting.variable for setting in SETTINGS}
    sections = tuple({f"SPANLEDGER_{setting.key.split('.')[0].upper()}_" for setting in SETTINGS})
    unknown = sorted(name for name in environ if name.startswith(sections) and name not in known)
    return [f"{name}: unknown variable; known are {', '.join(sorted(known))}" for name in unknown]


def _from_file(path: str | None, problems: list[str]) -> dict[str, tuple[str, str]]:
    if not path:
        return {}
    try:
        document = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    except OSError as exc:
        problems.append(f"configuration file {path}: {exc.strerror}")
        return {}
    except (
        ValueError,
        RecursionError,
    ) as exc:  # also a number of too many digits, or too deep a nesting
        problems.append(f"configuration file {path}: not TOML: {exc}")
        return {}
    settings = {setting.key: setting for setting in SETTINGS}
    said: dict[str, tuple[str, str]] = {}
    for key, value in _flattened(document):
        if key not in settings:
            problems.append(f"{path}: unknown key {key}; known are {', '.join(settings)}")
        elif not isinstance(value, str | int):
            problems.append(f"{path}: {key} must be a text, a whole number, true or false, not {value!r}")
        else:
            text = str(value).lower() if isinstance(value, bool) else str(value)
            said[settings[key].field] = (f"{path}: {key}", text)
    return said


def _flattened(document: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in document.items():
        if isinstance(value, dict):
            pairs.extend(_flattened(cast("dict[str, Any]", value), f"{prefix}{key}."))
        else:
            pairs.append((prefix + key, value))
    return pairs
