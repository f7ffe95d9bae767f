"""aiohttp: `ClientSession._request`, wrapped: all verbs end there, outside redirects, middlewares and connectors.

A body is shown to the call as the app reads it, decoded where aiohttp decodes. What is sent in place of the app's own
body goes into a payload of its own: the app's objects are not touched. The module is given by an import hook and never
imported here; its objects are `Any`, since it is no dependency.
"""

import asyncio
import copy
import functools
import inspect
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, cast

from spanledger_instrumentation.clients.aiohttp_content import content_type
from spanledger_instrumentation.clients.aiohttp_hiding import can_hide, hide
from spanledger_instrumentation.clients.aiohttp_refusal import noted, refused
from spanledger_instrumentation.clients.headers import PORTS, lowered
from spanledger_instrumentation.clients.patches import Patches
from spanledger_instrumentation.clients.replacement import fitting, is_replaceable, like
from spanledger_instrumentation.fence import Fence
from spanledger_instrumentation.following import Following, Outgoing
from spanledger_instrumentation.form import FIELDS_MAX
from spanledger_instrumentation.providers import routes

__all__ = ["apply"]

_BEGIN: Final = Fence("begin")
_FOLLOW: Final = Fence("follow")
_FAIL: Final = Fence("fail")
_DECODED: Final = frozenset({"gzip", "deflate", "br", "zstd"})
"""Encodings that aiohttp decodes itself: aiohttp 3.14 http_parser.py."""


def apply(module: Any, patches: Patches) -> None:
    """Patch the sessions of aiohttp."""
    session = module.ClientSession
    if patches.has(session):
        return
    shell = _Shell(module, patches)
    patches.replace(session, "_request", shell.request(session._request))  # noqa: SLF001 - all public ones end there


