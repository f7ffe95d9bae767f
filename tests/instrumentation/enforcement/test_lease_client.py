"""The questions of one process, as the exporter sees them, and what becomes of calls that wait for the answers."""

import random
import signal
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from spanledger_instrumentation import fence, lease_client
from spanledger_instrumentation import wallet as wallets
from spanledger_instrumentation.admission import Admission
from spanledger_instrumentation.bound import Size
from spanledger_instrumentation.enforcement import Enforcer
from spanledger_instrumentation.lease_address import LeaseAddress
from spanledger_instrumentation.lease_client import LeaseClient
from spanledger_instrumentation.usage import Usage
from spanledger_instrumentation.wallet import Reservation
from tests.instrumentation.conftest import until
from tests.instrumentation.enforcement.lease_server import Budget, LeaseServer
from tests.wire_server import json_reply

CALL: Any = {"gen_ai.provider.name": "openai", "gen_ai.request.model": "m"}


def enforcer(url: str, **more: Any) -> Enforcer:
    return Enforcer(LeaseAddress(url=url, timeout_s=more.pop("timeout_s", 10), **more), dict)


def admitted(given: Enforcer, sizes: Sequence[int], lender: LeaseServer | None = None) -> list[Admission]:
    """Let calls of so many tokens wait together."""
    if lender is not None:
        lender.gate = threading.Event()
    found = [given.admit(CALL, Size(0, size), "openai") for size in sizes]
    threads = [threading.Thread(target=each.wait) for each in found]
    for thread in threads:
        thread.start()
    if lender is not None and lender.gate is not None:
        lender.gate.set()
    for thread in threads:
        thread.join()
    return found


@pytest.mark.parametrize("order", ["ascending", "descending", "mixed"])
def test_of_calls_of_many_sizes_that_wait_together_none_passes_a_budget_that_is_spent(
    lender: LeaseServer, order: str
) -> None:
    lender.budgets = [Budget("b", 100)]
    given = enforcer(lender.url)
    assert admitted(given, [95])[0].denial is None
    sizes = sorted(range(10, 74), reverse=order == "descending")
    if order == "mixed":
        random.Random(7).shuffle(sizes)
    decided = Counter(each.denial and each.denial.reason for each in admitted(given, sizes, lender))
    assert decided == {"exhausted": 64}
    given.stop()


def test_of_calls_of_many_sizes_that_wait_together_those_pass_for_which_there_is_enough(lender: LeaseServer) -> None:
    lender.budgets = [Budget("b", 1000)]
    given = enforcer(lender.url)
    admitted(given, [1])
    waited = admitted(given, [40 - size for size in range(40)] * 2, lender)
    passed = sum(size for size, each in zip([40 - size for size in range(40)] * 2, waited, strict=True) if each.holds)
    assert 900 < passed <= 999
    assert {each.denial.reason for each in waited if each.denial is not None} == {"exhausted"}
    given.stop()


@pytest.fixture(params=["body", "head"])
def dripping(request: pytest.FixtureRequest) -> Iterator[str]:
    """An exporter whose answers never end, though something of them comes all the time."""
    head = b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n" + (b"\r\n" if request.param == "body" else b"")
    drop = b" " if request.param == "body" else b"a: b\r\n"

    def answer(connection: socket.socket) -> None:
        with connection, suppress(OSError):
            connection.recv(65536)
            connection.sendall(head)
            for _ in range(90):
                connection.sendall(drop)
                time.sleep(0.05)

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=answer, args=(listening.accept()[0],), daemon=True).start()

    with socket.create_server(("127.0.0.1", 0)) as listening:
        threading.Thread(target=accept, daemon=True).start()
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
        listening.shutdown(socket.SHUT_RDWR)


def test_one_call_waits_for_an_answer_that_does_not_end_and_the_program_ends_in_time(dripping: str) -> None:
    given = enforcer(dripping, timeout_s=0.3)
    begun_s = time.monotonic()
    admitted(given, [1])
    assert given.client.unreachable
    for _ in range(5):
        assert not given.admit(CALL, Size(0, 1), "openai").pending
    given.stop()
    assert time.monotonic() - begun_s < 0.3 + 0.6 + 1


