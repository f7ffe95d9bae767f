import gzip
import zlib

import pytest

from spanledger_instrumentation.encoding import PIECE_BYTES_MAX, UnknownEncodingError, decoded_head, decoders

PLAIN = b"data: {}\n\n" * 1000


def raw_deflate(data: bytes) -> bytes:
    compressor = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return compressor.compress(data) + compressor.flush()


@pytest.mark.parametrize(
    ("encoding", "encoded"),
    [
        ("gzip", gzip.compress(PLAIN)),
        ("x-gzip", gzip.compress(PLAIN[:5000]) + gzip.compress(PLAIN[5000:])),
        ("deflate", zlib.compress(PLAIN)),
        ("Deflate", raw_deflate(PLAIN)),
        ("identity, gzip", gzip.compress(PLAIN)),
    ],
    ids=["gzip", "gzip of two members", "zlib", "raw deflate", "identity and gzip"],
)
def test_bytes_are_decoded(encoding: str, encoded: bytes) -> None:
    (decoder,) = decoders(encoding)
    assert b"".join(piece for at in range(len(encoded)) for piece in decoder.decode(encoded[at : at + 1])) == PLAIN


def test_a_bomb_is_inflated_in_bounded_pieces() -> None:
    (decoder,) = decoders("gzip")
    pieces = [len(piece) for piece in decoder.decode(gzip.compress(bytes(10_000_000)))]
    assert sum(pieces) == 10_000_000
    assert max(pieces) <= PIECE_BYTES_MAX


@pytest.mark.parametrize("encoding", ["", "identity", "gzip"])
def test_the_head_of_a_body_is_decoded_though_its_end_is_missing(encoding: str) -> None:
    plain = bytes(10_000_000)
    encoded = gzip.compress(plain) if encoding == "gzip" else plain
    assert decoded_head(encoding, encoded[:-100], 1000) == plain[:1000]
    assert decoded_head(encoding, encoded[:9], 1000) == (b"" if encoding == "gzip" else plain[:9])


def test_broken_bytes_are_an_error() -> None:
    (decoder,) = decoders("deflate")
    with pytest.raises(zlib.error):
        list(decoder.decode(b"\xff\xff\xff"))


@pytest.mark.parametrize("encoding", ["lzma", "gzip, gzip, gzip, gzip"])
def test_what_cannot_be_decoded_is_refused(encoding: str) -> None:
    with pytest.raises(UnknownEncodingError):
        decoders(encoding)
