"""The text of a setting -> its value; a text that is none is a `ValueError` that says what is allowed."""

import ipaddress
from collections.abc import Callable
from pathlib import Path
from typing import Final, NamedTuple, Self

from spanledger_exporter.errors import ConfigError
from spanledger_exporter.metrics.dimensions import ALLOWED_DIMENSIONS

LOG_LEVELS: Final = ("debug", "info", "warning", "error")


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


def whole(least: int, most: int) -> Callable[[str], int]:
    """Return what reads whole numbers from one to another."""

    def read(text: str) -> int:
        if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
            raise ValueError(f"{text!r} is no whole number from {least} to {most}")
        return int(text)

    return read


def switch(text: str) -> bool:
    """Read `true` or `false`."""
    if text not in ("true", "false"):
        raise ValueError(f"{text!r} is neither true nor false")
    return text == "true"


def file(text: str) -> Path | None:
    """Read the name of a file; the empty text names none."""
    return Path(text).expanduser() if text else None


def urls(text: str) -> tuple[str, ...]:
    """Read URLs of channels, apart by blanks. What is wrong with one is said without showing it."""
    found = tuple(text.split())
    for number, url in enumerate(found, 1):
        if "://" not in url:
            raise ValueError(f"channel {number} is no URL such as mailto://user:password@example.com; it is not shown")
    return found


def names(text: str) -> tuple[str, ...]:
    """Read names, apart by commas or blanks."""
    found = tuple(text.replace(",", " ").split())
    if not found:
        raise ValueError("names no budget; * stands for all")
    return found


def dimensions(text: str) -> tuple[str, ...]:
    """Read names of dimensions, apart by commas or blanks; the empty text, an empty list in a file, names none."""
    found = tuple(text.replace(",", " ").split())
    if text and not found:
        raise ValueError(f"{text!r} names no dimension; in a file dimensions = [] stands for none")
    unknown = [name for name in found if name not in ALLOWED_DIMENSIONS]
    if unknown:
        raise ValueError(f"{', '.join(unknown)}: no dimension of metrics; there are {', '.join(ALLOWED_DIMENSIONS)}")
    return found


def link(text: str) -> str:
    """Read a link, or none."""
    if text and not text.startswith(("http://", "https://")):
        raise ValueError(f"{text!r} is no link that begins with http:// or https://")
    return text


def log_level(text: str) -> str:
    """Read the name of a log level."""
    if text not in LOG_LEVELS:
        raise ValueError(f"{text!r} is no log level; use one of {', '.join(LOG_LEVELS)}")
    return text


def ledger_url(text: str) -> str:
    """Read the URL of a ledger."""
    from spanledger_exporter.ledger.database import (
        parse_url,  # the only part of the configuration that needs SQLAlchemy
    )

    try:
        parse_url(text)
    except ConfigError as exc:
        raise ValueError(str(exc)) from exc
    return text
