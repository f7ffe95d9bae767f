"""A file of tokens -> who may do what. The file holds hashes only: whoever reads it can send nothing.

Shape: one token a line, `NAME SCOPES SHA256 [TENANT]`, words apart by spaces; SCOPES are comma-separated, of `ingest`
(send spans), `read` (metrics) and `admin`; SHA256 is that of the token's characters, in hex. Empty lines and those that
begin with `#` are passed over. A name may stand twice: that is how a token is replaced without turning anybody away.
"""

import hashlib
import hmac
import re
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from spanledger_exporter.errors import ConfigError, DeniedError
from spanledger_exporter.receiving.watched import Watched

Scope = Literal["ingest", "read", "admin"]
SCOPES: tuple[str, ...] = get_args(Scope)
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_TOKENS_MAX = 1000
_FILE_BYTES_MAX = 1024 * 1024
_SHA256 = re.compile(r"[0-9a-f]{64}")
_TOKEN_BYTES = 32


class Caller(NamedTuple):
    """Who is at the door: the token's name and tenant; neither where no tokens are asked for."""

    name: str | None = None
    tenant: str | None = None


class Token(NamedTuple):
    """One line of the file."""

    name: str
    scopes: frozenset[str]
    sha256: str
    tenant: str | None


# Takes what the caller sent as `authorization`, and what it wants; raises DeniedError.
Gate = Callable[[str | None, Scope], Caller]


def open_gate(_authorization: str | None, _scope: Scope) -> Caller:
    """Let everybody in: the gate of an exporter without tokens."""
    return Caller()


class Tokens:
    """The gate of an exporter with tokens.

    Raises: `ConfigError` when the file cannot be used at the start; later the tokens of before stay in force.
    """

    def __init__(self, path: Path, *, failed: Callable[[], None] = lambda: None) -> None:
        self._tokens = Watched((path,), lambda: read(path), failed=failed)

    def refresh(self) -> None:
        """Read the file again if it has changed."""
        self._tokens.refresh()

    def __call__(self, authorization: str | None, scope: Scope) -> Caller:
        """Return whose token was sent.

        Raises:
            DeniedError: there is none, it is none of ours, or it is not for this.
        """
        kind, _, presented = (authorization or "").partition(" ")
        if kind.lower() != "bearer" or not presented.strip():
            raise DeniedError("a token is wanted: send `authorization: Bearer TOKEN`", known=False)
        digest = _sha256(presented.strip())
        # Each is compared, and each in the same time: how long it takes tells nothing about any of them.
        found = [token for token in self._tokens.value if hmac.compare_digest(token.sha256, digest)]
        if not found:
            raise DeniedError("the token is not known here", known=False)
        for token in found:
            if scope in token.scopes:
                return Caller(token.name, token.tenant)
        raise DeniedError(f"the token {found[0].name} is not for {scope}", known=True)


def read(path: Path) -> tuple[Token, ...]:
    """Read a file of tokens.

    Raises:
        ConfigError: it cannot be read, or a line of it is wrong.
    """
    problems: list[str] = []
    tokens: list[Token] = []
    for number, line in enumerate(_lines(path), 1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                tokens.append(_token(line.split()))
            except ValueError as exc:
                problems.append(f"tokens file {path}, line {number}: {exc}")
    if not tokens and not problems:
        problems.append(f"tokens file {path}: no token in it; `spanledger tokens new NAME --scope ingest` makes one")
    if problems:
        raise ConfigError(problems)
    return tuple(tokens)


def _lines(path: Path) -> list[str]:
    try:
        with path.open("rb") as file:
            content = file.read(_FILE_BYTES_MAX + 1)
        lines = content.decode().splitlines()
    except OSError as exc:
        raise ConfigError([f"tokens file {path}: {exc.strerror}"]) from exc
    except UnicodeDecodeError as exc:
        raise ConfigError([f"tokens file {path}: not UTF-8"]) from exc
    if len(content) > _FILE_BYTES_MAX or len(lines) > _TOKENS_MAX:
        raise ConfigError([f"tokens file {path}: longer than {_TOKENS_MAX} lines or {_FILE_BYTES_MAX} bytes"])
    return lines


def _token(words: list[str]) -> Token:
    # No message quotes a word: a token in clear may stand in the wrong place.
    if not 3 <= len(words) <= 4:
        raise ValueError("write NAME SCOPES SHA256 [TENANT]")
    name, scopes, sha256, tenant = *words[:3], words[3] if len(words) == 4 else None
    if not NAME.fullmatch(name) or (tenant is not None and not NAME.fullmatch(tenant)):
        raise ValueError("a name or tenant is up to 64 letters, digits, dots, dashes and underscores")
    named = frozenset(scopes.split(","))
    if not named <= set(SCOPES):
        raise ValueError(f"scopes are of {', '.join(SCOPES)}, apart by commas")
    if not _SHA256.fullmatch(sha256):
        raise ValueError("the SHA-256 of a token is 64 lower-case hex digits")
    return Token(name, named, sha256, tenant)


def new_token() -> str:
    """Make a token of 256 random bits."""
    return secrets.token_urlsafe(_TOKEN_BYTES)


def line_of(token: str, name: str, scopes: frozenset[str], tenant: str | None) -> str:
    """Return the line of the file for a token."""
    ordered = ",".join(scope for scope in SCOPES if scope in scopes)
    return " ".join(filter(None, (name, ordered, _sha256(token), tenant)))


def _sha256(token: str) -> str:
    return hashlib.sha256(token.encode(errors="surrogatepass")).hexdigest()
