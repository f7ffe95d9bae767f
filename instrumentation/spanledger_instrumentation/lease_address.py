"""Where leases of budgets are asked for, and as whom: what the settings say of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import urlsplit

__all__ = ["LeaseAddress", "is_address"]


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseAddress:
    """Say where the exporter is.

    Units: `timeout_s` seconds, for the connection and for each answer; also how long a call waits for one.
    """

    url: str
    timeout_s: float = 1.0
    headers: Mapping[str, str] = field(default_factory=dict[str, str], repr=False)
    token_file: str = ""
    """A file with the bearer token; read anew for each question, so that it may be replaced."""
    certificate: str = ""
    """CAs to trust, in a PEM file; the system's, where it is empty."""
    client_certificate: str = ""
    client_key: str = ""
    bytes_per_token: float = 1.0
    """Of a request's body, for the bound of its call: 1 is the least that a token has."""
    closed: bool = False
    """Whether calls are refused while it cannot be reached, and nothing is known of any budget."""


def is_address(url: str) -> bool:
    """Tell whether a URL can be asked."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
