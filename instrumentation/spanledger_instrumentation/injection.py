"""`stream_options.include_usage`, asked for on the app's behalf; and the chunk that then comes is kept from the app.

An OpenAI chat stream reports its usage only where the request asks for it, in one more chunk with no choices, which
many an app does not expect: `chunk.choices[0]` fails on it. So it is read, and not passed on.
Source: openai 3.54 types/chat/chat_completion_stream_options_param.py; docs/decisions/0010-include-usage.md.
"""

import json
import logging
import re
from collections.abc import Mapping
from typing import Any, Final

from spanledger_instrumentation.document import Document
from spanledger_instrumentation.following import Outgoing
from spanledger_instrumentation.providers.hosts import Provider
from spanledger_instrumentation.providers.values import members
from spanledger_instrumentation.providers.wire import Wire
from spanledger_instrumentation.settings import IncludeUsage
from spanledger_instrumentation.sse import EventReader
from spanledger_instrumentation.usage import Answer

__all__ = ["HOSTS", "Hiding", "Hosts", "Injection", "asking", "inject"]

CONTENT_BYTES_MAX: Final = 32 * 1024 * 1024
"""Body of a request that is copied to ask for the usage."""
HELD_BYTES_MAX: Final = 16 * 1024
"""Bytes of one incomplete event that are held back from the app; the chunk in question is far shorter."""
HOSTS_MAX: Final = 256
"""Hosts that are remembered; of more, the first ones are forgotten."""
REFUSALS_MAX: Final = 3
"""Refusals in a row, of unknown reason, after which even a host that is known to accept it is not asked any more."""

_LOGGER: Final = logging.getLogger(__name__)
_IDENTITY: Final[Mapping[str, str]] = {"accept-encoding": "identity"}
_REFUSED: Final = frozenset({400, 422})
_NAMED: Final = re.compile(rb"stream_options|include_usage|stream options", re.IGNORECASE)

# -- the request -----------------------------------------------------------------------------------------------------

_SIGNED: Final = re.compile(r"signature|digest|hmac|md5|sha-?(?:1|256|512)|checksum")
_UNSIGNED: Final = re.compile(r"(?:bearer|basic) |[^ ]*\Z", re.IGNORECASE)
_NO_IDENTITY: Final = re.compile(r"(?:identity|\*)\s*;\s*q=0(?:\.0*)?\s*(?:,|\Z)", re.IGNORECASE)
_OPENING: Final = re.compile(rb'[ \t\r\n]*\{(?=[ \t\r\n]*")')
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_SEPARATOR: Final = re.compile(r"[ \t\r\n]*[:,]?[ \t\r\n]*")
_INCLUDE_USAGE: Final = '"include_usage":true'


def asking(content: bytes, document: Document) -> bytes | None:
    """Give the body with `include_usage` added, else byte for byte as it was; `None` where the app decides itself.

    `document` is the same body, read.
    """
    opening = _OPENING.match(content)
    if opening is None or len(content) > CONTENT_BYTES_MAX or not document.is_object:
        return None
    if b"stream_options" not in content:
        # The name may be spelt with escapes.
        if document.has("stream_options"):
            return None
        at = opening.end()
        return b'%b"stream_options":{%b},%b' % (content[:at], _INCLUDE_USAGE.encode(), content[at:])
    return None if document.is_cut else _merged(content)


def _merged(content: bytes) -> bytes | None:
    text = content.decode(errors="surrogatepass")  # as the JSON parser takes it, who has read it already
    start, end, options = _options(text)
    if start == end:  # the name is only spoken of, somewhere within
        at = text.index("{") + 1
        return f'{text[:at]}"stream_options":{{{_INCLUDE_USAGE}}},{text[at:]}'.encode(errors="surrogatepass")
    if options is None:
        return f"{text[:start]}{{{_INCLUDE_USAGE}}}{text[end:]}".encode(errors="surrogatepass")
    if not isinstance(options, dict) or "include_usage" in options:
        return None
    comma = "," if options else ""
    return f"{text[: start + 1]}{_INCLUDE_USAGE}{comma}{text[start + 1 :]}".encode(errors="surrogatepass")


def _options(text: str) -> tuple[int, int, object]:
    """Find where the value of the member `stream_options` begins and ends, and read it; of several the last counts."""
    decode = json.JSONDecoder().raw_decode
    found: tuple[int, int, object] = (0, 0, None)
    at = _after(_SPACE, text, text.index("{") + 1)
    while text[at] == '"':
        name: Any
        value: Any
        name, at = decode(text, at)
        start = _after(_SEPARATOR, text, at)
        value, at = decode(text, start)
        if name == "stream_options":
            found = (start, at, value)
        at = _after(_SEPARATOR, text, at)
    return found


def _after(pattern: re.Pattern[str], text: str, at: int) -> int:
    match = pattern.match(text, at)
    return at if match is None else match.end()


def _is_signed(outgoing: Outgoing) -> bool:
    _, _, query = outgoing.target.partition(b"?")
    if query and (b"signature" in query.lower() or b"sig=" in query):
        return True
    if not _UNSIGNED.match(outgoing.headers.get("authorization", "")):
        return True
    return _SIGNED.search(" ".join(outgoing.headers)) is not None


