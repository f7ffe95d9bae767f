"""The doors with locks on: TLS, client certificates and tokens, on every port, renewed while running."""

import http.client
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import grpc
import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub

from spanledger_exporter.config import load, require_safe_addresses
from spanledger_exporter.errors import ConfigError
from spanledger_exporter.receiving.certificates import Certificates
from spanledger_exporter.receiving.tokens import line_of
from tests.exporter.otlp_requests import body, request, span
from tests.servers.authority import Authority, Identity
from tests.servers.exporter import SPANLEDGER, Exporter, entries
from tests.servers.process import poll


class Locked(NamedTuple):
    """A running exporter with TLS and tokens, and the files that it reads."""

    exporter: Exporter
    authority: Authority
    certificate: Path
    key: Path
    tokens: Path


def install(identity: Identity, certificate: Path, key: Path) -> None:
    shutil.copy(identity.key, key)
    shutil.copy(identity.certificate, certificate)


def write_tokens(path: Path, *lines: tuple[str, str, str]) -> None:
    aside = path.with_suffix(".new")
    aside.write_text("".join(line_of(token, name, frozenset({scope}), None) + "\n" for token, name, scope in lines))
    aside.replace(path)


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@pytest.fixture
def locked(authority: Authority, sqlite_url: str, tmp_path: Path) -> Iterator[Locked]:
    certificate, key, tokens = (tmp_path / name for name in ("server.pem", "server.key", "tokens"))
    install(authority.issue(), certificate, key)
    write_tokens(tokens, ("sent", "collector", "ingest"), ("scraped", "prometheus", "read"))
    environ = {
        "SPANLEDGER_RECEIVER_TLS_CERT_FILE": str(certificate),
        "SPANLEDGER_RECEIVER_TLS_KEY_FILE": str(key),
        "SPANLEDGER_AUTH_TOKENS_FILE": str(tokens),
    }
    exporter = Exporter(sqlite_url, tmp_path, environ=environ)
    yield Locked(exporter, authority, certificate, key, tokens)
    exporter.server.stop()


def trusting(authority: Authority, client: Identity | None = None) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=authority.certificate)
    if client is not None:
        context.load_cert_chain(client.certificate, client.key)
    return context


