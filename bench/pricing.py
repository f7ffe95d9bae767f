"""How many calls a second one core prices, beside genai-prices' own function on the same calls.

    .venv/bin/python bench/pricing.py [--json] [--seconds 2]

Both price the same calls in turns, and seconds are those of the processor; the ratio is what lasts on any machine.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))
AT = datetime(2026, 11, 18, 12, tzinfo=UTC)
ROUNDS = 7


def calls() -> list[tuple[str, Any, Callable[[], object]]]:
    """Return calls of the kinds that make most of any ledger, with genai-prices' question for each."""
    from genai_prices import calc_price
    from genai_prices.types import Usage as GenaiUsage

    from spanledger_exporter.records import Usage
    from tests.exporter.calls import record

    kinds = (
        ("openai", "gpt-4o", Usage(1_200, 300, cache_read_tokens=1_024, reasoning_tokens=0, input_audio_tokens=0)),
        ("openai", "gpt-5-mini", Usage(5_000, 2_000, cache_read_tokens=4_096, reasoning_tokens=1_500)),
        ("anthropic", "claude-sonnet-4-5",
         Usage(9_000, 500, cache_read_tokens=6_000, cache_write_tokens=2_000, cache_write_5m_tokens=2_000,
               cache_write_1h_tokens=0)),
        ("google", "gemini-2.5-pro", Usage(250_000, 900, cache_read_tokens=100_000, reasoning_tokens=400)),
        ("mistral", "mistral-large-latest", Usage(800, 90)),
        ("openai", "text-embedding-3-small", Usage(700)),
    )  # fmt: skip
    found: list[tuple[str, Any, Callable[[], object]]] = []
    for provider, model, usage in kinds:
        made = record(provider=provider, request_model=model, response_model=model, usage=usage,
                      end_ns=int(AT.timestamp()) * 10**9)  # fmt: skip
        theirs = GenaiUsage(
            input_tokens=usage.input_tokens, output_tokens=usage.output_tokens,
            cache_read_tokens=usage.cache_read_tokens, cache_write_tokens=usage.cache_write_tokens,
            output_reasoning_tokens=usage.reasoning_tokens,
        )  # fmt: skip

        def ask(model: str = model, provider: str = provider, theirs: Any = theirs) -> object:
            return calc_price(theirs, model, provider_id=provider, genai_request_timestamp=AT)

        found.append((f"{provider}/{model}", made, ask))
    return found


def per_second(ask: Callable[[], object], seconds: float) -> float:
    """Return how often a second a function can be called."""
    number, began = 0, time.process_time()
    ends = began + seconds
    while (now := time.process_time()) < ends:
        for _ in range(200):
            ask()
        number += 200
    return number / (now - began)


def ours_per_second(price: Callable[[Any], object], made: Any, seconds: float) -> float:
    """Return how many calls a second are priced, without the time that the asking itself would take in a lambda."""
    batch = [made._replace(span_id=bytes(8)) for _ in range(1000)]
    number, began = 0, time.process_time()
    ends = began + seconds
    while (now := time.process_time()) < ends:
        for each in batch:
            price(each)
        number += len(batch)
    return number / (now - began)


def main() -> int:
    """Measure, and print a table or one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object")
    parser.add_argument("--seconds", type=float, default=2.0, help="in all, for each model and side (default 2)")
    arguments = parser.parse_args()
    from spanledger_exporter.prices.genai_prices_book import packaged_book
    from spanledger_exporter.prices.pricer import Pricer

    pricer = Pricer(packaged_book())
    result: dict[str, dict[str, float]] = {}
    for name, made, ask in calls():
        pricer.price(made), ask()  # both look the model up once before they are measured
        turn_s = arguments.seconds / ROUNDS
        turns = [(ours_per_second(pricer.price, made, turn_s), per_second(ask, turn_s)) for _ in range(ROUNDS)]
        ours, theirs = (median(side) for side in zip(*turns, strict=True))
        ratio = median(one / other for one, other in turns)
        result[name] = {"calls_per_s": round(ours), "genai_prices_calls_per_s": round(theirs), "ratio": round(ratio, 1)}
    if arguments.json:
        print(json.dumps(result))
    else:
        print(f"{'model':32} {'calls/s':>12} {'genai-prices':>14} {'ratio':>8}")
        for name, row in result.items():
            print(f"{name:32} {row['calls_per_s']:12,} {row['genai_prices_calls_per_s']:14,} {row['ratio']:8}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