# -- the hosts -------------------------------------------------------------------------------------------------------


class Hosts:
    """Remember where it went wrong, so that no app suffers from it for long."""

    def __init__(self) -> None:
        self._refusals: dict[object, int] = {}  # in a row; those of a host that has accepted it begin below one
        self._stopped: dict[object, None] = {}

    def allows(self, host: object) -> bool:
        """Tell whether this host may be asked."""
        return host not in self._stopped

    def accepted(self, host: object) -> None:
        """Take that a request that asked was answered."""
        if self._refusals.get(host) != 0:
            self._refusals[host] = 0
            _trim(self._refusals)

    def refused(self, host: object, *, named: bool, known: bool) -> None:
        """Take that a request that asked was refused, perhaps for another reason.

        1. The refusal names what we asked for: never again.
        2. So it is on a host of which nothing is known: we may be the reason of every refusal.
        3. A host that is known to accept it, or has done so, has another reason, unless it refuses all.
        """
        refusals = self._refusals.get(host, 0) + 1
        proven = known or host in self._refusals
        if named or not proven or refusals >= REFUSALS_MAX:
            self.stop(host, "refused a request with it")
            return
        self._refusals[host] = refusals
        _trim(self._refusals)

    def clear(self) -> None:
        """Forget everything."""
        self._refusals.clear()
        self._stopped.clear()

    def stop(self, host: object, reason: str) -> None:
        """Ask this host no more."""
        if host not in self._stopped:
            self._stopped[host] = None
            _trim(self._stopped)
            _LOGGER.warning("stream_options.include_usage is no longer added for %s: it %s", host, reason)


def _trim(remembered: dict[object, Any]) -> None:
    while len(remembered) > HOSTS_MAX:
        # A copy is made in one step; an iterator would fail where another thread adds a host meanwhile.
        remembered.pop(list(remembered)[0], None)  # noqa: RUF015


HOSTS: Final = Hosts()
"""Of this process."""


# -- the answer ------------------------------------------------------------------------------------------------------

_EVENT_END: Final = re.compile(rb"(?>\r\n|\r|\n)(?>\r\n|\r|\n)")
_LINE_END: Final = re.compile(rb"\r\n|\r|\n")


class Hiding:
    """Take raw bytes of a stream, give those that the app is to get: all but an event of usage without choices.

    Nothing is looked at, let alone held back, before a first reason to finish was seen. From then on the bytes of an
    event that is not complete are held back, up to a bound.
    """

    __slots__ = ("_beheaded", "_finished", "_passed", "_skip_lf", "_wire", "open")

    def __init__(self, wire: Wire) -> None:
        self._wire = wire
        self.open = b""
        """The event that has not ended."""
        self._passed = 0  # how much of it the app has already
        self._beheaded = False  # whether it was too long to be kept whole
        self._finished = False
        self._skip_lf = False

    def feed(self, chunk: bytes, *, finished: bool) -> bytes:
        """Take the next bytes; `finished` tells whether they, or those before, have a reason to finish."""
        if finished:
            return self._filter(chunk)
        if chunk.endswith(b"\n\n"):
            self.open, self._passed, self._beheaded = b"", 0, False
        else:
            self._watch(chunk)
        return chunk

    def finish(self) -> bytes:
        """Take the end; give what was held back. An event that the end leaves open counts as one."""
        held, self.open = self.open[self._passed :], b""
        whole, self._passed = self._passed == 0, 0
        return b"" if held and whole and self._finished and self._is_usage(held) else held

    def release(self) -> bytes:
        """Give what was held back, whatever it is."""
        held, self.open, self._passed = self.open[self._passed :], b"", 0
        return held

    def _watch(self, chunk: bytes) -> None:
        data = self.open + chunk
        end = 0
        for match in _EVENT_END.finditer(data, max(len(self.open) - 3, 0)):
            end = match.end()
        self._keep(data[end:], begins=end > 0)
        self._passed = len(self.open)

    def _keep(self, incomplete: bytes, *, begins: bool) -> None:
        # Of what is too long, enough is kept to see where it ends.
        self._beheaded = len(incomplete) > HELD_BYTES_MAX or (self._beheaded and not begins)
        self.open = incomplete[-4:] if len(incomplete) > HELD_BYTES_MAX else incomplete

    def _filter(self, chunk: bytes) -> bytes:
        if self._skip_lf and chunk:
            chunk = chunk.removeprefix(b"\n")
            self._skip_lf = False
        data, passed, searched = self.open + chunk, self._passed, max(len(self.open) - 3, 0)
        out: list[bytes] = []
        start = 0
        while end := _end(data, start, searched):
            # What is too long to be looked at again is taken for the reason: the stream was still going before it.
            self._finished = self._finished or (self._beheaded and start == 0)
            if self._is_hidden(data[start:end], begun=start < passed):
                self._skip_lf = end == len(data) and data.endswith(b"\r")
            else:
                out.append(data[max(start, passed) : end])
            start = end
        self._finished = True
        rest = data[start:]
        self._passed = max(passed - start, 0)
        if self._passed or len(rest) > HELD_BYTES_MAX:
            out.append(rest[self._passed :])
            self._keep(rest, begins=start > 0)
            self._passed = len(self.open)
        else:
            self.open, self._beheaded = rest, False
        return out[0] if len(out) == 1 else b"".join(out)

    def _is_hidden(self, event: bytes, *, begun: bool) -> bool:
        if self._finished:
            return not begun and self._is_usage(event)
        self._finished = self._finishes(event)
        return False

    def _finishes(self, event: bytes) -> bool:
        # Looked at first, as for the usage: thousands of blank lines in one chunk would else take a reader each.
        if self._wire.stream is None or b'"finish_reason"' not in event:
            return False
        stream = self._wire.stream()
        for data, tail in _events(event):
            stream.event(data, tail)
        return bool(stream.answer.finish_reasons)

    def _is_usage(self, event: bytes) -> bool:
        if b'"choices"' not in event or b'"usage"' not in event:
            return False
        events = _events(event)
        return len(events) == 1 and _has_usage_alone(Document(*events[0]))


