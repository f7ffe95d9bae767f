"""Content-Encoding -> a decoder of our copy of the bytes; the app decodes its own.

gzip and deflate by zlib, a bounded piece at a time: a small body that inflates to gigabytes takes time, never memory.
br and zstd only where the app has a decoder loaded, since otherwise its client did not ask for them; how much one chunk
inflates to is up to that decoder, as it is for the client.
"""

import sys
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, Protocol

__all__ = ["Decoder", "UnknownEncodingError", "decoded", "decoded_head", "decoders"]

PIECE_BYTES_MAX: Final = 256 * 1024
_ENCODINGS_MAX: Final = 3


class UnknownEncodingError(Exception):
    """The body is encoded in a way that nothing loaded can decode: its usage stays unreported."""


class Decoder(Protocol):
    """Turns encoded bytes into pieces of plain ones."""

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Decode the next bytes."""
        ...


class _Zlib:
    """gzip, also of several members, zlib and raw deflate."""

    def __init__(self, window_bits: int) -> None:
        self._window_bits = window_bits
        self._inflate = zlib.decompressobj(window_bits)

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Decode the next bytes."""
        full = False
        while data or full:
            piece = self._inflate.decompress(data, PIECE_BYTES_MAX)
            if piece:
                yield piece
            if self._inflate.eof:
                data, full = self._inflate.unused_data, False
                self._inflate = zlib.decompressobj(self._window_bits)
            else:  # a piece that is full may have left more in the decoder than in the bytes
                data, full = self._inflate.unconsumed_tail, len(piece) == PIECE_BYTES_MAX


class _Deflate:
    """Either format: "deflate" means the zlib format, but some servers send raw deflate; the first two bytes tell."""

    def __init__(self) -> None:
        self._begun = b""
        self._zlib: _Zlib | None = None

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Decode the next bytes."""
        if self._zlib is None:
            data = self._begun = self._begun + data
            if len(data) < 2:
                return
            # RFC 1950, 2.2: the method is 8, and both bytes together are a multiple of 31.
            is_zlib = data[0] & 0x0F == 8 and int.from_bytes(data[:2]) % 31 == 0
            self._zlib = _Zlib(zlib.MAX_WBITS if is_zlib else -zlib.MAX_WBITS)
        yield from self._zlib.decode(data)


class _Foreign:
    """A decoder of a module that the app has loaded, called by the one method that it has."""

    def __init__(self, decode: Callable[[bytes], bytes]) -> None:
        self._decode = decode

    def decode(self, data: bytes) -> Iterator[bytes]:
        """Decode the next bytes."""
        if piece := self._decode(data):
            yield piece


def decoded(chain: Sequence[Decoder], data: bytes) -> Iterator[bytes]:
    """Pass the next bytes through all decoders; without any they are given as they are."""
    if not chain:
        yield data
        return
    for piece in chain[0].decode(data):
        yield from decoded(chain[1:], piece)


def decoders(content_encoding: str) -> list[Decoder]:
    """Make the decoders of a Content-Encoding header, in the order in which they apply.

    Raises: UnknownEncodingError: the usage cannot be read; report none.
    """
    names = [name.strip().lower() for name in content_encoding.split(",")]
    encodings = [name for name in reversed(names) if name not in ("", "identity")]
    if len(encodings) > _ENCODINGS_MAX:
        raise UnknownEncodingError(f"{len(encodings)} encodings, at most {_ENCODINGS_MAX}")
    return [_decoder(name) for name in encodings]


def decoded_head(content_encoding: str, data: bytes, bytes_max: int) -> bytes:
    """Decode the beginning of a body, which may lack its end.

    Raises: UnknownEncodingError: as `decoders` does.
    """
    head = b""
    for piece in decoded(decoders(content_encoding), data):
        head += piece[: bytes_max - len(head)]
        if len(head) == bytes_max:
            break
    return head


def _decoder(name: str) -> Decoder:
    if name in ("gzip", "x-gzip"):
        return _Zlib(zlib.MAX_WBITS | 16)
    if name == "deflate":
        return _Deflate()
    decode = _brotli() if name == "br" else _zstd() if name == "zstd" else None
    if decode is None:
        raise UnknownEncodingError(f"content encoding {name[:32]!r}; known: gzip, deflate, br, zstd")
    return _Foreign(decode)


# The modules below are whatever the app's client loaded; none of them is ours to type.
def _brotli() -> Callable[[bytes], bytes] | None:
    module: Any = sys.modules.get("brotli") or sys.modules.get("brotlicffi")
    if module is None:
        return None
    decompressor = module.Decompressor()
    return getattr(decompressor, "decompress", None) or decompressor.process


def _zstd() -> Callable[[bytes], bytes] | None:
    for name in ("compression.zstd", "backports.zstd"):
        module: Any = sys.modules.get(name)
        if module is not None:
            return module.ZstdDecompressor().decompress
    module = sys.modules.get("zstandard")
    return None if module is None else module.ZstdDecompressor().decompressobj().decompress
