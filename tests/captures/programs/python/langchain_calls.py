"""LangChain over OpenAI and Anthropic: invoked, streamed, batched, in a chain, cached, failed."""

import contextlib
import sys
from typing import Any

from setup import MANUAL, QUESTION, activate, fail_next, flush, request_handled


def drain(stream: Any) -> None:
    for _ in stream:
        pass


def openai() -> None:
    from langchain_core.output_parsers import StrOutputParser
    from langchain_core.prompts import ChatPromptTemplate
    from langchain_openai import ChatOpenAI, OpenAIEmbeddings
    from openai import APIStatusError

    model = ChatOpenAI(model="gpt-4o-mini", max_retries=0)
    model.invoke(QUESTION)
    model.invoke(QUESTION)  # the same prompt again, on purpose
    drain(model.stream(QUESTION, stream_usage=True))
    drain(model.stream(QUESTION, stream_usage=False))
    for _ in range(2):
        model.invoke([("system", MANUAL), ("user", QUESTION)])
    model.batch([QUESTION, QUESTION])
    ChatOpenAI(model="gpt-5-mini", use_responses_api=True).invoke(QUESTION)
    ChatOpenAI(model="gpt-5-mini").invoke(QUESTION)
    OpenAIEmbeddings(model="text-embedding-3-small", dimensions=4, check_embedding_ctx_length=False).embed_query(
        QUESTION
    )
    chain = ChatPromptTemplate.from_messages([("user", "{question}")]) | model | StrOutputParser()
    with request_handled():
        chain.invoke({"question": QUESTION})
        drain(chain.stream({"question": QUESTION}))
    fail_next(429)
    with contextlib.suppress(APIStatusError):
        model.invoke(QUESTION)


def anthropic() -> None:
    from langchain_anthropic import ChatAnthropic

    model = ChatAnthropic(model="claude-haiku-4-5", max_tokens=200, max_retries=0)
    model.invoke(QUESTION)
    model.invoke(QUESTION)
    drain(model.stream(QUESTION))
    system = [{"type": "text", "text": MANUAL, "cache_control": {"type": "ephemeral"}}]
    for _ in range(2):
        model.invoke([("system", system), ("user", QUESTION)])
    drain(model.stream([("system", system), ("user", QUESTION)]))


def main() -> None:
    activate(sys.argv[1:])
    openai()
    anthropic()
    flush()


if __name__ == "__main__":
    main()
