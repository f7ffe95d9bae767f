"""httpx and httpx2: `Client.send` and `AsyncClient.send`, wrapped.

`send` is the outermost step of every request (the verbs, `stream`, and the SDKs all end there), outside redirects,
authentication and transports: one call, one wrapper, and whatever instruments the transport becomes its child. The
modules are given by import hooks and never imported here. Their objects are `Any`: two libraries, one shape, neither a
dependency.
"""

import functools
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final, cast
from weakref import WeakKeyDictionary

from spanledger_instrumentation.clients.headers import PORTS, lowered_bytes
from spanledger_instrumentation.clients.patches import Patches
from spanledger_instrumentation.clients.tee import AsyncTee, SyncTee, tees
from spanledger_instrumentation.fence import Fence
from spanledger_instrumentation.following import Following, Outgoing
from spanledger_instrumentation.form import FIELDS_MAX
from spanledger_instrumentation.providers import routes
from spanledger_instrumentation.refusals import NOTICE, REASON, STATUS_CODE, Refusal

__all__ = ["apply"]

_BEGIN: Final = Fence("begin")
_FOLLOW: Final = Fence("follow")


def apply(module: Any, patches: Patches) -> None:
    """Patch the clients of httpx or httpx2."""
    if patches.has(module.Client):
        return
    sync_tee, async_tee = tees(module)
    shell = _Shell(module, patches)
    patches.replace(module.Client, "send", shell.sync_send(module.Client.send, sync_tee))
    patches.replace(module.AsyncClient, "send", shell.async_send(module.AsyncClient.send, async_tee))


