"""The lines of a price -> what each type of cost comes to, and what the provider's cache saved and cost.

A type is what the tokens were, whatever rate paid for them: a cached token of a model without a rate for cached ones
is a cached token at the rate of input, which saved nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from spanledger_exporter.prices.rates import Pusd, Rate
from spanledger_exporter.records import Split, Usage


class Line(NamedTuple):
    """One factor of a price.

    Units: `quantity` in `unit`s not counted on another line; `rate_pusd` pico-USD for one unit; `cost_pusd`
    pico-USD, rounded half to even (the rates of real books are whole pico-USD but for a handful, so nearly always
    exact).
    """

    unit: str
    quantity: int
    price_key: str
    rate_pusd: Pusd
    cost_pusd: int


_READ: Final = "cache_read_"
_WRITE: Final = "cache_write_"


def split_of(lines: Sequence[Line], usage: Usage, rates: Mapping[str, Rate]) -> Split:
    """Return the split of what the lines add up to.

    What was read from the cache, or written to it, and has no rate of its own is on the line of all input, and its part
    of that line is taken from there.
    """
    reads = [line for line in lines if line.unit.startswith(_READ)]
    writes = [line for line in lines if line.unit.startswith(_WRITE)]
    plain = next((line for line in lines if line.unit == "input_tokens"), None)
    of_reads, of_writes = _without_own_rate(plain, reads, writes, usage)
    read = _cost(reads) + of_reads
    write = _cost(writes) + of_writes
    input_ = sum(line.cost_pusd for line in lines if _is_input(line.unit)) - of_reads - of_writes
    output = sum(line.cost_pusd for line in lines if _is_output(line.unit))
    longest = usage.request_input_tokens_max or usage.input_tokens or 0
    saved = sum(_uncached_pusd(line, rates, longest) - line.cost_pusd for line in reads)
    premium = sum(line.cost_pusd - _uncached_pusd(line, rates, longest) for line in writes)
    other = _cost(lines) - input_ - read - write - output
    return Split(input_, read, write, output, other, max(saved, 0), max(premium, 0))


def _is_input(unit: str) -> bool:
    return unit.startswith("input_") and unit.endswith("_tokens")


def _is_output(unit: str) -> bool:
    return unit == "reasoning_tokens" or (unit.startswith("output_") and unit.endswith("_tokens"))


def _cost(lines: Sequence[Line]) -> int:
    return sum(line.cost_pusd for line in lines)


def _without_own_rate(
    plain: Line | None, reads: Sequence[Line], writes: Sequence[Line], usage: Usage
) -> tuple[int, int]:
    """Return what reads and writes cost on the line of all input.

    They are rounded as a whole and then apart, so that no part of the line falls below nothing.
    """
    if plain is None:
        return 0, 0
    read = (usage.cache_read_tokens or 0) - sum(line.quantity for line in reads)
    written = (usage.cache_write_tokens or 0) - sum(line.quantity for line in writes)
    read = min(read, plain.quantity)  # audio among them, for one, may be on the line of audio
    both = min(read + written, plain.quantity)
    of_reads = round(plain.rate_pusd * read)
    return of_reads, round(plain.rate_pusd * both) - of_reads


def _uncached_pusd(line: Line, rates: Mapping[str, Rate], input_tokens: int) -> int:
    """Return what the tokens of a line would have cost as uncached input; where that is not known, what they cost."""
    key = "input_mtok"
    if line.unit.startswith(_READ):
        own = f"input_{line.unit.removeprefix(_READ).removesuffix('_tokens')}_mtok"
        key = own if own in rates else key
    rate = rates.get(key)
    return line.cost_pusd if rate is None else round(rate.at(input_tokens) * line.quantity)
