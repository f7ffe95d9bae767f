"""The stored captures: read them with `load`; `python -m tests.captures` makes them again.

Each is two files of `tests/data/captures`:

- `<name>.binpb.gz`: the bodies of the OTLP/HTTP requests (`ExportTraceServiceRequest` in binary protobuf) in the order
  in which they arrived, each behind its length in four bytes, big-endian. They are as the sender's SDK encoded them,
  but for the folders of the machine, which other letters of the same length stand for.
- `<name>.json`: `made_by`, and `calls`, the provider's own account of every call that it answered, in order.
"""

import gzip
import json
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent.parent / "data" / "captures"
_LENGTH = struct.Struct(">I")


@dataclass(frozen=True, slots=True, kw_only=True)
class TallyCall:
    """One call as the provider answered it, which is the truth that spans are held against.

    `outcome` is complete, interrupted or error. `response_id` is None for errors and embeddings. `model` is the one
    that answered (dated), or for an error the one asked for. `stated` is False where the answer told the client none
    (an OpenAI chat stream that was not asked for it): the figures are then what the provider would charge.

    Units: tokens; `input_tokens` includes cache reads and writes, `output_tokens` includes reasoning; `cost_usd` is an
    exact decimal, None where the provider's price list has no price.
    """

    provider: str
    model: str
    outcome: str
    status: int
    response_id: str | None
    stream: bool
    stated: bool
    input_tokens: int
    output_tokens: int
    cache_read_tokens: int
    cache_write_5m_tokens: int
    cache_write_1h_tokens: int
    cache_write_tokens: int
    reasoning_tokens: int
    cost_usd: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture:
    """What one program's instrumentations sent, and what it really called.

    `made_by` says what made it.

    Shape: {"language": "python", "runtime": "Python 3.11.7", "program": "openai_calls.py",
            "instrumentations": ["openllmetry"], "packages": {"openai": "3.57.0", ...}}
    """

    name: str
    requests: list[bytes]
    calls: list[TallyCall]
    made_by: dict[str, Any]


def names() -> list[str]:
    """List the stored captures."""
    return sorted(path.name.removesuffix(".binpb.gz") for path in FOLDER.glob("*.binpb.gz"))


def load(name: str) -> Capture:
    """Read one capture."""
    account = json.loads((FOLDER / f"{name}.json").read_text())
    return Capture(
        name=name,
        requests=_split(gzip.decompress((FOLDER / f"{name}.binpb.gz").read_bytes())),
        calls=[TallyCall(**call) for call in account["calls"]],
        made_by=account["made_by"],
    )


def save(capture: Capture) -> None:
    """Write one capture; the same content gives the same bytes."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    joined = b"".join(_LENGTH.pack(len(body)) + body for body in capture.requests)
    (FOLDER / f"{capture.name}.binpb.gz").write_bytes(gzip.compress(joined, mtime=0))
    (FOLDER / f"{capture.name}.json").write_text(_account(capture.made_by, capture.calls))


def _account(made_by: dict[str, Any], calls: Sequence[TallyCall]) -> str:
    """Write one call a line, for a diff to read well."""
    lines = ",\n".join(f"    {json.dumps(asdict(call))}" for call in calls)
    head = json.dumps(made_by, indent=2).replace("\n", "\n  ")
    return f'{{\n  "made_by": {head},\n  "calls": [\n{lines}\n  ]\n}}\n'


def _split(joined: bytes) -> list[bytes]:
    bodies: list[bytes] = []
    position = 0
    while position < len(joined):
        (length,) = _LENGTH.unpack_from(joined, position)
        position += _LENGTH.size
        bodies.append(joined[position : position + length])
        position += length
    return bodies
