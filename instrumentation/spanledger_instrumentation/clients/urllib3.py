"""urllib3: `PoolManager.urlopen` and `HTTPConnectionPool.urlopen`, wrapped; botocore and requests send through them.

Both call themselves for redirects and retries: what is inside another call of ours is that call. Body and headers are
arguments: where others are sent, the app's own objects are not touched. The module is given by an import hook and never
imported here; its objects are `Any`, since it is no dependency.
"""

import functools
import sys
from collections.abc import Callable, Mapping
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
_BODY, _HEADERS = 0, 1  # where they stand behind `method` and `url`


def apply(module: Any, patches: Patches) -> None:
    """Patch the pools of urllib3."""
    pool, manager = module.HTTPConnectionPool, module.PoolManager
    if patches.has(pool):
        return
    patches.replace(pool, "urlopen", _wrapped(pool.urlopen, patches, _by_pool, _replace_by_pool))
    patches.replace(manager, "urlopen", _wrapped(manager.urlopen, patches, _by_manager, _replace_by_manager))


def _wrapped(
    original: Callable[..., Any],
    patches: Patches,
    read: Callable[..., Outgoing],
    replace: Callable[..., tuple[tuple[Any, ...], dict[str, Any]]],
) -> Callable[..., Any]:
    @functools.wraps(original)
    def urlopen(self: Any, method: str, url: str, *args: Any, **kwargs: Any) -> Any:
        try:
            routed = routes.find(method, url.encode())
        except Exception as error:  # noqa: BLE001 - the fence's `with` is too dear here
            _BEGIN.caught(error)
            routed = ()
        call = None
        if routed and patches.active:
            with _BEGIN:
                outgoing = read(self, method, url, args, kwargs)
                if routed := routes.find(method, outgoing.target):  # else a host has that name
                    call = patches.begin(routed, outgoing)
        if call is None:
            return original(self, method, url, *args, **kwargs)
        if call.gated and (refusal := call.admit()) is not None:
            return _refuse(method, url, refusal, kwargs)
        if call.replacement is not None:
            args, kwargs = replace(self, args, kwargs, call)
        return _send(functools.partial(original, self, method, url, *args, **kwargs), call, kwargs)

    return urlopen


def _send(send: Callable[[], Any], call: Following, kwargs: Mapping[str, Any]) -> Any:
    token = call.enter()
    try:
        response = send()
    except BaseException as error:
        call.fail(error)
        raise
    finally:
        call.leave(token)
    _follow(response, call, kwargs)
    if call.gated:
        _notice(response, call)
    return response


def _refuse(method: str, url: str, refusal: Refusal, kwargs: Mapping[str, Any]) -> Any:
    try:
        return refused(
            sys.modules["urllib3"],
            refusal,
            method,
            url,
            preload_content=kwargs.get("preload_content", True),
            decode_content=kwargs.get("decode_content", True),
        )
    except Exception as error:
        raise refusal.error() from error


def _notice(response: Any, call: Following) -> None:
    with _FOLLOW:
        if notice := call.notice():
            response.headers[NOTICE] = notice


def _by_pool(pool: Any, method: str, url: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Outgoing:
    """Read what a pool sends: to its own host by path or, through a proxy, to any by URL."""
    body = args[_BODY] if args else kwargs.get("body")
    headers = args[_HEADERS] if len(args) > _HEADERS else kwargs.get("headers")
    headers = pool.headers if headers is None else headers
    if url.startswith("/"):
        return _outgoing(method, (pool.host, pool.port, url.partition("#")[0]), headers, body)
    return _outgoing(method, _parts(url), headers, body)


def _by_manager(manager: Any, method: str, url: str, _: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Outgoing:
    """Read what a manager sends; behind the URL it takes no body by position."""
    headers = kwargs.get("headers")
    return _outgoing(method, _parts(url), manager.headers if headers is None else headers, kwargs.get("body"))


def _parts(url: str) -> tuple[str, int | None, str]:
    parts = urlsplit(url)
    target = f"{parts.path}?{parts.query}" if parts.query else parts.path
    return parts.hostname or "", parts.port or PORTS.get(parts.scheme or "http"), target


def _replace_by_pool(
    pool: Any, args: tuple[Any, ...], kwargs: dict[str, Any], call: Following
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Give the arguments with another body, and headers that fit it, each where the app has its own."""
    with _BEGIN:
        body = args[_BODY] if args else kwargs["body"]
        headers = args[_HEADERS] if len(args) > _HEADERS else kwargs.get("headers")
        body, headers = _instead(pool, body, headers, call)
        positional = (body, headers, *args[_HEADERS + 1 :])[: len(args)]
        named = {"body": body, "headers": headers}
        return positional, {**kwargs, **dict(list(named.items())[len(positional) :])}
    return args, kwargs


def _replace_by_manager(
    manager: Any, args: tuple[Any, ...], kwargs: dict[str, Any], call: Following
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    with _BEGIN:
        body, headers = _instead(manager, kwargs["body"], kwargs.get("headers"), call)
        return args, {**kwargs, "body": body, "headers": headers}
    return args, kwargs


def _instead(sender: Any, body: Any, headers: Any, call: Following) -> tuple[Any, Any]:
    content = call.replacement or b""
    headers = sender.headers if headers is None else headers
    copied = headers.copy() if hasattr(headers, "copy") else dict(headers)
    copied.update(fitting(copied, call.replacement_headers, content))
    return like(body, content), copied


def _outgoing(method: str, place: tuple[str, int | None, str], headers: Any, body: object) -> Outgoing:
    host, port, target = place
    known, content = lowered(headers.items()), content_of(body)
    return Outgoing(
        method=method,
        host=host.strip("[]").lower(),
        port=port,
        target=target.encode(),
        headers=known,
        content=content,
        replaceable=is_replaceable(body, content, known) and can_hide(),
    )


def _follow(response: Any, call: Following, kwargs: Mapping[str, Any]) -> None:
    with _FOLLOW:
        headers = lowered(response.headers.items())
        if not call.recording:
            call.read(response.status, headers, b"")
        elif not kwargs.get("preload_content", True) and tap(response, headers, call):
            return
        else:
            content = response.data or b""
            _show(response, content, _passed(response.status, headers, content, call, kwargs))
        return
    call.close()


def _passed(
    status: int, headers: Mapping[str, str], content: bytes, call: Following, kwargs: Mapping[str, Any]
) -> bytes:
    if kwargs.get("decode_content", True):
        return call.read(status, headers, content)
    call.answered(status, headers)
    passed = call.feed(content)
    held = call.finish()
    return passed + held if held else passed


def _show(response: Any, content: bytes, passed: bytes) -> None:
    """Take out what is hidden of an answer that urllib3 has read already."""
    if passed is content:
        return
    response._body = passed  # noqa: SLF001 - what `data` gives
    if response.tell() == len(content):  # it was not encoded
        response._fp_bytes_read = len(passed)  # noqa: SLF001 - what `tell` gives
