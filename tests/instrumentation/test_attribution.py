"""Whom a call is made for: said by the app, by headers and by baggage, wherever the call is made."""

import asyncio
import contextvars
import gc
import inspect
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import anyio
import anyio.from_thread
import anyio.to_thread
import httpx2
import openai
import pytest
import trio
from opentelemetry import baggage, context, trace
from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.trace import SpanKind

from spanledger_instrumentation import attribute, settings
from spanledger_instrumentation.attribution import CHARS_MAX, of_call
from tests.instrumentation.conftest import Spans
from tests.instrumentation.fixtures import load
from tests.wire_server import Reply, WireServer

CHAT = Reply(pieces=[load("openai/chat.json")])
ALL: Any = {"user": "u1", "team": "t1", "project": "p1", "feature": "f1", "session": "s1"}


@pytest.fixture(autouse=True)
def nothing_is_left_behind() -> Iterator[None]:
    yield
    assert not said()
    assert not baggage.get_all()


def said() -> dict[str, str]:
    return dict(of_call({}, (), ()))


# -- what a call gets ------------------------------------------------------------------------------------------


def ask(server: WireServer, **headers: str) -> None:
    server.reply(CHAT)
    with openai.OpenAI(base_url=server.url + "/v1", api_key="test", max_retries=0) as client:
        client.chat.completions.create(
            model="gpt-5", messages=[{"role": "user", "content": "hello"}], extra_headers=headers
        )


def test_a_call_gets_what_the_app_says(server: WireServer, spans: Spans) -> None:
    with attribute(**ALL):
        ask(server)
    attributes = spans.attributes()
    assert [attributes[name] for name in ("user.id", "session.id")] == ["u1", "s1"]
    assert [attributes[f"spanledger.{name}"] for name in ("team", "project", "feature")] == ["t1", "p1", "f1"]


def test_a_call_outside_gets_nothing(server: WireServer, spans: Spans) -> None:
    with attribute(**ALL):
        pass
    ask(server)
    assert "user.id" not in spans.attributes()


def test_a_span_of_somebody_else_gets_it_too_but_keeps_its_own(server: WireServer, spans: Spans) -> None:
    operation = {"gen_ai.operation.name": "chat", "user.id": "theirs"}
    tracer = spans.provider.get_tracer("theirs")
    with (
        attribute(user="u1", team="t1"),
        tracer.start_as_current_span("chat", kind=SpanKind.CLIENT, attributes=operation),
    ):
        ask(server)
    assert spans.attributes()["spanledger.team"] == "t1"
    assert spans.attributes()["user.id"] == "theirs"


def test_a_stream_that_is_read_after_the_block_belongs_to_it(server: WireServer, spans: Spans) -> None:
    server.reply(Reply(headers={"content-type": "text/event-stream"}, pieces=[load("openai/chat_stream.sse")]))
    with openai.OpenAI(base_url=server.url + "/v1", api_key="test") as client:
        with attribute(user="u1"):
            stream = client.chat.completions.create(model="gpt-5", messages=[], stream=True)
        assert list(stream)
    assert spans.attributes()["user.id"] == "u1"


# -- nesting ---------------------------------------------------------------------------------------------------


def test_the_inner_wins_and_inherits() -> None:
    with attribute(user="u1", team="t1"):
        with attribute(user="u2", feature="f1"):
            assert said() == {"user.id": "u2", "spanledger.team": "t1", "spanledger.feature": "f1"}
        assert said() == {"user.id": "u1", "spanledger.team": "t1"}
    assert said() == {}


def test_none_says_nothing_and_an_empty_text_takes_away() -> None:
    with attribute(user="u1", team="t1"), attribute(user=None, team=""):
        assert said() == {"user.id": "u1"}


def test_one_object_may_be_entered_again_inside_itself() -> None:
    again = attribute(user="u1")
    with again, again:
        assert said() == {"user.id": "u1"}


def test_blocks_that_are_left_in_another_order_leave_nothing_behind() -> None:
    first, second = attribute(user="u1"), attribute(team="t1")
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert said() == {"user.id": "u1", "spanledger.team": "t1"}
    second.__exit__(None, None, None)
    assert said() == {}


