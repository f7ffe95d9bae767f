"""OpenAI's SDK as LangSmith wraps it, its runs sent as spans."""

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
    import openai
    from langsmith import Client
    from langsmith.wrappers import wrap_openai

    smith = Client()
    client = wrap_openai(openai.OpenAI(max_retries=0), tracing_extra={"client": smith})
    create = client.chat.completions.create
    create(**CHAT)
    create(**CHAT)  # the same prompt again, on purpose
    drain(create(**CHAT, **WITH_USAGE))
    drain(create(**CHAT, stream=True))
    for _ in range(2):
        create(model="gpt-4o-mini", messages=[{"role": "system", "content": MANUAL}, *MESSAGES])
    create(model="gpt-5-mini", messages=MESSAGES)
    client.responses.create(model="gpt-5-mini", input=QUESTION)
    with request_handled():
        create(**CHAT)
        drain(create(**CHAT, **WITH_USAGE))
    fail_next(404)
    with contextlib.suppress(openai.APIStatusError):
        create(**CHAT)
    smith.flush()
    flush()


if __name__ == "__main__":
    main()
