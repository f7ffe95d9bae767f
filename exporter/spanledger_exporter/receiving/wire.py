"""Protobuf's wire format, read and written field by field, for messages that need no class.

Source: protobuf.dev/programming-guides/encoding, 2026-11 (tags, varints, lengths).
"""

from collections.abc import Iterator

VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5
_VARINT_BYTES_MAX = 10


def field(number: int, value: bytes) -> bytes:
    """Write a field of bytes, text or a message; its number is below 16."""
    size = len(value)
    if size < 0x80:
        return bytes((number << 3 | BYTES, size)) + value
    return bytes((number << 3 | BYTES,)) + varint(size) + value


def varint(number: int) -> bytes:
    """Write a number of up to 64 bits that is not negative."""
    written = bytearray()
    while number > 0x7F:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def fields(message: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Go through a message's fields: number, kind, and the value's bytes; end where it is no message any more."""
    at = 0
    while at < len(message):
        tag, start = _read_varint(message, at)
        number, kind = tag >> 3, tag & 7
        if kind == BYTES:
            size, start = _read_varint(message, start)
            end = start + size
        elif kind == VARINT:
            _, end = _read_varint(message, start)
        elif kind in (FIXED64, FIXED32):
            end = start + (8 if kind == FIXED64 else 4)
        else:
            return
        if not number or end <= at or end > len(message):
            return
        yield number, kind, message[start:end]
        at = end


def _read_varint(message: bytes, at: int) -> tuple[int, int]:
    """Return a varint and where it ends; beyond the message's end where there is none."""
    number = 0
    for shift, byte in enumerate(message[at : at + _VARINT_BYTES_MAX]):
        number |= (byte & 0x7F) << (7 * shift)
        if byte < 0x80:
            return number, at + shift + 1
    return 0, len(message) + 1
