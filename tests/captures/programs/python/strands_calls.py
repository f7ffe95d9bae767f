"""Strands over OpenAI: agents that answer, one prompt twice, and one call that fails."""

import contextlib
import sys
from typing import Any

from setup import MANUAL, QUESTION, activate, fail_next, flush, request_handled


def agent(model: str, **more: Any) -> Any:
    from strands import Agent
    from strands.models.openai import OpenAIModel

    return Agent(model=OpenAIModel(model_id=model, client_args={"max_retries": 0}), callback_handler=None, **more)


def main() -> None:
    activate(sys.argv[1:])
    agent("gpt-4o-mini")(QUESTION)
    agent("gpt-4o-mini")(QUESTION)  # the same prompt again, on purpose
    for _ in range(2):
        agent("gpt-4o-mini", system_prompt=MANUAL)(QUESTION)
    agent("gpt-5-mini")(QUESTION)
    with request_handled():
        agent("gpt-4o-mini")(QUESTION)
    fail_next(404)
    with contextlib.suppress(Exception):
        agent("gpt-4o-mini")(QUESTION)
    flush()


if __name__ == "__main__":
    main()
