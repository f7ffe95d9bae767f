"""OpenAI's SDK as Langfuse wraps it, whose calls become Langfuse's observations."""

import contextlib
import sys
from typing import Any

from setup import MANUAL, QUESTION, activate, fail_next, flush, request_handled

MESSAGES: Any = [{"role": "user", "content": QUESTION}]
CHAT: Any = {"model": "gpt-4o-mini", "messages": MESSAGES}
WITH_USAGE: Any = {"stream": True, "stream_options": {"include_usage": True}}


def drain(stream: Any) -> None:
    for _ in stream:
        pass


def main() -> None:
    activate(sys.argv[1:])
    from langfuse.openai import openai

    client = openai.OpenAI(max_retries=0)
    create = client.chat.completions.create
    create(**CHAT)
    create(**CHAT)  # the same prompt again, on purpose
    drain(create(**CHAT, **WITH_USAGE))
    drain(create(**CHAT, stream=True))
    for _ in range(2):
        create(model="gpt-4o-mini", messages=[{"role": "system", "content": MANUAL}, *MESSAGES])
    create(model="gpt-5-mini", messages=MESSAGES)
    client.responses.create(model="gpt-5-mini", input=QUESTION)
    client.embeddings.create(model="text-embedding-3-small", input=QUESTION, dimensions=4)
    with request_handled():
        create(**CHAT)
        drain(create(**CHAT, **WITH_USAGE))
    fail_next(404)
    with contextlib.suppress(openai.APIStatusError):
        create(**CHAT)
    flush()


if __name__ == "__main__":
    main()