def test_a_context_that_somebody_leaves_behind_stays() -> None:
    key = context.create_key("theirs")
    before = context.get_current()
    with attribute(user="u1", baggage=True):
        context.attach(context.set_value(key, "kept"))
    assert context.get_value(key) == "kept"
    assert said() == {}
    assert not baggage.get_all()
    context.attach(before)


def test_an_exception_passes_and_the_block_is_left() -> None:
    with pytest.raises(ZeroDivisionError), attribute(user="u1"):
        raise ZeroDivisionError
    assert said() == {}


# -- decorators ------------------------------------------------------------------------------------------------


def test_a_function_is_attributed_and_keeps_its_name_and_result() -> None:
    @attribute(feature="f1")
    def answer(number: int, *, more: int) -> tuple[int, dict[str, str]]:
        return number + more, said()

    assert answer(1, more=2) == (3, {"spanledger.feature": "f1"})
    assert answer.__name__ == "answer"
    assert said() == {}


def test_a_coroutine_function_is_attributed_in_each_task_apart() -> None:
    @attribute(feature="f1")
    async def answer(user: str) -> dict[str, str]:
        async with attribute(user=user):
            await asyncio.sleep(0)
            return said()

    async def both() -> list[dict[str, str]]:
        return await asyncio.gather(answer("u1"), answer("u2"))

    assert asyncio.run(both()) == [{"user.id": user, "spanledger.feature": "f1"} for user in ("u1", "u2")]


def test_the_body_of_a_generator_is_attributed_and_its_consumer_is_not() -> None:
    @attribute(feature="f1")
    def pieces() -> Iterator[Any]:
        received = yield said()
        try:
            yield received, said()
        except KeyError:
            yield "thrown", said()
        return "returned"

    inside = {"spanledger.feature": "f1"}
    generator: Any = pieces()
    assert next(generator) == inside
    assert said() == {}
    assert generator.send("sent") == ("sent", inside)
    assert generator.throw(KeyError()) == ("thrown", inside)
    with pytest.raises(StopIteration, match="returned"):
        next(generator)


def test_a_decorated_function_is_of_the_kind_that_it_was() -> None:
    def function() -> None: ...

    async def coroutine_function() -> None: ...

    def generator_function() -> Iterator[None]:
        yield

    async def async_generator_function() -> AsyncIterator[None]:
        yield

    kinds = (inspect.iscoroutinefunction, inspect.isgeneratorfunction, inspect.isasyncgenfunction)
    for each in (function, coroutine_function, generator_function, async_generator_function):
        decorated: Any = attribute(user="u1")(each)
        assert [kind(decorated) for kind in kinds] == [kind(each) for kind in kinds]


def test_a_generator_that_is_closed_cleans_up_inside() -> None:
    seen = []

    @attribute(feature="f1")
    def pieces() -> Iterator[int]:
        try:
            yield 1
        finally:
            seen.append(said())

    generator: Any = pieces()
    next(generator)
    generator.close()
    assert seen == [{"spanledger.feature": "f1"}]


def test_the_body_of_an_async_generator_is_attributed_and_its_consumer_is_not() -> None:
    closed = []

    @attribute(feature="f1")
    async def pieces() -> AsyncIterator[Any]:
        try:
            received = yield said()
            yield received, said()
        except KeyError:
            yield "thrown", said()
        finally:
            closed.append(said())

    async def consume() -> list[Any]:
        generator: Any = pieces()
        found = [await anext(generator), said(), await generator.asend("sent"), await generator.athrow(KeyError())]
        await generator.aclose()
        return [*found, [item async for item in pieces()]]

    inside = {"spanledger.feature": "f1"}
    assert asyncio.run(consume()) == [inside, {}, ("sent", inside), ("thrown", inside), [inside, (None, inside)]]
    assert closed == [inside, inside]


def test_a_block_inside_a_generator_that_is_collected_elsewhere_logs_no_error(caplog: pytest.LogCaptureFixture) -> None:
    def pieces() -> Iterator[int]:
        with attribute(user="u1"):
            yield 1

    generator = pieces()
    contextvars.copy_context().run(next, generator)
    del generator
    gc.collect()
    assert not caplog.records


