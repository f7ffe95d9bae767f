"""tests/data -> the seeds of each target, and the words that mutations are made of."""

import gzip
import json
import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

from spanledger_instrumentation import body, rate_limits
from tests.exporter.otlp_requests import CHAT, document, request, span
from tests.fuzz.source import written
from tests.fuzz.targets import CONTENT_TYPES, ROUTES, WIRES

DATA: Final = Path(__file__).parent.parent / "data"
CRASHES: Final = DATA / "fuzz"
"""Inputs that once broke a promise, named for their target: they are replayed for ever."""
SUFFIXES: Final[Mapping[str, int]] = {".json": 0, ".sse": 1, ".ndjson": 2, ".bin": 4}
"""Kind of fixture -> its content type, as `CONTENT_TYPES` has it."""
WORDS_MAX: Final = 1000


def fixtures() -> list[tuple[Path, int, bytes]]:
    """Read every fixture of a wire, with its content type."""
    files = sorted(path for path in DATA.glob("*/*") if path.suffix in SUFFIXES and path.parent.name != "contract")
    return [(path, SUFFIXES[path.suffix], path.read_bytes()) for path in files]


def _bodies() -> Iterator[bytes]:
    for at, (_, kind, content) in enumerate(fixtures()):
        readers = _readers(kind, content) or [at % len(WIRES)]
        for wire in {readers[0], readers[-1]}:
            yield written(wire, kind, 0, at, content=content)
        yield written(readers[0], kind, content=content.replace(b'":"', b'":"%%', 1).replace(b'": "', b'": "%%', 1))
        if at % 4 == 0:
            yield written(readers[0], kind, 0x81, at, content=gzip.compress(content))
            yield written(readers[0], kind, 0x82, at, content=zlib.compress(content))


def _readers(kind: int, content: bytes) -> list[int]:
    """Find the wire formats that understand a fixture."""
    answers = [body.read(wire, content, CONTENT_TYPES[kind]) for wire in WIRES]
    return [at for at, answer in enumerate(answers) if answer.usage is not None or answer.finish_reasons]


def _framings() -> Iterator[bytes]:
    for at, (_, _, content) in enumerate(fixtures()):
        for framing in range(4):
            yield written(framing, at, content=content)


def _documents() -> Iterator[bytes]:
    for at, (_, kind, content) in enumerate(fixtures()):
        if kind == 0:
            yield written(40 + at % 80, 140 + at % 80, content=content)
        for line in content.splitlines()[:50]:
            if (start := line.find(b"{")) >= 0:
                yield written(60, 200, content=line[start:])
    yield written(20, 240, content=b"[" * 3000 + b"{" * 100)


def _encodings() -> Iterator[bytes]:
    for _, _, content in fixtures()[::8]:
        yield written(1, content=gzip.compress(content))
        yield written(1, 3, content=gzip.compress(content) + gzip.compress(content))
        yield written(2, content=zlib.compress(content))
        yield written(2, 5, content=zlib.compress(content)[2:-4])
        yield written(3, content=gzip.compress(zlib.compress(content)))
    yield written(1, 9, content=gzip.compress(bytes(500_000)))


def _forms() -> Iterator[bytes]:
    part = b'--b\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
    file = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.mp3"\r\n\r\n%%\r\n'
    content = part % (b"model", b"whisper-1") + part % (b"stream", b"true") + file + part % (b"n", b"-2.5")
    yield written(content=b"multipart/form-data; boundary=b\n" + content + b"--b--\r\n")
    yield written(content=b'multipart/form-data; boundary="b"\n' + content.replace(b"%%", b"x"))
    yield written(content=b"\nmodel=x&n=5&stream=false&prompt=12.5")


