"""A request whose path leads somewhere -> the call that it begins, or the finding that it is none to be reported."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final

from spanledger_instrumentation import attributes as names
from spanledger_instrumentation import form, identity
from spanledger_instrumentation.bound import size_of
from spanledger_instrumentation.call import Call
from spanledger_instrumentation.document import Document
from spanledger_instrumentation.estimate import Estimate
from spanledger_instrumentation.fence import Fence
from spanledger_instrumentation.following import Following, Outgoing
from spanledger_instrumentation.injection import inject
from spanledger_instrumentation.providers import hosts
from spanledger_instrumentation.providers.routes import Route, segments
from spanledger_instrumentation.providers.values import AttributeValue, integer
from spanledger_instrumentation.providers.wire import Request, Wire
from spanledger_instrumentation.settings import Settings
from spanledger_instrumentation.spans import Spans

if TYPE_CHECKING:  # loaded where budgets are enforced
    from spanledger_instrumentation.enforcement import Enforcer

__all__ = ["REQUEST_BYTES_MAX", "begin"]

REQUEST_BYTES_MAX: Final = 256 * 1024
"""Body of a request that is parsed as a whole, in the app's event loop; of a longer one only head and tail are read."""
_IDENTIFY: Final = Fence("identify")
_ADMIT: Final = Fence("admit")
_DIGITS_MAX: Final = 15


def begin(
    routes: Sequence[Route], outgoing: Outgoing, spans: Spans, settings: Settings, enforcer: "Enforcer | None" = None
) -> Following | None:
    """Begin the call that this request is, or find that it is none, or none to be reported."""
    if settings.excludes(outgoing.host):
        return None
    place = spans.place(routes[0].wire.operation, outgoing.content)
    if place is None:
        return None
    document = _document(outgoing)
    provider = settings.provider_of(outgoing.host) or hosts.provider_of(outgoing.host)
    wire = next((route.wire for route in routes if route.leads(provider and provider.name, document)), None)
    if wire is None:
        return None
    request = _request(outgoing, document)
    streaming = wire.streams(request)
    attributes = _attributes(outgoing, request, wire, provider, streaming=streaming)
    _identify(attributes, outgoing, document, settings)
    injection = inject(wire, outgoing, document, provider, settings.include_usage) if streaming else None
    if injection is not None:
        attributes[names.INCLUDE_USAGE_INJECTED] = True
    model = attributes.get(names.REQUEST_MODEL)
    asked = None if wire.asked is None else wire.asked(request)  # what may fail comes before what must be ended
    target = place.open(f"{wire.operation} {model}" if model else wire.operation, attributes)
    if target is None:
        return None
    call = Call(wire, target, attributes, spans.memory, streaming=streaming, asked=asked)
    call.send_instead(injection)
    if settings.estimate:
        call.estimate = Estimate((provider, wire.operation, model), len(outgoing.content), streaming=streaming)
    if enforcer is not None:
        _hold(call, attributes, outgoing, document, wire.provider, enforcer)
    return call


def _identify(
    attributes: dict[str, AttributeValue], outgoing: Outgoing, document: Document, settings: Settings
) -> None:
    try:  # no `with`, on the path of every call
        attributes.update(identity.of_request(outgoing, document, settings))
    except Exception as error:  # noqa: BLE001 - the fence
        _IDENTIFY.caught(error)


def _hold(
    call: Call,
    attributes: Mapping[str, AttributeValue],
    outgoing: Outgoing,
    document: Document,
    wire_owner: str,
    enforcer: "Enforcer",
) -> None:
    with _ADMIT:  # a call of which we cannot decide passes
        said = outgoing.headers.get("content-length", "")  # of a body that cannot be read
        body_bytes = len(outgoing.content) or (int(said[:_DIGITS_MAX]) if said.isdecimal() else 0)
        size = size_of(attributes, body_bytes, document.read("best_of"))
        call.hold(enforcer.admit(attributes, size, wire_owner))


def _attributes(
    outgoing: Outgoing, request: Request, wire: Wire, provider: hosts.Provider | None, *, streaming: bool
) -> dict[str, AttributeValue]:
    attributes: dict[str, AttributeValue] = {
        names.OPERATION_NAME: wire.operation,
        names.PROVIDER_NAME: wire.provider if provider is None else provider.name,
        names.SERVER_ADDRESS: outgoing.host,
        **wire.read_request(request),
    }
    if outgoing.port is not None:
        attributes[names.SERVER_PORT] = outgoing.port
    if streaming:
        attributes[names.REQUEST_STREAM] = True
    if resends := _resends(outgoing):
        attributes[names.HTTP_REQUEST_RESEND_COUNT] = resends
    return attributes


def _resends(outgoing: Outgoing) -> int | None:
    """Return which retry this is: as the SDK says, or as the client sees that sends the same request again."""
    said = outgoing.headers.get("x-stainless-retry-count")
    if said is None or not said.isdecimal():
        return outgoing.resends
    return integer(int(said[:4]))


def _document(outgoing: Outgoing) -> Document:
    if outgoing.form:
        return form.document(outgoing.form)
    content_type = outgoing.headers.get("content-type", "")
    if content_type[: len(form.MEDIA_TYPE)].lower() == form.MEDIA_TYPE:
        return form.read(outgoing.content, content_type)
    return Document.of(outgoing.content, REQUEST_BYTES_MAX)


def _request(outgoing: Outgoing, document: Document) -> Request:
    path, _, query = outgoing.target.partition(b"?")
    return Request(
        host=outgoing.host,
        segments=segments(path),
        query=query.decode("latin-1"),
        document=document,
        headers=outgoing.headers,
    )