# -- threads and tasks -----------------------------------------------------------------------------------------


def in_a_bare_thread() -> dict[str, str]:
    found: list[dict[str, str]] = []
    thread = threading.Thread(target=lambda: found.append(said()))
    thread.start()
    thread.join()
    return found[0]


def in_a_thread_with_a_copied_context() -> dict[str, str]:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(contextvars.copy_context().run, said).result()


def in_a_bare_pool() -> dict[str, str]:
    with ThreadPoolExecutor(1) as pool:
        return pool.submit(said).result()


async def through_asyncio_to_thread() -> dict[str, str]:
    return await asyncio.to_thread(said)


async def through_a_task() -> dict[str, str]:
    async def inner() -> dict[str, str]:
        return said()

    return await asyncio.create_task(inner())


async def through_run_in_executor() -> dict[str, str]:
    return await asyncio.get_running_loop().run_in_executor(None, said)


async def through_an_anyio_task_and_thread() -> dict[str, str]:
    found: list[dict[str, str]] = []

    async def inner() -> None:
        found.append(await anyio.to_thread.run_sync(said))

    async with anyio.create_task_group() as group:
        group.start_soon(inner)
    return found[0]


async def through_trio_tasks_and_threads() -> dict[str, str]:
    found: list[dict[str, str]] = []

    async def inner() -> None:
        found.append(await trio.to_thread.run_sync(said))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(inner)
    return found[0]


@pytest.mark.parametrize(
    ("way", "carried"),
    [(in_a_thread_with_a_copied_context, True), (in_a_bare_thread, False), (in_a_bare_pool, False)],
)
def test_a_thread_is_attributed_where_it_gets_the_context(way: Callable[[], dict[str, str]], carried: bool) -> None:
    with attribute(user="u1"):
        assert way() == ({"user.id": "u1"} if carried else {})


@pytest.mark.parametrize(
    ("backend", "way", "carried"),
    [
        ("asyncio", through_asyncio_to_thread, True),
        ("asyncio", through_a_task, True),
        ("asyncio", through_run_in_executor, False),
        ("asyncio", through_an_anyio_task_and_thread, True),
        ("trio", through_an_anyio_task_and_thread, True),
        ("trio", through_trio_tasks_and_threads, True),
    ],
)
def test_tasks_and_their_threads_are_attributed(
    backend: str, way: Callable[[], Awaitable[dict[str, str]]], carried: bool
) -> None:
    async def main() -> dict[str, str]:
        with attribute(user="u1"):
            return await way()

    assert anyio.run(main, backend=backend) == ({"user.id": "u1"} if carried else {})


# -- values ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [7, b"u1", ["u1"], 1.5])
def test_a_value_that_is_no_text_is_refused_by_name(value: Any) -> None:
    with pytest.raises(TypeError, match=r"attribute\(user=\.\.\.\) takes a str or None, not "):
        attribute(user=value)


def test_an_unknown_dimension_is_refused() -> None:
    with pytest.raises(TypeError, match="tenant"):
        attribute(tenant="x")  # type: ignore[call-arg]


def test_a_long_value_is_cut_and_stays_another_than_its_neighbour() -> None:
    values = []
    for end in "ab":
        with attribute(user="x" * 1000 + end):
            values.append(said()["user.id"])
    assert [len(value) for value in values] == [CHARS_MAX, CHARS_MAX]
    assert values[0][:100] == values[1][:100] == "x" * 100
    assert values[0] != values[1]


@pytest.mark.parametrize("value", ["a\nb", "a\x00b", "a\ud800b", "a\x7fb"])
def test_what_cannot_be_printed_is_replaced(value: str) -> None:
    with attribute(user=value):
        assert said() == {"user.id": "a\N{REPLACEMENT CHARACTER}b"}


# -- headers and baggage ---------------------------------------------------------------------------------------

SETTINGS = {
    "OTEL_INSTRUMENTATION_SPANLEDGER_HEADERS": "X-Team=team, x-user=user,",
    "OTEL_INSTRUMENTATION_SPANLEDGER_BAGGAGE_KEYS": "user.id, Tenant=team, session",
}


