"""A TCP proxy that a test can make slow, deaf or broken, between an exporter and its database."""

import asyncio
import threading
from collections.abc import Callable
from typing import Self

from tests.servers.process import free_port

_CHUNK_BYTES = 65_536


class Proxy:
    """Passes bytes between who connects to `port` and a server on loopback; a context manager.

    `delay_s` is added to each chunk that goes to the server; `stall` lets nothing pass. `cut_when` is asked of each
    chunk to the server, which still gets it whole where the answer is yes; then the client's connection is reset, so
    that it never hears what came of it.
    """

    def __init__(self, server_port: int) -> None:
        self.port = free_port()
        self.delay_s = 0.0
        self.cut_when: Callable[[bytes], bool] = lambda _chunk: False
        self.cuts = 0
        self._server_port = server_port
        self._loop = asyncio.new_event_loop()
        self._flowing = asyncio.Event()
        self._flowing.set()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._listener: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.open()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.shut()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def open(self) -> None:
        """Take connections."""
        self._do(self._open())

    def shut(self) -> None:
        """Take no connections, and reset those that there are."""
        self._do(self._shut())

    def reset(self) -> None:
        """Reset the connections that there are."""
        self._do(self._reset())

    def stall(self) -> None:
        """Let nothing pass, and keep the connections."""
        self._loop.call_soon_threadsafe(self._flowing.clear)

    def flow(self) -> None:
        """Let all pass again."""
        self._loop.call_soon_threadsafe(self._flowing.set)

    def _do(self, work: "asyncio.coroutines.Coroutine[object, object, None]") -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=30)

    async def _open(self) -> None:
        self._listener = await asyncio.start_server(self._connected, "127.0.0.1", self.port)

    async def _shut(self) -> None:
        if self._listener is not None:
            self._listener.close()
            self._listener = None
        await self._reset()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _reset(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        self._writers.add(writer)
        try:
            upstream = await asyncio.open_connection("127.0.0.1", self._server_port)
            self._writers.add(upstream[1])
            # When either side ends, so does the other.
            up = asyncio.ensure_future(self._up(reader, upstream[1], writer))
            flows = [up, asyncio.ensure_future(self._down(upstream[0], writer))]
            try:
                await asyncio.wait(flows, return_when=asyncio.FIRST_COMPLETED)
            finally:
                for flow in flows:
                    flow.cancel()
                await asyncio.gather(*flows, return_exceptions=True)
                self._writers.discard(upstream[1])
                upstream[1].close()
        except OSError:
            pass  # the server is gone: its client sees a connection that ends
        finally:
            self._tasks.discard(task)
            self._writers.discard(writer)
            writer.transport.abort()

    async def _up(
        self, reader: asyncio.StreamReader, server: asyncio.StreamWriter, client: asyncio.StreamWriter
    ) -> None:
        while chunk := await reader.read(_CHUNK_BYTES):
            await self._flowing.wait()
            if self.delay_s:
                await asyncio.sleep(self.delay_s)
            cut = self.cut_when(chunk)
            server.write(chunk)
            await server.drain()
            if cut:
                self.cuts += 1
                client.transport.abort()
                # The server is left to finish what it was told before it sees that nobody listens.
                server.write_eof()
                return

    async def _down(self, reader: asyncio.StreamReader, client: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(_CHUNK_BYTES):
            await self._flowing.wait()
            client.write(chunk)
            await client.drain()
