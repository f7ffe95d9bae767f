"""What the API says to the measured program: an answer and a stream of ordinary size.

Source: recorded in March 2026 in the test suite of opentelemetry-instrumentation-openai 0.62.4.
"""

import json
from typing import Any, Final

HEADERS: Final = {
    "content-type": "application/json",
    "openai-organization": "traceloop",
    "openai-processing-ms": "704",
    "openai-project": "proj_tzz1TbPPOXaf6j9tEkVUBIAa",
    "openai-version": "2020-10-01",
    "x-ratelimit-limit-requests": "30000",
    "x-ratelimit-limit-tokens": "150000000",
    "x-ratelimit-remaining-requests": "29999",
    "x-ratelimit-remaining-tokens": "149999227",
    "x-ratelimit-reset-requests": "2ms",
    "x-ratelimit-reset-tokens": "0s",
    "x-request-id": "req_27be8f4c3a1d4a5e9f0b6c7d8e9f0a1b",
}
USAGE: Final = {
    "prompt_tokens": 1200,
    "completion_tokens": 340,
    "total_tokens": 1540,
    "prompt_tokens_details": {"cached_tokens": 1024, "audio_tokens": 0},
    "completion_tokens_details": {
        "reasoning_tokens": 128,
        "audio_tokens": 0,
        "accepted_prediction_tokens": 0,
        "rejected_prediction_tokens": 0,
    },
}
ENVELOPE: Final = {"id": "chatcmpl-B1x2y3z4", "created": 1774915200, "model": "gpt-4o-mini-2024-07-18"}
QUESTION: Final[list[Any]] = [{"role": "user", "content": "What is the answer to the ultimate question? " * 20}]


def answer() -> bytes:
    """A chat completion of ordinary length."""
    message = {"role": "assistant", "content": "It is forty-two, as far as anybody knows. " * 20, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    body = {**ENVELOPE, "object": "chat.completion", "choices": [choice], "usage": USAGE, "service_tier": "default"}
    return json.dumps(body).encode()


def events(count: int) -> list[bytes]:
    """A stream of this many chunks with text, as the API sends them: compact, one event in each piece."""
    head = {
        **ENVELOPE,
        "object": "chat.completion.chunk",
        "service_tier": "default",
        "system_fingerprint": "fp_44add55e",
    }

    def event(choices: list[Any], usage: object) -> bytes:
        return (
            b"data: "
            + json.dumps({**head, "choices": choices, "usage": usage}, separators=(",", ":")).encode()
            + b"\n\n"
        )

    def delta(text: dict[str, str], reason: str | None = None) -> bytes:
        return event([{"index": 0, "delta": text, "logprobs": None, "finish_reason": reason}], None)

    return [
        *(delta({"content": f" word{number}"}) for number in range(count)),
        delta({}, "stop"),
        event([], USAGE),
        b"data: [DONE]\n\n",
    ]
