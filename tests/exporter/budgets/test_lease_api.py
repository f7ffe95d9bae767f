"""`POST /v1/budgets/leases` of a running exporter: what services are told, and what the hostile are."""

import asyncio
import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import httpx
import pytest
from sqlalchemy import create_engine
from starlette.applications import Starlette

from spanledger_exporter.budgets.budget import Budget
from spanledger_exporter.budgets.shelf import BudgetShelf
from spanledger_exporter.leases.api import LeaseApi
from spanledger_exporter.leases.lease_rates import LeaseRates
from spanledger_exporter.leases.lending import Lender
from spanledger_exporter.leases.lessor import Lessor
from spanledger_exporter.leases.messages import BODY_BYTES_MAX
from spanledger_exporter.ledger.database import Database, open_database
from spanledger_exporter.prices.price_book import PriceBook
from spanledger_exporter.receiving.tokens import line_of, open_gate
from tests.exporter.otlp_requests import CHAT, body, span
from tests.servers.exporter import Exporter
from tests.servers.process import poll

PATH = "/v1/budgets/leases"
SCOPE = {"provider": "openai", "model": "gpt-4o-mini"}
ASK: dict[str, Any] = {"process": "0a1b2c3d-process", "service": "shop", "want": [{"scope": SCOPE, "usd_micro": 1000}]}


class Answer(NamedTuple):
    status: int
    document: Any
    headers: dict[str, str]


