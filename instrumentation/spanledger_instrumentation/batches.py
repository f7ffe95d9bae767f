"""The results of a finished batch, JSON Lines as they are downloaded -> one answer for each model, figures summed up.

A file may hold gigabytes: only the line that is being read is kept, long ones as an excerpt, and of a long line only
its two ends are parsed as long as they say enough. Nothing is known before the last line.

Shape: OpenAI {"custom_id", "response": {"status_code", "body": <the answer>}, "error"}, also where the request failed;
       Anthropic {"custom_id", "result": {"type": "succeeded", "message": <the answer>}}, or another type.
Source: anthropic 2.12 types/messages/message_batch_individual_response.py, message_batch_result.py; OpenAI's shape:
https://platform.openai.com/docs/guides/batch, read in November 2026 (openai 3.54 hands out the bytes as they are).
"""

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation.document import Document
from spanledger_instrumentation.ndjson import LineReader
from spanledger_instrumentation.providers import (
    anthropic_messages,
    openai_chat,
    openai_completions,
    openai_embeddings,
    openai_moderations,
    openai_responses,
)
from spanledger_instrumentation.providers.values import TEXT_CHARS_MAX, integer, text
from spanledger_instrumentation.providers.wire import Wire
from spanledger_instrumentation.usage import FIGURES, Answer, Usage

__all__ = ["ANTHROPIC", "INPUT_TOKENS_STEPS", "OPENAI", "BatchFormat", "BatchResults", "Total"]

GROUPS_MAX: Final = 64
"""Models, and kinds of their answers, that are told apart in one batch. The requests of more are counted as unread."""
INPUT_TOKENS_STEPS: Final = (32_000, 100_000, 128_000, 199_999, 200_000, 256_000, 272_000, 512_000, 524_288)
"""Lengths of input beyond which some model costs more: requests on both sides of one are never summed.

Source: the thresholds of genai-prices 0.2.3, all providers (November 2026).
"""
_STEPS: Final = (0, *INPUT_TOKENS_STEPS)
_SHORT_BYTES_MAX: Final = 8 * 1024  # a line up to here is parsed as fast as its ends are looked through
_BLANK_BYTES_MAX: Final = 64
_END_BYTES: Final = 1024  # either end of a longer line, which nearly always says enough
_TIER: Final = "batch"
_FIGURE_MAX: Final = 2**63 - 1  # no attribute can hold more

