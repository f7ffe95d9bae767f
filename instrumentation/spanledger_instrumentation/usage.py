"""What an answer says: its usage, and what else of it goes on the span. Knows no wire format and no OpenTelemetry."""

from collections.abc import Callable
from dataclasses import dataclass, field, fields
from operator import attrgetter
from typing import Final, Literal

__all__ = ["FIGURES", "Answer", "Usage", "UsageStatus", "usage_status"]

UsageStatus = Literal["reported", "partial", "unreported", "none"]


@dataclass(slots=True, kw_only=True, eq=True)
class Usage:
    """Hold the figures of one answer; `None` is what the provider did not say, 0 is what it said.

    Units: tokens, but for those whose names say otherwise. `input_tokens` and `output_tokens` are totals: every other
    token count, but for those of compactions, is a part of one of them. Not frozen, since that makes it slow to make.
    """

    input_tokens: int | None = None
    output_tokens: int | None = None
    cache_read_input_tokens: int | None = None
    cache_write_input_tokens: int | None = None
    cache_write_5m_input_tokens: int | None = None
    cache_write_1h_input_tokens: int | None = None
    cache_write_30m_input_tokens: int | None = None
    cache_write_12h_input_tokens: int | None = None
    reasoning_output_tokens: int | None = None
    text_input_tokens: int | None = None
    audio_input_tokens: int | None = None
    image_input_tokens: int | None = None
    video_input_tokens: int | None = None
    text_output_tokens: int | None = None
    audio_output_tokens: int | None = None
    image_output_tokens: int | None = None
    text_cache_read_input_tokens: int | None = None
    audio_cache_read_input_tokens: int | None = None
    image_cache_read_input_tokens: int | None = None
    video_cache_read_input_tokens: int | None = None
    compaction_input_tokens: int | None = None
    """Billed beside the totals, which do not hold them."""
    compaction_output_tokens: int | None = None
    web_search_requests: int | None = None
    search_sources: int | None = None
    """Sources that a live search read, where these are billed."""
    search_units: int | None = None
    """Of a reranker."""
    input_characters: int | None = None
    input_audio_s: float | None = None
    input_images: int | None = None
    output_images: int | None = None
    pages: int | None = None
    cost_usd: float | None = None
    """What the provider says that the call cost: kept beside our own figure, never in its place."""

    def known(self) -> bool:
        """Tell whether there is any figure at all."""
        return _ALL(self) != _UNKNOWN

    def figures(self) -> tuple[int | float | None, ...]:
        """Give all figures, in the order of `FIGURES`."""
        return _ALL(self)


FIGURES: Final = tuple(each.name for each in fields(Usage))
_ALL: Final[Callable[[Usage], tuple[int | float | None, ...]]] = attrgetter(*FIGURES)
"""Every answer is asked for all of them, and this is the fastest way."""
_UNKNOWN: Final = (None,) * len(FIGURES)


@dataclass(slots=True, kw_only=True)
class Answer:
    """Collect what an answer has said so far; a stream fills it event by event."""

    id: str | None = None
    model: str | None = None
    finish_reasons: tuple[str, ...] = ()
    choices: int = 1
    """How many of them are needed, as far as one has seen."""
    service_tier: str | None = None
    details: dict[str, str | int | float] = field(default_factory=dict[str, "str | int | float"])
    """Further attributes, by name, that only this provider's answers have."""
    usage: Usage | None = None
    usage_final: bool = False
    """Whether the figures can no longer grow."""
    beside: bool = False
    """Whether more was billed beside the figures, by another model, which only `details` tell."""
    free: bool = False
    """Whether the provider bills nothing for such a call."""
    pending: bool = False
    """Whether this only says that the work goes on in the background: its usage is to be had from a later answer."""
    background: bool = False
    """Whether it was made in the background: whoever fetches it later may be the first to see its figures."""
    error_type: str | None = None
    begun: bool = False
    """Whether the provider sent anything but an error."""
    done: bool = False
    """Whether the provider's last event was seen."""

    def complete(self) -> bool:
        """Tell whether the provider said all it had to say, also where it sends no last event."""
        return self.done or (len(self.finish_reasons) >= self.choices and self.error_type is None)


def usage_status(answer: Answer, *, whole: bool, sent: bool) -> UsageStatus:
    """Say how far the figures can be relied on.

    1. Figures, final or of an answer that came to its end: reported.
    2. Figures of an answer that ended early: partial. So are those beside which a compaction or another model was
       billed: the exporter does not price these yet, and what it cannot price must not look complete.
    3. No figures, and nothing to bill either (never sent, refused, an error before any output, free of charge): none.
    4. No figures, though tokens may have been spent: unreported. Unknown is never zero.
    """
    if answer.usage is not None and answer.usage.known():
        final = (whole or answer.usage_final) and answer.usage.compaction_input_tokens is None and not answer.beside
        return "reported" if final else "partial"
    if not sent or answer.free or (answer.error_type is not None and not answer.begun):
        return "none"
    return "unreported"
