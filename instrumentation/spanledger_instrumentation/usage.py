"""What an answer says: its usage, and what else of it goes on the span. Knows no wire format and no OpenTelemetry."""

from dataclasses import dataclass, fields
from typing import Literal

__all__ = ["Answer", "Usage", "UsageStatus", "usage_status"]

UsageStatus = Literal["reported", "partial", "unreported", "none"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """Hold the figures of one answer; `None` is what the provider did not say, 0 is what it said.

    Units: tokens, but for `web_search_requests`. `input_tokens` and `output_tokens` are totals: every other token
    count, but for those of compactions, is a part of one of them.
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
    audio_input_tokens: int | None = None
    audio_output_tokens: int | None = None
    image_input_tokens: int | None = None
    web_search_requests: int | None = None
    compaction_input_tokens: int | None = None
    """Billed beside the totals, which do not hold them."""
    compaction_output_tokens: int | None = None

    def known(self) -> bool:
        """Tell whether there is any figure at all."""
        return any(getattr(self, name) is not None for name in _FIGURES)


_FIGURES = tuple(field.name for field in fields(Usage))


@dataclass(slots=True, kw_only=True)
class Answer:
    """Collect what an answer has said so far; a stream fills it event by event."""

    id: str | None = None
    model: str | None = None
    finish_reasons: tuple[str, ...] = ()
    choices: int = 1
    """How many of them are needed, as far as one has seen."""
    service_tier: str | None = None
    inference_geo: str | None = None
    speed: str | None = None
    usage: Usage | None = None
    usage_final: bool = False
    """Whether the figures can no longer grow."""
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
    2. Figures of an answer that ended early: partial. So are those beside which a compaction was billed: the exporter
       does not price compactions yet, and what it cannot price must not look complete.
    3. No figures, and nothing was generated either (never sent, refused, an error before any output): none.
    4. No figures, though tokens may have been spent: unreported. Unknown is never zero.
    """
    if answer.usage is not None and answer.usage.known():
        final = (whole or answer.usage_final) and answer.usage.compaction_input_tokens is None
        return "reported" if final else "partial"
    if not sent or (answer.error_type is not None and not answer.begun):
        return "none"
    return "unreported"