class _Shell:
    """The two `send` methods for one of the modules."""

    def __init__(self, module: Any, patches: Patches) -> None:
        self._module = module
        self._patches = patches
        # How often each request was sent: some SDKs (mistralai) retry with the object that they sent before.
        self._sent: WeakKeyDictionary[Any, int] = WeakKeyDictionary()

    def sync_send(self, original: Callable[..., Any], tee: type[SyncTee]) -> Callable[..., Any]:
        """Wrap `Client.send`."""

        @functools.wraps(original)
        def send(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
            call = begin(request)
            if call is None:
                return original(self, request, *args, **kwargs)
            if call.gated and (refusal := call.admit()) is not None:
                refused = refuse(request, refusal)
                if not kwargs.get("stream", False):
                    refused.read()
                return refused
            own = replace(request, call)
            token = call.enter()
            try:
                response = original(self, request, *args, **kwargs)
            except BaseException as error:
                call.fail(error)
                raise
            finally:
                call.leave(token)
                if own is not None:
                    own.restore(request)
            _follow(response, call, tee)
            return response

        begin, replace, refuse = self._begin, self._replace, self._refuse
        return send

    def async_send(self, original: Callable[..., Any], tee: type[AsyncTee]) -> Callable[..., Any]:
        """Wrap `AsyncClient.send`."""

        @functools.wraps(original)
        async def send(self: Any, request: Any, *args: Any, **kwargs: Any) -> Any:
            call = begin(request)
            if call is None:
                return await original(self, request, *args, **kwargs)
            if call.gated and (refusal := await call.admit_async()) is not None:
                refused = refuse(request, refusal)
                if not kwargs.get("stream", False):
                    await refused.aread()
                return refused
            own = replace(request, call)
            token = call.enter()
            try:
                response = await original(self, request, *args, **kwargs)
            except BaseException as error:
                call.fail(error)
                raise
            finally:
                call.leave(token)
                if own is not None:
                    own.restore(request)
            _follow(response, call, tee)
            return response

        begin, replace, refuse = self._begin, self._replace, self._refuse
        return send

    def _begin(self, request: Any) -> Following | None:
        try:  # no `with`: every request of the app comes through here, and nearly all of them go no further
            url = request.url
            target = url.raw_path
            candidates = routes.find(request.method, target)
            if not candidates or not self._patches.active:
                return None
            outgoing = _outgoing(request, url, target)
            outgoing.resends = self._sent.get(request, 0)
            self._sent[request] = outgoing.resends + 1
            return self._patches.begin(candidates, outgoing)
        except Exception as error:  # noqa: BLE001 - the fence
            _BEGIN.caught(error)
            return None

    def _refuse(self, request: Any, refusal: Refusal) -> Any:
        """Make the response to a request that is not sent; its body is there to be read, as the network's would be."""
        try:
            response = self._module.Response(
                STATUS_CODE,
                headers=dict(refusal.headers),
                stream=self._module.ByteStream(refusal.content),
                request=request,
                extensions={"http_version": b"HTTP/1.1", "reason_phrase": REASON.encode()},
            )
            response.elapsed = timedelta(0)
        except Exception as error:
            raise refusal.error() from error
        return response

    def _replace(self, request: Any, call: Following) -> "_Own | None":
        if call.replacement is None:
            return None
        own = None
        with _BEGIN:
            own = _Own(request)
            # A request of the same kind is built to get its stream: it has all that the client expects of one.
            built = self._module.Request(request.method, request.url, content=call.replacement)
            own.replace(request, built.stream, call.replacement, call.replacement_headers)
            return own
        if own is not None:  # half of it would be a length that is not the body's
            own.restore(request)
        return None


class _Own:
    """The app's own body of a request that is sent with another one: afterwards the app finds its request as it was.

    An app may send it once more, and what it did not write must not look as if it had.
    """

    def __init__(self, request: Any) -> None:
        self._stream = request.stream
        self._content = request.content
        self._headers: dict[str, str | None] = {}

    def replace(self, request: Any, stream: Any, content: bytes, headers: Mapping[str, str]) -> None:
        """Put another body in its place."""
        spelt = {name.lower(): name for name in (raw.decode("latin-1") for raw, _ in request.headers.raw)}
        for name, value in {**headers, "content-length": str(len(content))}.items():
            self._headers[spelt.get(name, name)] = request.headers.get(name)
            request.headers[spelt.get(name, name)] = value
        _set_body(request, stream, content)

    def restore(self, request: Any) -> None:
        """Put it back."""
        with _FOLLOW:
            _set_body(request, self._stream, self._content)
            for name, value in self._headers.items():
                if value is None:
                    request.headers.pop(name, None)
                else:
                    request.headers[name] = value


def _set_body(request: Any, stream: Any, content: bytes) -> None:
    request.stream = stream
    request._content = content  # noqa: SLF001 - what `request.content` gives; there is no public way to set it


def _outgoing(request: Any, url: Any, target: bytes) -> Outgoing:
    try:
        content, whole = request.content, True
    except RuntimeError:  # RequestNotRead: the body is a generator, which only the transport may consume
        content, whole = b"", False
    headers = lowered_bytes(request.headers.raw)
    return Outgoing(
        method=request.method,
        host=url.host,
        port=url.port or PORTS.get(url.scheme),
        target=target,
        headers=headers,
        content=content,
        form=() if whole else _form(request.stream),
        replaceable=whole and "content-length" in headers,
    )


def _form(stream: Any) -> tuple[tuple[str, object], ...]:
    # The stream of a multipart body lists its fields, so that nothing of the app's files needs to be read. A field with
    # a value is text; one with a file has none. Not public: what has another shape is no form.
    fields = getattr(stream, "fields", None)
    if not isinstance(fields, list):
        return ()
    listed = cast("list[Any]", fields)[:FIELDS_MAX]
    return tuple(
        (str(field.name), field.value) for field in listed if hasattr(field, "name") and hasattr(field, "value")
    )


def _follow(response: Any, call: Following, tee: type[SyncTee | AsyncTee]) -> None:
    try:  # no `with`, on the path of every call
        content = _content(response) if call.recording else b""
        if content is not None:
            passed = call.read(response.status_code, lowered_bytes(response.headers.raw), content)
            if passed is not content and call.recording:
                response._content = passed  # noqa: SLF001 - a hook has read it: what is hidden is taken out afterwards
        else:
            call.answered(response.status_code, lowered_bytes(response.headers.raw))
            response.stream = tee(response.stream, call)
        if call.gated and (notice := call.notice()):
            response.headers[NOTICE] = notice
    except Exception as error:  # noqa: BLE001 - the fence
        _FOLLOW.caught(error)
        call.close()


def _content(response: Any) -> bytes | None:
    try:
        return response.content
    except RuntimeError:  # ResponseNotRead: the app asked for a stream
        return None
