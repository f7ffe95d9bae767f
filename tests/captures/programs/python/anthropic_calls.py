"""Anthropic's SDK: messages, plain and streamed, thinking, cached for both lifetimes, repeated, failed and retried."""

import asyncio
import contextlib
import sys
from typing import Any

from setup import MANUAL, QUESTION, activate, fail_next, flush, request_handled

MESSAGES: Any = [{"role": "user", "content": QUESTION}]
MESSAGE: Any = {"model": "claude-haiku-4-5", "max_tokens": 200, "messages": MESSAGES}
THINKING: Any = MESSAGE | {"max_tokens": 2000, "thinking": {"type": "enabled", "budget_tokens": 1024}}


def cached(ttl: str) -> Any:
    system = [{"type": "text", "text": f"{ttl} {MANUAL}", "cache_control": {"type": "ephemeral", "ttl": ttl}}]
    return MESSAGE | {"system": system}


def drain(stream: Any) -> None:
    for _ in stream:
        pass


def messages(client: Any) -> None:
    create = client.messages.create
    create(**MESSAGE)
    create(**MESSAGE)  # the same prompt again, on purpose
    drain(create(**MESSAGE, stream=True))
    with client.messages.stream(**MESSAGE) as stream:
        stream.get_final_message()
    for ttl in ("5m", "1h"):
        create(**cached(ttl))  # fills the cache
        create(**cached(ttl))
    drain(create(**cached("5m"), stream=True))
    create(**THINKING)
    drain(create(**THINKING, stream=True))
    with request_handled():
        create(**MESSAGE)
        create(**MESSAGE)
        drain(create(**MESSAGE, stream=True))


def failures(client: Any) -> None:
    import anthropic

    for status in (404, 429):
        fail_next(status)
        with contextlib.suppress(anthropic.APIStatusError):
            client.with_options(max_retries=0).messages.create(**MESSAGE)
    fail_next(429)
    client.messages.create(**MESSAGE)  # the SDK tries again by itself


async def asynchronous() -> None:
    import anthropic

    async with anthropic.AsyncAnthropic() as client:
        await asyncio.gather(*(client.messages.create(**MESSAGE) for _ in range(2)))
        async for _ in await client.messages.create(**MESSAGE, stream=True):
            pass


def main() -> None:
    activate(sys.argv[1:])
    import anthropic

    client = anthropic.Anthropic()
    messages(client)
    failures(client)
    asyncio.run(asynchronous())
    flush()


if __name__ == "__main__":
    main()
