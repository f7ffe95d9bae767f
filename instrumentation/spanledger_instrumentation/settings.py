"""The settings of the instrumentation, read once from the environment when it is activated."""

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from spanledger_instrumentation import attribution, credentials, lease_settings
from spanledger_instrumentation.environment_variables import (
    OTEL_INSTRUMENTATION_SPANLEDGER_BAGGAGE_KEYS,
    OTEL_INSTRUMENTATION_SPANLEDGER_ESTIMATE,
    OTEL_INSTRUMENTATION_SPANLEDGER_EXCLUDED_HOSTS,
    OTEL_INSTRUMENTATION_SPANLEDGER_HASH_KEY,
    OTEL_INSTRUMENTATION_SPANLEDGER_HEADERS,
    OTEL_INSTRUMENTATION_SPANLEDGER_HOSTS,
    OTEL_INSTRUMENTATION_SPANLEDGER_INCLUDE_USAGE,
    OTEL_INSTRUMENTATION_SPANLEDGER_REQUEST_HASH,
)
from spanledger_instrumentation.lease_address import LeaseAddress
from spanledger_instrumentation.providers.hosts import PROVIDERS, Provider

__all__ = ["IncludeUsage", "Settings", "load"]

IncludeUsage = Literal["auto", "always", "off"]

_LOGGER = logging.getLogger(__name__)
_OPT_IN: Final = "OTEL_SEMCONV_STABILITY_OPT_IN"
"""OpenTelemetry's own variable; not every release of its package that we accept has the constant."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a user may choose; the defaults stand on the fields."""

    excluded_hosts: tuple[str, ...] = ()

    hosts: Mapping[str, Provider] = field(default_factory=dict[str, Provider])

    old_metrics: bool = False
    """Whether the older metrics of the conventions are recorded, too."""

    headers: attribution.Rows = ()
    """Headers of the outgoing request that say whom a call is made for."""

    baggage_keys: attribution.Rows = ()
    """Entries of the baggage that are believed to say so."""

    hash_key: bytes = field(default=b"", repr=False)
    """Of the hashes of API keys and requests; empty where the user has no secret for them."""

    request_hash: bool = True

    include_usage: IncludeUsage = "auto"
    """Whether streams that report no usage are asked for it: where that is known to work, always, or never."""

    estimate: bool = False
    """Whether tokens are estimated where a stream has no final figures."""

    budgets: LeaseAddress | None = None
    """Where hard budgets are leased from; without it nothing is refused."""

    def provider_of(self, host: str) -> Provider | None:
        """Find the provider that the user says answers on this host."""
        if not self.hosts:
            return None
        labels = host.split(".")
        names = (".".join(labels[start:]) for start in range(len(labels)))
        return next((self.hosts[name] for name in names if name in self.hosts), None)

    def excludes(self, host: str) -> bool:
        """Tell whether requests to this host are none of our business."""
        if not self.excluded_hosts:
            return False
        return any(host == name or host.endswith("." + name) for name in self.excluded_hosts)


def load(environ: Mapping[str, str] = os.environ) -> Settings:
    """Read the settings from the environment. What makes no sense is logged and left out: the app must start."""
    excluded = environ.get(OTEL_INSTRUMENTATION_SPANLEDGER_EXCLUDED_HOSTS, "")
    return Settings(
        excluded_hosts=tuple(_excluded_hosts(excluded)),
        hosts=dict(_hosts(environ.get(OTEL_INSTRUMENTATION_SPANLEDGER_HOSTS, ""))),
        include_usage=_include_usage(environ.get(OTEL_INSTRUMENTATION_SPANLEDGER_INCLUDE_USAGE, "")),
        estimate=_is_on(OTEL_INSTRUMENTATION_SPANLEDGER_ESTIMATE, environ, default=False),
        old_metrics="gen_ai/dup" in _listed(environ.get(_OPT_IN, "")),
        headers=tuple(_headers(environ.get(OTEL_INSTRUMENTATION_SPANLEDGER_HEADERS, ""))),
        baggage_keys=tuple(_baggage_keys(environ.get(OTEL_INSTRUMENTATION_SPANLEDGER_BAGGAGE_KEYS, ""))),
        hash_key=credentials.hash_key(environ.get(OTEL_INSTRUMENTATION_SPANLEDGER_HASH_KEY, "")),
        request_hash=_is_on(OTEL_INSTRUMENTATION_SPANLEDGER_REQUEST_HASH, environ, default=True),
        budgets=lease_settings.load(environ),
    )


