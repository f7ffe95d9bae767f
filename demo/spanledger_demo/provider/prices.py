"""The provider's own price list: a few models, plain `Decimal`, and none of the exporter's code.

Source: the data of genai-prices 0.2.3 (`genai_prices.data.providers`, entries `openai` and `anthropic` with their
`service_tier` variants, read 2026-11-22). The models were chosen for having one price whatever the date, and the
provider refuses prompts so long that a long-context price would apply (`draft.PROMPT_TOKENS_MAX`).
"""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from spanledger_demo.provider.figures import Figures

TOKENS_PER_PRICE = 1_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Price:
    """Hold one line of the price list.

    Units: USD for a million tokens.
    """

    input_usd: Decimal
    output_usd: Decimal = Decimal(0)
    cache_read_usd: Decimal = Decimal(0)
    cache_write_5m_usd: Decimal = Decimal(0)
    cache_write_1h_usd: Decimal = Decimal(0)


def _openai(input_usd: str, cache_read_usd: str, output_usd: str) -> Price:
    return Price(
        input_usd=Decimal(input_usd),
        cache_read_usd=Decimal(cache_read_usd),
        output_usd=Decimal(output_usd),
    )


def _anthropic(input_usd: str, read_usd: str, write_5m_usd: str, write_1h_usd: str, output_usd: str) -> Price:
    return Price(
        input_usd=Decimal(input_usd),
        cache_read_usd=Decimal(read_usd),
        cache_write_5m_usd=Decimal(write_5m_usd),
        cache_write_1h_usd=Decimal(write_1h_usd),
        output_usd=Decimal(output_usd),
    )


# (model that answers, tier that serves) -> price. A pair that is not here has no price.
PRICES: dict[tuple[str, str], Price] = {
    ("gpt-4o-mini-2024-07-18", "default"): _openai("0.15", "0.075", "0.6"),
    ("gpt-4o-mini-2024-07-18", "priority"): _openai("0.25", "0.125", "1"),
    ("gpt-4.1-mini-2025-04-14", "default"): _openai("0.4", "0.1", "1.6"),
    ("gpt-4.1-mini-2025-04-14", "priority"): _openai("0.7", "0.175", "2.8"),
    ("gpt-5-mini-2025-08-07", "default"): _openai("0.25", "0.025", "2"),
    ("gpt-5-mini-2025-08-07", "flex"): _openai("0.125", "0.0125", "1"),
    ("gpt-5-mini-2025-08-07", "priority"): _openai("0.45", "0.045", "3.6"),
    ("gpt-5-2025-08-07", "default"): _openai("1.25", "0.125", "10"),
    ("gpt-5-2025-08-07", "flex"): _openai("0.625", "0.0625", "5"),
    ("gpt-5-2025-08-07", "priority"): _openai("2.5", "0.25", "20"),
    ("text-embedding-3-small", "default"): Price(input_usd=Decimal("0.02")),
    ("text-embedding-3-large", "default"): Price(input_usd=Decimal("0.13")),
    ("claude-haiku-4-5-20251001", "standard"): _anthropic("1", "0.1", "1.25", "2", "5"),
    ("claude-sonnet-4-5-20250929", "standard"): _anthropic("3", "0.3", "3.75", "6", "15"),
    ("claude-opus-4-5-20251101", "standard"): _anthropic("5", "0.5", "6.25", "10", "25"),
    ("claude-sonnet-5-5", "standard"): _anthropic("2", "0.1", "2.5", "4", "10"),
    ("claude-opus-5-5", "standard"): _anthropic("4", "0.2", "5", "8", "20"),
}

# The names that a request may use for a dated model, as the vendors' aliases do.
ALIASES: dict[str, str] = {
    "gpt-4o-mini": "gpt-4o-mini-2024-07-18",
    "gpt-4.1-mini": "gpt-4.1-mini-2025-04-14",
    "gpt-5-mini": "gpt-5-mini-2025-08-07",
    "gpt-5": "gpt-5-2025-08-07",
    "claude-haiku-4-5": "claude-haiku-4-5-20251001",
    "claude-sonnet-4-5": "claude-sonnet-4-5-20250929",
    "claude-opus-4-5": "claude-opus-4-5-20251101",
}


def cost_usd(model: str, tier: str, figures: Figures) -> Decimal | None:
    """Price one answer, or say `None` where the list has no price.

    Units: USD, exact: prices have at most four decimals, so a sum has at most ten.
    """
    price = PRICES.get((model, tier))
    if price is None:
        return None
    total = (
        figures.uncached_input_tokens * price.input_usd
        + figures.cache_read_tokens * price.cache_read_usd
        + figures.cache_write_5m_tokens * price.cache_write_5m_usd
        + figures.cache_write_1h_tokens * price.cache_write_1h_usd
        + figures.output_tokens * price.output_usd
    )
    return total / TOKENS_PER_PRICE
