"""Amazon's binary event stream, bytes -> the payload of each message, which then also says what kind of event it is.

A message is a prelude (total length, length of the headers, CRC32 of both), headers, a payload and a CRC32 of it all.
The payloads are JSON objects that do not repeat the event's type, so it is put in front: the payload
`{"usage": ...}` of an event `metadata` is passed on as `{":event-type":"metadata","usage": ...}`, that of an exception
with `":exception-type"`. As in a document that was cut, the members keep their depth.

A message whose checksums or lengths are wrong is the last one that is read: where the next one begins is then unknown.
Source: botocore 1.44 eventstream.py (November 2026), whose limits these are.
"""

import json
import struct
import zlib
from collections.abc import Callable
from typing import Final

from spanledger_instrumentation.excerpt import WHOLE_BYTES_MAX, Excerpt

__all__ = ["MessageReader"]

_PRELUDE: Final = struct.Struct("!III")
_CRC: Final = struct.Struct("!I")
_LENGTH: Final = struct.Struct("!H")
HEADERS_BYTES_MAX: Final = 16 * 1024
"""The format allows 128 KiB; the three headers that events have are a hundred bytes."""
PAYLOAD_BYTES_MAX: Final = 24 * 1024 * 1024
_PREFIXES_MAX: Final = 32
_VALUE_BYTES: Final = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Header type -> the length of its value; types 6 (bytes) and 7 (text) have their length before it."""
_KINDS: Final = {
    b":event-type": ":event-type",
    b":exception-type": ":exception-type",
    b":error-code": ":exception-type",
}


class MessageReader:
    """Push bytes in, get each message's payload called back as (whole, b"") or, beyond the limit, as (head, tail)."""

    __slots__ = ("_begun", "_broken", "_crc", "_event", "_left", "_payload", "_prefix", "_prefixes")

    def __init__(self, event: Callable[[bytes, bytes], None]) -> None:
        self._event = event
        self._begun = bytearray()  # a prelude, headers or a final checksum that is not all there yet
        self._prefix: bytes | None = None  # of the message whose payload is being read
        self._payload = Excerpt()
        self._left = 0  # bytes of its payload that are still to come
        self._crc = 0
        self._broken = False
        self._prefixes: dict[bytes, bytes] = {}  # the headers of all events of one kind are the same

    def feed(self, chunk: bytes) -> None:
        """Take the next bytes, cut anywhere."""
        at = 0
        while at < len(chunk) and not self._broken:
            if self._prefix is None:
                at = self._take_whole(chunk, at) if not self._begun else self._take_head(chunk, at)
            elif self._left:
                piece = chunk[at : at + self._left]
                self._payload.append(piece)
                self._crc = zlib.crc32(piece, self._crc)
                self._left -= len(piece)
                at += len(piece)
            else:
                at = self._take_end(chunk, at)

    def finish(self) -> None:
        """Take the end of the stream: a message that is not whole is none."""

    def _take_whole(self, chunk: bytes, at: int) -> int:
        """Read a message that lies in one chunk, as nearly all do; whatever is the matter with others, see there."""
        if len(chunk) - at < _PRELUDE.size + _CRC.size:
            return self._take_head(chunk, at)
        total, headers, crc = _PRELUDE.unpack_from(chunk, at)
        end, start = at + total, at + _PRELUDE.size
        if end > len(chunk) or total > WHOLE_BYTES_MAX or not 0 <= headers <= min(total - 16, HEADERS_BYTES_MAX):
            return self._take_head(chunk, at)
        whole = zlib.crc32(chunk[at : end - 4]) == _CRC.unpack_from(chunk, end - 4)[0]
        if not whole or zlib.crc32(chunk[at : at + 8]) != crc:
            self._broken = True
            return end
        block = chunk[start : start + headers]
        self._pass(self._prefixes.get(block) or self._prefix_of(block), chunk[start + headers : end - 4], b"")
        return end

    def _take_head(self, chunk: bytes, at: int) -> int:
        """Collect the prelude, then the headers."""
        needed = _PRELUDE.size
        if len(self._begun) >= needed:
            needed += self._lengths(self._begun)[1]
        piece = chunk[at : at + needed - len(self._begun)]
        self._begun += piece
        if len(self._begun) >= _PRELUDE.size:
            total, headers = self._lengths(self._begun)
            whole = _PRELUDE.size + headers
            if not self._broken and len(self._begun) == whole:
                self._prefix = self._prefix_of(bytes(self._begun[_PRELUDE.size :]))
                self._crc = zlib.crc32(self._begun)
                self._left = total - whole - 4
                self._begun.clear()
        return at + len(piece)

    def _lengths(self, prelude: bytes | bytearray) -> tuple[int, int]:
        total, headers, crc = _PRELUDE.unpack_from(prelude)
        payload = total - headers - _PRELUDE.size - 4
        valid = headers <= HEADERS_BYTES_MAX and 0 <= payload <= PAYLOAD_BYTES_MAX
        if not valid or zlib.crc32(prelude[:8]) != crc:
            self._broken = True
        return total, headers

    def _take_end(self, chunk: bytes, at: int) -> int:
        piece = chunk[at : at + 4 - len(self._begun)]
        self._begun += piece
        if len(self._begun) == 4:
            prefix, self._prefix = self._prefix or b"", None
            head, tail = self._payload.head, self._payload.tail
            self._payload.clear()
            if _CRC.unpack(self._begun)[0] == self._crc:
                self._pass(prefix, head, tail)
            else:
                self._broken = True
            self._begun.clear()
        return at + len(piece)

    def _pass(self, prefix: bytes, payload: bytes, tail: bytes) -> None:
        if payload[:2] == b'{"':
            self._event(prefix + b"," + payload[1:], tail)
            return
        members = payload.lstrip()[1:].lstrip() if payload[:1] in b"{ \t\r\n" else b""
        if not members or members[:1] == b"}":
            self._event(prefix + b"}", b"")
        else:
            self._event(prefix + b"," + members, tail)

    def _prefix_of(self, headers: bytes) -> bytes:
        kind, name = _kind(headers)
        prefix = b'{"%b":%b' % (kind.encode(), json.dumps(name).encode())
        if len(self._prefixes) < _PREFIXES_MAX:
            self._prefixes[headers] = prefix
        return prefix


def _kind(headers: bytes) -> tuple[str, str]:
    """Find what kind of event the headers announce."""
    at = 0
    try:
        while at < len(headers):
            name_end = at + 1 + headers[at]
            name, kind = headers[at + 1 : name_end], headers[name_end]
            start = name_end + 1
            if kind in (6, 7):
                start += _LENGTH.size
                at = start + _LENGTH.unpack_from(headers, start - _LENGTH.size)[0]
            else:
                at = start + _VALUE_BYTES[kind]
            if name in _KINDS:
                return _KINDS[name], headers[start:at].decode(errors="replace")
    except (IndexError, KeyError, struct.error):
        pass  # of headers that make no sense the event is unknown; its length is certain all the same
    return ":event-type", ""
