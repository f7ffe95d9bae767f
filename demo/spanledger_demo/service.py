"""A small support desk that asks two model providers for help: the demo's sample service.

It is an ordinary program. It knows nothing of Spanledger and imports nothing of OpenTelemetry; what the demo shows of
it is seen from outside, by `opentelemetry-instrument python -m spanledger_demo.service`. Where the providers are is
told by OPENAI_BASE_URL and ANTHROPIC_BASE_URL, as to any user of the two SDKs.
"""

from __future__ import annotations

import argparse
import asyncio
import inspect
import itertools
import logging
import signal
import time
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import anthropic
import httpx2
import openai

logger = logging.getLogger("support-desk")

HANDBOOK = "Refunds take three working days. Parcels are insured up to 500 USD. Be kind, be short, be right. " * 60
TICKETS = (
    "Where is my parcel?",
    "The box came, but it was empty.",
    "Please send the invoice again, the address is wrong.",
    "I ordered two and got three. What now?",
    "Can I pay in instalments?",
)

SMALL_MODEL = "gpt-4o-mini"
THINKING_MODEL = "gpt-5-mini"
EMBEDDING_MODEL = "text-embedding-3-small"
FAST_CLAUDE = "claude-haiku-4-5"
GOOD_CLAUDE = "claude-sonnet-5-5"


@dataclass(slots=True)
class Desk:
    """Hold the SDK clients, as a service does, and the tickets to work on."""

    # Each request is tried once: a retry would be a second call, and this desk would rather say sorry.
    openai: openai.OpenAI = field(default_factory=lambda: openai.OpenAI(max_retries=0))
    openai_async: openai.AsyncOpenAI = field(default_factory=lambda: openai.AsyncOpenAI(max_retries=0))
    anthropic: anthropic.Anthropic = field(default_factory=lambda: anthropic.Anthropic(max_retries=0))
    anthropic_async: anthropic.AsyncAnthropic = field(default_factory=lambda: anthropic.AsyncAnthropic(max_retries=0))
    _numbers: itertools.count[int] = field(default_factory=itertools.count)

    def ticket(self) -> str:
        """Take the next ticket."""
        number = next(self._numbers)
        return f"Ticket {number}: {TICKETS[number % len(TICKETS)]}"

    async def close(self) -> None:
        """Close all connections."""
        self.openai.close()
        self.anthropic.close()
        await self.openai_async.close()
        await self.anthropic_async.close()


def classify(desk: Desk) -> None:
    """Ask for the kind of a ticket: chat completions, sync."""
    desk.openai.chat.completions.create(
        model=SMALL_MODEL,
        messages=[
            {"role": "system", "content": "Name the kind of ticket."},
            {"role": "user", "content": desk.ticket()},
        ],
        max_tokens=16,
    )


async def reply(desk: Desk) -> None:
    """Write a reply while the customer looks on: chat completions, async, streamed."""
    stream = await desk.openai_async.chat.completions.create(
        model=SMALL_MODEL,
        messages=[{"role": "user", "content": desk.ticket()}],
        stream=True,
        stream_options={"include_usage": True},
    )
    async for _ in stream:
        pass


def reply_by_handbook(desk: Desk) -> None:
    """Write a reply by the handbook, which OpenAI caches by itself: chat completions, sync, streamed."""
    stream = desk.openai.chat.completions.create(
        model=THINKING_MODEL,
        messages=[{"role": "system", "content": HANDBOOK}, {"role": "user", "content": desk.ticket()}],
        stream=True,
        stream_options={"include_usage": True},
        reasoning_effort="low",
    )
    for _ in stream:
        pass


async def investigate(desk: Desk) -> None:
    """Think about a hard ticket: Responses, async, with reasoning."""
    await desk.openai_async.responses.create(
        model=THINKING_MODEL, instructions=HANDBOOK, input=desk.ticket(), reasoning={"effort": "medium"}
    )