def test_the_app_wins_over_headers_and_headers_over_baggage() -> None:
    chosen = settings.load(SETTINGS)
    theirs = baggage.set_baggage("user.id", "bu", baggage.set_baggage("Tenant", "bt"))
    token = context.attach(baggage.set_baggage("session", "bs", theirs))
    try:
        rows = (chosen.headers, chosen.baggage_keys)
        assert of_call({}, *rows) == {"user.id": "bu", "spanledger.team": "bt", "session.id": "bs"}
        assert of_call({"x-team": "ht"}, *rows)["spanledger.team"] == "ht"
        assert of_call({}, (), (("unknown", "user.id"),)) == {}
        with attribute(team="at"):
            assert of_call({"x-team": "ht"}, *rows)["spanledger.team"] == "at"
    finally:
        context.detach(token)


def test_a_configured_header_is_read_and_sent_as_it_is(
    monkeypatch: pytest.MonkeyPatch, server: WireServer, request: pytest.FixtureRequest
) -> None:
    monkeypatch.setenv("OTEL_INSTRUMENTATION_SPANLEDGER_HEADERS", "x-team=team")
    spans: Spans = request.getfixturevalue("spans")
    ask(server, **{"X-Team": "t1"})
    assert spans.attributes()["spanledger.team"] == "t1"
    assert server.requests[0].headers["x-team"] == "t1"


def test_baggage_is_not_believed_unless_the_user_says_so(server: WireServer, spans: Spans) -> None:
    token = context.attach(baggage.set_baggage("user.id", "forged"))
    try:
        ask(server)
    finally:
        context.detach(token)
    assert "user.id" not in spans.attributes()


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("OTEL_INSTRUMENTATION_SPANLEDGER_HEADERS", "x-team"),
        ("OTEL_INSTRUMENTATION_SPANLEDGER_HEADERS", "x-team=tenant"),
        ("OTEL_INSTRUMENTATION_SPANLEDGER_HEADERS", "=team"),
        ("OTEL_INSTRUMENTATION_SPANLEDGER_HEADERS", "Authorization=user"),
        ("OTEL_INSTRUMENTATION_SPANLEDGER_HEADERS", "x-api-key=user"),
        ("OTEL_INSTRUMENTATION_SPANLEDGER_BAGGAGE_KEYS", "tenant"),
        ("OTEL_INSTRUMENTATION_SPANLEDGER_BAGGAGE_KEYS", "=team"),
        ("OTEL_INSTRUMENTATION_SPANLEDGER_BAGGAGE_KEYS", "a=b"),
    ],
)
def test_an_entry_that_makes_no_sense_is_logged_and_left_out(
    variable: str, value: str, caplog: pytest.LogCaptureFixture
) -> None:
    loaded = settings.load({variable: value})
    assert not loaded.headers
    assert not loaded.baggage_keys
    assert variable in caplog.text


def test_values_travel_as_baggage_only_if_asked_to() -> None:
    propagator = W3CBaggagePropagator()
    with attribute(user="u 1", team="t1"):
        carrier: dict[str, str] = {}
        propagator.inject(carrier)
        assert not carrier
    with attribute(user="u 1", team="t1", baggage=True):
        propagator.inject(carrier)
        with attribute(user="", baggage=True):
            assert set(baggage.get_all()) == {"spanledger.team"}
    assert not baggage.get_all()
    downstream = propagator.extract(carrier)
    rows = settings.load({"OTEL_INSTRUMENTATION_SPANLEDGER_BAGGAGE_KEYS": "user.id,spanledger.team"}).baggage_keys
    token = context.attach(downstream)
    try:
        assert of_call({}, (), rows) == {"user.id": "u 1", "spanledger.team": "t1"}
    finally:
        context.detach(token)


def test_the_async_client_carries_it_too(server: WireServer, spans: Spans) -> None:
    server.reply(CHAT)

    async def main() -> None:
        async with httpx2.AsyncClient(base_url=server.url) as client, attribute(user="u1"):
            await client.post("/v1/chat/completions", json={"model": "gpt-5", "messages": []})

    asyncio.run(main())
    assert spans.attributes()["user.id"] == "u1"
    assert trace.get_current_span() is trace.INVALID_SPAN
