"""Two price books -> what changed between them, model by model."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from spanledger_exporter.prices.price_book import PriceBook


class Change(NamedTuple):
    """One price of one model before and after, as the books write it; `None` where a book has none.

    `where` says which price: the condition or the tier, and the price key.
    """

    model: str
    where: str
    before: str | None
    after: str | None


class Difference(NamedTuple):
    """How one price book differs from another; models are `provider/model`."""

    added: list[str]
    removed: list[str]
    changed: list[Change]

    @property
    def lost(self) -> list[str]:
        """What the newer book no longer has a price for: models, and classes of usage of models that it still has."""
        keys = {(each.model, each.where): each for each in self.changed}
        return self.removed + [
            f"{model} {where}" for (model, where), each in keys.items() if each.after is None and "[" not in where
        ]

    @property
    def document(self) -> dict[str, Any]:
        """The difference as JSON."""
        return {**self._asdict(), "changed": [each._asdict() for each in self.changed], "lost": self.lost}


def difference(before: PriceBook, after: PriceBook) -> Difference:
    """Return what the second price book says differently."""
    old, new = _by_model(before), _by_model(after)
    changed: list[Change] = []
    for name in sorted(old.keys() & new.keys()):
        if old[name] != new[name]:
            was, now = _prices(old[name]), _prices(new[name])
            changed += [
                Change(name, where, was.get(where), now.get(where))
                for where in sorted(was.keys() | now.keys())
                if was.get(where) != now.get(where)
            ]
    return Difference(sorted(new.keys() - old.keys()), sorted(old.keys() - new.keys()), changed)


def _by_model(book: PriceBook) -> dict[str, Mapping[str, Any]]:
    return {f"{provider_id}/{model['id']}": model for provider_id, model in book.models()}


def _prices(model: Mapping[str, Any]) -> dict[str, str]:
    """Return every price of a model by what it is for; what holds at times only is in brackets."""
    found: dict[str, str] = {}
    for condition in (*model["prices"], *model["variants"]):
        tier = ",".join(f"{key}={value}" for key, value in condition.get("context", {}).items())
        conditions: Mapping[str, Any] = condition.get("when") or {}
        when = ",".join(f"{key}={value}" for key, value in sorted(conditions.items()))
        label = " ".join(part for part in (tier, f"[{when}]" if when else "") if part)
        for key, price in condition["prices"].items():
            found[f"{label} {key}".strip()] = price_text(price)
    found["names"] = str(model["match"])
    return found


def price_text(price: Any) -> str:
    """Return a price of a book as a person reads it: `1.25, above 200000 tokens 2.5`."""
    if isinstance(price, str):
        return price
    return ", ".join([price["base"], *(f"above {start} tokens {usd}" for start, usd in price["tiers"])])
