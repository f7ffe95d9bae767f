"""OpenAI's chat completions and embeddings, and the errors and headers that all of its endpoints share.

Source: the types of the openai SDK 3.54 (`openai/types/chat`, `completion_usage.py`, `create_embedding_response.py`),
and https://platform.openai.com/docs/api-reference and /docs/guides/error-codes, as known in November 2026.
"""

from __future__ import annotations

import base64
import math
import random
from array import array
from collections.abc import Iterator, Mapping

from spanledger_demo.provider.cache import Block
from spanledger_demo.provider.draft import Ask, Draft, RequestError
from spanledger_demo.provider.wire import (
    Event,
    Failure,
    Json,
    Wire,
    child,
    listed,
    pieces,
    positive,
    required,
    sse,
    text_of,
    tool_blocks,
)

PROVIDER = "openai"
DONE = b"data: [DONE]\n\n"
REQUESTS_LIMIT = 10_000
TOKENS_LIMIT = 2_000_000
EMBEDDING_DIMENSIONS = 1536

# Requested tier -> the tiers that would do. `fast` is served, and said, as `priority`.
TIERS: dict[str | None, tuple[str, ...]] = {
    None: ("default",),
    "auto": ("default",),
    "default": ("default",),
    "flex": ("flex", "default"),
    "priority": ("priority", "default"),
    "fast": ("priority", "default"),
}

# Status -> (type, code, message).
_ERRORS: dict[int, tuple[str, str | None, str]] = {
    400: ("invalid_request_error", None, "The request was invalid."),
    401: ("invalid_request_error", "invalid_api_key", "Incorrect API key provided."),
    404: ("invalid_request_error", "model_not_found", "The model does not exist or you do not have access to it."),
    429: ("requests", "rate_limit_exceeded", "Rate limit reached for requests per minute. Please try again in 6ms."),
    500: ("server_error", None, "The server had an error while processing your request. Sorry about that!"),
    503: ("service_unavailable_error", None, "The engine is currently overloaded, please try again later."),
}


def tiers(body: Json) -> tuple[str, ...]:
    """Read the service tier.

    Raises: RequestError, to be answered as 400.
    """
    wanted = body.get("service_tier")
    if wanted not in TIERS:
        raise RequestError(f"Invalid value: '{wanted}'.", param="service_tier", code="invalid_value")
    return TIERS[wanted]


def reasons(model: str, effort: str | None) -> bool:
    """Tell whether a model thinks before it answers."""
    return model.startswith(("gpt-5", "o3", "o4")) and effort not in ("none", "minimal")


def _parse_chat(body: Json) -> Ask:
    model = required(body, "model")
    required(body, "messages")
    options = child(body, "stream_options")
    if options and not body.get("stream"):
        message = "The 'stream_options' parameter is only allowed when 'stream' is enabled."
        raise RequestError(message, param="stream_options")
    stream = bool(body.get("stream"))
    return Ask(
        model=model,
        blocks=(
            *tool_blocks(body),
            *(Block(text=text_of(message.get("content"))) for message in listed(body, "messages")),
        ),
        stream=stream,
        usage_asked=not stream or bool(options.get("include_usage")),
        output_tokens_max=positive(body, "max_completion_tokens") or positive(body, "max_tokens"),
        choices=positive(body, "n") or 1,
        reasons=reasons(model, body.get("reasoning_effort")),
        cache="implicit",
        tiers=tiers(body),
    )


def _usage(draft: Draft) -> Json:
    figures = draft.figures
    return {
        "prompt_tokens": figures.input_tokens,
        "completion_tokens": figures.output_tokens,
        "total_tokens": figures.input_tokens + figures.output_tokens,
        "prompt_tokens_details": {"cached_tokens": figures.cache_read_tokens, "audio_tokens": 0},
        "completion_tokens_details": {
            "reasoning_tokens": figures.reasoning_tokens,
            "audio_tokens": 0,
            "accepted_prediction_tokens": 0,
            "rejected_prediction_tokens": 0,
        },
    }


def _head(draft: Draft, kind: str) -> Json:
    return {
        "id": f"chatcmpl-{draft.id}",
        "object": kind,
        "created": draft.created,
        "model": draft.model,
        "service_tier": draft.tier,
        "system_fingerprint": "fp_local",
    }


def _finish_reason(draft: Draft) -> str:
    return "length" if draft.truncated else "stop"


def _answer_chat(draft: Draft) -> Json:
    message: Json = {"role": "assistant", "content": draft.text, "refusal": None, "annotations": []}
    choice: Json = {"message": message, "logprobs": None, "finish_reason": _finish_reason(draft)}
    choices = [{"index": index, **choice} for index in range(draft.ask.choices)]
    return {**_head(draft, "chat.completion"), "choices": choices, "usage": _usage(draft)}


