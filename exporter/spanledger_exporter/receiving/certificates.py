"""Certificate, key and client authority in files -> TLS for every port, renewed without a restart.

A new certificate serves the connections that begin after it was read; those that are open keep theirs.
"""

import ssl
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import grpc

from spanledger_exporter.errors import ConfigError
from spanledger_exporter.receiving.watched import Watched


class _Identity(NamedTuple):
    context: ssl.SSLContext
    grpc: grpc.ServerCertificateConfiguration


class Certificates:
    """The exporter's certificate; with `client_ca_file`, only clients with a certificate of that authority come in.

    Raises: `ConfigError` when the files cannot be used at the start; later the ones of before stay in force.
    """

    def __init__(
        self, cert_file: Path, key_file: Path, client_ca_file: Path | None, *, failed: Callable[[], None] = lambda: None
    ) -> None:
        files = (cert_file, key_file) if client_ca_file is None else (cert_file, key_file, client_ca_file)
        self._client_ca_file = client_ca_file
        self._identity = Watched(files, lambda: _read(cert_file, key_file, client_ca_file), failed=failed)

    def refresh(self) -> None:
        """Read the files again if any of them has changed."""
        self._identity.refresh()

    def context(self) -> ssl.SSLContext:
        """Return the TLS context of a server over asyncio; each handshake takes the newest certificate."""
        context = _context(self._client_ca_file is not None)
        context.sni_callback = self._choose
        return context

    def credentials(self) -> grpc.ServerCredentials:
        """Return the TLS credentials of a gRPC server, which asks for the newest certificate at each connection."""
        return grpc.dynamic_ssl_server_credentials(
            self._identity.value.grpc,
            lambda: self._identity.value.grpc,
            require_client_authentication=self._client_ca_file is not None,
        )

    def _choose(self, connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _first: ssl.SSLContext) -> None:
        connection.context = self._identity.value.context


def _context(clients_need_one: bool) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.verify_mode = ssl.CERT_REQUIRED if clients_need_one else ssl.CERT_NONE
    return context


def _read(cert_file: Path, key_file: Path, client_ca_file: Path | None) -> _Identity:
    """Read the files.

    Raises:
        ConfigError: one is missing, is no PEM, or the key is another certificate's.
    """
    context = _context(client_ca_file is not None)
    certificate, key, authority = _bytes(cert_file), _bytes(key_file), client_ca_file and _bytes(client_ca_file)
    try:
        # An empty password: a key that has one must fail, not ask whoever sits at the terminal.
        context.load_cert_chain(cert_file, key_file, password="")
    except (ssl.SSLError, OSError, ValueError) as exc:
        said = f"TLS certificate {cert_file} with key {key_file}: {exc}"
        raise ConfigError([f"{said}; wanted are a certificate and its own key without a password, both PEM"]) from exc
    if client_ca_file is not None:
        try:
            context.load_verify_locations(client_ca_file)
        except (ssl.SSLError, OSError) as exc:
            raise ConfigError([f"TLS client authority {client_ca_file}: {exc}"]) from exc
    return _Identity(context, grpc.ssl_server_certificate_configuration([(key, certificate)], authority))


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise ConfigError([f"TLS file {path}: {exc.strerror}"]) from exc
