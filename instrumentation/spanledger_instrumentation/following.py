"""What an HTTP client's shell hands to the core, and what the core gives it to hold on to. Knows no HTTP library."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from spanledger_instrumentation.refusals import Refusal

__all__ = ["Following", "Outgoing"]


@dataclass(slots=True, kw_only=True)
class Outgoing:
    """A request that is about to be sent. Not frozen, since that makes it slow to make."""

    method: str
    host: str
    port: int | None
    """Absent where the URL has none and its scheme no usual one."""
    target: bytes
    """Path and query, as they go out."""
    headers: Mapping[str, str]
    """By lower-case name."""
    content: bytes
    """The body, or nothing where it cannot be read without consuming it."""
    form: tuple[tuple[str, object], ...] = ()
    """Names and values of the first text fields of a form whose body cannot be read."""
    resends: int = 0
    """How often the client has sent this very request before, where the shell can tell."""
    replaceable: bool
    """Whether the shell can send another body in its place: it is not signed, and not a stream."""


class Following(Protocol):
    """Follow one request. No method raises; after the end all of them do nothing.

    Where it is `gated`, a shell first calls `admit`, and gives the refusal to the app, if there is one, and sends
    nothing. It then calls `enter`, sends the request (the `replacement`, if there is one), calls `leave`, and then
    either
    `read`, where the client has read the body already, or `answered`, `feed` for each raw chunk and `finish`; `fail`
    where the client raised, `close` where the app turns away.
    """

    gated: bool
    """Whether budgets are enforced on it."""
    recording: bool
    """Whether there is any use in reading the answer."""
    replacement: bytes | None
    """The body to send in place of the app's own; once it is sent, the app's request is to be as it was."""
    replacement_headers: Mapping[str, str]
    """Headers to send with it in place of the app's own, by lower-case name; the length is the shell's business."""

    @property
    def ended(self) -> bool:
        """Whether nothing is left to do."""
        ...

    @property
    def hides(self) -> bool:
        """Whether bytes may be kept from the app: to be asked once the answer's head was taken."""
        ...

    def admit(self) -> Refusal | None:
        """Decide whether it may be sent, and wait for that if need be; after a refusal it has ended."""
        ...

    async def admit_async(self) -> Refusal | None:
        """Decide the same, without holding up the event loop."""
        ...

    def notice(self) -> str:
        """Give the header `x-spanledger-budget` of an answer: soft budgets near their limits, or nothing."""
        ...

    def enter(self) -> object:
        """Make the call current while its request is sent; gives a token for `leave`."""
        ...

    def leave(self, token: object) -> None:
        """Undo `enter`."""
        ...

    def answered(self, status_code: int, headers: Mapping[str, str]) -> None:
        """Take the head of an answer whose body is to follow; headers by lower-case name."""
        ...

    def read(self, status_code: int, headers: Mapping[str, str], content: bytes) -> bytes:
        """Take an answer that is all there, its body decoded, and end.

        Give what the app is to get, nearly always the same object; another one only where a `replacement` was sent.
        """
        ...

    def feed(self, chunk: bytes) -> bytes:
        """Take the next raw bytes of the body; give those that the app is to get now, nearly always the same object.

        What is hidden or held back is only ever of an answer to a `replacement`.
        """
        ...

    def finish(self) -> bytes:
        """Take the end of the body; give what was held back, nearly always nothing. To be called after `fail`, too."""
        ...

    def release(self) -> bytes:
        """Give what was held back, and hide nothing any more; the body need not have come to its end."""
        ...

    def close(self) -> None:
        """End, wherever it stands."""
        ...

    def fail(self, error: BaseException) -> None:
        """End with the exception that the app is about to see."""
        ...
