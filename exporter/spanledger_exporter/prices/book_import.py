"""A file or a URL -> a price book: our canonical JSON, genai-prices' data.json or LiteLLM's prices, validated."""

import json
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from spanledger_exporter.errors import RejectedError, UnavailableError
from spanledger_exporter.prices.conditions import holds, span_of
from spanledger_exporter.prices.genai_prices_book import genai_prices_document, packaged_book
from spanledger_exporter.prices.litellm_book import litellm_document
from spanledger_exporter.prices.matching import rule_of
from spanledger_exporter.prices.price_book import EPOCH, PriceBook
from spanledger_exporter.prices.rates import rates_of

PACKAGED = "packaged"
# Source: genai-prices 0.2.3, `update_prices.py`, where it is the default.
UPDATE_URL = "https://raw.githubusercontent.com/pydantic/genai-prices/refs/heads/main/prices/new_data/v2/data.json"
_BYTES_MAX = 64 * 1024 * 1024
_TIMEOUT_S = 60
_PROBLEMS_SHOWN_MAX = 10
# Any below: what a JSON document holds is not known before it was looked at.


def book_from(origin: str) -> PriceBook:
    """Return the price book of a file, of a URL, or the packaged one.

    Raises:
        RejectedError: it is no price book; the message says why.
        UnavailableError: it cannot be read now.
    """
    if origin == PACKAGED:
        return packaged_book()
    content = _fetched(origin) if "://" in origin else _read(origin)
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as exc:
        raise RejectedError(f"{origin} is no JSON: {exc}") from exc
    try:
        book = PriceBook(_document(document, origin))
        problems = list(_problems(book))
    except RejectedError:
        raise
    except Exception as exc:  # a document from outside can be wrong in every way; the answer is to refuse it
        raise RejectedError(f"{origin} is no price book: {type(exc).__name__}: {exc}") from exc
    if problems:
        raise RejectedError("\n".join([f"{origin} is no price book:", *problems[:_PROBLEMS_SHOWN_MAX]]))
    return book


def _read(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as exc:
        raise RejectedError(f"{path}: {exc.strerror}") from exc


def _fetched(url: str) -> bytes:
    if not url.startswith(("https://", "http://")):
        raise RejectedError(f"{url!r} is neither a file nor an HTTP URL")
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_S) as answer:  # noqa: S310 -- the scheme was looked at
            content = cast("bytes", answer.read(_BYTES_MAX + 1))
    except (urllib.error.URLError, TimeoutError, OSError) as exc:
        raise UnavailableError(f"{url} cannot be read now: {exc}") from exc
    if len(content) > _BYTES_MAX:
        raise RejectedError(f"{url} is larger than {_BYTES_MAX} bytes")
    return content


def _document(document: Any, origin: str) -> dict[str, Any]:
    if isinstance(document, list):
        return genai_prices_document(cast("list[Any]", document), f"genai-prices, {origin}")
    if isinstance(document, dict):
        said = cast("dict[str, Any]", document)
        if isinstance(said.get("source"), str) and isinstance(said.get("providers"), list):
            return said
        if any(isinstance(entry, dict) and "litellm_provider" in entry for entry in said.values()):
            return litellm_document(said, f"LiteLLM, {origin}")
    raise RejectedError(f"{origin} is neither our price book, nor genai-prices' data.json, nor LiteLLM's model prices")


def _problems(book: PriceBook) -> Iterator[str]:
    """Return what of a book cannot be used, one line for each model."""
    number = 0
    try:
        for provider_id, model in book.models():
            number += 1
            problem = _problem(model)
            if problem is not None:
                yield f"{provider_id}/{model.get('id')}: {problem}"
    except (KeyError, TypeError, AttributeError) as exc:
        yield f"a provider or a model lacks what it must have: {exc!r}"
    if not number:
        yield "it has no models"


def _problem(model: Mapping[str, Any]) -> str | None:
    try:
        match = model["match"]
        if isinstance(match, dict):
            rule_of(cast("dict[str, Any]", match))("")
        for condition in (*model["prices"], *model["variants"]):
            rates = rates_of(condition["prices"])
            if any(rate.base < 0 for rate in rates.values()):
                return "a price is below 0"
            holds(condition.get("when"), EPOCH)
            span_of([condition.get("when")], EPOCH)
    except Exception as exc:  # noqa: BLE001 -- a document from outside can be wrong in every way; the answer is to refuse it
        return f"{type(exc).__name__}: {exc}"
    return None
