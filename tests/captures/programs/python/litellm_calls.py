"""LiteLLM over OpenAI and Anthropic: completed, streamed, cached, embedded, failed."""

import contextlib
import sys
import time
from typing import Any

from setup import MANUAL, QUESTION, activate, fail_next, flush, request_handled

MESSAGES: Any = [{"role": "user", "content": QUESTION}]
SYSTEM: Any = {"type": "text", "text": MANUAL, "cache_control": {"type": "ephemeral"}}


def drain(stream: Any) -> None:
    for _ in stream:
        pass


def main() -> None:
    activate(sys.argv[1:])
    import litellm

    chat = {"model": "openai/gpt-4o-mini", "messages": MESSAGES}
    claude = {"model": "anthropic/claude-haiku-4-5", "messages": MESSAGES, "max_tokens": 200}
    litellm.completion(**chat)
    litellm.completion(**chat)  # the same prompt again, on purpose
    drain(litellm.completion(**chat, stream=True, stream_options={"include_usage": True}))
    drain(litellm.completion(**chat, stream=True))
    for _ in range(2):
        litellm.completion(model="openai/gpt-4o-mini", messages=[{"role": "system", "content": MANUAL}, *MESSAGES])
    litellm.completion(model="openai/gpt-5-mini", messages=MESSAGES)
    litellm.embedding(model="openai/text-embedding-3-small", input=[QUESTION], dimensions=4)
    litellm.completion(**claude)
    drain(litellm.completion(**claude, stream=True))
    for _ in range(2):
        litellm.completion(**claude | {"messages": [{"role": "system", "content": [SYSTEM]}, *MESSAGES]})
    with request_handled():
        litellm.completion(**chat)
        drain(litellm.completion(**claude, stream=True))
    fail_next(404)
    with contextlib.suppress(litellm.NotFoundError):
        litellm.completion(**chat)
    time.sleep(2)  # its callbacks run in a thread that nothing joins
    flush()


if __name__ == "__main__":
    main()