_Key = tuple[str, str, int, tuple[tuple[str, str], ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchFormat:
    """Name one provider's lines, with their readers."""

    answer: tuple[str, ...]
    """Where in a line the answer stands."""
    outcome: Callable[[Document], "_Outcome | None"]
    """A line -> how its request went, or `None` where it is no line of results, or does not say."""
    wire: Callable[[Document], Wire | None]
    """An answer -> its wire format, if it is known."""


_Outcome = Literal["succeeded", "failed"]


def _openai_outcome(line: Document) -> _Outcome | None:
    status = integer(line.read("response", "status_code"))
    if status is None:
        return None
    return "succeeded" if 200 <= status < 300 else "failed"


def _anthropic_outcome(line: Document) -> _Outcome | None:
    kind = line.read("result", "type")
    if not isinstance(kind, str):
        return None
    return "succeeded" if kind == "succeeded" else "failed"


_OPENAI_WIRES: Final[Mapping[object, Wire]] = {
    "chat.completion": openai_chat.WIRE,
    "response": openai_responses.WIRE,
    "list": openai_embeddings.WIRE,
    "text_completion": openai_completions.WIRE,
}


def _openai_wire(body: Document) -> Wire | None:
    kind = text(body.read("object"))
    return openai_moderations.FREE if kind is None and body.has("results") else _OPENAI_WIRES.get(kind or "")


OPENAI: Final = BatchFormat(
    answer=("response", "body"),
    outcome=_openai_outcome,
    wire=_openai_wire,
)
ANTHROPIC: Final = BatchFormat(
    answer=("result", "message"),
    outcome=_anthropic_outcome,
    wire=lambda _: anthropic_messages.WIRE,
)


@dataclass(slots=True)
class Total:
    """Sum up the requests of one operation and model."""

    operation: str
    model: str | None
    """Absent for the requests whose answers could not be read, or were of too many kinds: they have no figures."""
    response_id: str
    """The same for every download of the batch."""
    details: dict[str, str | int | float] = field(default_factory=dict[str, "str | int | float"])
    beside: bool = False
    requests: int = 0
    input_tokens_max: int | None = None
    """Input of the longest request: a price that depends on the length depends on this, never on the sum."""
    usage: Usage = field(default_factory=Usage)

    def add(self, answer: Answer) -> None:
        """Add the figures of one request, class by class; what no request reports stays unknown."""
        self.requests += 1
        self.beside = self.beside or answer.beside
        for name, figure in answer.details.items():
            if not isinstance(figure, str):
                before = self.details.get(name, 0)
                self.details[name] = figure if isinstance(before, str) else min(before + figure, _FIGURE_MAX)
        if answer.usage is not None:
            self._add_usage(answer.usage)

    def _add_usage(self, usage: Usage) -> None:
        if usage.input_tokens is not None:
            self.input_tokens_max = max(self.input_tokens_max or 0, usage.input_tokens)
        mine = self.usage
        for name in FIGURES:
            if (figure := getattr(usage, name)) is not None:
                setattr(mine, name, min((getattr(mine, name) or 0) + figure, _FIGURE_MAX))

    def answer(self, batch_id: str) -> Answer:
        """Give it as one answer."""
        details: dict[str, str | int | float] = {
            **self.details,
            names.BATCH_ID: batch_id,
            names.BATCH_REQUESTS: self.requests,
        }
        if self.input_tokens_max is not None:
            details[names.BATCH_INPUT_TOKENS_MAX] = self.input_tokens_max
        return Answer(
            id=self.response_id,
            model=self.model,
            service_tier=_TIER,
            details=details,
            usage=self.usage if self.usage.known() else None,
            usage_final=True,
            beside=self.beside,
            begun=True,
            done=True,
        )


class BatchResults:
    """Push the decoded bytes of a download in; after the last one, read the totals."""

    __slots__ = ("_batch_id", "_begun", "_format", "_lines", "_totals", "_unread", "failed_requests", "refused")

    def __init__(self, batch_format: BatchFormat, batch_id: str) -> None:
        self._format = batch_format
        self._batch_id = batch_id
        self._lines = LineReader(self._line)
        self._begun = False
        self._totals: dict[_Key, Total] | None = None
        self._unread: Total | None = None
        self.failed_requests = 0
        self.refused = False
        """Whether this is something else: what follows need not be fed."""

    def feed(self, data: bytes) -> None:
        """Take the next bytes, cut anywhere."""
        if self._totals is None and not self._begun and (first := data[:_BLANK_BYTES_MAX].lstrip()):
            self._begun = True
            self.refused = not first.startswith(b"{")  # an image, say, is not worth collecting
        if not self.refused:
            self._lines.feed(data)

    def finish(self) -> None:
        """Take the end of the file; the last line may lack its line break."""
        if not self.refused:
            self._lines.finish()

    def totals(self) -> Sequence[Total]:
        """Give the sums, in the order in which the file first tells of them."""
        known = [] if self._totals is None else list(self._totals.values())
        return known if self._unread is None else [*known, self._unread]

    def _line(self, head: bytes, tail: bytes) -> None:
        if self.refused or head.isspace():
            return
        if self._totals is None:
            if not self._is_result(head, tail):
                self.refused = True
                return
            self._totals = {}
        if (answered := self._read(head, tail)) is not None:
            wire, answer = answered
            if not answer.free:
                self._total_of(wire, answer).add(answer)

    def _is_result(self, head: bytes, tail: bytes) -> bool:
        return any(line.has("custom_id") and self._format.outcome(line) is not None for line in _views(head, tail))

    def _read(self, head: bytes, tail: bytes) -> tuple[Wire | None, Answer] | None:
        """Read a line; `None`: its request failed."""
        wire: Wire | None = None
        answer = Answer()
        for line in _views(head, tail):
            outcome = self._format.outcome(line)
            if outcome == "failed" or (outcome is None and line.is_object and not line.is_cut):
                self.failed_requests += 1  # without a status there is no answer: {"response": null, "error": {...}}
                return None
            body = line.under(*self._format.answer)
            wire = self._format.wire(body)
            if outcome is not None and wire is not None:
                answer = wire.read_answer(body)
                if answer.free or (answer.usage is not None and answer.model is not None):
                    break
        return wire, answer

    def _total_of(self, wire: Wire | None, answer: Answer) -> Total:
        totals = self._totals
        if wire is None or totals is None or answer.model is None or answer.usage is None or not answer.usage.known():
            return self._unread_total()
        step = _STEPS[bisect_left(INPUT_TOKENS_STEPS, answer.usage.input_tokens or 0)]
        words = {name: value for name, value in answer.details.items() if isinstance(value, str)}
        key: _Key = (wire.operation, answer.model, step, tuple(sorted(words.items())))
        total = totals.get(key)
        if total is None:
            if len(totals) >= GROUPS_MAX:
                return self._unread_total()
            parts = (self._batch_id, wire.operation, answer.model, str(step), *words.values())
            total = totals[key] = Total(
                wire.operation, answer.model, _joined(parts), dict[str, str | int | float](words)
            )
        return total

    def _unread_total(self) -> Total:
        if self._unread is None:
            self._unread = Total("chat", None, _joined((self._batch_id, "unread")))
        return self._unread


def _views(head: bytes, tail: bytes) -> Iterator[Document]:
    """Give a line in parts that are cheap to read first."""
    if tail or len(head) > _SHORT_BYTES_MAX:
        yield Document(head[:_END_BYTES], (tail or head[_END_BYTES:])[-_END_BYTES:])
    yield Document(head, tail)


def _joined(parts: tuple[str, ...]) -> str:
    joined = "/".join(parts)
    return joined if len(joined) <= TEXT_CHARS_MAX else hashlib.sha256(joined.encode()).hexdigest()