def post(exporter: Exporter, content: bytes | Any, path: str = PATH, **headers: str) -> Answer:
    sent = content if isinstance(content, bytes) else json.dumps(content).encode()
    host, _, port = exporter.http.rpartition(":")
    named = {"content-type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    with closing(http.client.HTTPConnection(host, int(port), timeout=60)) as connection:
        connection.request("POST", path, sent, named)
        answer = connection.getresponse()
        received = answer.read()
        document = json.loads(received) if answer.headers.get("content-type") == "application/json" else received
        return Answer(answer.status, document, {name.lower(): value for name, value in answer.getheaders()})


def keep(ledger: str, *budgets: Budget) -> None:
    with closing(open_database(ledger)) as database:
        for budget in budgets:
            BudgetShelf(database).set(budget, "test")


@pytest.fixture
def exporter(ledger_url: str, tmp_path: Path) -> Iterator[Exporter]:
    keep(ledger_url, Budget(name="all", limit=100_000, mode="hard"))
    running = Exporter(ledger_url, tmp_path)
    yield running
    running.server.stop()


def test_a_service_gets_a_lease_reports_on_it_and_its_spans_settle_it(exporter: Exporter) -> None:
    status, answer, _ = post(exporter, ASK)
    assert status == 200
    (granted,) = answer["granted"]
    (lease,) = granted["leases"]
    assert (lease["budget"], lease["granted"], lease["limit"]) == ("all", 10_000, 100_000)
    assert granted["rates"] == {
        "input_pusd": 250_000, "output_pusd": 1_000_000, "request_pusd": 0, "output_tokens": 16_384, "known": True,
    }  # fmt: skip
    made = span({**CHAT, "spanledger.budget.leases": [lease["lease"]]})
    assert post(exporter, body(made), "/v1/traces", content_type="application/x-protobuf").status == 200
    told = {"lease": lease["lease"], "sequence": 1, "used": 24, "calls": 1, "closed": True}
    answer = post(exporter, {**ASK, "want": [], "reports": [told]}).document
    assert answer["renewed"] == [{"lease": lease["lease"], "state": "closed", "expires_s": 0}]
    denied = post(exporter, {**ASK, "want": [{"scope": SCOPE, "usd_micro": 100_001}]}).document["denied"]
    assert (denied[0]["leased"], denied[0]["reason"]) == (0, "exhausted")
    assert "threshold" not in denied[0]


def test_a_change_of_a_budget_applies_to_the_next_request(exporter: Exporter) -> None:
    before = post(exporter, ASK).document
    keep(exporter.ledger, Budget(name="all", limit=10, mode="hard"))
    after = post(exporter, ASK).document
    assert after["denied"][0]["limit"] == 10
    assert after["revision"] != before["revision"]


def test_what_waits_for_the_ledger_has_a_limit_in_bytes(sqlite_url: str, book: PriceBook) -> None:
    """One that is beyond it is told to come again; the others get their answers."""
    sent = json.dumps(ASK).encode()

    async def ask(lessor: Lessor, other: Database) -> tuple[int, list[int]]:
        api = LeaseApi(lessor, open_gate, read_timeout_s=30, waiting_bytes_max=len(sent) * 2)
        transport = httpx.ASGITransport(app=Starlette(routes=[api.route()]))
        async with httpx.AsyncClient(transport=transport, base_url="http://exporter") as client:

            async def one() -> int:
                return (await client.post(PATH, content=sent, headers={"content-type": "application/json"})).status_code

            with other.write():
                waiting = [asyncio.create_task(one()) for _ in range(2)]
                await asyncio.sleep(0)
                beyond = await one()
            return beyond, await asyncio.gather(*waiting)

    with closing(open_database(sqlite_url)) as database, closing(open_database(sqlite_url)) as other:
        lessor = Lessor(database, Lender(LeaseRates(book).of, book.book_id))
        assert asyncio.run(ask(lessor, other)) == (503, [200, 200])
        lessor.close(60)


MALFORMED: tuple[tuple[bytes | dict[str, Any], str], ...] = (
    (b"", "no JSON"),
    (b"{", "no JSON"),
    (b"[" * 100_000, "object"),
    (b'{"process": "\xff"}', "no JSON"),
    (b"[]", "object"),
    ({"process": None}, "$.process"),
    ({"process": "a b c d e f"}, "$.process"),
    ({"process": "x" * 65}, "$.process"),
    ({"unknown": 1}, "unknown"),
    ({"want": [{}]}, "scope"),
    ({"want": [{"scope": {"colour": "red"}}]}, "colour"),
    ({"want": [{"scope": {"team": 7}}]}, "$.want[0].scope"),
    ({"want": [{"scope": {"team": "x" * 5000}}]}, "$.want"),
    ({"want": [{"scope": {}, "usd_micro": -1}]}, "usd_micro"),
    ({"want": [{"scope": {}, "usd_micro": 1.5}]}, "usd_micro"),
    ({"want": [{"scope": {}, "usd_micro": 10**30}]}, "usd_micro"),
    ({"want": [{"scope": {}, "calls": 0}]}, "calls"),
    ({"want": [{"scope": {}}] * 257}, "$.want"),
    ({"reports": [{"lease": "a", "sequence": 0, "used": 0, "calls": 0}]}, "sequence"),
    ({"reports": [{"lease": "a", "sequence": 2**63, "used": 0, "calls": 0}]}, "sequence"),
    ({"reports": [{"lease": "a"}]}, "sequence"),
    ({"decisions": [{"budget": "all", "decision": "maybe", "count": 1}]}, "maybe"),
    ({"now_s": -5}, "now_s"),
    ({"now_s": 1e300}, "now_s"),
)


def test_what_is_not_as_it_should_be_is_refused_with_the_place(exporter: Exporter) -> None:
    for change, said in MALFORMED:
        status, answer, _ = post(exporter, change if isinstance(change, bytes) else {**ASK, **change})
        assert status == 400, change
        assert said in answer["error"]


def test_texts_of_any_kind_are_taken(exporter: Exporter) -> None:
    keep(exporter.ledger, Budget(name="users", limit=100_000, mode="hard", per=("user", "team")))
    for user in ("\0", "'; DROP TABLE budgets; --", "\u202e\U0001f600" * 900, '["__other__"]', "\\u0000"):
        status, answer, _ = post(exporter, {**ASK, "want": [{"scope": {**SCOPE, "user": user}, "usd_micro": 1}]})
        assert (status, len(answer["granted"][0]["leases"])) == (200, 2)
    odd = json.dumps({**ASK, "service": "x"}).replace('"x"', '"\\ud800"').encode()
    assert post(exporter, odd).status in {200, 400}
    assert post(exporter, ASK).status == 200


def test_bodies_of_another_kind_or_size_are_refused(exporter: Exporter) -> None:
    assert post(exporter, b"{}", content_type="text/plain").status == 400
    assert post(exporter, b"\x1f\x8b", content_encoding="gzip").status == 400
    assert post(exporter, b" " * (BODY_BYTES_MAX + 1)).status == 413
    host, _, port = exporter.http.rpartition(":")
    with closing(http.client.HTTPConnection(host, int(port), timeout=60)) as connection:
        connection.request("GET", PATH)
        assert connection.getresponse().status == 405


def test_a_request_that_is_cut_off_harms_nobody(exporter: Exporter) -> None:
    host, _, port = exporter.http.rpartition(":")
    with socket.create_connection((host, int(port))) as connection:
        connection.sendall(b"POST /v1/budgets/leases HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
                           b"content-length: 1000\r\n\r\n{")  # fmt: skip
    assert post(exporter, ASK).status == 200


def test_a_database_that_does_not_answer_is_503_and_asked_again(exporter: Exporter) -> None:
    engine = create_engine(exporter.ledger.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE budget_leases RENAME TO gone")
    status, answer, headers = post(exporter, ASK)
    assert (status, headers["retry-after"]) == (503, "1")
    assert "cannot be used now" in answer["error"]
    with engine.begin() as connection:
        connection.exec_driver_sql("ALTER TABLE gone RENAME TO budget_leases")
    engine.dispose()
    assert post(exporter, ASK).document["granted"][0]["leases"][0]["granted"] == 10_000


def test_only_who_may_send_spans_gets_leases_and_the_token_says_for_which_tenant(
    sqlite_url: str, tmp_path: Path
) -> None:
    tokens = tmp_path / "tokens"
    lines = [
        line_of("sender-token", "sender", frozenset({"ingest"}), "acme"),
        line_of("reader-token", "reader", frozenset({"read"}), None),
    ]
    tokens.write_text("\n".join(lines))
    keep(sqlite_url, Budget(name="acme", limit=100_000, mode="hard", scope={"tenant": ("acme",)}))
    exporter = Exporter(sqlite_url, tmp_path, environ={"SPANLEDGER_AUTH_TOKENS_FILE": str(tokens)})
    try:
        other = {**ASK, "want": [{"scope": {**SCOPE, "tenant": "other"}, "usd_micro": 1}]}
        answer = post(exporter, other, authorization="Bearer sender-token")
        assert [lease["budget"] for lease in answer.document["granted"][0]["leases"]] == ["acme"]
        assert post(exporter, ASK, authorization="Bearer reader-token").status == 403
        denied = post(exporter, ASK)
        assert (denied.status, denied.headers["www-authenticate"]) == (401, "Bearer")
    finally:
        exporter.server.stop()


def test_a_stopped_exporter_has_answered_all_that_asked(exporter: Exporter) -> None:
    assert post(exporter, ASK).status == 200
    exporter.server.stop()
    poll(lambda: exporter.server.process.poll() is not None, what="the exporter to end")