def test_without_a_thread_nobody_waits_and_nothing_is_raised(
    lender: LeaseServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There may be too many of them, or none are allowed: in a subinterpreter, at the program's end."""
    given = enforcer(lender.url)
    start = threading.Thread.start

    def refuse(thread: threading.Thread) -> None:
        if thread.name == "spanledger-leases":
            raise RuntimeError("can't start new thread")
        start(thread)

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        begun_s = time.monotonic()
        assert [each.denial for each in admitted(given, [1, 1])] == [None, None]
        assert time.monotonic() - begun_s < 5
        given.stop()
    later = enforcer(lender.url)
    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        admitted(later, [1])
    until(lambda: not later.admit(CALL, Size(0, 1), "openai").pending and not later.client.unreachable)
    later.stop()
    assert not fence.FAILURES["leases"]


def test_a_handler_of_a_signal_may_make_a_call_wherever_it_interrupts_another(lender: LeaseServer) -> None:
    """At each line of ours, and of the standard library's below it."""
    given = enforcer(lender.url)
    steps, at = 0, 0

    def handle(_: int, __: FrameType | None) -> None:
        sys.settrace(None)
        given.client.ask((("model", "m"),), Size(0, 1))

    def trace(_: FrameType, event: str, __: Any) -> Any:
        nonlocal steps
        steps += event == "line"
        if event == "line" and steps == at:
            signal.raise_signal(signal.SIGUSR1)
        return trace

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        given.client.ask((("model", "m"),), Size(0, 1))  # the thread is started
        for step in range(1, 60):
            steps, at = 0, step
            sys.settrace(trace)
            given.client.ask((("model", "m"),), Size(0, 1))
            sys.settrace(None)
    finally:
        sys.settrace(None)
        signal.signal(signal.SIGUSR1, before)
        given.stop()


def test_no_token_gets_into_the_log(lender: LeaseServer, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    token = tmp_path / "token"
    token.write_text("a-secret\nand-another-one\n")
    given = enforcer(lender.url, token_file=str(token))
    admitted(given, [1])
    given.stop()
    assert "is not one line of printable ASCII" in caplog.text
    assert "a-secret" not in caplog.text


@pytest.mark.parametrize(("bytes_per_token", "tokens"), [(1, 1001), (4, 251), (8, 126)])
def test_a_token_of_the_input_has_as_many_bytes_as_the_settings_say(
    lender: LeaseServer, bytes_per_token: float, tokens: int
) -> None:
    lender.budgets = [Budget("b", 10_000, unit="tokens")]
    given = enforcer(lender.url, bytes_per_token=bytes_per_token)
    admission = given.admit(CALL, Size(1001, 10), "openai")
    admission.wait()
    assert lender.wants[0]["input_tokens"] == tokens
    assert admission.reservation is not None
    assert [need for _, _, need in admission.reservation.draws] == [tokens + 10]
    admission.settle(Usage(input_tokens=250, output_tokens=10), "reported", None, reports=True)
    assert given.ratios.estimate(("openai", "m"), 1001, None)[0] == 250  # it learns from bytes
    given.stop()
    assert lender.used("b") == 260


def test_very_many_leases_and_counts_are_told_in_several_requests(
    lender: LeaseServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wallets, "REPORTS_MAX", 5)
    monkeypatch.setattr(lease_client, "REPORTS_MAX", 5)
    monkeypatch.setattr(lease_client, "TOLD_MAX", 5)
    lender.budgets = [Budget("b", 10**6, per=("user",))]
    client = LeaseClient(LeaseAddress(url=lender.url, timeout_s=10), dict, report_s=0.5)
    for user in range(12):
        client.prefetch((("user", f"u{user}"),), Size(0, 1))
        client.count(f"b{user}", "refused")
    until(lambda: len(lender.leases) == 12)
    until(lambda: all(lease.sequence >= 2 for lease in lender.leases.values()))
    client.stop()
    assert not lender.open()
    assert {name: count for name, count in lender.decisions.items() if name[1] == "refused"} == {
        (f"b{user}", "refused"): 1 for user in range(12)
    }
    assert all(len(request["decisions"]) <= 5 for request in lender.requests)


def test_no_request_is_longer_than_the_exporter_takes(lender: LeaseServer) -> None:
    lender.gate = threading.Event()
    client = LeaseClient(LeaseAddress(url=lender.url, timeout_s=10), dict)
    tickets = [client.ask((("user", str(user) + "\N{GRINNING FACE}" * 4000),), Size(0, 1)) for user in range(40)]
    lender.gate.set()
    until(lambda: all(ticket is not None and ticket.decided for ticket in tickets))
    client.stop()
    assert all(ticket is not None and isinstance(ticket.answer, Reservation) for ticket in tickets)
    assert max(len(request.body) for request in lender.wire.requests) < 256 * 1024


def test_what_the_exporter_takes_for_a_mistake_is_not_sent_again(lender: LeaseServer) -> None:
    served = lender.wire.answer
    lender.wire.answer = lambda asked: json_reply({"error": "no"}, 400) if b"mistaken" in asked.body else served(asked)
    given = enforcer(lender.url)
    mistaken = given.admit({**CALL, "user.id": "mistaken"}, Size(0, 1), "openai")
    mistaken.wait()
    assert mistaken.denial is None
    until(lambda: not given.client.unreachable)
    assert admitted(given, [1])[0].reservation is not None
    given.stop()
    assert (
        sum(b"mistaken" in asked.body for asked in lender.wire.requests) == 2
    )  # for the call, and once in the background


def test_a_call_that_ends_before_it_waited_holds_nothing_of_the_lease_that_comes(lender: LeaseServer) -> None:
    """The program was interrupted between the two."""
    lender.budgets = [Budget("b", 10_000)]
    lender.gate = threading.Event()
    given = enforcer(lender.url)
    ended = given.admit(CALL, Size(0, 1000), "openai")
    assert ended.pending
    ended.settle(None, "none", None, reports=False)
    lender.gate.set()
    until(lambda: bool(lender.leases))
    given.stop()
    assert lender.held("b") == 0
