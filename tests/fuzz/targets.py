"""What is fuzzed: functions of arbitrary bytes that raise where a promise is broken. Each has its seeds in `corpus`.

None may raise, be slow, or depend on how the bytes were cut; what is understood must fit into a span; and where there
is a second opinion (the whole document, the JSON parser, zlib) it must not be contradicted.
"""

import json
import re
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import Future
from typing import Any, Final, cast

from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client import CollectorRegistry

from spanledger_exporter import dialects
from spanledger_exporter.errors import RejectedError
from spanledger_exporter.metrics.metrics import IngestMetrics
from spanledger_exporter.prices.genai_prices_book import packaged_book
from spanledger_exporter.receiving import fragments, otlp, otlp_json
from spanledger_exporter.receiving.committer import Committed
from spanledger_exporter.receiving.dead_letters import DeadLetter
from spanledger_exporter.receiving.pipeline import Pipeline
from spanledger_exporter.records import PricedRecord
from spanledger_instrumentation import batches, body, fence, form, late, opening, report, response_head
from spanledger_instrumentation.body import Body
from spanledger_instrumentation.credentials import Credential, credential_of
from spanledger_instrumentation.document import Document
from spanledger_instrumentation.encoding import UnknownEncodingError, decoders
from spanledger_instrumentation.following import Following, Outgoing
from spanledger_instrumentation.framing import FRAMINGS
from spanledger_instrumentation.injection import HELD_BYTES_MAX, Hiding, asking
from spanledger_instrumentation.json_array import ElementReader
from spanledger_instrumentation.metrics import Metrics
from spanledger_instrumentation.providers import hosts, openai_chat, routes
from spanledger_instrumentation.providers.wire import Wire
from spanledger_instrumentation.rate_limit_refusals import read_refusal
from spanledger_instrumentation.request_hash import request_hash
from spanledger_instrumentation.settings import Settings
from spanledger_instrumentation.spans import Spans
from spanledger_instrumentation.usage import Answer, usage_status
from tests.fuzz.source import Source

_TABLES: Final = routes._BY_METHOD  # every route there is
ROUTES: Final = tuple(dict.fromkeys(route for table in _TABLES.values() for found in table.values() for route in found))
WIRES: Final = tuple({id(route.wire): route.wire for route in ROUTES}.values())
CONTENT_TYPES: Final = (
    "application/json",
    "text/event-stream; charset=utf-8",
    "application/x-ndjson",
    "application/stream+json",
    "application/vnd.amazon.eventstream",
    "text/plain",
    "",
    "audio/mpeg",
)
ENCODINGS: Final = (
    "",
    "gzip",
    "deflate",
    "gzip, deflate",
    "br",
    "zstd",
    "identity",
    "aes128gcm",
    "gzip,gzip,gzip,gzip",
)
PROVIDERS: Final = tuple(provider.name for provider in hosts.PROVIDERS)
NOW_S: Final = 1_795_000_000.0
_FRAMINGS: Final = (*dict.fromkeys(FRAMINGS.values()), ElementReader)
_INT64: Final = 2**63


def bodies(source: Source) -> None:
    """The body of an answer, in every wire format, content type and encoding: any cut says the same."""
    wire, content_type = source.choose(0, WIRES), source.choose(1, CONTENT_TYPES)
    encoding = source.choose(2, ENCODINGS[:4]) if source.flag(2, 7) else ""
    whole = _fed(wire, content_type, encoding, [source.content])
    assert whole == _fed(wire, content_type, encoding, source.pieces(3, source.content))
    if whole is not None:
        check_answer(whole, wire)


def _fed(wire: Wire, content_type: str, encoding: str, pieces: Iterable[bytes]) -> Answer | None:
    reader = Body(wire, content_type=content_type, content_encoding=encoding)
    try:
        for piece in pieces:
            reader.feed(piece)
    except zlib.error:  # what the fence is for: how much of it was read before depends on the pieces
        return None
    reader.finish()
    reader.close()
    return reader.answer


def check_answer(answer: Answer, wire: Wire) -> None:
    """Hold an answer to what a span can take."""
    check_attributes(dict(report.of_answer(answer, wire.provider)))
    check_attributes({"reasons": answer.finish_reasons, "error": answer.error_type})
    for whole in (True, False):
        usage_status(answer, whole=whole, sent=True)


