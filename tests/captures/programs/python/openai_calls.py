"""OpenAI's SDK: chat, responses and embeddings, plain and streamed, cached, repeated, failed and retried."""

import asyncio
import contextlib
import sys
from typing import Any

from setup import MANUAL, QUESTION, activate, fail_next, flush, request_handled

MESSAGES: Any = [{"role": "user", "content": QUESTION}]
CHAT: Any = {"model": "gpt-4o-mini", "messages": MESSAGES}
WITH_USAGE: Any = {"stream": True, "stream_options": {"include_usage": True}}
CACHED: Any = {"model": "gpt-4o-mini", "messages": [{"role": "system", "content": MANUAL}, *MESSAGES]}
REASONING: Any = {"model": "gpt-5-mini", "messages": MESSAGES}
RESPONSE: Any = {"model": "gpt-5-mini", "input": QUESTION}


def drain(stream: Any) -> None:
    for _ in stream:
        pass


def chats(client: Any) -> None:
    create = client.chat.completions.create
    create(**CHAT)
    create(**CHAT)  # the same prompt again, on purpose
    drain(create(**CHAT, **WITH_USAGE))
    drain(create(**CHAT, stream=True))  # without usage
    create(**CACHED)  # fills the cache
    create(**CACHED)
    drain(create(**CACHED, **WITH_USAGE))
    create(**REASONING)
    drain(create(**REASONING, **WITH_USAGE))


def others(client: Any) -> None:
    client.responses.create(**RESPONSE)
    drain(client.responses.create(**RESPONSE, stream=True))
    client.embeddings.create(model="text-embedding-3-small", input=[QUESTION, "And of Peru?"], dimensions=4)
    with request_handled():
        client.chat.completions.create(**CHAT)
        client.chat.completions.create(**CHAT)
        drain(client.chat.completions.create(**CHAT, **WITH_USAGE))


def failures(client: Any) -> None:
    import openai

    for status in (404, 429):
        fail_next(status)
        with contextlib.suppress(openai.APIStatusError):
            client.with_options(max_retries=0).chat.completions.create(**CHAT)
    fail_next(429)
    client.chat.completions.create(**CHAT)  # the SDK tries again by itself


async def asynchronous() -> None:
    import openai

    async with openai.AsyncOpenAI() as client:
        await asyncio.gather(*(client.chat.completions.create(**CHAT) for _ in range(2)))
        async for _ in await client.chat.completions.create(**CHAT, **WITH_USAGE):
            pass


def main() -> None:
    activate(sys.argv[1:])
    import openai

    client = openai.OpenAI()
    chats(client)
    others(client)
    failures(client)
    asyncio.run(asynchronous())
    flush()


if __name__ == "__main__":
    main()
