"""Bytes of a stream without final figures -> its tokens, by the ratio that this model's completed calls have shown.

A guess, and always marked as one: it goes on attributes of its own, and never among the figures that a provider
reported.
"""

from dataclasses import dataclass
from typing import Final

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation.usage import Usage

__all__ = ["RATIOS", "Estimate", "Ratios"]

MODELS_MAX: Final = 256
"""Models whose ratios are kept; of more, those that were not seen for the longest time are forgotten."""
BYTES_MAX: Final = 16 * 1024 * 1024
"""Bytes behind a ratio, beyond which what is old weighs half, so that it follows what the app does now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class _Ratio:
    tokens: int = 0
    bytes: int = 0

    def with_call(self, tokens: int, size: int) -> "_Ratio":
        half = 1 if self.bytes <= BYTES_MAX else 2
        return _Ratio(tokens=self.tokens // half + tokens, bytes=self.bytes // half + size)

    def estimate(self, size: int) -> int | None:
        return round(self.tokens * size / self.bytes) if self.bytes else None


_NOTHING: Final = (_Ratio(), _Ratio())


class Ratios:
    """Keep, for each model, how many tokens stood for how many bytes: of requests, and of streams."""

    def __init__(self) -> None:
        self._ratios: dict[object, tuple[_Ratio, _Ratio]] = {}

    def learn(self, model: object, usage: Usage, sent_bytes: int, received_bytes: int | None) -> None:
        """Take a call that came to its end, with the bytes of its stream if it was one."""
        # Two threads at once may lose one call of the two; a lock could be left locked for ever by a fork.
        sent, received = self._ratios.pop(model, _NOTHING)
        if usage.input_tokens is not None and sent_bytes:
            sent = sent.with_call(usage.input_tokens, sent_bytes)
        if usage.output_tokens is not None and received_bytes:
            received = received.with_call(usage.output_tokens, received_bytes)
        self._ratios[model] = (sent, received)
        while len(self._ratios) > MODELS_MAX:
            # A copy is made in one step; an iterator would fail where another thread adds a model meanwhile.
            self._ratios.pop(list(self._ratios)[0], None)  # noqa: RUF015

    def estimate(self, model: object, sent_bytes: int, received_bytes: int | None) -> tuple[int | None, int | None]:
        """Give input and output tokens; `None` where no completed call of the model shows a ratio."""
        sent, received = self._ratios.get(model, _NOTHING)
        return sent.estimate(sent_bytes), None if received_bytes is None else received.estimate(received_bytes)


RATIOS: Final = Ratios()
"""Of this process."""


class Estimate:
    """Learn from one call, or estimate what it does not say."""

    __slots__ = ("_model", "_ratios", "_sent_bytes", "_streaming")

    def __init__(self, model: object, sent_bytes: int, *, streaming: bool, ratios: Ratios = RATIOS) -> None:
        self._model = model
        self._sent_bytes = sent_bytes
        self._streaming = streaming
        self._ratios = ratios

    def settle(self, status: object, usage: Usage | None, received_bytes: int | None) -> dict[str, int]:
        """Take the end of the call with its `UsageStatus`; give the attributes of the estimate, if there is any.

        `received_bytes` are those of a stream's body, decoded; `None` where no stream came.
        """
        if status == "reported" and usage is not None:
            self._ratios.learn(self._model, usage, self._sent_bytes, received_bytes if self._streaming else None)
        if status not in ("partial", "unreported") or not self._streaming:
            return {}
        found: dict[str, int] = {}
        known = usage or Usage()
        sent, received = self._ratios.estimate(self._model, self._sent_bytes, received_bytes)
        if sent is not None and known.input_tokens is None:
            found[names.ESTIMATE_INPUT_TOKENS] = sent
        if received is not None:
            found[names.ESTIMATE_OUTPUT_TOKENS] = max(received, known.output_tokens or 0)
        return found
