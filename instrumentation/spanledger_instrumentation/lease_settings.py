"""The environment -> where budgets are leased from. What makes no sense is logged and left out: the app must start."""

import logging
from collections.abc import Callable, Iterator, Mapping
from math import nan
from typing import Final
from urllib.parse import unquote

from spanledger_instrumentation.environment_variables import (
    OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_BYTES_PER_TOKEN,
    OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_CERTIFICATE,
    OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_CLIENT_CERTIFICATE,
    OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_CLIENT_KEY,
    OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_ENDPOINT,
    OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_HEADERS,
    OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_ON_UNREACHABLE,
    OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_TIMEOUT,
    OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_TOKEN_FILE,
)
from spanledger_instrumentation.lease_address import LeaseAddress, is_address

__all__ = ["load"]

_LOGGER = logging.getLogger(__name__)
TIMEOUT_S: Final = 1.0
TIMEOUT_S_MAX: Final = 60.0
BYTES_PER_TOKEN: Final = 1.0
BYTES_PER_TOKEN_MAX: Final = 8.0


def load(environ: Mapping[str, str]) -> LeaseAddress | None:
    """Read where to lease from; nothing where the user does not say, or says what is no URL."""
    url = environ.get(OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_ENDPOINT, "").strip()
    if not url:
        return None
    if not is_address(url):
        _LOGGER.warning(
            "%s: %r is left out, and no budget is enforced: it must be http://HOST:PORT or https://HOST:PORT",
            OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_ENDPOINT,
            url,
        )
        return None
    return LeaseAddress(
        url=url,
        timeout_s=_number(
            environ,
            OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_TIMEOUT,
            TIMEOUT_S,
            lambda seconds: 0 < seconds <= TIMEOUT_S_MAX,
            f"a number of seconds above 0, and no more than {TIMEOUT_S_MAX:g}",
        ),
        bytes_per_token=_number(
            environ,
            OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_BYTES_PER_TOKEN,
            BYTES_PER_TOKEN,
            lambda found: BYTES_PER_TOKEN <= found <= BYTES_PER_TOKEN_MAX,
            f"a number from {BYTES_PER_TOKEN:g} to {BYTES_PER_TOKEN_MAX:g}",
        ),
        headers=dict(_headers(environ.get(OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_HEADERS, ""))),
        token_file=environ.get(OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_TOKEN_FILE, "").strip(),
        certificate=environ.get(OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_CERTIFICATE, "").strip(),
        client_certificate=environ.get(OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_CLIENT_CERTIFICATE, "").strip(),
        client_key=environ.get(OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_CLIENT_KEY, "").strip(),
        closed=_is_closed(environ.get(OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_ON_UNREACHABLE, "")),
    )


def _number(
    environ: Mapping[str, str], name: str, default: float, fits: Callable[[float], bool], allowed: str
) -> float:
    value = environ.get(name, "")
    try:
        found = float(value) if value.strip() else default
    except ValueError:
        found = nan
    if fits(found):
        return found
    _LOGGER.warning("%s: %r is taken as %g: it must be %s", name, value, default, allowed)
    return default


def _headers(value: str) -> Iterator[tuple[str, str]]:
    for entry in filter(None, map(str.strip, value.split(","))):
        name, equals, said = (part.strip() for part in entry.partition("="))
        content = unquote(said)
        if (
            equals
            and name.isascii()
            and name.replace("-", "").isalnum()
            and content.isprintable()
            and _is_latin(content)
        ):
            yield name.lower(), content
        else:  # its value may be a secret
            _LOGGER.warning(
                "%s: the entry of %r is left out: it must be NAME=VALUE",
                OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_HEADERS,
                name,
            )


def _is_latin(value: str) -> bool:
    return all(ord(each) < 256 for each in value)


def _is_closed(value: str) -> bool:
    said = value.strip().lower()
    if said not in ("", "open", "closed"):
        _LOGGER.warning(
            "%s: %r is taken as open: it must be open or closed",
            OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_ON_UNREACHABLE,
            value,
        )
    return said == "closed"
