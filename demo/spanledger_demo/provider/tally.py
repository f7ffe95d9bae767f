"""The provider's own books: every answer, summed by provider and model the moment it is complete."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any, Literal

from spanledger_demo.provider.figures import NO_FIGURES, Figures

Outcome = Literal["complete", "interrupted", "error"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """Hold what was answered to one call.

    `figures` are what the call is charged for: those of a complete answer, whether or not the client was told them
    (`stated`); those last said on the wire where the answer broke off; none for an error.

    Units: `cost_usd` in USD, exact; `None` where the price list has no price, or a broken answer had said no figures.
    """

    provider: str
    model: str
    outcome: Outcome
    status: int
    response_id: str | None = None
    stream: bool = False
    stated: bool = True
    figures: Figures = NO_FIGURES
    cost_usd: Decimal | None = Decimal(0)

    def as_dict(self) -> dict[str, Any]:
        """Give the answer as JSON knows it."""
        return {
            "provider": self.provider,
            "model": self.model,
            "outcome": self.outcome,
            "status": self.status,
            "response_id": self.response_id,
            "stream": self.stream,
            "stated": self.stated,
            **self.figures.as_dict(),
            "cost_usd": dollars(self.cost_usd),
        }


@dataclass(slots=True)
class Line:
    """Sum the answers of one model, or of all."""

    calls: int = 0
    errors: int = 0
    interrupted: int = 0
    unstated: int = 0
    unpriced: int = 0
    figures: Figures = NO_FIGURES
    cost_usd: Decimal = Decimal(0)

    def add(self, answer: Answer) -> None:
        """Count one answer."""
        self.calls += 1
        self.errors += answer.outcome == "error"
        self.interrupted += answer.outcome == "interrupted"
        self.unstated += not answer.stated
        self.unpriced += answer.cost_usd is None
        self.figures += answer.figures
        self.cost_usd += answer.cost_usd or 0

    def as_dict(self) -> dict[str, Any]:
        """Give the sums as JSON knows them; the cost is unknown where nothing but unpriced answers was summed."""
        known = self.unpriced < self.calls or not self.calls
        return {
            "calls": self.calls,
            "errors": self.errors,
            "interrupted": self.interrupted,
            "unstated": self.unstated,
            "unpriced": self.unpriced,
            **self.figures.as_dict(),
            "cost_usd": dollars(self.cost_usd) if known else None,
        }


@dataclass(slots=True)
class Tally:
    """Sum all answers, and keep the latest of them to look into. Safe to use from several threads."""

    answers_max: int = 100_000
    _total: Line = field(default_factory=Line)
    _lines: dict[tuple[str, str], Line] = field(default_factory=dict[tuple[str, str], Line])
    _answers: deque[Answer] = field(init=False)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self._answers = deque(maxlen=self.answers_max)

    def add(self, answer: Answer) -> None:
        """Count one answer."""
        with self._lock:
            self._total.add(answer)
            self._lines.setdefault((answer.provider, answer.model), Line()).add(answer)
            self._answers.append(answer)

    def as_dict(self) -> dict[str, Any]:
        """Give the sums as JSON knows them, in all and by model."""
        with self._lock:
            lines = sorted(self._lines.items())
            models = [{"provider": key[0], "model": key[1], **line.as_dict()} for key, line in lines]
            return {**self._total.as_dict(), "models": models}

    def answers(self) -> list[dict[str, Any]]:
        """List the latest answers, oldest first; at most `answers_max` are kept."""
        with self._lock:
            return [answer.as_dict() for answer in self._answers]


def dollars(value: Decimal | None) -> str | None:
    """Write an amount exactly, never with an exponent."""
    return None if value is None else f"{value.normalize():f}"