def _listed(value: str) -> Iterator[str]:
    return (entry.strip() for entry in value.lower().split(",") if entry.strip())


def _include_usage(value: str) -> IncludeUsage:
    match value.strip().lower():
        case "" | "auto":
            return "auto"
        case "always":
            return "always"
        case "off":
            return "off"
        case _:
            _LOGGER.warning(
                "%s: %r is taken as auto: it must be auto, always or off",
                OTEL_INSTRUMENTATION_SPANLEDGER_INCLUDE_USAGE,
                value,
            )
            return "auto"


def _is_host(name: str) -> bool:
    """Tell a host, which may be an IPv6 address, from one with a port or a scheme, which no request's host equals."""
    return bool(name) and "/" not in name and name.count(":") != 1


def _excluded_hosts(value: str) -> Iterator[str]:
    for host in _listed(value):
        if _is_host(host):
            yield host
        else:
            _LOGGER.warning(
                "%s: %r is left out: it must be a host, without a scheme and a port",
                OTEL_INSTRUMENTATION_SPANLEDGER_EXCLUDED_HOSTS,
                host,
            )


def _hosts(value: str) -> Iterator[tuple[str, Provider]]:
    known = {provider.name: provider for provider in PROVIDERS}
    for entry in _listed(value):
        host, _, name = (part.strip() for part in entry.partition("="))
        if _is_host(host) and name in known:
            yield host, known[name]
        else:
            _LOGGER.warning(
                "%s: %r is left out: it must be HOST=PROVIDER, HOST without scheme and port, and PROVIDER one of %s",
                OTEL_INSTRUMENTATION_SPANLEDGER_HOSTS,
                entry,
                ", ".join(known),
            )


def _headers(value: str) -> Iterator[tuple[str, str]]:
    for entry in _listed(value):
        header, _, dimension = (part.strip() for part in entry.partition("="))
        if header and header not in credentials.HEADERS and dimension in attribution.DIMENSIONS:
            yield header, attribution.DIMENSIONS[dimension]
        else:
            _LOGGER.warning(
                "%s: %r is left out: it must be HEADER=DIMENSION, the header none of %s, and the dimension one of %s",
                OTEL_INSTRUMENTATION_SPANLEDGER_HEADERS,
                entry,
                ", ".join(sorted(credentials.HEADERS)),
                ", ".join(attribution.DIMENSIONS),
            )


def _baggage_keys(value: str) -> Iterator[tuple[str, str]]:
    known = {**attribution.DIMENSIONS, **{name: name for name in attribution.DIMENSIONS.values()}}
    for entry in filter(None, map(str.strip, value.split(","))):  # keys of baggage are case-sensitive
        key, _, dimension = (part.strip() for part in entry.partition("="))
        name = known.get(dimension or key)
        if key and name is not None:
            yield key, name
        else:
            _LOGGER.warning(
                "%s: %r is left out: it must be KEY=DIMENSION, or KEY alone if it is one of %s",
                OTEL_INSTRUMENTATION_SPANLEDGER_BAGGAGE_KEYS,
                entry,
                ", ".join(known),
            )


def _is_on(name: str, environ: Mapping[str, str], *, default: bool) -> bool:
    value = environ.get(name, "").strip().lower()
    if value not in ("", "true", "false"):
        _LOGGER.warning("%s: %r is left out: it must be true or false", name, value)
    return {"true": True, "false": False}.get(value, default)
