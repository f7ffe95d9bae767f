"""TOML file, then environment, then flags -> one frozen Config, or every problem at once.

Each setting is one row of `SETTINGS`, which gives its TOML key, its environment variable, its flag and how its text
is read.
"""

import os
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, cast

from spanledger_exporter.errors import ConfigError
from spanledger_exporter.setting_texts import LOG_LEVELS as _LOG_LEVELS
from spanledger_exporter.setting_texts import Address
from spanledger_exporter.setting_texts import dimensions as _dimensions
from spanledger_exporter.setting_texts import file as _file
from spanledger_exporter.setting_texts import ledger_url as _ledger_url
from spanledger_exporter.setting_texts import link as _link
from spanledger_exporter.setting_texts import log_level as _log_level
from spanledger_exporter.setting_texts import names as _names
from spanledger_exporter.setting_texts import switch as _switch
from spanledger_exporter.setting_texts import urls as _urls
from spanledger_exporter.setting_texts import whole as _whole

CONFIG_VARIABLE = "SPANLEDGER_CONFIG"
_MIB = 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """The exporter's settings.

    Units: `*_bytes_max` bytes, `*_rows_max` ledger rows, `*_s` seconds, `*_days` days, `dead_letters_max` rows.
    """

    grpc: Address
    http: Address
    metrics: Address
    metrics_dimensions: tuple[str, ...]
    metrics_series_max: int
    metrics_hold_s: int
    metrics_follow_s: int
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
    budgets_file: str
    budgets_keep_days: int
    evaluation_s: int
    notify_urls: tuple[str, ...] = field(repr=False)  # nearly all of such a URL is secret
    notify_urls_file: Path | None
    notify_min_interval_h: int
    notify_budgets: tuple[str, ...]
    notify_link: str
    grafana_token: str = field(repr=False)
    log_level: str


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
    several: bool = False  # a list of texts will do in a file
    secret: bool = False  # no message says what it is

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
        "metrics_dimensions",
        "metrics.dimensions",
        _dimensions,
        _always("service environment team project provider model operation"),
        "what spend is told apart by in metrics: some of service, environment, tenant, team, project, feature, "
        "provider, model, operation",
        several=True,
    ),
    Setting(
        "metrics_series_max",
        "metrics.series_max",
        _whole(1, 1_000_000),
        _always("10000"),
        "series of one metric of spend; what comes beyond is summed under __other__",
    ),
    Setting(
        "metrics_hold_s",
        "metrics.new_series_hold_s",
        _whole(0, 3600),
        _always("30"),
        "seconds for which a new series is shown as 0, so that increase() sees its first dollar: two scrape intervals",
    ),
    Setting(
        "metrics_follow_s",
        "metrics.follow_s",
        _whole(1, 3600),
        _always("5"),
        "seconds between looks at what others have committed to the ledger",
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
    Setting("budgets_file", "budgets.file", str, _always(""), "TOML file of budgets"),
    Setting(
        "budgets_keep_days",
        "budgets.keep_days",
        _whole(70, 36_500),
        _always("400"),
        "days after its end for which it is kept what budgets counted in a period",
    ),
    Setting(
        "evaluation_s",
        "budgets.evaluation_s",
        _whole(0, 86_400),
        _always("15"),
        "seconds between looks at how budgets stand; 0 is never",
    ),
    Setting(
        "notify_urls",
        "notify.urls",
        _urls,
        _always(""),
        "Apprise URLs of the channels that messages about budgets go to",
        several=True,
        secret=True,
    ),
    Setting("notify_urls_file", "notify.urls_file", _file, _always(""), "file of such URLs, one a line"),
    Setting(
        "notify_min_interval_h",
        "notify.min_interval_h",
        _whole(0, 8760),
        _always("24"),
        "hours between two messages about the same budget and group, unless the later one is graver",
    ),
    Setting(
        "notify_budgets",
        "notify.budgets",
        _names,
        _always("*"),
        "names of the budgets that messages are wanted of",
        several=True,
    ),
    Setting("notify_link", "notify.link", _link, _always(""), "link in messages; {budget} stands for the name"),
    Setting(
        "grafana_token",
        "grafana.token",
        str,
        _always(""),
        "token of a service account of Grafana that may write dashboards",
        secret=True,
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
    if (config.notify_urls or config.notify_urls_file) and not config.evaluation_s:
        yield "notify.urls and notify.urls_file need budgets.evaluation_s: nobody sees that a threshold is crossed"


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
            continue
        text = _text(value, several=settings[key].several)
        if text is not None:
            said[settings[key].field] = (f"{path}: {key}", text)
        else:
            wanted = "a text or a list of texts" if settings[key].several else "a text, a whole number, true or false"
            shown = "" if settings[key].secret else f", not {value!r}"
            problems.append(f"{path}: {key} must be {wanted}{shown}")
    return said


def _text(value: Any, *, several: bool) -> str | None:
    """Return a value of a file as a variable would have it; `None` where it is none that a setting may have."""
    if isinstance(value, bool):
        return str(value).lower()
    if several and isinstance(value, list):
        parts = cast("list[Any]", value)
        return " ".join(parts) if all(isinstance(part, str) for part in parts) else None
    return str(value) if isinstance(value, str | int) else None


def _flattened(document: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    pairs: list[tuple[str, Any]] = []
    for key, value in document.items():
        if isinstance(value, dict):
            pairs.extend(_flattened(cast("dict[str, Any]", value), f"{prefix}{key}."))
        else:
            pairs.append((prefix + key, value))
    return pairs
