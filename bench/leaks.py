"""What is left of streams that nobody reads to their end: spans that never end, and objects that never go.

One client over a transport in memory aborts one stream after the other, in every way in turn. Afterwards each span must
have ended once, and no object of the instrumentation may be left over.
"""

import argparse
import asyncio
import contextlib
import gc
import itertools
import json
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from typing import Any, Final

import httpx2
from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor, TracerProvider

from spanledger_instrumentation import fence
from spanledger_instrumentation.instrumentor import SpanledgerInstrumentor

URL: Final = "http://api.openai.com/v1/chat/completions"
BODY: Final[Mapping[str, Any]] = {"model": "gpt-5", "messages": [], "stream": True}
CHUNK: Final = b'data: {"id":"chatcmpl-1","model":"gpt-5","choices":[{"index":0,"delta":{"content":"a"}}]}\n\n'
PACKAGE: Final = "spanledger_instrumentation"
DEADLINE_S: Final = 30


class Counter(SpanProcessor):
    """Count what begins and what ends."""

    def __init__(self) -> None:
        self.started = 0
        self.ended: dict[int, int] = {}

    def on_start(self, span: Any, parent_context: Any = None) -> None:  # noqa: ARG002 - the SDK's signature
        """Count a start."""
        self.started += 1

    def on_end(self, span: ReadableSpan) -> None:
        """Count an end, for each span by itself."""
        span_id = span.context.span_id if span.context is not None else 0
        self.ended[span_id] = self.ended.get(span_id, 0) + 1


class Chunks(httpx2.SyncByteStream, httpx2.AsyncByteStream):
    """A body of two chunks, and then an error."""

    def __iter__(self) -> Iterator[bytes]:
        yield CHUNK
        yield CHUNK
        raise httpx2.ReadError("the connection broke")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield CHUNK
        await asyncio.sleep(0)
        yield CHUNK
        raise httpx2.ReadError("the connection broke")


def answer(_: httpx2.Request) -> httpx2.Response:
    """Answer any request."""
    return httpx2.Response(200, headers={"content-type": "text/event-stream"}, stream=Chunks())


def closed(client: httpx2.Client) -> None:
    """Close the response after a chunk."""
    with client.stream("POST", URL, json=BODY) as response:
        next(response.iter_bytes())


def dropped(client: httpx2.Client) -> None:
    """Forget the response without reading it."""
    client.send(client.build_request("POST", URL, json=BODY), stream=True)


def abandoned(client: httpx2.Client) -> None:
    """Forget the response in the middle of its body."""
    response = client.send(client.build_request("POST", URL, json=BODY), stream=True)
    next(response.iter_lines())


def broken(client: httpx2.Client) -> None:
    """Read until it breaks."""
    with contextlib.suppress(httpx2.ReadError), client.stream("POST", URL, json=BODY) as response:
        response.read()


async def closed_async(client: httpx2.AsyncClient) -> None:
    """Close the response after a chunk."""
    async with client.stream("POST", URL, json=BODY) as response:
        await anext(response.aiter_bytes())


async def dropped_async(client: httpx2.AsyncClient) -> None:
    """Forget the response without reading it."""
    await client.send(client.build_request("POST", URL, json=BODY), stream=True)


async def abandoned_async(client: httpx2.AsyncClient) -> None:
    """Forget the response in the middle of its body."""
    response = await client.send(client.build_request("POST", URL, json=BODY), stream=True)
    await anext(response.aiter_lines())


async def cancelled(client: httpx2.AsyncClient) -> None:
    """Cancel the task that reads."""

    async def read() -> None:
        async with client.stream("POST", URL, json=BODY) as response:
            async for _ in response.aiter_bytes():
                task.cancel()

    task = asyncio.create_task(read())
    with contextlib.suppress(asyncio.CancelledError):
        await task


SYNC: Final[Sequence[Callable[[httpx2.Client], None]]] = (closed, dropped, abandoned, broken)
ASYNC: Final[Sequence[Callable[[httpx2.AsyncClient], Awaitable[None]]]] = (
    closed_async,
    dropped_async,
    abandoned_async,
    cancelled,
)


def abort(count: int) -> None:
    """Abort so many streams."""
    with httpx2.Client(transport=httpx2.MockTransport(answer)) as client:
        for way in itertools.islice(itertools.cycle(SYNC), count // 2):
            way(client)
    asyncio.run(_abort(count - count // 2))


async def _abort(count: int) -> None:
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(answer)) as client:
        for way in itertools.islice(itertools.cycle(ASYNC), count):
            await way(client)


def objects() -> int:
    """Count the objects of the instrumentation."""
    gc.collect()
    return sum(str(type(each).__module__).startswith(PACKAGE) for each in gc.get_objects())


def measure(count: int) -> dict[str, float]:
    """Abort so many streams; tell what is left of them."""
    counter = Counter()
    provider = TracerProvider()
    provider.add_span_processor(counter)
    SpanledgerInstrumentor().instrument(tracer_provider=provider)
    abort(80)  # what is made once, such as caches, is made here
    _settle(counter)
    before, warmed, began_s = objects(), counter.started, time.perf_counter()
    abort(count)
    _settle(counter)
    return {
        "streams": counter.started - warmed,
        "spans_not_ended": counter.started - len(counter.ended),
        "spans_ended_twice": sum(ends > 1 for ends in counter.ended.values()),
        "objects_left": objects() - before,
        "failures": sum(fence.FAILURES.values()),
        "seconds": round(time.perf_counter() - began_s, 1),
    }


def _settle(counter: Counter) -> None:
    # What was dropped is ended by a thread of its own, soon.
    gc.collect()
    deadline_s = time.monotonic() + DEADLINE_S
    while len(counter.ended) < counter.started and time.monotonic() < deadline_s:
        time.sleep(0.01)


def main(argv: Sequence[str] | None = None) -> int:
    """Print what is left; fail if that is anything."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--count", type=int, default=100_000)
    options = parser.parse_args(argv)
    found = measure(options.count)
    if options.json:
        print(json.dumps(found))
    else:
        print(", ".join(f"{name.replace('_', ' ')}: {value}" for name, value in found.items()))
    left = ("spans_not_ended", "spans_ended_twice", "objects_left", "failures")
    return 0 if found["streams"] == options.count and not any(found[name] for name in left) else 1


if __name__ == "__main__":
    sys.exit(main())
