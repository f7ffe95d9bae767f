"""What every wire format offers: how its request, its answer and its stream are read."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from spanledger_instrumentation.document import Document
from spanledger_instrumentation.providers.values import AttributeValue
from spanledger_instrumentation.usage import Answer

__all__ = ["StreamReader", "Wire"]


class StreamReader(Protocol):
    """Reads the events of one streamed answer."""

    answer: Answer
    """What the events have said so far."""

    def event(self, data: bytes, tail: bytes) -> bool:
        """Take the data of an event, whole or as head and tail; tell whether the answer changed."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Wire:
    """Name one wire format and operation, with its readers."""

    provider: str
    operation: str
    read_request: Callable[[Document], dict[str, AttributeValue]]
    """The request's body -> the attributes that the span starts with."""
    read_answer: Callable[[Document], Answer]
    """The body of a successful answer that is no stream."""
    read_error: Callable[[Document], str | None]
    """The body of a refusal -> the provider's error code or type."""
    stream: Callable[[], StreamReader] | None
    """A reader of a streamed answer, where the operation has one."""
    answer_bytes_max: int = 4 * 1024 * 1024
    """Body of an answer that is parsed as a whole; of a longer one only head and tail are read."""
