"""Semantic Kernel over OpenAI: asked, streamed, cached, embedded, failed."""

import asyncio
import contextlib
import sys

from setup import MANUAL, QUESTION, activate, fail_next, flush, request_handled


async def calls() -> None:
    from semantic_kernel.connectors.ai.open_ai import (
        OpenAIChatCompletion,
        OpenAIChatPromptExecutionSettings,
        OpenAITextEmbedding,
    )
    from semantic_kernel.contents import ChatHistory
    from semantic_kernel.exceptions import ServiceResponseException

    chat = OpenAIChatCompletion(ai_model_id="gpt-4o-mini")
    settings = OpenAIChatPromptExecutionSettings()

    async def ask(service: OpenAIChatCompletion, manual: str | None = None) -> None:
        history = ChatHistory(system_message=manual)
        history.add_user_message(QUESTION)
        await service.get_chat_message_content(history, settings)

    await ask(chat)
    await ask(chat)  # the same prompt again, on purpose
    history = ChatHistory()
    history.add_user_message(QUESTION)
    async for _ in chat.get_streaming_chat_message_content(history, settings):
        pass
    await ask(chat, MANUAL)
    await ask(chat, MANUAL)
    await ask(OpenAIChatCompletion(ai_model_id="gpt-5-mini"))
    await OpenAITextEmbedding(ai_model_id="text-embedding-3-small").generate_embeddings([QUESTION])
    with request_handled():
        await ask(chat)
    fail_next(404)
    with contextlib.suppress(ServiceResponseException):
        await ask(chat)


def main() -> None:
    activate(sys.argv[1:])
    asyncio.run(calls())
    flush()


if __name__ == "__main__":
    main()
