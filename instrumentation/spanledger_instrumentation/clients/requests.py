"""requests: `Session.send`, wrapped, outside redirects, hooks and adapters; urllib3 below it is the same call.

What is sent in place of the app's own body is put on its `PreparedRequest` for as long as it is sent, and taken back
from the copies that redirects and authentication make of it. The module is given by an import hook and never imported
here; its objects are `Any`, since it is no dependency.
"""

import functools
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final
from urllib.parse import urlsplit

from spanledger_instrumentation.clients.headers import PORTS, lowered
from spanledger_instrumentation.clients.patches import Patches
from spanledger_instrumentation.clients.replacement import content_of, fitting, is_replaceable, like
from spanledger_instrumentation.clients.urllib3_refusal import refused
from spanledger_instrumentation.clients.urllib3_response import can_hide, tap
from spanledger_instrumentation.fence import Fence
from spanledger_instrumentation.following import Following, Outgoing
from spanledger_instrumentation.providers import routes
from spanledger_instrumentation.refusals import NOTICE, Refusal

__all__ = ["apply"]

_BEGIN: Final = Fence("begin")
_FOLLOW: Final = Fence("follow")


def apply(module: Any, patches: Patches) -> None:
    """Patch the sessions of requests."""
    if not patches.has(module.Session):
        adapter = module.adapters.HTTPAdapter
        patches.replace(module.Session, "send", _sending(module.Session.send, patches, adapter))


def _sending(original: Callable[..., Any], patches: Patches, adapter: type[Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def send(self: Any, request: Any, **kwargs: Any) -> Any:
        try:
            routed = routes.find(request.method, request.url.encode())
        except Exception as error:  # noqa: BLE001 - the fence's `with` is too dear here; what is no request raises where it is sent
            _BEGIN.caught(error)
            routed = ()
        call = _begin(self, request, patches, adapter) if routed and patches.active else None
        if call is None:
            return original(self, request, **kwargs)
        if call.gated and (refusal := call.admit()) is not None:
            return _refuse(request, refusal, adapter, stream=bool(kwargs.get("stream", self.stream)))
        own = _replace(request, call)
        token = call.enter()
        response = None
        try:
            response = original(self, request, **kwargs)
        except BaseException as error:
            call.fail(error)
            response = getattr(error, "response", None)
            raise
        finally:
            call.leave(token)
            if own is not None:
                own.restore(request, response)
        _follow(response, call)
        if call.gated:
            _notice(response, call)
        return response

    return send


def _refuse(request: Any, refusal: Refusal, adapter: type[Any], *, stream: bool) -> Any:
    """Make the response to a request that is not sent, as an adapter makes it of what urllib3 gives."""
    try:
        urllib3: Any = sys.modules["urllib3"]
        response = adapter().build_response(request, refused(urllib3, refusal, request.method, request.url))
        if not stream:
            response.content  # noqa: B018 - reads it
    except Exception as error:
        raise refusal.error() from error
    return response


def _notice(response: Any, call: Following) -> None:
    with _FOLLOW:
        if notice := call.notice():
            response.headers[NOTICE] = notice


def _begin(session: Any, request: Any, patches: Patches, adapter: type[Any]) -> Following | None:
    with _BEGIN:
        url = urlsplit(str(request.url))
        target = (f"{url.path}?{url.query}" if url.query else url.path).encode()
        candidates = routes.find(request.method, target)
        if not candidates:  # a host of that name
            return None
        headers, content = lowered(request.headers.items()), content_of(request.body)
        # Of another adapter nobody knows what its answers are, and whether anything can be kept from them.
        replaceable = is_replaceable(request.body, content, headers) and "content-length" in headers
        outgoing = Outgoing(
            method=request.method,
            host=(url.hostname or "").lower(),
            port=url.port or PORTS.get(url.scheme),
            target=target,
            headers=headers,
            content=content,
            replaceable=replaceable and can_hide() and isinstance(_adapter(session, request.url), adapter),
        )
        return patches.begin(candidates, outgoing)
    return None


def _adapter(session: Any, url: str) -> Any:
    # `get_adapter` raises where there is none, and so will the session.
    return next((each for prefix, each in session.adapters.items() if url.lower().startswith(prefix.lower())), None)


def _replace(request: Any, call: Following) -> "_Own | None":
    if call.replacement is None:
        return None
    own = None
    with _BEGIN:
        own = _Own(request, like(request.body, call.replacement))
        own.replace(request, fitting(request.headers, call.replacement_headers, call.replacement))
        return own
    if own is not None:  # half of it would be a length that is not the body's
        own.restore(request, None)
    return None


class _Own:
    """The app's own body of a request that is sent with another one, and the headers that say something of it.

    An app may send its request once more, or one that was made of it: what it did not write must not look as if it had.
    """

    def __init__(self, request: Any, body: Any) -> None:
        self._body, self._sent = request.body, body
        self._headers: dict[str, tuple[str | None, str]] = {}

    def replace(self, request: Any, headers: dict[str, str]) -> None:
        """Put the other one in its place."""
        for name, value in headers.items():
            self._headers[name] = request.headers.get(name), value
            request.headers[name] = value
        request.body = self._sent

    def restore(self, request: Any, response: Any) -> None:
        """Put it back, also where it was copied to."""
        with _FOLLOW:
            for each in (request, *_copies(response)):
                if each.body is self._sent:
                    each.body = self._body
                for name, (value, sent) in self._headers.items():
                    if each.headers.get(name) != sent:
                        continue
                    if value is None:
                        del each.headers[name]
                    else:
                        each.headers[name] = value


def _copies(response: Any) -> Iterator[Any]:
    for each in (response, *getattr(response, "history", ())):
        # `_next` is what `Response.next` gives: the request that a redirect leads to, for an app that follows none.
        for request in (getattr(each, "request", None), getattr(each, "_next", None)):
            if request is not None:
                yield request


def _follow(response: Any, call: Following) -> None:
    with _FOLLOW:
        headers = lowered(response.headers.items())
        content = response._content if call.recording else b""  # noqa: SLF001 - False: not read; `content` would read
        if isinstance(content, bytes) or content is None:
            passed = call.read(response.status_code, headers, content or b"")
            if passed is not content and content and call.recording:
                response._content = passed  # noqa: SLF001 - it is read already: what is hidden is taken out afterwards
            return
        if tap(response.raw, headers, call):
            return
    call.close()