def _events_chat(draft: Draft) -> Iterator[Event]:
    head = _head(draft, "chat.completion.chunk")
    if draft.ask.usage_asked:
        head["usage"] = None  # every chunk has the key then; only the last one has figures in it
    for choice in range(draft.ask.choices):
        deltas: list[Json] = [{"role": "assistant", "content": "", "refusal": None}]
        deltas += [{"content": piece} for piece in pieces(draft)]
        for delta in deltas:
            yield Event(data=_chunk(head, choice, delta, None))
    for choice in range(draft.ask.choices):
        # Without figures to come, this is the last that a client needs.
        last = not draft.ask.usage_asked and choice == draft.ask.choices - 1
        yield Event(data=_chunk(head, choice, {}, _finish_reason(draft)), last=last)
    if draft.ask.usage_asked:
        yield Event(data=sse({**head, "choices": [], "usage": _usage(draft)}), said=draft.figures, last=True)
    yield Event(data=DONE)


def _chunk(head: Json, choice: int, delta: Json, finish_reason: str | None) -> bytes:
    return sse(
        {**head, "choices": [{"index": choice, "delta": delta, "logprobs": None, "finish_reason": finish_reason}]}
    )


def _parse_embeddings(body: Json) -> Ask:
    inputs = required(body, "input")
    one = isinstance(inputs, str) or isinstance(inputs[0], int)  # a text, or a text's token numbers
    return Ask(
        model=required(body, "model"),
        blocks=tuple(Block(text=text_of(text)) for text in ([inputs] if one else inputs)),
        answers=False,
        dimensions=positive(body, "dimensions") or EMBEDDING_DIMENSIONS,
        base64=body.get("encoding_format") == "base64",
    )


def _answer_embeddings(draft: Draft) -> Json:
    tokens = draft.figures.input_tokens
    return {
        "object": "list",
        "model": draft.model,
        "data": [
            {"object": "embedding", "index": index, "embedding": _embedding(draft, index)}
            for index in range(len(draft.ask.blocks))
        ],
        "usage": {"prompt_tokens": tokens, "total_tokens": tokens},
    }


def _embedding(draft: Draft, index: int) -> str | list[float]:
    dice = random.Random(draft.dice + index)
    vector = array("f", (dice.gauss() for _ in range(draft.ask.dimensions)))
    length = math.hypot(*vector)
    unit = array("f", (value / length for value in vector))
    return base64.b64encode(unit.tobytes()).decode() if draft.ask.base64 else unit.tolist()


def error(failure: Failure) -> Json:
    """Say an error as OpenAI does.

    Shape: {"error": {"message", "type", "param", "code"}}
    """
    kind, code, message = _ERRORS.get(failure.status, _ERRORS[500])
    return {
        "error": {
            "message": failure.message or message,
            "type": kind,
            "param": failure.param,
            "code": failure.code or code,
        }
    }


def _error_event(failure: Failure) -> bytes:
    return sse(error(failure))


def headers(number: int, used: float) -> Mapping[str, str]:
    """Give the headers of the answer with that number.

    Each minute's limit is as if it began at the first call, or that share of it were in use.
    """
    requests = max(number % REQUESTS_LIMIT, round(used * REQUESTS_LIMIT))
    tokens = max(200 * (number % REQUESTS_LIMIT), round(used * TOKENS_LIMIT))
    return {
        "x-request-id": f"req_{number:032x}",
        "openai-organization": "org-local",
        "openai-version": "2020-10-01",
        "openai-processing-ms": "12",
        "x-ratelimit-limit-requests": str(REQUESTS_LIMIT),
        "x-ratelimit-limit-tokens": str(TOKENS_LIMIT),
        "x-ratelimit-remaining-requests": str(REQUESTS_LIMIT - requests),
        "x-ratelimit-remaining-tokens": str(TOKENS_LIMIT - tokens),
        "x-ratelimit-reset-requests": _whole_again(requests / REQUESTS_LIMIT),
        "x-ratelimit-reset-tokens": _whole_again(tokens / TOKENS_LIMIT),
    }


def _whole_again(used: float) -> str:
    """Say how long it takes until nothing of a minute's limit is in use."""
    wait_ms = round(60_000 * used)
    return f"{wait_ms}ms" if wait_ms < 1000 else f"{wait_ms / 1000:g}s"


def credential(request_headers: Mapping[str, str]) -> str:
    """Read the API key of a request, or an empty text."""
    return request_headers.get("authorization", "").removeprefix("Bearer ").strip()


CHAT = Wire(
    provider=PROVIDER,
    id_prefix="chatcmpl-",
    parse=_parse_chat,
    answer=_answer_chat,
    events=_events_chat,
    error=error,
    error_event=_error_event,
    headers=headers,
    credential=credential,
)
EMBEDDINGS = Wire(
    provider=PROVIDER,
    id_prefix="",
    parse=_parse_embeddings,
    answer=_answer_embeddings,
    events=lambda _: iter(()),
    error=error,
    error_event=_error_event,
    headers=headers,
    credential=credential,
)
