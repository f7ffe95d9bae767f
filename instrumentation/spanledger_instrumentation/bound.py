"""A request -> the most that its call can use, and what that costs at most.

A token of the input has at least one byte of the request; of the output there are no more than the request allows, or
than `OUTPUT_TOKENS` where it allows any number. What a provider reads from elsewhere (a file, an earlier answer, a
search) is in no request: such a call may exceed its bound, and is counted when it does.
"""

from collections.abc import Mapping
from typing import Final, NamedTuple

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation.providers.values import AttributeValue, count

__all__ = ["AMOUNT_MAX", "Rates", "Size", "amounts", "cost_usd_micro", "size_of"]

OUTPUT_TOKENS: Final = 16_384
"""Of a call that allows any number, unless the exporter says otherwise: what LiteLLM 1.109 reserves for one, too."""
AMOUNT_MAX: Final = 10**15
"""The greatest amount that the exporter takes: as much as nobody has ever used, and beyond every limit."""
_WITHOUT_OUTPUT: Final = frozenset({"embeddings", "rerank", "moderation", "ocr"})
"""Operations that bill no tokens of an output."""
_PICO_PER_MICRO: Final = 10**6


class Rates(NamedTuple):
    """What a model costs at most, of all its tiers.

    Units: pico-USD for a token of the input, one of the output, and a request; `output_tokens` is what a request is
    taken to ask for that allows any number.
    """

    input_pusd: int = 0
    output_pusd: int = 0
    request_pusd: int = 0
    output_tokens: int = OUTPUT_TOKENS


class Size(NamedTuple):
    """How much a call can use at most.

    Units: tokens; `allowed_tokens` of each of the `answers`, `None` where the request allows any number.
    """

    input_tokens: int
    allowed_tokens: int | None
    answers: int = 1

    def output_tokens(self, rates: Rates) -> int:
        """Give the tokens of all answers."""
        allowed = rates.output_tokens if self.allowed_tokens is None else self.allowed_tokens
        return min(allowed * self.answers, AMOUNT_MAX)


def size_of(attributes: Mapping[str, AttributeValue], body_bytes: int, best_of: object = None) -> Size:
    """Bound what a call can use, from the attributes of its request and the length of its body.

    `best_of` is what an old text completion says: so many answers are made, and billed, of which one is given.
    """
    if attributes.get(names.OPERATION_NAME) in _WITHOUT_OUTPUT:
        return Size(body_bytes, 0)
    allowed = count(attributes.get(names.REQUEST_MAX_TOKENS))  # Ollama's -1 means any number
    answers = max(count(attributes.get(names.REQUEST_CHOICE_COUNT)) or 1, count(best_of) or 1)
    return Size(body_bytes, allowed, answers)


def cost_usd_micro(rates: Rates, input_tokens: int, output_tokens: int) -> int:
    """Price so many tokens of one request, in micro-USD, rounded up."""
    pusd = rates.input_pusd * input_tokens + rates.output_pusd * output_tokens + rates.request_pusd
    return min(-(-pusd // _PICO_PER_MICRO), AMOUNT_MAX)


def amounts(rates: Rates, size: Size) -> Mapping[str, int]:
    """Give the bound of one call in each unit that a budget may have."""
    input_tokens, allowed, answers = size  # written for speed: on the path of every call
    input_pusd, output_pusd, request_pusd, output_tokens = rates
    if allowed is not None:
        output_tokens = allowed
    output_tokens *= answers
    usd = -(-(input_pusd * input_tokens + output_pusd * output_tokens + request_pusd) // _PICO_PER_MICRO)
    tokens = input_tokens + output_tokens
    return {
        "usd": usd if usd < AMOUNT_MAX else AMOUNT_MAX,
        "tokens": tokens if tokens < AMOUNT_MAX else AMOUNT_MAX,
        "calls": 1,
    }
