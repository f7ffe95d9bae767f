"""No content anywhere: not in a table, a file, a log line, a metric or an answer, whatever is sent, and however."""

import gzip
import http.client
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest
from sqlalchemy import MetaData, create_engine, select

from spanledger_exporter.cli import main
from spanledger_exporter.ledger.database import parse_url
from tests.faults.canaries import Canaries
from tests.servers.exporter import Exporter, entries
from tests.servers.process import get
from tests.servers.sink import EXPORT


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path / 'ledger.db'}"


@pytest.fixture(params=["sqlite", "postgresql"])
def ledger_url(request: pytest.FixtureRequest) -> str:
    return request.getfixturevalue(f"{request.param}_url")


def post(address: str, content_type: str, body: bytes, token: str) -> str:
    with closing(http.client.HTTPConnection(address, timeout=60)) as connection:
        headers = {"content-type": content_type, "content-encoding": "gzip", "authorization": f"Bearer {token}"}
        connection.request("POST", "/v1/traces", body=gzip.compress(body), headers=headers)
        answer = connection.getresponse()
        return f"{answer.status} {answer.headers} {answer.read()!r}"


def send(address: str, body: bytes, token: str) -> str:
    metadata = (("authorization", f"Bearer {token}"), ("x-more", token))
    with grpc.insecure_channel(address) as channel:
        try:
            return repr(channel.unary_unary(EXPORT)(body, timeout=60, metadata=metadata))
        except grpc.RpcError as exc:
            return f"{exc.code()} {exc.details()} {exc.trailing_metadata()}"


def tables(url: str) -> Iterator[tuple[str, list[Any]]]:
    """Give every table of a database, with all that is in it."""
    engine = create_engine(parse_url(url))
    metadata = MetaData()
    metadata.reflect(engine)
    with engine.connect() as connection:
        for name, table in metadata.tables.items():
            yield name, [tuple(row) for row in connection.execute(select(table))]
    engine.dispose()


def test_no_canary_is_kept_or_told_anywhere(
    ledger_url: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    canaries = Canaries()
    exporter = Exporter(ledger_url, tmp_path, environ={"SPANLEDGER_LOG_LEVEL": "debug"})
    told: list[str] = []
    with exporter.server:
        for content_type, body in canaries.bodies():
            told.append(post(exporter.http, content_type, body, canaries.word()))
            if content_type == "application/x-protobuf":
                told.append(send(exporter.grpc, body, canaries.word()))
        told.append(get(f"http://{exporter.metrics}/metrics") or "")
    assert len(entries(ledger_url)) == 8  # the calls themselves are kept
    kept = dict(tables(ledger_url))
    assert len(kept["dead_letters"]) > 10
    for words in ([], ["show", *(str(row[0]) for row in kept["dead_letters"])]):
        assert main(["dead-letters", *words, "--ledger", ledger_url]) == 0
    told.append(capsys.readouterr().out)
    family = canaries.family
    for name, rows in kept.items():
        assert family not in repr(rows), name
        assert family.encode().hex() not in repr(rows), name
    for file in tmp_path.rglob("*"):  # the log, and what a database leaves beside its tables
        assert not file.is_file() or family.encode() not in file.read_bytes(), file
    assert not [each for each in told if family in each]
