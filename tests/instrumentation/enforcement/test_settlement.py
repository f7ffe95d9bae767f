"""What a call has used when it ends, however it ends: settled once, and the rest given back."""

import asyncio
import gc
import threading
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
import openai
import pytest

from spanledger_instrumentation import reaper
from spanledger_instrumentation.instrumentor import SpanledgerInstrumentor
from tests.instrumentation.conftest import Spans
from tests.instrumentation.enforcement.lease_server import Budget, LeaseServer
from tests.wire_server import Cut, Gate, Reply, WireServer, json_reply, sse_reply

PATH = "/v1/chat/completions"
BODY: Any = {"model": "gpt-5-mini", "messages": [], "max_tokens": 1000}
ANSWER = {"id": "c", "model": "gpt-5-mini", "choices": [], "usage": {"prompt_tokens": 30, "completion_tokens": 40}}
LIMIT = 1_000_000
BOUND = 1000


def chunk(text: str = "word", **more: Any) -> bytes:
    import json

    event = {"id": "c", "model": "m", "choices": [{"index": 0, "delta": {"content": text}}], **more}
    return b"data: " + json.dumps(event).encode() + b"\n\n"


END = [
    chunk("", choices=[{"index": 0, "delta": {}, "finish_reason": "stop"}]),
    chunk("", choices=[], usage=ANSWER["usage"]),
    b"data: [DONE]\n\n",
]


@pytest.fixture
def budget(lender: LeaseServer) -> Budget:
    """A budget in which a token of output is a micro-USD, and one of input costs nothing."""
    found = Budget("b", LIMIT)
    lender.budgets = [found]
    return found


@pytest.fixture
def client(spans: Spans) -> Iterator[httpx2.Client]:
    with httpx2.Client() as made:
        yield made


def settled(lender: LeaseServer) -> int:
    """Give all back, and read the lender's books."""
    SpanledgerInstrumentor().uninstrument()
    assert not lender.open()
    return lender.used("b")


def test_a_call_is_settled_by_its_figures(
    lender: LeaseServer, budget: Budget, client: httpx2.Client, server: WireServer, spans: Spans
) -> None:
    for _ in range(3):
        server.reply(json_reply(ANSWER))
        client.post(server.url + PATH, json=BODY)
    assert settled(lender) == 3 * 40
    assert sum(lease.calls for lease in lender.leases.values()) == 3


def test_an_explicit_zero_is_no_unknown(
    lender: LeaseServer, budget: Budget, client: httpx2.Client, server: WireServer, spans: Spans
) -> None:
    server.reply(json_reply({**ANSWER, "usage": {"prompt_tokens": 30, "completion_tokens": 0}}))
    client.post(server.url + PATH, json=BODY)
    assert settled(lender) == 0


def test_a_whole_answer_without_figures_takes_its_bound(
    lender: LeaseServer, budget: Budget, client: httpx2.Client, server: WireServer, spans: Spans
) -> None:
    server.reply(json_reply({"id": "c", "choices": []}))
    client.post(server.url + PATH, json=BODY)
    assert settled(lender) == BOUND


@pytest.mark.parametrize("status", [400, 429, 500])
def test_what_the_provider_refuses_costs_nothing(
    lender: LeaseServer, budget: Budget, client: httpx2.Client, server: WireServer, spans: Spans, status: int
) -> None:
    server.reply(json_reply({"error": {"type": "overloaded", "code": None}}, status))
    client.post(server.url + PATH, json=BODY)
    assert settled(lender) == 0


def test_what_was_never_sent_costs_nothing(lender: LeaseServer, budget: Budget, client: httpx2.Client) -> None:
    with pytest.raises(httpx2.ConnectError):
        client.post("http://127.0.0.1:1" + PATH, json=BODY)
    assert settled(lender) == 0


def test_a_call_that_times_out_may_be_billed_in_full(
    lender: LeaseServer, budget: Budget, client: httpx2.Client, server: WireServer
) -> None:
    gate = Gate()
    server.reply(Reply(pieces=[gate]))
    with pytest.raises(httpx2.ReadTimeout):
        client.post(server.url + PATH, json=BODY, timeout=0.2)
    gate.set()
    assert settled(lender) == BOUND


def streaming(client: httpx2.Client, server: WireServer) -> Any:
    return client.send(client.build_request("POST", server.url + PATH, json={**BODY, "stream": True}), stream=True)


def by_closing(response: httpx2.Response) -> None:
    response.close()


def by_dropping(response: httpx2.Response) -> None:
    """The caller drops it, too."""


@pytest.mark.parametrize("leave", [by_closing, by_dropping])
def test_a_stream_that_is_left_takes_what_came_and_gives_the_rest_back(
    lender: LeaseServer,
    budget: Budget,
    server: WireServer,
    spans: Spans,
    leave: Callable[[httpx2.Response], None],
) -> None:
    client = httpx2.Client()
    gate = Gate()
    first = chunk("Hello")
    server.reply(sse_reply(first, gate, *END))
    response = streaming(client, server)
    assert next(response.iter_raw()) == first
    leave(response)
    del response
    gc.collect()
    spans.wait(1)
    reaper.reap()
    gate.set()
    client.close()
    # Nobody says how many tokens came, and no call of the model has ended yet: no more than its bytes.
    assert 0 < settled(lender) <= len(first) < BOUND


