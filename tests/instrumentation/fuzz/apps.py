"""The same small app over each client, on a network that is made of bytes: what it sees, to the last exception.

Nothing leaves the process: httpx and httpx2 read from a network backend, the others from a socket pair whose far end
has said everything before the client asks. So what an app sees is the same each time, to the chunk.
"""

import asyncio
import re
import socket
import ssl
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, closing, contextmanager
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import httpcore
import httpcore2
import httpx
import httpx2
import requests
import requests.adapters
import urllib3
import urllib3.connection


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A request, the bytes that a server answers, and how the app reads them."""

    url: str
    body: bytes
    pieces: tuple[bytes, ...]
    """What is read from the network at a time, where the client allows it."""
    reading: str
    headers: Mapping[str, str] = field(default_factory=dict[str, str])


Seen = list[object]
App = Callable[[Exchange], Seen]

HEADERS = {"content-type": "application/json", "authorization": "Bearer sk-0123456789abcdefghij"}
_ADDRESS = re.compile("0x[0-9a-f]+")
_TLS = ssl.create_default_context()
"""Made once: no example speaks TLS, and it takes longer than all that an example does."""


@contextmanager
def witnessed(seen: Seen) -> Iterator[None]:
    """Note an exception in place of raising it."""
    try:
        yield
    except Exception as error:  # noqa: BLE001 - whatever an app may see
        chain: list[str] = []
        cause: BaseException | None = error
        while cause is not None:
            chain.append(f"{type(cause).__module__}.{type(cause).__qualname__}: {_ADDRESS.sub('0x', str(cause))}")
            cause = cause.__cause__
        seen.append(chain)


# -- httpx and httpx2 ------------------------------------------------------------------------------------------------


def _sync(library: Any, core: Any) -> App:
    def see(exchange: Exchange) -> Seen:
        seen: Seen = []
        transport = library.HTTPTransport(verify=_TLS)
        transport._pool = core.ConnectionPool(network_backend=core.MockBackend(list(exchange.pieces)))
        with witnessed(seen), library.Client(transport=transport, trust_env=False) as client:
            request = client.build_request(
                "POST", exchange.url, content=exchange.body, headers={**HEADERS, **exchange.headers}
            )
            response = client.send(request, stream=exchange.reading != "all")
            seen += [response.status_code, response.headers.raw]
            if exchange.reading == "all":
                seen.append(response.content)
            else:
                with closing(response):
                    for part in _parts(response, exchange.reading):
                        seen.append(part)
            seen += [response.num_bytes_downloaded, request.content, request.headers.raw, response.is_closed]
        return seen

    return see


def _parts(response: Any, reading: str) -> Any:
    return {
        "raw": response.iter_raw,
        "bytes": response.iter_bytes,
        "sevens": lambda: response.iter_bytes(7),
        "lines": response.iter_lines,
        "text": response.iter_text,
        "read": lambda: [response.read()],
        "first": lambda: [next(response.iter_raw(), None)],
        "stream": lambda: response.stream,
    }[reading]()


def _async(library: Any, core: Any) -> App:
    async def run(exchange: Exchange, seen: Seen) -> None:
        transport = library.AsyncHTTPTransport(verify=_TLS)
        transport._pool = core.AsyncConnectionPool(network_backend=core.AsyncMockBackend(list(exchange.pieces)))
        async with library.AsyncClient(transport=transport, trust_env=False) as client:
            request = client.build_request(
                "POST", exchange.url, content=exchange.body, headers={**HEADERS, **exchange.headers}
            )
            response = await client.send(request, stream=exchange.reading != "all")
            seen += [response.status_code, response.headers.raw]
            if exchange.reading == "all":
                seen.append(response.content)
            else:
                try:
                    async for part in _async_parts(response, exchange.reading):
                        seen.append(part)
                finally:
                    await response.aclose()
            seen += [response.num_bytes_downloaded, request.content, request.headers.raw, response.is_closed]

    def see(exchange: Exchange) -> Seen:
        seen: Seen = []
        with witnessed(seen):
            asyncio.run(run(exchange, seen))
        return seen

    return see


def _async_parts(response: Any, reading: str) -> Any:
    async def read() -> AsyncIterator[bytes]:
        yield await response.aread()

    async def first() -> AsyncIterator[bytes | None]:
        yield await anext(response.aiter_raw(), None)

    return {
        "raw": response.aiter_raw,
        "bytes": response.aiter_bytes,
        "sevens": lambda: response.aiter_bytes(7),
        "lines": response.aiter_lines,
        "text": response.aiter_text,
        "read": read,
        "first": first,
        "stream": lambda: response.stream,
    }[reading]()


# -- urllib3 and requests --------------------------------------------------------------------------------------------


class _Sockets(list[socket.socket]):
    """Both ends of every connection, closed with the network."""

    def answered(self, pieces: Sequence[bytes]) -> socket.socket:
        """Give the near end of a connection whose far end has said all it will."""
        near, far = socket.socketpair()
        self += [near, far]
        far.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
        far.settimeout(10)
        far.sendall(b"".join(pieces))
        far.shutdown(socket.SHUT_WR)
        return near

    def close(self) -> None:
        """Close what the client has not."""
        for each in self:
            each.close()


def _pool(pieces: Sequence[bytes], sockets: _Sockets) -> type[urllib3.HTTPConnectionPool]:
    class Connection(urllib3.connection.HTTPConnection):
        def _new_conn(self) -> socket.socket:
            return sockets.answered(pieces)

    class Pool(urllib3.HTTPConnectionPool):
        ConnectionCls = Connection  # type: ignore[assignment]

    return Pool


@contextmanager
def _manager(exchange: Exchange) -> Iterator[urllib3.PoolManager]:
    with closing(_Sockets()) as sockets, urllib3.PoolManager(retries=False) as manager:
        manager.pool_classes_by_scheme = {"http": _pool(exchange.pieces, sockets)}
        yield manager


def _urllib3(exchange: Exchange) -> Seen:
    seen: Seen = []
    with witnessed(seen), _manager(exchange) as manager:
        preload = exchange.reading == "all"
        response = manager.request(
            "POST", exchange.url, body=exchange.body, headers={**HEADERS, **exchange.headers}, preload_content=preload
        )
        try:
            seen += [response.status, list(response.headers.items())]
            parts: Any = {
                "all": lambda: [response.data],
                "raw": lambda: response.stream(decode_content=False),
                "bytes": response.stream,
                "sevens": lambda: response.stream(7),
                "lines": lambda: response,
                "text": lambda: iter(lambda: response.read(100), b""),
                "read": lambda: [response.read()],
                "first": lambda: [response.read(5), response.read1(5)],
                "stream": lambda: iter(response.read1, b""),
            }[exchange.reading]()
            for part in parts:
                seen.append(part)
            seen += [response.tell(), response.closed]
        finally:
            response.close()
    return seen


class _Adapter(requests.adapters.HTTPAdapter):
    def __init__(self, pieces: Sequence[bytes], sockets: _Sockets) -> None:
        super().__init__(max_retries=0)
        self.poolmanager.pool_classes_by_scheme = {"http": _pool(pieces, sockets)}


def _requests(exchange: Exchange) -> Seen:
    seen: Seen = []
    with closing(_Sockets()) as sockets, witnessed(seen), requests.Session() as session:
        session.trust_env = False
        session.mount("http://", _Adapter(exchange.pieces, sockets))
        response = session.post(
            exchange.url,
            data=exchange.body,
            headers={**HEADERS, **exchange.headers},
            stream=exchange.reading != "all",
            allow_redirects=False,
        )
        with response:
            seen += [response.status_code, list(response.headers.items())]
            parts: Any = {
                "all": lambda: [response.content],
                "raw": lambda: response.raw.stream(64, decode_content=False),
                "bytes": lambda: response.iter_content(None),
                "sevens": lambda: response.iter_content(7),
                "lines": response.iter_lines,
                "text": lambda: [response.text],
                "read": lambda: [response.content],
                "first": lambda: [next(response.iter_content(5), None)],
                "stream": lambda: iter(lambda: response.raw.read(50), b""),
            }[exchange.reading]()
            for part in parts:
                seen.append(part)
            seen += [response.request.body, list(response.request.headers.items())]
    return seen


# -- aiohttp ---------------------------------------------------------------------------------------------------------


class _Connector(aiohttp.BaseConnector):
    def __init__(self, pieces: Sequence[bytes], sockets: _Sockets) -> None:
        super().__init__(force_close=True)
        self._pieces = pieces
        self._sockets = sockets

    async def _create_connection(self, *_: Any) -> Any:
        near = self._sockets.answered(self._pieces)
        _transport, protocol = await asyncio.get_running_loop().create_connection(self._factory, sock=near)
        return protocol


@asynccontextmanager
async def _session(exchange: Exchange) -> AsyncIterator[aiohttp.ClientSession]:
    with closing(_Sockets()) as sockets:
        async with aiohttp.ClientSession(connector=_Connector(exchange.pieces, sockets)) as session:
            yield session


async def _run_aiohttp(exchange: Exchange, seen: Seen) -> None:
    async with (
        _session(exchange) as session,
        session.post(
            exchange.url, data=exchange.body, headers={**HEADERS, **exchange.headers}, allow_redirects=False
        ) as response,
    ):
        seen += [response.status, list(response.raw_headers)]
        content = response.content
        if exchange.reading in ("all", "read"):
            seen.append(await response.read())
        elif exchange.reading == "text":
            seen.append(await response.text(errors="replace"))
        elif exchange.reading == "first":
            seen.append(await content.read(5))
        elif exchange.reading == "stream":
            while not content.at_eof():
                seen.append(await content.readchunk())
        else:
            parts: Any = {
                "raw": content.iter_any,
                "bytes": content.iter_chunks,
                "sevens": lambda: content.iter_chunked(7),
                "lines": lambda: content,
            }[exchange.reading]()
            async for part in parts:
                seen.append(part)


def _aiohttp(exchange: Exchange) -> Seen:
    seen: Seen = []
    with witnessed(seen):
        asyncio.run(_run_aiohttp(exchange, seen))
    return seen


APPS: dict[str, App] = {
    "httpx": _sync(httpx, httpcore),
    "httpx async": _async(httpx, httpcore),
    "httpx2": _sync(httpx2, httpcore2),
    "httpx2 async": _async(httpx2, httpcore2),
    "requests": _requests,
    "urllib3": _urllib3,
    "aiohttp": _aiohttp,
}
READINGS = ("all", "raw", "bytes", "sevens", "lines", "text", "read", "first", "stream")