def check_attributes(attributes: Mapping[str, object]) -> None:
    """Hold attributes to what OTLP can carry."""
    for name, value in attributes.items():
        for each in cast("tuple[object, ...]", value) if isinstance(value, tuple) else (value,):
            if isinstance(each, str):
                each.encode()  # half a surrogate pair would lose the whole export
                assert len(each) <= 1024, name
            elif isinstance(each, int):
                assert -_INT64 <= each < _INT64, name
            else:
                assert each is None or isinstance(each, float), (name, each)


def answers(source: Source) -> None:
    """A decoded body that is all there, refusals included."""
    wire, content_type = source.choose(0, WIRES), source.choose(1, CONTENT_TYPES)
    check_answer(body.read(wire, source.content, content_type), wire)
    error = wire.read_error(Document(source.content))
    check_attributes({"error": error})
    check_attributes(read_refusal(source.content, {}, NOW_S))


def framings(source: Source) -> None:
    """Events: any cut gives the same, and none is longer than what may be kept."""
    make = source.choose(0, _FRAMINGS)

    def events(pieces: Iterable[bytes]) -> list[tuple[bytes, bytes]]:
        found: list[tuple[bytes, bytes]] = []
        reader = make(lambda data, tail: found.append((data, tail)))
        for piece in pieces:
            reader.feed(piece)
        reader.finish()
        return found

    whole = events([source.content])
    assert whole == events(source.pieces(1, source.content))
    assert all(len(data) + len(tail) <= 80 * 1024 for data, tail in whole)


_PATHS: Final = (
    ("usage",),
    ("model",),
    ("id",),
    ("usage", "input_tokens"),
    ("usage", "prompt_tokens_details", "cached_tokens"),
    ("response", "usage"),
    ("response", "usage", "output_tokens"),
    ("message", "usage", "input_tokens"),
    ("usageMetadata", "promptTokenCount"),
    ("choices",),
    ("error", "type"),
    ("stream",),
    ("service_tier",),
)


