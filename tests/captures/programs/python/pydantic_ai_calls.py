"""Pydantic-AI over OpenAI and Anthropic: agents that answer and stream, cached, repeated, failed."""

import asyncio
import contextlib
import sys

from setup import MANUAL, QUESTION, activate, fail_next, flush, request_handled


async def stream(agent: "Agent") -> None:  # noqa: F821  # imported once activated
    async with agent.run_stream(QUESTION) as result:
        async for _ in result.stream_text():
            pass


async def calls() -> None:
    from pydantic_ai import Agent
    from pydantic_ai.exceptions import ModelHTTPError
    from pydantic_ai.models.anthropic import AnthropicModel, AnthropicModelSettings
    from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel

    chat = Agent(OpenAIChatModel("gpt-4o-mini"))
    await chat.run(QUESTION)
    await chat.run(QUESTION)  # the same prompt again, on purpose
    await stream(chat)
    manual = Agent(OpenAIChatModel("gpt-4o-mini"), instructions=MANUAL)
    await manual.run(QUESTION)
    await manual.run(QUESTION)
    await Agent(OpenAIResponsesModel("gpt-5-mini")).run(QUESTION)
    await Agent(OpenAIChatModel("gpt-5-mini")).run(QUESTION)
    settings = AnthropicModelSettings(max_tokens=200, anthropic_cache_instructions=True)
    claude = Agent(AnthropicModel("claude-haiku-4-5"), instructions=MANUAL, model_settings=settings)
    await claude.run(QUESTION)
    await claude.run(QUESTION)
    await stream(claude)
    with request_handled():
        await chat.run(QUESTION)
        await stream(chat)
    fail_next(404)
    with contextlib.suppress(ModelHTTPError):
        await chat.run(QUESTION)


def main() -> None:
    activate(sys.argv[1:])
    asyncio.run(calls())
    flush()


if __name__ == "__main__":
    main()
