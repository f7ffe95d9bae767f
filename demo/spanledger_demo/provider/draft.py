"""A request -> what will be answered: its words, its figures, its model and tier. Pure but for the prompt cache."""

from __future__ import annotations

import hashlib
import random
import secrets
import time
from dataclasses import dataclass
from decimal import Decimal
from typing import Literal

from spanledger_demo.provider.cache import Block, CacheUse, PromptCache
from spanledger_demo.provider.figures import Figures, count_tokens
from spanledger_demo.provider.prices import ALIASES, PRICES, cost_usd

# No long-context price applies below this, so each model of the price list has one price for a class.
PROMPT_TOKENS_MAX = 200_000

VOCABULARY = (  # noqa: SIM905  # a text reads better than forty quoted words
    "the order was found and a new label is on its way please keep parcel until our driver has "
    "called your refund will reach account within three working days if anything else seems wrong "
    "write to us again we are happy help"
).split()


class RequestError(Exception):
    """Say that the request is wrong; the provider answers 400 in its own words."""

    def __init__(self, message: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(message)
        self.param = param
        self.code = code


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Hold what matters of a request, in either vendor's format.

    `tiers` are the service tiers that would do, the wanted one first: the first that the model is priced for serves,
    else the last, as a vendor that has no capacity in the wanted tier says another one in the answer.
    """

    model: str
    blocks: tuple[Block, ...]
    stream: bool = False
    usage_asked: bool = True
    output_tokens_max: int | None = None
    choices: int = 1
    reasons: bool = False
    answers: bool = True
    cache: Literal["implicit", "explicit", "none"] = "none"
    tiers: tuple[str, ...] = ("default",)
    dimensions: int = 0
    base64: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Draft:
    """Hold one answer before it is put into a vendor's format."""

    id: str
    ask: Ask
    model: str
    tier: str
    created: int
    words: tuple[str, ...]
    figures: Figures
    truncated: bool
    dice: int

    @property
    def text(self) -> str:
        """Join the words."""
        return " ".join(self.words)

    @property
    def cost_usd(self) -> Decimal | None:
        """Price the answer by the provider's own list; `None` is unknown."""
        return cost_usd(self.model, self.tier, self.figures)


def draft(ask: Ask, body: bytes, *, seed: int, cache: PromptCache) -> Draft:
    """Decide the answer to a request.

    Everything but the id and the time follows from the request, the seed and the prompts seen before. The id is random
    even so: a ledger knows a call by its response id, and two runs with one seed are not the same calls.

    Raises: RequestError, to be answered as 400.
    """
    prompt_tokens = sum(count_tokens(block.text) for block in ask.blocks)
    if prompt_tokens > PROMPT_TOKENS_MAX:
        message = f"prompt is too long: {prompt_tokens} tokens > {PROMPT_TOKENS_MAX} maximum"
        raise RequestError(message, code="context_length_exceeded")
    model = ALIASES.get(ask.model, ask.model)
    dice = int.from_bytes(hashlib.sha256(b"%d:" % seed + body).digest()[:8])
    visible, reasoning = _output_tokens(ask, random.Random(dice))
    use = _cache_use(ask, model, cache)
    return Draft(
        id=secrets.token_hex(16),
        ask=ask,
        model=model,
        tier=next((tier for tier in ask.tiers if (model, tier) in PRICES), ask.tiers[-1]),
        created=int(time.time()),
        words=_words(visible, random.Random(dice)),
        figures=Figures(
            input_tokens=prompt_tokens,
            output_tokens=visible * ask.choices + reasoning,
            cache_read_tokens=use.read_tokens,
            cache_write_5m_tokens=use.write_5m_tokens,
            cache_write_1h_tokens=use.write_1h_tokens,
            reasoning_tokens=reasoning,
        ),
        truncated=ask.output_tokens_max is not None and visible + reasoning >= ask.output_tokens_max,
        dice=dice,
    )


def _output_tokens(ask: Ask, dice: random.Random) -> tuple[int, int]:
    """Throw how many tokens the answer has, visible and reasoning; reasoning comes first when the limit is short."""
    if not ask.answers:
        return 0, 0
    visible = dice.randint(24, 120)
    reasoning = 64 * dice.randint(1, 6) if ask.reasons else 0
    if ask.output_tokens_max is not None:
        reasoning = min(reasoning, ask.output_tokens_max)
        visible = min(visible, ask.output_tokens_max - reasoning)
    return visible, reasoning


def _cache_use(ask: Ask, model: str, cache: PromptCache) -> CacheUse:
    if ask.cache == "implicit":
        return cache.implicit(model, ask.blocks)
    if ask.cache == "explicit":
        return cache.explicit(model, ask.blocks)
    return CacheUse()


def _words(count: int, dice: random.Random) -> tuple[str, ...]:
    return tuple(dice.choice(VOCABULARY) for _ in range(count))