def test_a_stream_that_is_left_is_taken_for_as_long_as_others_of_its_model_have_shown(
    lender: LeaseServer, budget: Budget, client: httpx2.Client, server: WireServer, spans: Spans
) -> None:
    words = [chunk("word") for _ in range(40)]
    server.reply(sse_reply(*words, *END))  # 40 tokens in some 42 events
    response = streaming(client, server)
    response.read()
    gate = Gate()
    server.reply(sse_reply(*words[:10], gate, *END))
    response = streaming(client, server)
    received = 0
    for piece in response.iter_raw():
        received += len(piece)
        if received >= 10 * len(words[0]):
            break
    response.close()
    gate.set()
    used = settled(lender) - 40
    assert 5 <= used <= 10


def test_every_byte_of_a_stream_counts_also_of_those_events_that_say_nothing(
    lender: LeaseServer, budget: Budget, spans: Spans
) -> None:
    """In memory, so that each event comes by itself: after some of one kind, the others are not even parsed."""
    words = [chunk(f"word{number}") for number in range(100)]
    answer = httpx2.Response(200, headers={"content-type": "text/event-stream"}, content=iter([*words, *END]))
    with httpx2.Client(transport=httpx2.MockTransport(lambda _: answer)) as client:
        request = client.build_request("POST", "http://provider" + PATH, json={**BODY, "stream": True})
        response = client.send(request, stream=True)
        pieces = response.iter_raw()
        for _ in words:
            next(pieces)
        response.close()
    assert sum(map(len, words)) > BOUND
    assert settled(lender) == BOUND


def test_a_stream_that_breaks_takes_what_came(
    lender: LeaseServer, budget: Budget, client: httpx2.Client, server: WireServer
) -> None:
    server.reply(sse_reply(chunk("Hello"), Cut()))
    with pytest.raises(httpx2.RemoteProtocolError):
        streaming(client, server).read()
    assert 0 < settled(lender) < BOUND


def test_a_stream_with_figures_is_settled_by_them_once(
    lender: LeaseServer, budget: Budget, client: httpx2.Client, server: WireServer
) -> None:
    server.reply(sse_reply(chunk("Hello"), *END))
    response = streaming(client, server)
    response.read()
    response.close()
    response.close()
    assert settled(lender) == 40


def test_a_task_that_is_cancelled_while_it_waits_for_the_provider_is_settled(
    lender: LeaseServer, budget: Budget, server: WireServer, spans: Spans
) -> None:
    gate = Gate()
    server.reply(Reply(pieces=[gate]))

    async def ask() -> None:
        async with httpx2.AsyncClient() as client:
            task = asyncio.create_task(client.post(server.url + PATH, json=BODY))
            while not server.requests:  # noqa: ASYNC110 - the server is in another thread
                await asyncio.sleep(0.001)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(ask())
    gate.set()
    assert settled(lender) == BOUND


def test_a_call_that_exceeds_its_bound_is_counted_and_taken_in_full(
    lender: LeaseServer, budget: Budget, client: httpx2.Client, server: WireServer
) -> None:
    server.reply(json_reply({**ANSWER, "usage": {"prompt_tokens": 3, "completion_tokens": 5000}}))
    client.post(server.url + PATH, json=BODY)
    assert settled(lender) == 5000
    assert lender.decisions["b", "over_bound"] == 1


def test_each_retry_of_an_sdk_is_a_call_of_its_own_and_settled(
    lender: LeaseServer, budget: Budget, server: WireServer, spans: Spans
) -> None:
    server.reply(json_reply({"error": {"type": "overloaded"}}, 500, retry_after_ms="1"), json_reply(ANSWER))
    with openai.OpenAI(base_url=server.url + "/v1", api_key="key") as client:
        client.chat.completions.create(**BODY)
    assert settled(lender) == 40
    assert [span.attributes and "spanledger.budget.leases" in span.attributes for span in spans()] == [True, True]


@pytest.mark.parametrize(("unit", "spends"), [("tokens", 70), ("calls", 1)])
def test_tokens_and_calls_are_held_the_same_way(
    lender: LeaseServer, client: httpx2.Client, server: WireServer, unit: str, spends: int
) -> None:
    lender.budgets = [Budget("b", 5000, unit=unit)]
    server.reply(json_reply(ANSWER))
    client.post(server.url + PATH, json=BODY)
    assert settled(lender) == spends


def test_threads_at_once_never_have_more_under_way_than_the_limit(
    lender: LeaseServer, server: WireServer, spans: Spans
) -> None:
    """Sixteen threads, a limit of five bounds, calls that use all of theirs: five are admitted, whatever they race."""
    lender.budgets = [Budget("b", 5 * BOUND)]
    lender.share = 1
    server.answer = lambda _: json_reply({**ANSWER, "usage": {"prompt_tokens": 3, "completion_tokens": BOUND}})
    seen: list[int] = []

    def ask() -> None:
        with httpx2.Client() as client:
            seen.extend(client.post(server.url + PATH, json=BODY).status_code for _ in range(4))

    threads = [threading.Thread(target=ask) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(seen) == 64
    assert len(server.requests) == seen.count(200) == 5
    assert settled(lender) == 5 * BOUND


def test_many_tasks_that_wait_for_one_scope_are_admitted_by_few_questions(
    lender: LeaseServer, budget: Budget, server: WireServer, spans: Spans
) -> None:
    server.answer = lambda _: json_reply(ANSWER)

    async def ask() -> list[int]:
        async with httpx2.AsyncClient(limits=httpx2.Limits(max_connections=20), timeout=60) as client:
            answers = await asyncio.gather(*(client.post(server.url + PATH, json=BODY) for _ in range(100)))
        return [answer.status_code for answer in answers]

    assert asyncio.run(ask()) == [200] * 100
    assert len(lender.wants) < 10
    assert settled(lender) == 4000