class _Shell:
    """The method for one module."""

    def __init__(self, module: Any, patches: Patches) -> None:
        self._module = module
        self._patches = patches
        self._content = content_type(module.StreamReader)
        self._can_hide = can_hide(module.StreamReader)

    def request(self, original: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        """Wrap `ClientSession._request`."""

        @functools.wraps(original)
        def _request(self: Any, method: str, str_or_url: Any, *args: Any, **kwargs: Any) -> Awaitable[Any]:
            # No coroutine, so that other requests pay for none; what is not awaited begins no call.
            try:
                routed = routes.find(method.upper(), _path(self, str_or_url))
            except Exception as error:  # noqa: BLE001 - the fence's `with` is too dear here
                _BEGIN.caught(error)
                routed = ()
            if not routed or not patches.active:
                return original(self, method, str_or_url, *args, **kwargs)
            return send(self, method, str_or_url, *args, **kwargs)

        async def send(self: Any, method: str, str_or_url: Any, *args: Any, **kwargs: Any) -> Any:
            call = begin(self, method, str_or_url, kwargs)
            if call is None:
                return await original(self, method, str_or_url, *args, **kwargs)
            if call.gated and (refusal := await call.admit_async()) is not None:
                return await refused(module, self, method, str_or_url, kwargs, refusal)
            if call.replacement is not None:
                kwargs = replace(self, kwargs, call)
            sending = functools.partial(original, self, method, str_or_url, *args, **kwargs)
            return await follow(sending, call, decodes=_decodes(self, kwargs))

        begin, replace, follow, patches = self._begin, self._replace, self._sent, self._patches
        module = self._module
        return _marked(_request)

    async def _sent(self, sending: Callable[[], Awaitable[Any]], call: Following, *, decodes: bool) -> Any:
        token = call.enter()
        try:
            response = await sending()
        except BaseException as error:
            _fail(call, error)
            raise
        finally:
            call.leave(token)
        self._follow(response, call, decodes=decodes)
        if call.gated:
            self._note(response, call)
        return response

    def _begin(self, session: Any, method: str, given: Any, kwargs: dict[str, Any]) -> Following | None:
        with _BEGIN:
            method = method.upper()
            url = session._build_url(given)  # noqa: SLF001 - joined to the session's own URL
            if params := kwargs.get("params"):
                url = url.update_query(params)
            target = url.raw_path_qs.encode()
            candidates = routes.find(method, target)
            if not candidates:
                return None
            self._serialize(session, kwargs)
            data = kwargs.get("data")
            content = _content(data)
            headers = lowered(session._prepare_headers(kwargs.get("headers")).items())  # noqa: SLF001 - with its own
            outgoing = Outgoing(
                method=method,
                host=url.host or "",
                port=url.port or PORTS.get(url.scheme),
                target=target,
                headers=headers,
                content=b"" if content is None else content,
                form=() if content is not None else _form(data),
                replaceable=self._can_hide and content is not None and self._is_replaceable(data, content, headers),
            )
            return self._patches.begin(candidates, outgoing)
        return None

    def _is_replaceable(self, data: Any, content: bytes, headers: Mapping[str, str]) -> bool:
        plain = content if type(data) in _payloads(self._module.payload) else data
        return is_replaceable(plain, content, headers)

    def _replace(self, session: Any, kwargs: dict[str, Any], call: Following) -> dict[str, Any]:
        """Give the arguments with another body, and headers that fit it."""
        with _BEGIN:
            content, data = call.replacement or b"", kwargs["data"]
            if type(data) in _payloads(self._module.payload):  # a copy, that has its content type
                data = copy.copy(data)
                data._value, data._size = content, len(content)  # noqa: SLF001 - there is no public way to set it
            else:
                data = like(data, content)
            headers = session._prepare_headers(kwargs.get("headers"))  # noqa: SLF001 - with its own
            # What aiohttp decodes itself is looked at decoded, and may come encoded as ever.
            others: Mapping[str, str] = {} if _decodes(session, kwargs) else call.replacement_headers
            changed = fitting(headers, others, content)
            headers.update(changed)
            return {**kwargs, "data": data, **({"headers": headers} if changed else {})}
        return kwargs

    def _serialize(self, session: Any, kwargs: dict[str, Any]) -> None:
        """Make the body of `json`, as aiohttp would do next: to see it, it must not be made twice."""
        value = kwargs.get("json")
        if value is None or kwargs.get("data") is not None:
            return
        to_bytes = getattr(session, "_json_serialize_bytes", None)
        if to_bytes is not None:
            body = self._module.payload.JsonBytesPayload(value, dumps=to_bytes)
        else:
            body = self._module.JsonPayload(value, dumps=session.json_serialize)
        del kwargs["json"]
        kwargs["data"] = body

    def _follow(self, response: Any, call: Following, *, decodes: bool) -> None:
        with _FOLLOW:
            headers = _decoded(lowered(response.headers.items()), decodes=decodes)
            stream, read = response.content, response._body  # noqa: SLF001 - what a callback may have read already
            if not call.recording or read is not None or isinstance(stream, self._module.streams.EmptyStreamReader):
                content = (read if call.recording else None) or b""
                passed = call.read(response.status, headers, content)
                if passed is not content:
                    response._body = passed  # noqa: SLF001 - what is hidden is taken out afterwards
                return
            call.answered(response.status, headers)
            response.content = self._content(stream, call, is_fed=call.hides)
            if call.hides:
                hide(stream, response.content, call)
            return
        call.close()

    def _note(self, response: Any, call: Following) -> None:
        with _FOLLOW:
            if notice := call.notice():
                noted(response, notice)


def _marked(function: Any) -> Any:
    """Let a function pass for the coroutine function whose place it takes: mocks are made by what they find there."""
    mark = getattr(inspect, "markcoroutinefunction", None)
    if mark is not None:
        return mark(function)
    function._is_coroutine = asyncio.coroutines._is_coroutine  # type: ignore[attr-defined] # noqa: SLF001 - before Python 3.12
    return function


def _path(session: Any, given: Any) -> bytes:
    """Give what the path ends in, at little cost: a URL is not parsed."""
    path = given.encode() if type(given) is str else given.raw_path.encode()
    base = getattr(session, "_base_url", None)
    return path if base is None else base.raw_path.encode() + path


def _payloads(module: Any) -> tuple[type[Any], ...]:
    """List the kinds of payload that are known to be bytes and nothing else."""
    names = ("BytesPayload", "StringPayload", "JsonPayload", "JsonBytesPayload")
    return tuple(getattr(module, name) for name in names if hasattr(module, name))


def _decodes(session: Any, kwargs: Mapping[str, Any]) -> bool:
    chosen = kwargs.get("auto_decompress")
    return bool(getattr(session, "_auto_decompress", True) if chosen is None else chosen)


def _decoded(headers: Mapping[str, str], *, decodes: bool) -> Mapping[str, str]:
    if not decodes or headers.get("content-encoding", "").lower() not in _DECODED:
        return headers
    return {name: value for name, value in headers.items() if name != "content-encoding"}


def _content(data: Any) -> bytes | None:
    if isinstance(data, str):
        return data.encode(errors="replace")
    if isinstance(data, bytes | bytearray):
        return bytes(data)
    # A payload of bytes (BytesPayload, JsonPayload) has them all; any other one can be read only once.
    value = getattr(data, "_value", None)
    return value if isinstance(value, bytes) else None


def _form(data: Any) -> tuple[tuple[str, object], ...]:
    """List the text fields of a form, given as a mapping, as pairs or as aiohttp's own."""
    if isinstance(data, Mapping):
        pairs = list(cast("Mapping[str, object]", data).items())
    else:
        # aiohttp.FormData keeps (options, headers, value); not public: what has another shape is no form.
        fields = getattr(data, "_fields", None)
        listed = cast("list[Any]", fields)[:FIELDS_MAX] if isinstance(fields, list) else []
        pairs = [(options.get("name"), value) for options, _, value in listed]
    return tuple((name, value) for name, value in pairs[:FIELDS_MAX] if isinstance(value, str | int | float))


def _fail(call: Following, error: BaseException) -> None:
    with _FAIL:
        # `raise_for_status` raises what is in fact an answer.
        status = getattr(error, "status", None)
        headers = getattr(error, "headers", None)
        if isinstance(status, int) and status >= 400:
            call.answered(status, lowered(headers.items()) if headers is not None else {})
    call.fail(error)