def ask(
    address: str, context: ssl.SSLContext, method: str, path: str, token: str | None = None, content: bytes = b""
) -> tuple[int, bytes]:
    host, port = address.split(":")
    connection = http.client.HTTPSConnection(host, int(port), timeout=60, context=context)
    headers = {"content-type": "application/x-protobuf"} | ({"authorization": f"Bearer {token}"} if token else {})
    try:
        connection.request(method, path, body=content, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def send(address: str, authority: Authority, token: str | None, client: Identity | None = None) -> grpc.StatusCode:
    """Send a span by gRPC, and return how it ended."""
    files = (client.key.read_bytes(), client.certificate.read_bytes()) if client else (None, None)
    credentials = grpc.ssl_channel_credentials(authority.certificate.read_bytes(), *files)
    metadata = (("authorization", f"Bearer {token}"),) if token else ()
    with grpc.secure_channel(address, credentials) as channel:
        try:
            TraceServiceStub(channel).Export(request(span()), timeout=60, metadata=metadata)
        except grpc.RpcError as exc:
            return exc.code()
    return grpc.StatusCode.OK


def test_both_receivers_take_calls_over_tls_with_a_token(locked: Locked) -> None:
    assert send(locked.exporter.grpc, locked.authority, "sent") is grpc.StatusCode.OK
    context = trusting(locked.authority)
    assert ask(locked.exporter.http, context, "POST", "/v1/traces", "sent", body(span()))[0] == 200
    assert len(entries(locked.exporter.ledger)) == 2


@pytest.mark.parametrize("token", [None, "wrong"])
def test_an_unknown_caller_is_unauthenticated_everywhere(locked: Locked, token: str | None) -> None:
    assert send(locked.exporter.grpc, locked.authority, token) is grpc.StatusCode.UNAUTHENTICATED
    context = trusting(locked.authority)
    for path in ("/v1/traces", "/v1/metrics"):
        status, answer = ask(locked.exporter.http, context, "POST", path, token, body(span()))
        assert (status, Status.FromString(answer).code) == (401, 16)
    assert ask(locked.exporter.metrics, context, "GET", "/metrics", token)[0] == 401
    assert entries(locked.exporter.ledger) == []


def test_a_token_for_something_else_is_denied_everywhere(locked: Locked) -> None:
    assert send(locked.exporter.grpc, locked.authority, "scraped") is grpc.StatusCode.PERMISSION_DENIED
    context = trusting(locked.authority)
    status, answer = ask(locked.exporter.http, context, "POST", "/v1/traces", "scraped", body(span()))
    assert (status, Status.FromString(answer).code) == (403, 7)
    assert ask(locked.exporter.metrics, context, "GET", "/metrics", "sent")[0] == 403
    said = ask(locked.exporter.metrics, context, "GET", "/metrics", "scraped")[1].decode()
    assert 'spanledger_requests_total{answer="denied",transport="grpc"} 1.0' in said
    assert ask(locked.exporter.metrics, context, "GET", "/healthz") == (200, b"ok\n")


def test_plain_text_is_not_taken(locked: Locked) -> None:
    with grpc.insecure_channel(locked.exporter.grpc) as channel, pytest.raises(grpc.RpcError) as raised:
        TraceServiceStub(channel).Export(request(span()), timeout=60, metadata=(("authorization", "Bearer sent"),))
    assert raised.value.code() is grpc.StatusCode.UNAVAILABLE
    host, port = locked.exporter.http.split(":")
    connection = http.client.HTTPConnection(host, int(port), timeout=60)
    connection.request("POST", "/v1/traces", body=body(span()))
    with pytest.raises((http.client.HTTPException, ConnectionError)):
        connection.getresponse()
    connection.close()


def test_a_token_is_replaced_without_a_restart(locked: Locked) -> None:
    write_tokens(locked.tokens, ("sent", "collector", "ingest"), ("next", "collector", "ingest"))
    poll(
        lambda: send(locked.exporter.grpc, locked.authority, "next") is grpc.StatusCode.OK,
        what="the new token to be known",
    )
    assert send(locked.exporter.grpc, locked.authority, "sent") is grpc.StatusCode.OK
    write_tokens(locked.tokens, ("next", "collector", "ingest"))
    poll(
        lambda: send(locked.exporter.grpc, locked.authority, "sent") is grpc.StatusCode.UNAUTHENTICATED,
        what="the old token to be forgotten",
    )


def test_a_certificate_is_renewed_without_a_restart_on_every_port(locked: Locked, tmp_path: Path) -> None:
    """By another authority, so that a client that trusts that one alone shows which certificate it was given."""
    (tmp_path / "other").mkdir()
    other = Authority(tmp_path / "other")
    renewed = trusting(other)
    install(other.issue(), locked.certificate, locked.key)

    def served() -> bool:
        try:
            return ask(locked.exporter.metrics, renewed, "GET", "/healthz")[0] == 200
        except ssl.SSLCertVerificationError:
            return False

    poll(served, what="the new certificate to be served")
    assert ask(locked.exporter.http, renewed, "POST", "/v1/traces", "sent", body(span()))[0] == 200
    assert send(locked.exporter.grpc, other, "sent") is grpc.StatusCode.OK


def test_with_a_client_authority_only_its_certificates_come_in(
    authority: Authority, sqlite_url: str, tmp_path: Path
) -> None:
    server = authority.issue()
    environ = {
        "SPANLEDGER_RECEIVER_TLS_CERT_FILE": str(server.certificate),
        "SPANLEDGER_RECEIVER_TLS_KEY_FILE": str(server.key),
        "SPANLEDGER_RECEIVER_TLS_CLIENT_CA_FILE": str(authority.certificate),
    }
    exporter = Exporter(sqlite_url, tmp_path, environ=environ)
    (tmp_path / "stranger").mkdir()
    good, expired = authority.issue("client"), authority.issue("late", expired=True)
    stranger = Authority(tmp_path / "stranger").issue("client")
    with exporter.server:
        assert send(exporter.grpc, authority, None, good) is grpc.StatusCode.OK
        assert ask(exporter.http, trusting(authority, good), "POST", "/v1/traces", None, body(span()))[0] == 200
        for client in (None, expired, stranger):
            assert send(exporter.grpc, authority, None, client) is grpc.StatusCode.UNAVAILABLE
            for address in (exporter.http, exporter.metrics):
                with pytest.raises((ssl.SSLError, ConnectionError, http.client.RemoteDisconnected)):
                    ask(address, trusting(authority, client), "GET", "/healthz")
        assert len(entries(exporter.ledger)) == 2


# -- files and addresses that cannot be used --------------------------------------------------------------------------


def test_certificates_that_cannot_be_used_are_refused_at_the_start(authority: Authority, tmp_path: Path) -> None:
    one, two = authority.issue(), authority.issue()
    garbage = tmp_path / "garbage"
    garbage.write_text("no PEM")
    for certificate, key, client_ca in (
        (one.certificate, two.key, None),
        (one.certificate, tmp_path / "missing", None),
        (garbage, one.key, None),
        (one.certificate, one.key, garbage),
        (one.certificate, one.key, tmp_path / "missing"),
    ):
        with pytest.raises(ConfigError, match="TLS"):
            Certificates(certificate, key, client_ca)


def test_a_half_renewed_certificate_changes_nothing_until_it_is_whole(authority: Authority, tmp_path: Path) -> None:
    certificate, key = tmp_path / "c.pem", tmp_path / "k.pem"
    first, second = authority.issue(), authority.issue()
    install(first, certificate, key)
    failures: list[int] = []
    certificates = Certificates(certificate, key, None, failed=lambda: failures.append(1))
    before = certificates._identity.value
    shutil.copy(second.certificate, certificate)
    certificates.refresh()
    assert (certificates._identity.value, failures) == (before, [1])
    shutil.copy(second.key, key)
    certificates.refresh()
    assert certificates._identity.value is not before


TLS = {"SPANLEDGER_RECEIVER_TLS_CERT_FILE": "c", "SPANLEDGER_RECEIVER_TLS_KEY_FILE": "k"}
TOKENS = {"SPANLEDGER_AUTH_TOKENS_FILE": "t"}
MUTUAL = {"SPANLEDGER_RECEIVER_TLS_CLIENT_CA_FILE": "ca"}


@pytest.mark.parametrize("environ", [{}, TLS, TOKENS], ids=["nothing", "TLS alone", "tokens alone"])
@pytest.mark.parametrize("field", ["grpc", "http", "metrics"])
def test_an_address_beyond_loopback_needs_tls_and_known_callers(environ: dict[str, str], field: str) -> None:
    for host in ("0.0.0.0", "[::]", "192.0.2.1", "db.example"):
        config = load(environ=environ, flags={field: f"{host}:1"})
        with pytest.raises(ConfigError, match="can be reached from other hosts"):
            require_safe_addresses(config)
        require_safe_addresses(load(environ=environ, flags={field: f"{host}:1", "insecure": "true"}))


@pytest.mark.parametrize("environ", [TLS | TOKENS, TLS | MUTUAL])
def test_with_tls_and_known_callers_any_address_is_fine(environ: dict[str, str]) -> None:
    require_safe_addresses(load(environ=environ, flags={"grpc": "0.0.0.0:1", "http": "[::]:1", "metrics": "h:1"}))


def test_the_command_refuses_an_open_door_and_says_what_is_missing(sqlite_url: str) -> None:
    done = subprocess.run(
        [SPANLEDGER, "serve", "--grpc", "0.0.0.0:0", "--http", "127.0.0.1:0", "--metrics", "127.0.0.1:0"],
        capture_output=True, text=True, timeout=60, check=False, env={"SPANLEDGER_LEDGER_URL": sqlite_url},
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (2, "")
    assert "receiver.grpc: 0.0.0.0:0 can be reached from other hosts" in done.stderr


@pytest.mark.parametrize(
    "environ", [{"SPANLEDGER_RECEIVER_TLS_CERT_FILE": "c"}, {"SPANLEDGER_RECEIVER_TLS_KEY_FILE": "k"}, MUTUAL]
)
def test_half_of_the_tls_settings_is_a_mistake(environ: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match=r"receiver\.tls\.key_file"):
        load(environ=environ)
