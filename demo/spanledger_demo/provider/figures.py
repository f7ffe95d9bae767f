"""What an answer costs in tokens: the invented count of a text, and the figures of one answer."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields

BLOCK_TOKENS = 4
BYTES_PER_TOKEN = 4


def count_tokens(text: str) -> int:
    """Count the tokens of one block of a prompt.

    Units: tokens; 4 for the block, and one for each 4 bytes of UTF-8 begun. It is no real tokenizer and need not be
    one: the figures have to be the same on both sides, not the same as a vendor's.
    """
    return BLOCK_TOKENS + -(-len(text.encode()) // BYTES_PER_TOKEN)


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """Hold the tokens of one answer, or of many.

    Units: tokens; `input_tokens` and `output_tokens` are totals, the rest are parts of them.
    """

    input_tokens: int = 0
    output_tokens: int = 0
    cache_read_tokens: int = 0
    cache_write_5m_tokens: int = 0
    cache_write_1h_tokens: int = 0
    reasoning_tokens: int = 0

    @property
    def cache_write_tokens(self) -> int:
        """Sum what was written to the cache, whatever its lifetime."""
        return self.cache_write_5m_tokens + self.cache_write_1h_tokens

    @property
    def uncached_input_tokens(self) -> int:
        """Subtract the parts that the cache read and wrote."""
        return self.input_tokens - self.cache_read_tokens - self.cache_write_tokens

    def __add__(self, other: Figures) -> Figures:
        return Figures(**{f.name: getattr(self, f.name) + getattr(other, f.name) for f in fields(Figures)})

    def as_dict(self) -> dict[str, int]:
        """Give every class, the sum of the cache writes included."""
        return {**asdict(self), "cache_write_tokens": self.cache_write_tokens}


NO_FIGURES = Figures()