def explain(desk: Desk) -> None:
    """Explain a decision while the customer looks on: Responses, sync, streamed."""
    with desk.openai.responses.stream(model=SMALL_MODEL, input=desk.ticket()) as stream:
        for _ in stream:
            pass


async def index(desk: Desk) -> None:
    """Index tickets for the search: embeddings, async."""
    await desk.openai_async.embeddings.create(model=EMBEDDING_MODEL, input=[desk.ticket(), desk.ticket()])


def summarise(desk: Desk) -> None:
    """Summarise a ticket: messages, sync."""
    desk.anthropic.messages.create(
        model=FAST_CLAUDE, max_tokens=300, messages=[{"role": "user", "content": desk.ticket()}]
    )


async def translate(desk: Desk) -> None:
    """Translate a reply while the customer looks on: messages, async, streamed."""
    async with desk.anthropic_async.messages.stream(
        model=FAST_CLAUDE, max_tokens=300, messages=[{"role": "user", "content": desk.ticket()}]
    ) as stream:
        async for _ in stream.text_stream:
            pass


def review(desk: Desk) -> None:
    """Review a reply by the handbook, cached for five minutes: messages, sync, streamed."""
    with desk.anthropic.messages.stream(
        model=GOOD_CLAUDE,
        max_tokens=400,
        system=[{"type": "text", "text": HANDBOOK, "cache_control": {"type": "ephemeral"}}],
        messages=[{"role": "user", "content": desk.ticket()}],
    ) as stream:
        for _ in stream.text_stream:
            pass


async def audit(desk: Desk) -> None:
    """Audit a refund by the handbook, cached for an hour: messages, async."""
    await desk.anthropic_async.messages.create(
        model=GOOD_CLAUDE,
        max_tokens=400,
        system=[{"type": "text", "text": HANDBOOK + "Audit.", "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        messages=[{"role": "user", "content": desk.ticket()}],
    )


Job = Callable[[Desk], None] | Callable[[Desk], Coroutine[None, None, None]]

JOBS: tuple[Job, ...] = (
    classify,
    reply,
    summarise,
    investigate,
    review,
    index,
    explain,
    translate,
    reply_by_handbook,
    audit,
)


async def work(job: Job, desk: Desk, threads: ThreadPoolExecutor) -> None:
    """Do one job, and go on without its answer where the provider fails."""
    try:
        if inspect.iscoroutinefunction(job):
            await job(desk)
        else:
            await asyncio.get_running_loop().run_in_executor(threads, job, desk)
    except (openai.OpenAIError, anthropic.AnthropicError, httpx2.HTTPError) as exc:
        logger.warning("%s goes to a human: %s", job.__name__, exc)


async def run(*, seconds: float, calls_per_s: float) -> None:
    """Work for some seconds, or until a signal, starting so many calls a second; finish those that were started."""
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    desk = Desk()
    started = time.monotonic()
    with ThreadPoolExecutor(max_workers=8) as threads:
        async with asyncio.TaskGroup() as jobs:
            for number, job in enumerate(itertools.cycle(JOBS)):
                wait_s = started + number / calls_per_s - time.monotonic()
                if number / calls_per_s >= seconds or await _stopped(stop, wait_s):
                    break
                jobs.create_task(work(job, desk, threads))
    await desk.close()


async def _stopped(stop: asyncio.Event, wait_s: float) -> bool:
    try:
        await asyncio.wait_for(stop.wait(), timeout=max(0.0, wait_s))
    except TimeoutError:
        return False
    return True


def main() -> None:
    """Run the desk."""
    parser = argparse.ArgumentParser(prog="support-desk", description=main.__doc__)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--calls-per-s", type=float, default=8.0)
    options = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(name)s: %(message)s")
    asyncio.run(run(seconds=options.seconds, calls_per_s=options.calls_per_s))


if __name__ == "__main__":
    main()