def _events(content: bytes) -> list[tuple[bytes, bytes]]:
    found: list[tuple[bytes, bytes]] = []
    reader = EventReader(lambda data, tail: found.append((data, tail)))
    reader.feed(b"\n")  # this is not where the stream begins, the only place of a byte order mark
    reader.feed(content)
    reader.finish()
    return found


def _end(data: bytes, start: int, searched: int) -> int:
    """Find where the event that starts here ends, or the empty line; 0 if it does not yet."""
    match = _LINE_END.match(data, start) or _EVENT_END.search(data, max(start, searched))
    return 0 if match is None else match.end()


def _has_usage_alone(document: Document) -> bool:
    return document.read("choices") == [] and bool(members(document.read("usage"))) and not document.has("error")


# -- the call --------------------------------------------------------------------------------------------------------


class Injection:
    """Follow one call that asks for its usage without the app's knowledge."""

    __slots__ = ("_hiding", "_host", "_known", "_wire", "replacement", "replacement_headers")

    def __init__(self, wire: Wire, host: object, replacement: bytes, *, known: bool) -> None:
        self._wire = wire
        self._host = host
        self._known = known
        self._hiding: Hiding | None = None
        self.replacement = replacement
        self.replacement_headers = _IDENTITY

    def answered(self, headers: Mapping[str, str]) -> None:
        """Take the head of a success whose body is to follow."""
        HOSTS.accepted(self._host)
        # What is encoded cannot be cut without being encoded anew, and is left as it is: the chunk is seen this once.
        if headers.get("content-encoding", "").strip().lower() in ("", "identity"):
            self._hiding = Hiding(self._wire)
        else:
            HOSTS.stop(self._host, "encodes its streams though asked not to")

    @property
    def hides(self) -> bool:
        """Whether there is anything to hide, or may be."""
        return self._hiding is not None

    def refused(self, status_code: int | None, content: bytes) -> None:
        """Take a refusal."""
        if status_code in _REFUSED:
            HOSTS.refused(self._host, named=_NAMED.search(content) is not None, known=self._known)

    def read(self, content: bytes, answer: Answer) -> bytes:
        """Take the decoded body of a success that is all there; give what the app is to get of it."""
        HOSTS.accepted(self._host)
        hiding = Hiding(self._wire)
        passed = hiding.feed(content, finished=bool(answer.finish_reasons)) + hiding.finish()
        return content if len(passed) == len(content) else passed

    def feed(self, chunk: bytes, answer: Answer) -> bytes:
        """Take the next bytes of the body and what was understood of them; give those that the app is to get."""
        hiding = self._hiding
        if hiding is None or (not answer.finish_reasons and not hiding.open and chunk[-2:] == b"\n\n"):
            return chunk
        passed = hiding.feed(chunk, finished=bool(answer.finish_reasons))
        if answer.done:
            passed += self.finish()
        return passed

    def finish(self) -> bytes:
        """Take the end of the body; give what was held back."""
        hiding, self._hiding = self._hiding, None
        return b"" if hiding is None else hiding.finish()

    def release(self) -> bytes:
        """Hide nothing any more; give what was held back."""
        hiding, self._hiding = self._hiding, None
        return b"" if hiding is None else hiding.release()


def inject(
    wire: Wire, outgoing: Outgoing, document: Document, provider: Provider | None, mode: IncludeUsage
) -> Injection | None:
    """Ask for the usage of a streaming request, unless the app decides itself or the request must stay as it is."""
    known = provider is not None and provider.include_usage
    if not wire.usage_on_request or mode == "off" or (mode == "auto" and not known) or not outgoing.replaceable:
        return None
    host = f"{outgoing.host}:{outgoing.port}"
    if not HOSTS.allows(host) or _is_signed(outgoing):
        return None
    if _NO_IDENTITY.search(outgoing.headers.get("accept-encoding", "")):
        return None
    replacement = asking(outgoing.content, document)
    return None if replacement is None else Injection(wire, host, replacement, known=known)
