"""OpenAI's Agents SDK: agents over responses and over chat, streamed, cached, failed."""

import asyncio
import contextlib
import sys

from setup import MANUAL, QUESTION, activate, fail_next, flush, request_handled


async def calls() -> None:
    import openai
    from agents import Agent, OpenAIChatCompletionsModel, Runner

    async with openai.AsyncOpenAI(max_retries=0) as client:
        reasoning = Agent(name="clerk", model="gpt-5-mini")
        await Runner.run(reasoning, QUESTION)
        await Runner.run(reasoning, QUESTION)  # the same prompt again, on purpose
        async for _ in Runner.run_streamed(reasoning, QUESTION).stream_events():
            pass
        chat = OpenAIChatCompletionsModel("gpt-4o-mini", openai_client=client)
        await Runner.run(Agent(name="clerk", model=chat), QUESTION)
        async for _ in Runner.run_streamed(Agent(name="clerk", model=chat), QUESTION).stream_events():
            pass
        manual = Agent(name="clerk", model=chat, instructions=MANUAL)
        await Runner.run(manual, QUESTION)
        await Runner.run(manual, QUESTION)
        with request_handled():
            await Runner.run(reasoning, QUESTION)
        fail_next(404)
        with contextlib.suppress(openai.APIStatusError):
            await Runner.run(Agent(name="clerk", model=chat), QUESTION)


def main() -> None:
    activate(sys.argv[1:])
    asyncio.run(calls())
    flush()


if __name__ == "__main__":
    main()
