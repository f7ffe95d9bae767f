"""Where overviews come from: a ledger, read here, or a running exporter, asked over HTTP. Both say the same."""

import contextlib
import json
import time
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Final, Protocol

from spanledger_exporter.budgets.texts import printable
from spanledger_exporter.errors import ConfigError, DeniedError, RejectedError, SpanledgerError, UnavailableError
from spanledger_exporter.ledger.database import Database, open_readonly, parse_url, shown
from spanledger_exporter.top.documents import from_document
from spanledger_exporter.top.overview import Overview, Window
from spanledger_exporter.top.overview_reader import OverviewReader
from spanledger_exporter.top.overviews import PATH
from spanledger_exporter.web_client import hidden, opener

_METRICS_PATH: Final = "/metrics"
_TIMEOUT_S: Final = 10
_BODY_BYTES_MAX: Final = 4 * 1024 * 1024
_SAID_CHARS_MAX: Final = 200
_SAID_BYTES_MAX: Final = 65_536
"""More than is shown: a token at the end of what was read would be cut, and be shown."""
_TOKEN_BYTES_MAX: Final = 4096


class Source(Protocol):
    """Something that can be looked at; `name` says what, without secrets.

    Raises: errors of ours from `read`; whether it passes or not, it may be asked again.
    """

    name: str

    def read(self, window: Window) -> Overview:
        """Return how things stand now."""
        ...

    def close(self) -> None:
        """Let go of it."""
        ...


class LedgerSource:
    """A ledger, opened for reading alone; after trouble it is opened anew."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.name = shown(parse_url(url))
        self._opened: tuple[Database, OverviewReader] | None = None

    def read(self, window: Window) -> Overview:
        """Return how things stand now."""
        try:
            return self._reader().read(window, int(time.time()))
        except BaseException:
            self.close()
            raise

    def _reader(self) -> OverviewReader:
        if self._opened is None:
            database = open_readonly(self._url)
            self._opened = database, OverviewReader(database)
        return self._opened[1]

    def close(self) -> None:
        """Close the database."""
        opened, self._opened = self._opened, None
        if opened is not None:
            opened[0].close()


class HttpSource:
    """An exporter, by the URL of its own pages or of its metrics; the file of the token is read with each question.

    Raises: `ConfigError` for a URL that is none of HTTP, or a file without a token.
    """

    def __init__(self, url: str, token_file: Path | None = None) -> None:
        parts = _parsed(url)
        self.name = printable(parts._replace(query="", fragment="").geturl())
        self._url = parts._replace(path=parts.path.rstrip("/").removesuffix(_METRICS_PATH) + PATH, fragment="")
        self._token_file = token_file
        self._opener = opener(parts.hostname or "")
        self._token()

    def read(self, window: Window) -> Overview:
        """Ask how things stand now."""
        token = self._token()
        try:
            return self._asked(window, token)
        except SpanledgerError as exc:
            exc.args = (hidden(str(exc), token),)
            raise

    def _asked(self, window: Window, token: str) -> Overview:
        url = self._url._replace(query=urllib.parse.urlencode({"window": window})).geturl()
        headers = {"authorization": f"Bearer {token}"} if token else {}
        request = urllib.request.Request(url, headers=headers)  # noqa: S310 -- http or https, see _parsed
        try:
            with self._opener.open(request, timeout=_TIMEOUT_S) as answer:
                body = answer.read(_BODY_BYTES_MAX + 1)
        except urllib.error.HTTPError as exc:
            raise _refused(self.name, exc, token) from exc
        except (OSError, HTTPException) as exc:
            reason = exc.reason if isinstance(exc, urllib.error.URLError) else exc
            raise UnavailableError(
                f"{self.name} does not answer: {_said(str(reason) or type(reason).__name__, token)}"
            ) from exc
        if len(body) > _BODY_BYTES_MAX:
            raise RejectedError(f"{self.name} answers with more than {_BODY_BYTES_MAX} bytes")
        try:
            return from_document(json.loads(body))
        except (ValueError, RecursionError) as exc:
            raise RejectedError(
                f"{self.name} answers with no JSON; is it the address of an exporter's metrics?"
            ) from exc

    def close(self) -> None:
        """Do nothing: no connection is kept."""

    def _token(self) -> str:
        if self._token_file is None:
            return ""
        try:
            with self._token_file.open("rb") as file:
                token = file.read(_TOKEN_BYTES_MAX).decode("ascii").strip()
        except (OSError, UnicodeDecodeError) as exc:
            reason = exc.strerror if isinstance(exc, OSError) else "no token in it"
            raise ConfigError([f"token file {self._token_file}: {reason}"]) from exc
        if not token.isprintable() or len(token.split()) != 1:
            raise ConfigError([f"token file {self._token_file}: one token is wanted in it, and nothing else"])
        return token


def _parsed(url: str) -> urllib.parse.SplitResult:
    with contextlib.suppress(ValueError):
        parts = urllib.parse.urlsplit(url)
        usable = parts.scheme in {"http", "https"} and parts.hostname and (parts.port or 1) and not parts.username
        if usable and url.isascii() and url.isprintable() and " " not in url:
            return parts
    raise ConfigError(
        ["--url must be of an exporter's metrics, such as http://127.0.0.1:9464, without user and password"]
    )


def _refused(name: str, answer: urllib.error.HTTPError, token: str) -> Exception:
    """Return what an answer other than 200 means to whoever looks."""
    with answer:
        try:
            said = _said(answer.read(_SAID_BYTES_MAX).decode(errors="replace"), token)
        except (OSError, HTTPException):
            said = ""
    if answer.code == 404:
        return RejectedError(f"{name} has no {PATH}: it is no exporter's metrics, or an older one")
    if answer.code in {401, 403}:
        return DeniedError(f"{name}: {said}; --token-file FILE names one", known=answer.code == 403)
    return UnavailableError(f"{name} answers {answer.code}: {said}")


def _said(text: str, token: str) -> str:
    return hidden(printable(" ".join(text.split())), token)[:_SAID_CHARS_MAX]
