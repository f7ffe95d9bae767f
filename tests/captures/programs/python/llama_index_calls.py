"""LlamaIndex over OpenAI: chatted, streamed, cached, with a tool on offer, failed."""

import contextlib
import os
import sys
from typing import Any

from setup import MANUAL, QUESTION, activate, fail_next, flush, request_handled


def drain(stream: Any) -> None:
    for _ in stream:
        pass


def main() -> None:
    activate(sys.argv[1:])
    from llama_index.core.llms import ChatMessage
    from llama_index.core.tools import FunctionTool
    from llama_index.llms.openai import OpenAI
    from openai import APIStatusError

    def weather(city: str) -> str:
        """Say how the weather is."""
        return f"fair in {city}"

    question = [ChatMessage(role="user", content=QUESTION)]
    here = {"api_base": os.environ["OPENAI_BASE_URL"], "max_retries": 0}
    chat = OpenAI(model="gpt-4o-mini", **here)
    chat.chat(question)
    chat.chat(question)  # the same prompt again, on purpose
    drain(chat.stream_chat(question, stream_options={"include_usage": True}))
    drain(chat.stream_chat(question))
    for _ in range(2):
        chat.chat([ChatMessage(role="system", content=MANUAL), *question])
    chat.complete(QUESTION)
    chat.chat_with_tools([FunctionTool.from_defaults(weather)], user_msg=QUESTION)
    OpenAI(model="gpt-5-mini", **here).chat(question)
    with request_handled():
        chat.chat(question)
    fail_next(404)
    with contextlib.suppress(APIStatusError):
        chat.chat(question)
    flush()


if __name__ == "__main__":
    main()
