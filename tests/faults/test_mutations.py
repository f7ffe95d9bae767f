"""20,000 requests that are nearly right, through the HTTP door: each is taken or refused; what is taken can be kept."""

import asyncio
import gzip
import json
import os
import random
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import func, select

from spanledger_exporter.ledger.database import Database
from spanledger_exporter.ledger.ledger import Ledger
from spanledger_exporter.ledger.schema import entries
from spanledger_exporter.metrics.metrics import IngestMetrics
from spanledger_exporter.prices.price_book import PriceBook
from spanledger_exporter.receiving.committer import Committed, SetAside
from spanledger_exporter.receiving.dead_letters import DeadLetter, read
from spanledger_exporter.receiving.http_receiver import HttpReceiver
from spanledger_exporter.receiving.pipeline import Pipeline
from spanledger_exporter.receiving.tokens import open_gate
from spanledger_exporter.records import Key, PricedRecord
from tests.exporter.otlp_requests import CHAT, document, request, span
from tests.faults.canaries import Canaries
from tests.faults.mutations import mutate

INPUTS = int(os.environ.get("FAULT_INPUTS", "20000"))
SEED = int(os.environ.get("FAULT_SEED", "1"))


class Kept:
    """Takes what is submitted, to be committed later."""

    def __init__(self) -> None:
        self.records: list[PricedRecord] = []
        self.letters: list[DeadLetter] = []

    def submit(
        self, records: Sequence[PricedRecord], letters: Sequence[DeadLetter], set_aside: SetAside | None
    ) -> Future[Committed]:
        self.records += records
        self.letters += letters
        done: Future[Committed] = Future()
        done.set_result(Committed(len(records)))
        return done


def seeds() -> dict[str, list[bytes]]:
    canaries = Canaries()
    requests = [
        request(span()),
        request(span(failed=True), span({"http.method": "GET"}), span({**CHAT, "gen_ai.usage.cost.amount": 0.25})),
        request(span({**CHAT, "gen_ai.response.finish_reasons": ("stop", "length"), "spanledger.usage.pages": 3})),
        canaries.request(canaries.span()),
    ]
    protobuf = [each.SerializeToString() for each in requests]
    return {
        "application/x-protobuf": protobuf,
        "application/json": [json.dumps(document(each)).encode() for each in requests],
        "gzip": [gzip.compress(each) for each in protobuf],
    }


async def ask(application: Any, kind: str, body: bytes) -> int:
    """Play one request to an ASGI application, and return the status of its answer."""
    content_type = "application/x-protobuf" if kind == "gzip" else kind
    headers = [
        (b"content-type", content_type.encode()),
        (b"content-encoding", b"gzip" if kind == "gzip" else b"identity"),
    ]
    scope = {
        "type": "http", "http_version": "1.1", "method": "POST", "path": "/v1/traces", "raw_path": b"/v1/traces",
        "query_string": b"", "headers": headers, "root_path": "", "scheme": "http", "server": None, "client": None,
    }  # fmt: skip
    said: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": body, "more_body": False}

    async def send(message: dict[str, Any]) -> None:
        said.append(message)

    await application(scope, receive, send)
    return said[0]["status"]


@pytest.mark.timeout(900)
def test_mutated_requests_are_taken_or_refused_and_all_that_is_taken_can_be_kept(
    ledger: Ledger, database: Database, book: PriceBook
) -> None:
    kept = Kept()
    metrics = IngestMetrics(CollectorRegistry())
    pipeline = Pipeline(kept.submit, book, metrics, in_flight_bytes_max=2**28, poison_tries_max=2**31)
    receiver = HttpReceiver(pipeline, metrics, open_gate, request_bytes_max=2**20, read_timeout_s=60)
    application, dice, prepared = receiver.application(), random.Random(SEED), seeds()
    statuses: Counter[int] = Counter()

    async def run() -> None:
        for _ in range(INPUTS):
            kind = dice.choice(list(prepared))
            body = mutate(dice, prepared[kind])
            status = await ask(application, kind, body)
            statuses[status] += 1
            assert status in {200, 400, 413}, body

    asyncio.run(run())
    assert pipeline.in_flight_bytes == 0
    assert statuses[200] > INPUTS // 10 < statuses[400]
    new: set[Key] = set()
    for start in range(0, max(len(kept.records), len(kept.letters)), 1000):
        records = kept.records[start : start + 1000]
        appended = ledger.append(records, kept.letters[start : start + 1000])
        new |= {each.record.key for each in appended.new}
        assert new | appended.other.keys() >= {each.record.key for each in records}  # nothing is lost without a word
    with database.read() as connection:
        assert connection.execute(select(func.count()).select_from(entries)).scalar_one() == len(new) > 0
        assert sum(row["attempts"] for row in read(connection)) == len(kept.letters) > INPUTS // 400
