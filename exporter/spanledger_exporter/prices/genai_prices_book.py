"""The installed genai-prices package -> a PriceBook.

The only module that imports genai-prices. Its objects become the canonical JSON of `price_book.py`, so that a book can
be hashed, kept and replayed without the package that it came from.

Source: genai-prices 0.2.3, `types.py`.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, date, datetime, time
from decimal import Decimal
from importlib.metadata import version
from typing import Any, cast

from spanledger_exporter.errors import RejectedError
from spanledger_exporter.prices.corrections import corrected
from spanledger_exporter.prices.price_book import PriceBook

_TIMEOUT_S = 60
# What the package does not say itself. Source: the upload times of the package index, as uv.lock has them.
_PUBLISHED = {"genai-prices 0.2.3": datetime(2026, 11, 10, 21, 51, 42, tzinfo=UTC)}
# Any below: genai-prices' match clauses and prices are unions of dataclasses that are told apart by their fields.


def packaged_book() -> PriceBook:
    """Return the price book that comes with the installed genai-prices.

    The import takes most of a second (pydantic and 2,330 models), so it happens when a book is wanted and not before.
    """
    from genai_prices import data

    return PriceBook(_book_document(data.providers, f"genai-prices {version('genai-prices')}"))


def packaged_book_apart() -> PriceBook:
    """Return the same, imported by a process of its own: this one never holds the thirty megabytes of the import."""
    command = [sys.executable, "-m", "spanledger_exporter.prices.genai_prices_book"]
    made = subprocess.run(command, stdout=subprocess.PIPE, check=False, timeout=_TIMEOUT_S)  # noqa: S603 -- our own
    return packaged_book() if made.returncode else PriceBook(json.loads(made.stdout))


def published_ns(source: str) -> int | None:
    """Return when the price list that comes with a version of genai-prices was published, `None` if that is not known.

    Units: Unix time in nanoseconds.
    """
    published = _PUBLISHED.get(source)
    return None if published is None else int(published.timestamp()) * 10**9


def genai_prices_document(raw: Sequence[Any], source: str) -> dict[str, Any]:
    """Return genai-prices' published `data.json` as the document of a price book.

    Raises:
        RejectedError: it is no such data.
    """
    from genai_prices.types import _providers_from_raw  # pyright: ignore[reportPrivateUsage] -- what its updates use
    from pydantic import ValidationError

    try:
        return _book_document(_providers_from_raw(raw), source)
    except (ValidationError, ValueError, TypeError) as exc:
        raise RejectedError(f"{source} is no data of genai-prices: {exc}") from exc


def _book_document(providers: Sequence[Any], source: str) -> dict[str, Any]:
    return {"source": source, "providers": [corrected(_provider_document(provider)) for provider in providers]}


def _provider_document(provider: Any) -> dict[str, Any]:
    return {
        "id": provider.id,
        "fallbacks": list(provider.fallback_model_providers or ()),
        "models": [
            {
                "id": model.id,
                "match": _match_document(model.match),
                "prices": _conditions_document(model.prices),
                "variants": [
                    {"context": dict(variant.when), **_condition_document(variant)}
                    for variant in model.price_variants or ()
                ],
            }
            for model in provider.models
        ],
    }


def _match_document(clause: Any) -> dict[str, Any]:
    fields = cast("dict[str, Any]", vars(clause))
    ((name, value),) = fields.items()
    if name in {"or_", "and_"}:
        return {name.rstrip("_"): [_match_document(part) for part in value]}
    return {name: value}


def _conditions_document(prices: Any) -> list[dict[str, Any]]:
    if isinstance(prices, list):
        return [_condition_document(condition) for condition in cast("list[Any]", prices)]
    return [{"prices": _prices_document(prices)}]


def _condition_document(condition: Any) -> dict[str, Any]:
    document: dict[str, Any] = {"prices": _prices_document(condition.prices)}
    constraint = condition.constraint
    if constraint is not None and hasattr(constraint, "start_date"):
        document["when"] = {"from": constraint.start_date.isoformat()}
    elif constraint is not None:
        document["when"] = {"start": _utc(constraint.start_time), "end": _utc(constraint.end_time)}
    return document


def _utc(value: time) -> str:
    if value.tzinfo is not None:
        value = datetime.combine(date(1970, 1, 1), value).astimezone(UTC).time()
    return value.isoformat()


def _prices_document(prices: Any) -> dict[str, Any]:
    fields = cast("dict[str, Any]", vars(prices))
    return {key: _price_document(value) for key, value in fields.items() if value is not None}


def _price_document(price: Any) -> Any:
    if isinstance(price, Decimal):
        return str(price)
    return {"base": str(price.base), "tiers": [[tier.start, str(tier.price)] for tier in price.tiers]}


if __name__ == "__main__":
    sys.stdout.buffer.write(packaged_book().content)
