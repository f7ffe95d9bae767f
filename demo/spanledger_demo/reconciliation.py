"""The provider's tally against the ledger: sums of both sides, and every difference between them. Pure."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, fields
from decimal import Decimal
from typing import Any

from spanledger_demo.budgets import refused

Model = tuple[str, str]


@dataclass(slots=True, kw_only=True)
class Sums:
    """Hold what one side says, of one model or in all.

    Units: tokens, USD; `input_tokens` and `output_tokens` are totals, the other classes are parts of them.
    """

    calls: int = 0
    errors: int = 0
    unpriced: int = 0
    refused: int = 0
    input_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    output_tokens: int = 0
    reasoning_tokens: int = 0
    cost_usd: Decimal = Decimal(0)


# The provider never saw what a budget refused, and has nothing to say of it.
NAMES = tuple(each.name for each in fields(Sums) if each.name != "refused")
TOKEN_NAMES = tuple(name for name in NAMES if name.endswith("_tokens"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Side:
    """Hold what one side says: in all, by model, and of which answers by their ids."""

    total: Sums
    models: Mapping[Model, Sums]
    response_ids: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Metrics:
    """Hold what the exporter's metrics say of the demo's time.

    Units: USD, a float, as Prometheus has no other number.
    """

    calls: float
    cost_usd: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Reconciliation:
    """Hold both sides, and what differs, in words."""

    provider: Side
    ledger: Side
    metrics: Metrics
    differences: list[str] = field(default_factory=list[str])

    @property
    def match(self) -> bool:
        """Tell whether nothing differs."""
        return not self.differences

    def as_dict(self) -> dict[str, Any]:
        """Give the reconciliation as JSON knows it; amounts are exact decimal texts."""
        provider, ledger = self.provider.total, self.ledger.total
        result: dict[str, Any] = {
            "match": self.match,
            "differences": self.differences,
            "provider_calls": provider.calls,
            "ledger_entries": ledger.calls,
            "provider_errors": provider.errors,
            "ledger_errors": ledger.errors,
        }
        for name in TOKEN_NAMES:
            result[f"provider_{name}"] = getattr(provider, name)
            result[f"ledger_{name}"] = getattr(ledger, name)
        return {
            **result,
            "provider_cost_usd": plain(provider.cost_usd),
            "cost_usd": plain(ledger.cost_usd),
            "unpriced": ledger.unpriced,
            "refused": ledger.refused,
            "metrics_calls": round(self.metrics.calls),
            "metrics_cost_usd": self.metrics.cost_usd,
        }


def provider_side(tally: Mapping[str, Any], answers: Iterable[Mapping[str, Any]]) -> Side:
    """Read the provider's tally, and its list of answers."""
    return Side(
        total=_sums_of_line(tally),
        models={(line["provider"], line["model"]): _sums_of_line(line) for line in tally["models"]},
        response_ids=frozenset(answer["response_id"] for answer in answers if answer["response_id"]),
    )


def _sums_of_line(line: Mapping[str, Any]) -> Sums:
    counts = {name: line[name] for name in NAMES if name != "cost_usd"}
    counts["errors"] += line["interrupted"]  # to a client, an answer that breaks off is an error
    return Sums(**counts, cost_usd=Decimal(line["cost_usd"] or 0))


def ledger_side(entries: Iterable[Mapping[str, Any]]) -> Side:
    """Sum ledger entries.

    Shape: each with the keys of `spanledger entries --json`. What was not reported adds nothing to a sum of tokens, and
    an entry without a price adds to `unpriced`, never to the cost.
    """
    total = Sums()
    models: dict[Model, Sums] = {}
    response_ids: set[str] = set()
    for entry in entries:
        if refused(entry):
            total.refused += 1
            continue
        model = (entry["provider"] or "", entry["response_model"] or entry["request_model"] or "")
        for sums in (total, models.setdefault(model, Sums())):
            _add(sums, entry)
        if entry["response_id"]:
            response_ids.add(entry["response_id"])
    return Side(total=total, models=models, response_ids=frozenset(response_ids))


def _add(sums: Sums, entry: Mapping[str, Any]) -> None:
    sums.calls += 1
    sums.errors += entry["outcome"] != "ok"
    sums.unpriced += entry["price_status"] == "unpriced"
    sums.cost_usd += Decimal(entry["cost_usd"] or 0)
    for name in TOKEN_NAMES:
        setattr(sums, name, getattr(sums, name) + (entry[name] or 0))


def reconcile(provider: Side, ledger: Side, metrics: Metrics) -> Reconciliation:
    """Compare both sides, in all, by model and by answer, and the metrics with the ledger."""
    differences = ["the provider answered no call at all"] if not provider.total.calls else []
    differences += _compare("in all", provider.total, ledger.total)
    for model in sorted({*provider.models, *ledger.models}):
        theirs, ours = provider.models.get(model, Sums()), ledger.models.get(model, Sums())
        differences += _compare(" ".join(model), theirs, ours)
    missing, unknown = provider.response_ids - ledger.response_ids, ledger.response_ids - provider.response_ids
    differences += [f"answer {each} is not in the ledger" for each in sorted(missing)]
    differences += [f"answer {each} is in the ledger, but the provider never gave it" for each in sorted(unknown)]
    differences += _compare_metrics(metrics, ledger.total)
    return Reconciliation(provider=provider, ledger=ledger, metrics=metrics, differences=differences)


def _compare(where: str, provider: Sums, ledger: Sums) -> list[str]:
    return [
        f"{where}: {name.replace('_', ' ')}: the provider says {theirs}, the ledger says {ours}"
        for name in NAMES
        if (theirs := getattr(provider, name)) != (ours := getattr(ledger, name))
    ]


def _compare_metrics(metrics: Metrics, ledger: Sums) -> list[str]:
    differences: list[str] = []
    entries = ledger.calls + ledger.refused
    if metrics.calls != entries:
        differences.append(f"/metrics: genai_calls_total grew by {metrics.calls:g}, entries by {entries}")
    # A counter is a float64: it is as near as a float can be, and not nearer.
    if not math.isclose(metrics.cost_usd, ledger.cost_usd, rel_tol=1e-9, abs_tol=1e-12):
        differences.append(
            f"/metrics: genai_cost_usd_total grew by {metrics.cost_usd}, the ledger by {ledger.cost_usd}"
        )
    return differences


def plain(amount: Decimal) -> str:
    """Write an amount exactly, never with an exponent."""
    return f"{amount.normalize():f}"
