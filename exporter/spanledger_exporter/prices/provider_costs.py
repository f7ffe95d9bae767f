"""Entries of providers that say what a call costs -> where their figure is not ours, by model."""

from collections.abc import Iterable
from fractions import Fraction
from typing import Any, NamedTuple


class Comparison(NamedTuple):
    """The calls of one model that both we and the provider know the cost of.

    Units: pico-USD. `differing` counts the calls whose figures are further apart than was asked for.
    """

    model: str
    calls: int
    differing: int
    ours_pusd: int
    theirs_pusd: int


def compared(entries: Iterable[dict[str, Any]], over_percent: Fraction) -> list[Comparison]:
    """Return the models with a call whose cost and the provider's figure for it differ by more, the furthest first.

    The percentage is of the larger of both figures, so that a call that one of them has at 0 differs by 100 %.
    """
    sums: dict[str, Comparison] = {}
    for entry in entries:
        ours, theirs = entry["cost_pusd"], entry["provider_cost_pusd"]
        if ours is None or theirs is None:
            continue
        model = f"{entry['provider']}/{entry['response_model'] or entry['request_model']}"
        far = abs(ours - theirs) * 100 > over_percent * max(ours, theirs)
        one = sums.get(model, Comparison(model, 0, 0, 0, 0))
        sums[model] = Comparison(
            model, one.calls + 1, one.differing + far, one.ours_pusd + ours, one.theirs_pusd + theirs
        )
    differing = (each for each in sums.values() if each.differing)
    return sorted(differing, key=lambda each: (-abs(each.ours_pusd - each.theirs_pusd), each.model))
