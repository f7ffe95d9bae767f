"""TOML file, then environment, then flags -> one frozen Config, or every problem at once."""

import logging
import os
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

from spanledger_exporter import variables
from spanledger_exporter.errors import ConfigError
from spanledger_exporter.setting_texts import Address
from spanledger_exporter.settings import SETTINGS
from spanledger_exporter.variables import CONFIG_VARIABLE

_logger = logging.getLogger(__name__)


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


def load(
    *, file: str | None = None, environ: Mapping[str, str] | None = None, flags: Mapping[str, str | None] | None = None
) -> Config:
    """Return the configuration.

    `file` is a TOML file's path (else `SPANLEDGER_CONFIG` names it), `flags` maps a setting's field to its flag's text.
    Variables that look like settings and are none are warned of in the log.

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
    """Return a problem for each variable that can only be a misspelt setting; warn of those that may be one."""
    unknown = variables.unknown(environ)
    for warning in unknown.warnings:
        _logger.warning("%s", warning)
    return unknown.problems


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
