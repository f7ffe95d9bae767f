"""An exporter that is gone, slow, broken or hostile: each budget says what then happens, and nobody waits twice."""

import asyncio
import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest
import trio

from spanledger_instrumentation import fence
from spanledger_instrumentation.bound import Size
from spanledger_instrumentation.enforcement import Enforcer
from spanledger_instrumentation.instrumentor import SpanledgerInstrumentor
from spanledger_instrumentation.lease_address import LeaseAddress
from tests.instrumentation.conftest import Spans, instrumented, until
from tests.instrumentation.enforcement.lease_server import Budget, LeaseServer
from tests.wire_server import Reply, WireServer, json_reply

PATH = "/v1/chat/completions"
BODY: Any = {"model": "gpt-5-mini", "messages": [], "max_tokens": 1000}
ANSWER = {"id": "c", "model": "gpt-5-mini", "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 1000}}
ENDPOINT = "OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_ENDPOINT"
TIMEOUT = "OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_TIMEOUT"
ON_UNREACHABLE = "OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_ON_UNREACHABLE"


@pytest.fixture(autouse=True)
def answers(server: WireServer) -> None:
    server.answer = lambda _: json_reply(ANSWER)


@pytest.fixture
def nobody() -> str:
    """An address where nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}"


def post(url: str) -> httpx2.Response:
    with httpx2.Client() as client:
        return client.post(url + PATH, json=BODY)


def enforced(monkeypatch: pytest.MonkeyPatch, url: str, **more: str) -> Any:
    monkeypatch.setenv(ENDPOINT, url)
    for name, value in more.items():
        monkeypatch.setenv(name, value)
    return instrumented(Spans().provider)


def test_nothing_is_asked_or_refused_unless_an_exporter_is_named(
    monkeypatch: pytest.MonkeyPatch, lender: LeaseServer, server: WireServer
) -> None:
    lender.budgets = [Budget("b", 0)]
    with enforced(monkeypatch, ""):
        assert post(server.url).status_code == 200
    assert not lender.requests


def test_before_anything_is_known_calls_pass_and_the_log_says_so_once(
    monkeypatch: pytest.MonkeyPatch, nobody: str, server: WireServer, caplog: pytest.LogCaptureFixture
) -> None:
    with enforced(monkeypatch, nobody):
        assert [post(server.url).status_code for _ in range(3)] == [200] * 3
    said = [record for record in caplog.records if "cannot reach the exporter" in record.getMessage()]
    assert [record.levelno for record in said] == [logging.WARNING]


def test_before_anything_is_known_calls_are_refused_where_the_settings_want_that(
    monkeypatch: pytest.MonkeyPatch, nobody: str, server: WireServer
) -> None:
    with enforced(monkeypatch, nobody, **{ON_UNREACHABLE: "closed"}):
        refused = [post(server.url) for _ in range(2)]
    assert [response.status_code for response in refused] == [402, 402]
    assert "cannot be reached, and no budget is known" in refused[0].json()["error"]["message"]
    assert not server.requests


@pytest.mark.parametrize(("rule", "admitted"), [("open", 6), ("safe", 3), ("closed", 1)])
def test_known_budgets_say_what_happens_while_the_exporter_is_gone(
    monkeypatch: pytest.MonkeyPatch, lender: LeaseServer, server: WireServer, rule: str, admitted: int
) -> None:
    """One call by a lease, then the exporter fails; the allowance is for two calls that use their bounds."""
    lender.budgets = [Budget("b", 10_000, on_unreachable=rule, safe_allowance=2000)]
    lender.share = 10_000  # leases for one call
    with enforced(monkeypatch, lender.url):
        assert post(server.url).status_code == 200
        lender.failing = 503
        statuses = [post(server.url).status_code for _ in range(5)]
        assert [200, *statuses].count(200) == len(server.requests) == admitted
        lender.failing = None
        until(lambda: bool(lender.decisions["b", "admitted"]))
        if rule != "closed":
            name = {"open": "failed_open", "safe": "safe"}[rule]
            until(lambda: lender.decisions["b", name] == admitted - 1)
        if rule != "open":
            until(lambda: lender.decisions["b", "closed"] == 6 - admitted)
        until(lambda: post(server.url).status_code == 200)  # it is asked again
    assert fence.FAILURES == {}


@pytest.mark.parametrize(
    "reply",
    [
        json_reply({"error": "who are you?"}, 401),
        Reply(pieces=[b"<html>"]),
        Reply(pieces=[b"[]"]),
        Reply(pieces=[b"{}"]),
        Reply(pieces=[b'{"revision": 1, "ttl_s": 300, "granted": [{"want": 0, "leases": [{"lease": 7}]}]}']),
        Reply(pieces=[b'{"revision": "x", "ttl_s": 300}']),
        Reply(pieces=[b'{"revision": 1, "ttl_s": 300, "granted": 7}']),
        Reply(pieces=[b"[" * 100_000]),
        Reply(pieces=[b'"\xff"']),
    ],
    ids=["401", "html", "array", "empty", "lease", "revision", "granted", "nested", "bytes"],
)
def test_an_answer_that_is_none_is_like_no_answer(
    monkeypatch: pytest.MonkeyPatch, lender: LeaseServer, server: WireServer, reply: Reply
) -> None:
    lender.wire.answer = lambda _: reply
    with enforced(monkeypatch, lender.url):
        assert post(server.url).status_code == 200
    assert fence.FAILURES == {}


def test_an_exporter_that_never_grants_enough_is_given_up_on(
    monkeypatch: pytest.MonkeyPatch, lender: LeaseServer, server: WireServer
) -> None:
    budget = Budget("b", 10_000)
    budget.period = (0, 1)  # over already, by whatever clock
    lender.budgets = [budget]
    with enforced(monkeypatch, lender.url):
        assert post(server.url).status_code == 200
    assert len(lender.requests) < 60


def wait_sync(url: str, others: Callable[[], None]) -> int:
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(post(url).status_code))
    thread.start()
    others()
    thread.join()
    return found[0]


def wait_asyncio(url: str, others: Callable[[], None]) -> int:
    async def ask() -> int:
        async with httpx2.AsyncClient() as client:
            task = asyncio.create_task(client.post(url + PATH, json=BODY))
            while not task.done():
                await asyncio.sleep(0.001)  # the loop goes on meanwhile
                others()
            return (await task).status_code

    return asyncio.run(ask())


def wait_trio(url: str, others: Callable[[], None]) -> int:
    found: list[int] = []

    async def ask() -> None:
        async with httpx2.AsyncClient() as client:
            found.append((await client.post(url + PATH, json=BODY)).status_code)

    async def main() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            while not found:
                await trio.sleep(0.001)
                others()

    trio.run(main)
    return found[0]


@pytest.mark.parametrize("wait", [wait_sync, wait_asyncio, wait_trio])
def test_the_first_call_waits_for_its_answer_and_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch,
    lender: LeaseServer,
    server: WireServer,
    wait: Callable[[str, Callable[[], None]], int],
) -> None:
    lender.budgets = [Budget("b", 0)]
    lender.gate = threading.Event()

    def others() -> None:
        if lender.wire.requests and lender.gate is not None:
            lender.gate.set()

    def until_asked() -> None:
        until(lambda: bool(lender.wire.requests))
        others()

    with enforced(monkeypatch, lender.url, **{TIMEOUT: "20"}):
        assert wait(server.url, until_asked if wait is wait_sync else others) == 402
    assert not server.requests


@pytest.mark.parametrize("wait", [wait_sync, wait_asyncio, wait_trio])
def test_a_slow_exporter_is_waited_for_no_longer_than_the_deadline_and_by_nobody_after_that(
    monkeypatch: pytest.MonkeyPatch,
    lender: LeaseServer,
    server: WireServer,
    wait: Callable[[str, Callable[[], None]], int],
) -> None:
    lender.budgets = [Budget("b", 0)]
    lender.gate = threading.Event()
    with enforced(monkeypatch, lender.url, **{TIMEOUT: "0.2"}):
        assert wait(server.url, lambda: None) == 200
        asked = len(lender.wire.requests)
        assert [post(server.url).status_code for _ in range(5)] == [200] * 5
        assert len(lender.wire.requests) <= asked + 1  # they were not asked about while nobody answers
        lender.gate.set()


def test_a_task_that_is_cancelled_while_it_waits_for_a_lease_holds_nothing(
    lender: LeaseServer, server: WireServer, spans: Spans
) -> None:
    lender.budgets = [Budget("b", 100_000)]
    lender.gate = threading.Event()

    async def ask() -> None:
        async with httpx2.AsyncClient() as client:
            task = asyncio.create_task(client.post(server.url + PATH, json=BODY))
            while not lender.wire.requests:  # noqa: ASYNC110 - the server is in another thread
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(ask())
    lender.gate.set()
    assert not server.requests
    assert spans.attributes()["spanledger.usage.status"] == "none"
    assert spans.attributes()["error.type"] == "CancelledError"
    until(lambda: bool(lender.leases))
    assert post(server.url).status_code == 200


def test_an_exporter_that_closes_its_connections_is_asked_over_new_ones(
    monkeypatch: pytest.MonkeyPatch, lender: LeaseServer, server: WireServer
) -> None:
    served = lender.wire.answer

    def closing(request: Any) -> Reply:
        reply = served(request)
        return Reply(status=reply.status, headers={**reply.headers, "connection": "close"}, pieces=reply.pieces)

    lender.wire.answer = closing
    lender.budgets = [Budget("b", 10_000, on_unreachable="closed")]
    lender.share = 10_000
    with enforced(monkeypatch, lender.url):
        assert [post(server.url).status_code for _ in range(3)] == [200] * 3


def test_the_token_is_read_anew_for_each_question(
    monkeypatch: pytest.MonkeyPatch, lender: LeaseServer, server: WireServer, tmp_path: Any
) -> None:
    token = tmp_path / "token"
    token.write_text("first\n")
    lender.token = "first"
    lender.budgets = [Budget("b", 10_000, on_unreachable="closed")]
    lender.share = 10_000
    monkeypatch.setenv("OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_TOKEN_FILE", str(token))
    monkeypatch.setenv("OTEL_INSTRUMENTATION_SPANLEDGER_BUDGETS_HEADERS", "x-tenant=a%20b")
    with enforced(monkeypatch, lender.url):
        assert post(server.url).status_code == 200
        token.write_text("second\n")
        lender.token = "second"
        assert post(server.url).status_code == 200
    assert {request.headers["x-tenant"] for request in lender.wire.requests} == {"a b"}


def test_a_change_of_budgets_is_learned_with_the_next_answer(
    monkeypatch: pytest.MonkeyPatch, lender: LeaseServer, server: WireServer
) -> None:
    lender.budgets = [Budget("b", 10_000)]
    lender.share = 10_000
    with enforced(monkeypatch, lender.url):
        assert post(server.url).status_code == 200
        lender.budgets[0].limit = 500
        lender.revision = 2
        assert post(server.url).status_code == 402
        lender.budgets.clear()
        lender.revision = 3
        until(lambda: post(server.url).status_code == 200)


def test_what_no_budget_looks_at_makes_no_question(
    monkeypatch: pytest.MonkeyPatch, lender: LeaseServer, server: WireServer
) -> None:
    from spanledger_instrumentation import attribute

    lender.budgets = [Budget("b", 10_000_000, per=("team",))]
    lender.dimensions = ["team"]
    with enforced(monkeypatch, lender.url):
        for number in range(10):
            with attribute(session=f"s{number}", team="search"):
                assert post(server.url).status_code == 200
    scopes = [want["scope"] for want in lender.wants]
    assert scopes[0]["session"] == "s0"
    assert len(scopes) == 1


@pytest.mark.parametrize(("on_unpriced", "status"), [("refuse", 402), ("alert", 200)])
def test_a_model_whose_price_is_not_known_is_refused_where_the_budget_says_so(
    monkeypatch: pytest.MonkeyPatch, lender: LeaseServer, server: WireServer, on_unpriced: str, status: int
) -> None:
    lender.budgets = [Budget("b", 10_000, on_unpriced=on_unpriced)]
    lender.rates = {"input_pusd": 0, "output_pusd": 0, "request_pusd": 0, "output_tokens": 16384, "known": False}
    with enforced(monkeypatch, lender.url):
        response = post(server.url)
    assert response.status_code == status
    if status == 402:
        assert "whose price is not known" in response.json()["error"]["message"]


def test_a_group_has_its_own_limit_and_its_refusal_says_which(
    monkeypatch: pytest.MonkeyPatch, lender: LeaseServer, server: WireServer
) -> None:
    from spanledger_instrumentation import attribute

    lender.budgets = [Budget("per-user", 5_000, per=("user",))]
    lender.budgets[0].spent["user=eve"] = 5_000
    with enforced(monkeypatch, lender.url):
        with attribute(user="eve"):
            refused = post(server.url)
        with attribute(user="bob"):
            assert post(server.url).status_code == 200
    assert '"per-user" (user=eve)' in refused.json()["error"]["message"]


def test_a_period_that_ends_is_followed_by_a_lease_of_the_next(
    monkeypatch: pytest.MonkeyPatch, lender: LeaseServer, server: WireServer
) -> None:
    ends_s = int(time.time()) + 1
    lender.budgets = [Budget("b", 10_000)]
    lender.budgets[0].period = (ends_s - 60, ends_s)
    with enforced(monkeypatch, lender.url):
        assert post(server.url).status_code == 200
        until(lambda: time.time() >= ends_s)
        lender.budgets[0].period = (ends_s, ends_s + 60)
        assert post(server.url).status_code == 200
        lease_of = {lease.id: lease for lease in lender.leases.values()}
    assert len(lease_of) >= 2
    assert not lender.open()


def test_a_program_that_is_interrupted_while_it_waits_holds_nothing(
    lender: LeaseServer, server: WireServer, spans: Spans
) -> None:
    """The lease comes all the same: it is for the next call."""
    lender.budgets = [Budget("b", 100_000)]
    lender.gate = threading.Event()

    def interrupt(*_: Any) -> None:
        raise KeyboardInterrupt

    def when_asked() -> None:
        until(lambda: bool(lender.wire.requests))
        os.kill(os.getpid(), signal.SIGUSR1)

    before = signal.signal(signal.SIGUSR1, interrupt)
    watching = threading.Thread(target=when_asked)
    try:
        watching.start()
        with pytest.raises(KeyboardInterrupt):
            post(server.url)
    finally:
        signal.signal(signal.SIGUSR1, before)
    watching.join()
    lender.gate.set()
    until(lambda: bool(lender.leases) and bool(spans()))  # it may not even have begun to wait
    assert spans.attributes()["spanledger.usage.status"] == "none"
    assert post(server.url).status_code == 200
    SpanledgerInstrumentor().uninstrument()
    assert not lender.open()
    assert lender.used("b") == 1000


def test_an_exporter_that_is_busy_is_asked_again_at_once(
    monkeypatch: pytest.MonkeyPatch, lender: LeaseServer, server: WireServer
) -> None:
    served, busy = lender.wire.answer, iter([True, True])
    lender.wire.answer = lambda request: json_reply({}, 503) if next(busy, False) else served(request)
    lender.budgets = [Budget("b", 0)]
    with enforced(monkeypatch, lender.url, **{TIMEOUT: "10"}):
        assert post(server.url).status_code == 402


def test_a_mistake_of_ours_is_like_an_exporter_that_is_gone_and_is_waited_for_once(lender: LeaseServer) -> None:
    def whose() -> Any:
        raise RuntimeError("a mistake")

    fence.FAILURES.clear()
    enforcer = Enforcer(LeaseAddress(url=lender.url, timeout_s=0.3, closed=True), whose)
    attributes = {"gen_ai.provider.name": "openai", "gen_ai.request.model": "gpt-5-mini"}
    first = enforcer.admit(attributes, Size(1, 1), "openai")
    assert first.pending
    first.wait()
    until(lambda: enforcer.client.unreachable)
    second = enforcer.admit(attributes, Size(1, 1), "openai")
    assert not second.pending
    assert second.refusal() is not None  # by the settings
    assert fence.FAILURES["leases"] >= 1
    fence.FAILURES.clear()
    enforcer.stop()
    assert not lender.requests
