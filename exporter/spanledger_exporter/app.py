"""The composition root: a Config -> a running exporter."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable, Generator
from typing import NamedTuple

import uvicorn
from prometheus_client import CollectorRegistry, disable_created_metrics
from starlette.applications import Starlette

from spanledger_exporter.admin import admin
from spanledger_exporter.committer import Committer
from spanledger_exporter.config import Address, Config
from spanledger_exporter.database import open_database, parse_url, shown
from spanledger_exporter.errors import ConfigError
from spanledger_exporter.genai_prices_book import packaged_book
from spanledger_exporter.grpc_receiver import GrpcReceiver
from spanledger_exporter.http_receiver import http_receiver
from spanledger_exporter.ledger import Ledger
from spanledger_exporter.metrics import IngestMetrics, LedgerMetrics
from spanledger_exporter.pipeline import Pipeline

_logger = logging.getLogger(__name__)


class Addresses(NamedTuple):
    """Where a running exporter listens, and its ledger as it may be printed."""

    grpc: Address
    http: Address
    metrics: Address
    ledger: str


class App:
    """A running exporter: `start`, then `stop`, in one event loop.

    Raises: `ConfigError` from `start` when a port is taken or the ledger cannot be used, `UnavailableError` when
    the ledger's database does not answer; what was started by then is stopped again.
    """

    def __init__(self, config: Config) -> None:
        self._config = config
        self._stack = contextlib.AsyncExitStack()

    async def start(self) -> Addresses:
        """Open the ledger, then the doors."""
        try:
            return await self._start()
        except BaseException:
            await self._stack.aclose()
            raise

    async def stop(self) -> None:
        """Close the doors, finish what was accepted, then close the ledger."""
        await self._stack.aclose()

    async def _start(self) -> Addresses:
        # One straight line on purpose: the order in which parts are made is the order in which data flows,
        # backwards, and the exit stack takes them down in the order in which data flows, forwards.
        config, stack = self._config, self._stack
        _require_free(config)
        disable_created_metrics()  # a `_created` series beside each counter doubles them and serves no query
        registry = CollectorRegistry()
        ingest = IngestMetrics(registry)
        book = packaged_book()
        ledger = Ledger(open_database(config.ledger_url), cells_max=config.cells_max)
        stack.callback(ledger.close)
        ledger.keep_book(book)
        spend = LedgerMetrics(registry, ledger.totals(), lambda: ledger.folded)
        committer = Committer(ledger, rows_max=config.commit_rows_max, on_commit=spend.committed)
        stack.push_async_callback(asyncio.to_thread, committer.close, config.shutdown_grace_s)
        pipeline = Pipeline(committer.submit, book, ingest, in_flight_bytes_max=config.in_flight_bytes_max)
        ingest.watch_in_flight(lambda: pipeline.in_flight_bytes)
        size = config.request_bytes_max
        metrics = await self._serve(admin(registry, _ready(ledger, committer)), "metrics", config.metrics)
        http = await self._serve(http_receiver(pipeline, ingest, request_bytes_max=size), "http", config.http)
        receiver = GrpcReceiver(config.grpc, pipeline, ingest, request_bytes_max=size)
        stack.push_async_callback(receiver.stop, config.shutdown_grace_s)
        grpc = await receiver.start()
        stack.callback(pipeline.close)
        return Addresses(grpc, http, metrics, shown(parse_url(config.ledger_url)))

    async def _serve(self, application: Starlette, flag: str, address: Address) -> Address:
        listener = _listen(flag, address)
        server = _Server(
            uvicorn.Config(
                application,
                log_config=None,
                access_log=False,
                lifespan="off",
                timeout_graceful_shutdown=self._config.shutdown_grace_s,
            )
        )
        task = asyncio.create_task(server.serve(sockets=[listener]))

        async def stop() -> None:
            server.should_exit = True
            await task

        self._stack.push_async_callback(stop)
        while not server.started and not task.done():  # noqa: ASYNC110 -- uvicorn offers no event to wait for
            await asyncio.sleep(0.005)
        if task.done():
            raise ConfigError([f"the server on {address} could not be started: {task.exception()}"])
        return Address(address.host, listener.getsockname()[1])


def _ready(ledger: Ledger, committer: Committer) -> Callable[[], None]:
    def check() -> None:
        committer.check()
        ledger.ping()

    return check


class _Server(uvicorn.Server):
    """uvicorn without its signal handlers: the command decides when to stop."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


def _require_free(config: Config) -> None:
    """Raise `ConfigError` with every address that cannot be listened on, before anything is started."""
    problems: list[str] = []
    for name, address in (("grpc", config.grpc), ("http", config.http), ("metrics", config.metrics)):
        try:
            _listen(name, address).close()
        except ConfigError as exc:
            problems.extend(exc.problems)
    if problems:
        raise ConfigError(problems)


def _listen(flag: str, address: Address) -> socket.socket:
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as exc:
        listener.close()
        raise ConfigError([f"cannot listen on {address}: {exc.strerror}; --{flag} ADDR names another address"]) from exc
    return listener
