"""A question to the exporter -> its answer, over HTTP: the only module here that talks to the network.

By `http.client` alone, which no instrumentation of ours or of others watches: what is asked here is no call of the app.
No proxy is used. The token is read anew for each question, certificates for each connection.
"""

import json
import time
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from spanledger_instrumentation.lease_address import LeaseAddress

__all__ = ["PATH", "BusyError", "LeaseConnection", "RejectedError", "UnreachableError"]

PATH: Final = "/v1/budgets/leases"
ANSWER_BYTES_MAX: Final = 8 * 1024 * 1024
_PIECE_BYTES: Final = 64 * 1024
_OK: Final = 200
_UNAVAILABLE: Final = 503
_REJECTED: Final = frozenset({400, 413, 422})


class UnreachableError(Exception):
    """The exporter gave no answer that is of use. Ask again later."""


class RejectedError(UnreachableError):
    """The exporter takes what it was sent for a mistake. Do not send the same again."""


class BusyError(UnreachableError):
    """The exporter is there, and cannot answer at the moment. Ask again at once."""


class LeaseConnection:
    """Ask one question after the other. Not for several threads."""

    def __init__(self, address: LeaseAddress) -> None:
        self._address = address
        self._path = urlsplit(address.url).path.rstrip("/").removesuffix(PATH) + PATH
        self._http: HTTPConnection | None = None

    def post(self, document: Any) -> Any:
        """Ask, and give the answer's JSON.

        Raises:
            BusyError: it cannot answer now.
            RejectedError: it will never answer this.
            UnreachableError: there is no answer, or none of use.
        """
        try:
            content = json.dumps(document).encode()
            return self._once(content) if self._http is None else self._again(content)
        except (OSError, HTTPException, ValueError, RecursionError) as error:
            self.close()
            raise UnreachableError(f"{type(error).__name__}: {error}") from error

    def close(self) -> None:
        """Close it; the next question makes a new one."""
        http, self._http = self._http, None
        if http is not None:
            http.close()

    def _again(self, content: bytes) -> Any:
        """Ask over a connection that was used before, which the exporter may have closed meanwhile."""
        try:
            return self._once(content)
        except (ConnectionError, HTTPException):
            self.close()
            return self._once(content)

    def _once(self, content: bytes) -> Any:
        headers = self._headers()
        http = self._http
        if http is None:
            http = self._http = self._open()
        http.request("POST", self._path, body=content, headers=headers)
        response = http.getresponse()
        body = self._read(response)
        if response.status == _UNAVAILABLE:
            raise BusyError(f"the exporter is busy: {body[:200].decode(errors='replace')}")
        if response.status in _REJECTED:
            raise RejectedError(f"the exporter answers {response.status}: {body[:200].decode(errors='replace')}")
        if response.status != _OK:
            raise ValueError(f"the exporter answers {response.status}: {body[:200].decode(errors='replace')}")
        return json.loads(body)

    def _read(self, response: HTTPResponse) -> bytes:
        """Read the body: the socket's timeout is for each piece alone, and pieces may come for ever."""
        deadline_s = time.monotonic() + self._address.timeout_s
        body = bytearray()
        while piece := response.read1(_PIECE_BYTES):
            body += piece
            if len(body) > ANSWER_BYTES_MAX:
                raise ValueError(f"the answer has more than {ANSWER_BYTES_MAX} bytes")
            if time.monotonic() > deadline_s:
                raise TimeoutError("the answer does not end in time")
        response.close()
        return bytes(body)

    def _headers(self) -> dict[str, str]:
        found = {"content-type": "application/json", "accept": "application/json", **self._address.headers}
        if self._address.token_file:
            token = Path(self._address.token_file).read_text(encoding="utf-8").strip()
            if not (token.isascii() and token.isprintable()):  # `http.client` would say so, and name the token
                raise ValueError(f"the token in {self._address.token_file} is not one line of printable ASCII")
            found["authorization"] = f"Bearer {token}"
        return found

    def _open(self) -> HTTPConnection:
        parts = urlsplit(self._address.url)
        host, timeout_s = parts.hostname or "", self._address.timeout_s
        if parts.scheme != "https":
            return HTTPConnection(host, parts.port, timeout=timeout_s)
        import ssl  # which takes as long to load as all the rest

        context = ssl.create_default_context(cafile=self._address.certificate or None)
        if self._address.client_certificate:
            context.load_cert_chain(self._address.client_certificate, self._address.client_key or None)
        return HTTPSConnection(host, parts.port, timeout=timeout_s, context=context)
