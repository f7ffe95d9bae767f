"""Dashboards -> a running Grafana, through its HTTP API.

Source: the pages "Dashboard HTTP API", "Folder HTTP API" and "Other HTTP API" (`/api/health`) of Grafana's
documentation, 2026-11: what is sent, and what the answers 400, 401, 403, 404, 409 and 412 mean.
"""

import http.client
import json
import ssl
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping
from typing import Any, NamedTuple, cast

from spanledger_exporter.errors import ConfigError, DeniedError, RejectedError, UnavailableError

_TIMEOUT_S = 30
_ANSWER_BYTES_MAX = 4 * 1024 * 1024
_FOLDER_UID = "spanledger"


class Answer(NamedTuple):
    """What Grafana answered: the status, and the JSON object, empty where there was none."""

    status: int
    document: Mapping[str, Any]

    @property
    def message(self) -> str:
        """What Grafana says about it, on one line."""
        return " ".join(str(self.document.get("message", "")).split())[:300]


class Grafana:
    """A Grafana, and the token of a service account of it.

    Raises: of every method `UnavailableError` where nobody answers, or with a 5xx; `DeniedError` where the token is
    wrong or may not do this; `RejectedError` where what answers is no Grafana, or does not take what it is given.
    """

    def __init__(self, url: str, token: str) -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigError([f"--url: {url!r} is no URL that begins with http:// or https://"])
        if parts.username or parts.password:
            raise ConfigError(["--url must not hold a user or a password; --token is what lets in"])
        self._url = url.rstrip("/")
        self._token = token
        self._open = urllib.request.build_opener(_NoRedirect).open

    def check(self) -> str:
        """Return the version of what answers, if it is a Grafana."""
        answer = self._ask("GET", "/api/health")
        version = answer.document.get("version")
        if answer.status != http.client.OK or "database" not in answer.document:
            raise RejectedError(f"{self._url} answers {answer.status} to /api/health: it is no Grafana")
        return str(version or "of an unknown version")

    def folder(self, title: str) -> str:
        """Make a folder unless it is there; return its uid."""
        found = self._ask("GET", f"/api/folders/{_FOLDER_UID}")
        if found.status == http.client.OK:
            return _FOLDER_UID
        if found.status != http.client.NOT_FOUND:
            raise self._error(found, "look for the folder")
        made = self._ask("POST", "/api/folders", {"uid": _FOLDER_UID, "title": title})
        if made.status == http.client.OK:
            return str(made.document.get("uid", _FOLDER_UID))
        raise self._error(made, f"make the folder {title}")

    def put(self, dashboard: Mapping[str, Any], folder_uid: str) -> str:
        """Make a dashboard, or replace the one of its uid; return its URL."""
        document = {
            "dashboard": {**dashboard, "id": None},
            "folderUid": folder_uid,
            "message": "installed by spanledger dashboards install",
            "overwrite": True,
        }
        answer = self._ask("POST", "/api/dashboards/db", document)
        if answer.status != http.client.OK:
            raise self._error(answer, f"keep the dashboard {dashboard.get('title')}")
        # A Grafana under a path has it in what it answers, and in our URL as well.
        return urllib.parse.urljoin(self._url + "/", str(answer.document.get("url", "")))

    def _ask(self, method: str, path: str, document: Mapping[str, Any] | None = None) -> Answer:
        headers = {"authorization": f"Bearer {self._token}", "accept": "application/json"}
        body = None
        if document is not None:
            headers["content-type"] = "application/json"
            body = json.dumps(document).encode()
        request = urllib.request.Request(self._url + path, body, headers, method=method)  # noqa: S310 -- looked at
        try:
            with self._open(request, timeout=_TIMEOUT_S) as answer:
                return Answer(answer.status, _object(answer.read(_ANSWER_BYTES_MAX)))
        except urllib.error.HTTPError as exc:
            with exc:
                answer = Answer(exc.code, _object(exc.read(_ANSWER_BYTES_MAX)))
            if exc.code in _REDIRECTS:
                to = exc.headers.get("location", "somewhere else")
                raise RejectedError(f"{self._url} sends to {to}: name that Grafana with --url") from exc
            return answer
        except (OSError, http.client.HTTPException, ValueError) as exc:
            reason = getattr(exc, "reason", exc)
            if isinstance(reason, ssl.SSLError):
                hint = "SSL_CERT_FILE names the authorities that are trusted"
                raise UnavailableError(f"{self._url} has no certificate that is trusted: {reason}; {hint}") from exc
            raise UnavailableError(f"{self._url} does not answer: {reason}") from exc

    def _error(self, answer: Answer, doing: str) -> Exception:
        said = f": {answer.message}" if answer.message else ""
        if answer.status == http.client.UNAUTHORIZED:
            return DeniedError(f"{self._url} does not know the token{said}", known=False)
        if answer.status == http.client.FORBIDDEN:
            need = "it must be of a service account that may write dashboards and folders (role Editor)"
            return DeniedError(f"the token may not {doing}{said}; {need}", known=True)
        if answer.status >= http.client.INTERNAL_SERVER_ERROR:
            return UnavailableError(f"{self._url} cannot {doing} now: {answer.status}{said}")
        return RejectedError(f"{self._url} does not {doing}: {answer.status}{said}")


_REDIRECTS = frozenset({301, 302, 303, 307, 308})


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows nobody: the token is for the host that was named."""

    def redirect_request(self, *_arguments: object, **_named: object) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Return nothing, so that the redirect is an error."""


def _object(content: bytes) -> Mapping[str, Any]:
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return cast("dict[str, Any]", document) if isinstance(document, dict) else {}