def documents(source: Source) -> None:
    """A document that was cut never contradicts the whole one."""
    content = source.content
    first, second = sorted(len(content) * source._choices[at] // 255 for at in (0, 1))
    cut, head = Document(content[:first], content[second:]), Document(content[:first], b" ")
    whole = _unambiguous(content)
    for path in _PATHS:
        # A deeper path is certain in the head alone: in a tail its envelope is taken for one that is known.
        value = cut.read(*path)
        value = value if len(path) == 1 else head.read(*path)
        cut.has(path[0])
        if whole is not None and value is not None:
            assert value == _dug(whole, path), (path, value)
    Document(content).element().read("usage")
    Document.of(content, 100).under("response").read("usage")


def _unambiguous(content: bytes) -> dict[str, object] | None:
    """Read an object; none that has two members of a name, of which either may be meant."""

    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        if len(dict(pairs)) != len(pairs):
            raise ValueError
        return dict(pairs)

    try:
        value = json.loads(content.decode(), object_pairs_hook=once, parse_constant=str)
    except (ValueError, RecursionError):
        return None
    return cast("dict[str, object]", value) if isinstance(value, dict) else None


def _dug(value: Any, path: tuple[str, ...]) -> object:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def encodings(source: Source) -> None:
    """Encoded bytes: any cut gives the same bytes, never more than a piece at a time."""
    encoding = source.choose(0, ENCODINGS)

    def decoded(pieces: Iterable[bytes]) -> bytes | None:
        try:
            steps = decoders(encoding)
            return b"".join(_through(steps, pieces))[:1_000_000]
        except (UnknownEncodingError, zlib.error):
            return None
        except Exception as error:
            if type(error).__module__ in ("brotli", "zstandard", "compression.zstd", "backports.zstd", "zstd", "_zstd"):
                return None
            raise

    assert decoded([source.content]) == decoded(source.pieces(1, source.content))


def _through(steps: list[Any], pieces: Iterable[bytes]) -> Iterable[bytes]:
    for piece in pieces:
        decoded = [piece]
        for step in steps:
            decoded = [each for data in decoded for each in step.decode(data)]
        assert all(len(each) <= 256 * 1024 for each in decoded) or not steps
        yield from decoded


def forms(source: Source) -> None:
    """The body of a multipart form, and its content type."""
    head, _, content = source.content.partition(b"\n")
    document = form.read(content, head.decode("latin-1"))
    assert document.is_object or not document.read()
    fields = [
        (name, value) for name, _, value in (pair.partition("=") for pair in content.decode("latin-1").split("&"))
    ]
    json.dumps(form.document(fields).read())


def limits(source: Source) -> None:
    """The head of an answer, as `name: value` in lines, and the body of a refusal."""
    head, _, content = source.content.partition(b"\n\n")
    found = response_head.read(_headers(head), source.choose(0, PROVIDERS), NOW_S)
    check_attributes(found)
    check_attributes(read_refusal(content, found, NOW_S))


def _headers(lines: bytes) -> dict[str, str]:
    pairs = (line.partition(": ") for line in lines.decode("latin-1").split("\n"))
    return {name.lower(): value for name, _, value in pairs}


_CREDENTIAL: Final = credential_of({"authorization": "Bearer sk-0123456789abcdefghij"}, b"")


def hashes(source: Source) -> None:
    """The hash of a request: what is left out of it is an idle member, and nothing else."""
    outgoing = _outgoing("POST", b"/v1/chat/completions", {}, source.content)
    document = Document.of(source.content, opening.REQUEST_BYTES_MAX)
    digest = request_hash(outgoing, document, b"", cast("Credential", _CREDENTIAL))
    whole = _unambiguous(source.content)
    if digest is None or whole is None or "spanledger_probe" in whole:
        return
    # Another member beside it must change the hash; else something that counts was left out with an idle one.
    at = source.content.index(b"{") + 1
    comma = b"," if whole else b""
    probed = source.content[:at] + b'"spanledger_probe":1' + comma + source.content[at:]
    other = _outgoing("POST", b"/v1/chat/completions", {}, probed)
    assert digest != request_hash(other, Document.of(probed, opening.REQUEST_BYTES_MAX), b"", _CREDENTIAL)


def downloads(source: Source) -> None:
    """The results of a batch: any cut gives the same totals."""
    batch_format = source.choose(0, (batches.OPENAI, batches.ANTHROPIC))

    def totals(pieces: Iterable[bytes]) -> list[Answer]:
        results = batches.BatchResults(batch_format, "batch-1")
        for piece in pieces:
            results.feed(piece)
        results.finish()
        return [total.answer("batch-1") for total in results.totals()]

    whole = totals([source.content])
    assert whole == totals(source.pieces(1, source.content))
    for answer in whole:
        check_answer(answer, openai_chat.WIRE)


def requests(source: Source) -> None:
    """A body that is to be sent with `include_usage`: everything else of it stays as it is."""
    content = source.content
    asked = asking(content, Document.of(content, opening.REQUEST_BYTES_MAX))
    whole = _unambiguous(content)
    if asked is None:
        return
    assert len(asked) <= len(content) + 64
    if whole is None:
        return
    sent = json.loads(asked, parse_constant=str)
    assert sent.pop("stream_options")["include_usage"] is True
    assert sent == {name: value for name, value in whole.items() if name != "stream_options"}


def hidings(source: Source) -> None:
    """A stream with the hidden chunk: whatever the cut, only whole events of usage are taken out of it."""
    whole = _hidden([source.content])
    cut = _hidden(source.pieces(1, source.content))
    assert whole == cut or len(source.content) > HELD_BYTES_MAX  # of what is longer, all is passed on sooner or later
    left, given = 0, source.content
    for line in re.split(rb"[\r\n]", whole):  # each line that is left stands in what was given, in the same order
        left = given.find(line, left)
        assert left >= 0, line
        left += len(line)
    if b'"usage"' not in given:
        assert whole == given


def _hidden(pieces: Iterable[bytes]) -> bytes:
    reader, hiding = (
        Body(openai_chat.WIRE, content_type="text/event-stream", content_encoding=""),
        Hiding(openai_chat.WIRE),
    )
    given: list[bytes] = []
    for piece in pieces:
        reader.feed(piece)
        given.append(hiding.feed(piece, finished=bool(reader.answer.finish_reasons)))
    return b"".join([*given, hiding.finish()])


_PROVIDER: Final = TracerProvider()
_READER: Final = InMemoryMetricReader()
_SPANS: Final = Spans(_PROVIDER, Metrics(MeterProvider([_READER]), old_names=True))
_SETTINGS: Final = Settings(include_usage="always", estimate=True)
_HOSTS: Final = ("api.openai.com", "api.anthropic.com", "localhost", "bedrock-runtime.us-east-1.amazonaws.com", "")


def calls(source: Source) -> None:
    """A whole call: target, headers and body of the request, head and body of its answer."""
    target, _, rest = source.content.partition(b"\n")
    lines, _, rest = rest.partition(b"\n\n")
    request, _, answer = rest.partition(b"\n\0\n")
    method = "GET" if source.flag(0, 7) else "POST"
    candidates = routes.find(method, target)
    if not candidates:
        return
    headers = _headers(lines)
    outgoing = _outgoing(method, target, headers, request, host=source.choose(0, _HOSTS))
    begin = late.begin if candidates[0].late else opening.begin
    following = begin(candidates, outgoing, _SPANS, _SETTINGS)
    if following is not None:
        fence.FAILURES.clear()
        _follow(following, source, headers, answer)
        assert not fence.FAILURES or "content-encoding" in headers, fence.FAILURES


def _follow(following: Following, source: Source, headers: Mapping[str, str], answer: bytes) -> None:
    following.leave(following.enter())
    status = 200 if source.flag(1, 0) else 429
    if source.flag(1, 1):
        passed = following.read(status, headers, answer)
    else:
        following.answered(status, headers)
        given = [following.feed(piece) for piece in source.pieces(2, answer)]
        if source.flag(1, 2):
            following.fail(ValueError("x"))
        given.append(following.finish())
        passed = b"".join(given)
    following.close()
    assert following.ended
    if following.replacement is None:
        assert passed == answer


def _outgoing(method: str, target: bytes, headers: Mapping[str, str], content: bytes, host: str = "h") -> Outgoing:
    return Outgoing(
        method=method, host=host, port=443, target=target, headers=headers, content=content, replaceable=True
    )


_BOOK: Final = packaged_book()


class _Checking:
    """Takes what the exporter's pipeline submits, and holds it to what a ledger can keep."""

    def submit(self, records: Sequence[PricedRecord], letters: Sequence[DeadLetter], _aside: object) -> Any:
        for each in records:
            call = each.record
            _check_columns({**call._asdict(), **call.profile._asdict(), **call.usage._asdict(), **each.price._asdict()})
        for letter in letters:
            assert letter.body is None or otlp.decode(letter.body, frozenset()) is not None
        done: Future[Committed] = Future()
        done.set_result(Committed(len(records)))
        return done


def _check_columns(row: Mapping[str, object]) -> None:
    for name, value in row.items():
        if isinstance(value, str):
            value.encode()
            assert "\0" not in value, name
        elif isinstance(value, int):
            assert -_INT64 <= value < _INT64, name


_PIPELINE: Final = Pipeline(
    _Checking().submit, _BOOK, IngestMetrics(CollectorRegistry()), in_flight_bytes_max=_INT64, poison_tries_max=_INT64
)


def traces(source: Source) -> None:
    """An OTLP request in JSON or protobuf: taken or rejected, and what is taken fits into a ledger."""
    try:
        body = source.content
        if source.flag(0, 0):
            body = otlp_json.convert(body, dialects.WANTED, dialects.WANTED_RESOURCE).body
        receipt = _PIPELINE.accept(body).result()
    except RejectedError:
        return
    assert len(receipt.message) < 2000
    spans = list(fragments.fragments(body))
    assert len(spans) == receipt.accepted + receipt.duplicates + receipt.ignored + receipt.rejected
    for each in spans:
        otlp.decode(each.kept(dialects.WANTED, dialects.WANTED_RESOURCE), dialects.RESOURCE_ATTRIBUTES)


TARGETS: Final[Mapping[str, Callable[[Source], None]]] = {
    target.__name__: target
    for target in (
        answers,
        bodies,
        calls,
        documents,
        downloads,
        encodings,
        forms,
        framings,
        hashes,
        hidings,
        limits,
        requests,
        traces,
    )
}


def run(name: str, data: bytes) -> None:
    """Try bytes on a target."""
    TARGETS[name](Source(data))
