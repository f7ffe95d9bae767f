"""What all requests, refusals and figures of Cohere's two APIs have in common.

Shape: {"billed_units": {"input_tokens", "output_tokens", "search_units", "images", "image_tokens", "text_tokens",
       "pages"},
       "tokens": {"input_tokens", "output_tokens"}, "cached_tokens"}; numbers may be floats.
Source: cohere 7.3 types/usage.py, types/api_meta_billed_units.py; recorded answers (November 2026). Billed units are
what counts, as the GenAI conventions have it; `tokens` has Cohere's own template of the prompt in it, too.
"""

from collections.abc import Mapping
from typing import Final

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation.document import Document
from spanledger_instrumentation.providers.values import Row, count, integer, members, number, text, total
from spanledger_instrumentation.usage import Answer, Usage

__all__ = ["COMMON", "read_error", "take_usage"]

COMMON: Final[tuple[Row, ...]] = (
    (names.REQUEST_MODEL, ("model",), text),
    (names.REQUEST_MAX_TOKENS, ("max_tokens",), integer),
    (names.REQUEST_TEMPERATURE, ("temperature",), number),
    (names.REQUEST_TOP_P, ("p",), number),
    (names.REQUEST_TOP_K, ("k",), integer),
    (names.REQUEST_FREQUENCY_PENALTY, ("frequency_penalty",), number),
    (names.REQUEST_PRESENCE_PENALTY, ("presence_penalty",), number),
    (names.REQUEST_SEED, ("seed",), integer),
)
_PROCESSED: Final = (
    (names.PROCESSED_INPUT_TOKENS, "input_tokens"),
    (names.PROCESSED_OUTPUT_TOKENS, "output_tokens"),
)


def read_error(document: Document) -> str | None:
    """Read why a request was refused: Cohere only says it in a message, which may quote the prompt.

    Shape: {"id", "message"}
    """
    del document


def take_usage(answer: Answer, said: Mapping[str, object]) -> None:
    """Take the figures that stand in `usage` or `meta`; what was processed is told where it is not what was billed."""
    billed, processed = members(said.get("billed_units")), members(said.get("tokens"))
    if not billed:
        return
    answer.usage = _read_billed(billed)
    for name, member in _PROCESSED:
        figure = count(processed.get(member))
        if figure is not None and figure != count(billed.get(member)):
            answer.details[name] = figure
    # The cached ones are a part of what was processed, and of what is billed only where these are the same.
    if answer.usage.input_tokens == count(processed.get("input_tokens")):
        answer.usage.cache_read_input_tokens = count(said.get("cached_tokens"))


def _read_billed(billed: Mapping[str, object]) -> Usage:
    texts, images = count(billed.get("text_tokens")), count(billed.get("image_tokens"))
    inputs = count(billed.get("input_tokens"))
    return Usage(
        input_tokens=total(texts, images) if inputs is None else inputs,
        output_tokens=count(billed.get("output_tokens")),
        text_input_tokens=texts,
        image_input_tokens=images,
        input_images=count(billed.get("images")),
        search_units=count(billed.get("search_units")),
        pages=count(billed.get("pages")),
    )
