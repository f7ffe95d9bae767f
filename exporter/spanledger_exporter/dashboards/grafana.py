"""Grafana's HTTP API, as far as putting dashboards into a folder goes.

Nobody is followed to another address, for the token would go along; what Grafana answers is quoted, the token never.

Source: grafana.com/docs/grafana v13.2, HTTP API, "Dashboard" (`/api/dashboards/db`), "Folder", "Other" (`/api/health`);
Grafana 13 marks them as older than `/apis`, and serves them.
"""

import http.client
import json
import ssl
import urllib.error
import urllib.request
from typing import Any, Final, cast
from urllib.parse import urlsplit

from spanledger_exporter.errors import ConfigError, DeniedError, RejectedError, UnavailableError
from spanledger_exporter.web_client import hidden, opener

FOLDER: Final = "Spanledger"
_TIMEOUT_S: Final = 30
_ANSWER_BYTES_MAX: Final = 8 * 1024 * 1024
_QUOTED_CHARACTERS_MAX: Final = 300
_FOLDERS_MAX: Final = 1000
_Answer = Any  # JSON of others: looked at by what reads it


class NoGrafanaError(RejectedError):
    """What answers is no Grafana, or not here: it will answer to everything so, whatever it is asked to take."""


class Grafana:
    """A Grafana, and a token of a service account that may write dashboards and folders."""

    def __init__(self, url: str, token: str) -> None:
        self._url = _checked_url(url)
        if not token or not all("!" <= character <= "~" for character in token):
            raise ConfigError(["the token is empty, or has characters that no token of Grafana has"])
        self._token = token
        self._opener = opener(urlsplit(self._url).hostname or "")

    def folder(self, title: str) -> str:
        """Return the uid of a folder, which is made where there is none of that title.

        Raises: RejectedError, DeniedError, UnavailableError.
        """
        health = self._ask("GET", "/api/health")
        if not isinstance(health, dict) or "database" not in health:
            raise NoGrafanaError(f"{self._url} is no Grafana: its /api/health says nothing of a database")
        found = self._ask("GET", f"/api/folders?limit={_FOLDERS_MAX}")
        folders = cast("list[dict[str, Any] | None]", found) if isinstance(found, list) else []
        for folder in folders:
            if isinstance(folder, dict) and folder.get("title") == title:
                return self._text(folder, "uid")
        return self._text(self._ask("POST", "/api/folders", {"title": title}), "uid")

    def put(self, dashboard: dict[str, Any], folder_uid: str) -> str:
        """Write a dashboard over the one of its uid, and return its address, which may be printed.

        Raises: RejectedError of this one alone; NoGrafanaError, DeniedError, UnavailableError of any.
        """
        document = {
            "dashboard": {**dashboard, "id": None},
            "folderUid": folder_uid,
            "overwrite": True,
            "message": "spanledger dashboards install",
        }
        path = self._text(self._ask("POST", "/api/dashboards/db", document), "url")
        parts = urlsplit(self._url)
        # Grafana behind a path says it in what it answers, too.
        base = f"{parts.scheme}://{parts.netloc}" if path.startswith(f"{parts.path}/") else self._url
        return hidden(_line(base + path), self._token)

    def _text(self, answer: _Answer, name: str) -> str:
        value = cast("dict[str, Any]", answer).get(name) if isinstance(answer, dict) else None
        if not isinstance(value, str) or not value:
            raise NoGrafanaError(f"{self._url} answers as no Grafana does: no {name}")
        return value

    def _ask(self, method: str, path: str, document: object = None) -> _Answer:
        body = None if document is None else json.dumps(document).encode()
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Accept": "application/json",
            "Content-Type": "application/json",
        }
        request = urllib.request.Request(self._url + path, body, headers, method=method)  # noqa: S310 -- the scheme was looked at
        try:
            with self._opener.open(request, timeout=_TIMEOUT_S) as answer:
                text = answer.read(_ANSWER_BYTES_MAX)
        except urllib.error.HTTPError as exc:
            raise self._refused(exc, path) from exc
        except (urllib.error.URLError, http.client.HTTPException, OSError) as exc:
            raise self._unreachable(exc) from exc
        try:
            return json.loads(text)
        except ValueError as exc:
            raise NoGrafanaError(f"{self._url} is no Grafana: {path} does not answer in JSON") from exc

    def _refused(self, error: urllib.error.HTTPError, path: str) -> Exception:
        code, said = error.code, self._shown(_said(error))
        if code in {http.client.UNAUTHORIZED, http.client.FORBIDDEN}:
            known = code == http.client.FORBIDDEN
            why = (
                "the token may not do this (403); it needs the role Editor" if known else "the token is not known (401)"
            )
            return DeniedError(f"{self._url}: {why}{said}", known=known)
        if code >= http.client.INTERNAL_SERVER_ERROR or code == http.client.TOO_MANY_REQUESTS:
            return UnavailableError(f"{self._url} cannot do it now ({code}){said}")
        if "location" in error.headers:
            place = self._shown(error.headers["location"])
            return NoGrafanaError(f"{self._url} sends on to '{place}' ({code}); give the address that it has")
        if code == http.client.NOT_FOUND:
            return NoGrafanaError(f"{self._url} is no Grafana, or has another path: there is no {path} ({code}){said}")
        taken = code == http.client.PRECONDITION_FAILED
        why = "has something else under this name or uid" if taken else "refuses it"
        return RejectedError(f"{self._url} {why} ({code}){said}")

    def _unreachable(self, error: Exception) -> Exception:
        reason = error.reason if isinstance(error, urllib.error.URLError) else error
        if isinstance(reason, ssl.SSLCertVerificationError):
            return RejectedError(
                f"{self._url} has a certificate that is not trusted here: {reason.verify_message}; "
                "SSL_CERT_FILE names the authorities"
            )
        if isinstance(reason, ssl.SSLError):
            return RejectedError(f"{self._url} does not speak TLS: {reason.reason or reason}")
        if isinstance(reason, TimeoutError):
            return UnavailableError(f"{self._url} does not answer within {_TIMEOUT_S} s")
        said = self._shown(str(getattr(reason, "strerror", None) or reason))
        return UnavailableError(f"{self._url} cannot be reached: {said}")

    def _shown(self, text: str) -> str:
        """Return what others say in one short line that no terminal obeys, without the token."""
        return hidden(_line(text), self._token)[:_QUOTED_CHARACTERS_MAX]


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        _ = parts.port  # what is no port is found here
    except ValueError as exc:
        raise ConfigError([f"--url: {exc}"]) from exc
    if parts.username is not None or parts.password is not None:
        raise ConfigError(["--url: no user or password here; --token is what lets you in"])
    if parts.scheme not in {"http", "https"} or not parts.hostname or parts.query or parts.fragment:
        raise ConfigError([f"--url: {url!r} is no address such as https://grafana.example"])
    return url.rstrip("/")


def _line(text: str) -> str:
    return "".join(character if character.isprintable() else " " for character in text)


def _said(error: urllib.error.HTTPError) -> str:
    """Return what Grafana says of an error, as it says it."""
    try:
        message = json.loads(error.read(_ANSWER_BYTES_MAX)).get("message")
    except (ValueError, AttributeError, OSError, http.client.HTTPException):
        return ""
    return f": {message}" if isinstance(message, str) and message else ""
