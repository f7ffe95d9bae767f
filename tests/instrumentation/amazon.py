"""Amazon's event streams, made for tests."""

import base64
import json
import struct
import zlib


def message(event: str, payload: object, *, kind: str = "event") -> bytes:
    """Frame one message; a payload of bytes stays as it is, anything else becomes JSON."""
    data = payload if isinstance(payload, bytes) else json.dumps(payload, separators=(",", ":")).encode()
    named = {f":{kind}-type": event, ":content-type": "application/json", ":message-type": kind}
    headers = b"".join(
        struct.pack("!B", len(name)) + name.encode() + struct.pack("!BH", 7, len(value)) + value.encode()
        for name, value in named.items()
    )
    prelude = struct.pack("!II", 16 + len(headers) + len(data), len(headers))
    framed = prelude + struct.pack("!I", zlib.crc32(prelude)) + headers + data
    return framed + struct.pack("!I", zlib.crc32(framed))


def chunk(inner: object) -> bytes:
    """Frame an event of a vendor, as InvokeModel does."""
    data = inner if isinstance(inner, bytes) else json.dumps(inner, separators=(",", ":")).encode()
    return message("chunk", {"bytes": base64.b64encode(data).decode(), "p": "abcdef"})
