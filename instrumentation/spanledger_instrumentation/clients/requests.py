"""requests: `Session.send`, wrapped, outside redirects, hooks and adapters; urllib3 below it is the same call.

A request is sent as it is, see urllib3. The module is given by an import hook and never imported here; its objects are
`Any`, since it is no dependency.
"""

import functools
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

from spanledger_instrumentation.clients.headers import PORTS, lowered
from spanledger_instrumentation.clients.patches import Patches
from spanledger_instrumentation.clients.urllib3 import content_of
from spanledger_instrumentation.clients.urllib3_response import tap
from spanledger_instrumentation.fence import Fence
from spanledger_instrumentation.following import Following, Outgoing
from spanledger_instrumentation.providers import routes

__all__ = ["apply"]

_BEGIN: Final = Fence("begin")
_FOLLOW: Final = Fence("follow")


def apply(module: Any, patches: Patches) -> None:
    """Patch the sessions of requests."""
    if not patches.has(module.Session):
        patches.replace(module.Session, "send", _sending(module.Session.send, patches))


def _sending(original: Callable[..., Any], patches: Patches) -> Callable[..., Any]:
    @functools.wraps(original)
    def send(self: Any, request: Any, **kwargs: Any) -> Any:
        try:
            routed = routes.find(request.method, request.url.encode())
        except Exception as error:  # noqa: BLE001 - the fence's `with` is too dear here; what is no request raises where it is sent
            _BEGIN.caught(error)
            routed = ()
        call = _begin(request, patches) if routed and patches.active else None
        if call is None:
            return original(self, request, **kwargs)
        token = call.enter()
        try:
            response = original(self, request, **kwargs)
        except BaseException as error:
            call.fail(error)
            raise
        finally:
            call.leave(token)
        _follow(response, call)
        return response

    return send


def _begin(request: Any, patches: Patches) -> Following | None:
    with _BEGIN:
        url = urlsplit(str(request.url))
        target = (f"{url.path}?{url.query}" if url.query else url.path).encode()
        candidates = routes.find(request.method, target)
        if not candidates:  # a host of that name
            return None
        outgoing = Outgoing(
            method=request.method,
            host=(url.hostname or "").lower(),
            port=url.port or PORTS.get(url.scheme),
            target=target,
            headers=lowered(request.headers.items()),
            content=content_of(request.body),
            replaceable=False,
        )
        return patches.begin(candidates, outgoing)
    return None


def _follow(response: Any, call: Following) -> None:
    with _FOLLOW:
        headers = lowered(response.headers.items())
        content = response._content if call.recording else b""  # noqa: SLF001 - False: not read; `content` would read
        if isinstance(content, bytes) or content is None:
            call.read(response.status_code, headers, content or b"")
            return
        if tap(response.raw, headers, call):
            return
    call.close()