def _limits() -> Iterator[bytes]:
    values = ("12", "1.5", "6m0s", "20ms", "2026-11-22T00:00:00Z", "1795000000", "1795000000000", "60", "inf", "-1")
    names = [*rate_limits.FIELDS, "retry-after", "retry-after-ms", "date", "x-request-id", "openai-processing-ms"]
    for start, value in enumerate(values):
        head = "\n".join(f"{name}: {value}" for name in names[start :: len(values) // 3])
        yield written(start, content=head.encode() + b"\n\n{}")
    details = [
        {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": "36.1s"},
        {
            "@type": "type.googleapis.com/google.rpc.QuotaFailure",
            "violations": [{"quotaId": "XPerDay", "quotaValue": "50"}],
        },
    ]
    yield written(content=b"\n\n" + json.dumps({"error": {"details": details}}).encode())
    text = "Rate limit reached (TPM): Limit 6000, Used 4093, Requested 3531. Please try again in 16.2s."
    yield written(content=b"\n\n" + json.dumps({"error": {"message": text}}).encode())


_REQUEST: Final = (
    b'{"model": "m", "messages": [{"role": "user", "content": "a \\" \\u00e9 {[%%"}], "stream": true, "user": "u"}',
    b'{"stream":true,"stream_options":{"include_obfuscation":false},"metadata":{"a":"b"},"model":"m"}',
    b'{"stream_options": null, "stream": true}',
    b'{"store":false}',
    b'{"messages":[{"stream_options":{"include_usage":true},"user":"x"}],"safety_identifier":"s"}',
    b' { "user" : "a" , "prompt_cache_key" : "b" } ',
)


def _requests() -> Iterator[bytes]:
    return (written(content=content) for content in _REQUEST)


def _downloads() -> Iterator[bytes]:
    for at, (path, kind, content) in enumerate(fixtures()):
        if kind == 0 and path.parent.name in ("openai", "anthropic"):
            answer = json.loads(content)
            openai = {"custom_id": "a", "response": {"status_code": 200, "body": answer}, "error": None}
            anthropic = {"custom_id": "a", "result": {"type": "succeeded", "message": answer}}
            failed = {"custom_id": "b", "response": {"status_code": 400, "body": {}}, "error": None}
            yield written(0, at, content=b"\n".join(json.dumps(line).encode() for line in (openai, failed, openai)))
            yield written(1, at, content=b"\n".join(json.dumps(line).encode() for line in (anthropic, anthropic)))


def _hidings() -> Iterator[bytes]:
    for at, (path, kind, content) in enumerate(fixtures()):
        if kind == 1 and "chat" in path.name:
            yield written(0, at, content=content)
            yield written(0, at, content=content.replace(b"\n", b"\r\n"))


def _calls() -> Iterator[bytes]:
    everything = fixtures()
    for at, route in enumerate(ROUTES):
        path = "/" + "/".join(_spelt(segment) for segment in route.path)
        _, kind, content = everything[at % len(everything)]
        body = {name: "x" for shape in route.shapes for name in shape} | {"stream": kind > 0, "model": "m"}
        head = f"{path}\ncontent-type: {CONTENT_TYPES[kind]}\nauthorization: Bearer sk-0123456789abcdefghij\n\n"
        tried = head.encode() + json.dumps(body).encode() + b"\n\0\n" + content
        yield written((0x80 if route.late else 0) + at % 5, 1, at, content=tried)
        yield written((0x80 if route.late else 0) + at % 5, 3, at, content=tried)
        yield written(at % 5, 0, at, content=tried)


def _spelt(segment: str | None) -> str:
    return (
        "abc"
        if segment is None
        else segment.strip("*").replace(":", "m:")
        if segment[:1] == ":"
        else segment.strip("*")
    )


def _traces() -> Iterator[bytes]:
    failed = span({**CHAT, "gen_ai.usage.cost.amount": 0.25, "openai.response.service_tier": "flex"}, failed=True)
    for spans in ([span()], [failed, span({"http.method": "GET"}), span()]):
        sent = request(*spans)
        yield written(0, content=sent.SerializeToString())
        yield written(1, content=json.dumps(document(sent)).encode())


_SEEDS: Final[Mapping[str, Callable[[], Iterator[bytes]]]] = {
    "answers": _bodies,
    "bodies": _bodies,
    "calls": _calls,
    "documents": _documents,
    "downloads": _downloads,
    "encodings": _encodings,
    "forms": _forms,
    "framings": _framings,
    "hashes": _requests,
    "hidings": _hidings,
    "limits": _limits,
    "requests": _requests,
    "traces": _traces,
}


def seeds(name: str) -> list[bytes]:
    """Give the seeds of a target, what once broke it included."""
    return [*_SEEDS[name](), *(path.read_bytes() for path in crashes(name))]


def crashes(name: str) -> list[Path]:
    """List what once broke a target."""
    return sorted(CRASHES.glob(f"{name}-*"))


def words() -> list[bytes]:
    """Give the words of the wires, a mutation of which says more than one of letters."""
    found: dict[bytes, None] = dict.fromkeys(
        (
            b"data: ",
            b"event: ",
            b"\n\n",
            b"\r\n",
            b"\r",
            b"\xef\xbb\xbf",
            b"%%",
            b"[DONE]",
            b"NaN",
            b"Infinity",
            b"1e999",
        )
    )
    found.update(dict.fromkeys((b"\\ud800", b"9" * 40, b"-1", b"null", b"[]", b"{}", b'\\"', b"true", b"1.0", b'":{"')))
    for _, _, content in fixtures():
        found.update(dict.fromkeys(re.findall(rb'"[A-Za-z_.]{2,40}"', content)))
    return list(found)[:WORDS_MAX]
