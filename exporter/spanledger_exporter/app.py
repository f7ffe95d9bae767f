"""The composition root: a Config -> a running exporter."""

import asyncio
import contextlib
import logging
import socket
from collections.abc import Callable
from typing import NamedTuple, Protocol

from prometheus_client import CollectorRegistry, disable_created_metrics
from starlette.applications import Starlette

from spanledger_exporter import dialects, failpoints
from spanledger_exporter.alerts.notifier import Notifier, rules_of
from spanledger_exporter.budgets.budget_file import BudgetFile
from spanledger_exporter.budgets.evaluator import Evaluator
from spanledger_exporter.budgets.shelf import BudgetShelf
from spanledger_exporter.config import Config, require_safe_addresses
from spanledger_exporter.errors import ConfigError, SpanledgerError, UnavailableError
from spanledger_exporter.leases.api import LeaseApi
from spanledger_exporter.leases.lease_rates import LeaseRates
from spanledger_exporter.leases.lending import Lender
from spanledger_exporter.leases.lessor import Lessor
from spanledger_exporter.ledger.database import Database, open_database, parse_url, shown
from spanledger_exporter.ledger.ledger import Ledger
from spanledger_exporter.ledger.maintenance import Maintenance
from spanledger_exporter.metrics.budget_metrics import BudgetMetrics, EnforcementMetrics
from spanledger_exporter.metrics.dimensions import Dimensions, Places
from spanledger_exporter.metrics.metrics import (
    IngestMetrics,
    LedgerMetrics,
    MaintenanceMetrics,
    NotifierMetrics,
    PriceMetrics,
    ScrapeMetrics,
)
from spanledger_exporter.metrics.month import MonthMetrics, MonthReader
from spanledger_exporter.metrics.spend import places_of
from spanledger_exporter.prices.book_shelf import BookShelf
from spanledger_exporter.prices.current_prices import CurrentPrices
from spanledger_exporter.prices.genai_prices_book import packaged_book_apart
from spanledger_exporter.prices.price_book import PriceBook
from spanledger_exporter.receiving.admin import admin
from spanledger_exporter.receiving.certificates import Certificates
from spanledger_exporter.receiving.committer import Committer
from spanledger_exporter.receiving.grpc_receiver import GrpcReceiver
from spanledger_exporter.receiving.http_receiver import HttpReceiver
from spanledger_exporter.receiving.pipeline import Pipeline
from spanledger_exporter.receiving.tokens import Gate, Tokens, open_gate
from spanledger_exporter.receiving.web import WebServer
from spanledger_exporter.setting_texts import Address
from spanledger_exporter.top.overview_reader import OverviewReader
from spanledger_exporter.top.overviews import Overviews

_logger = logging.getLogger(__name__)
_REFRESH_S = 1


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

    async def _start(self) -> Addresses:  # noqa: PLR0915 -- the composition root
        # One straight line on purpose: the order in which parts are made is the order in which data flows,
        # backwards, and the exit stack takes them down in the order in which data flows, forwards.
        config, stack = self._config, self._stack
        require_safe_addresses(config)
        _require_free(config)
        disable_created_metrics()  # a `_created` series beside each counter doubles them and serves no query
        registry = CollectorRegistry()
        ingest = IngestMetrics(registry)
        certificates, gate, watched = self._guards(ingest)
        points = failpoints.from_environment()
        database = open_database(config.ledger_url)
        ledger = Ledger(
            database,
            cells_max=config.cells_max,
            dead_letters_max=config.dead_letters_max,
            rank=dialects.rank,
            points=points,
        )
        stack.callback(ledger.close)
        prices = CurrentPrices(BookShelf(database), config.prices_file, packaged_book_apart)
        book = prices.changed()
        assert book is not None, "the first question always has an answer"
        ledger.keep_book(book)
        price_metrics = PriceMetrics(registry)
        price_metrics.priced_with(book.source, prices.dated_ns / 1e9)
        watched += self._budgets(database, ingest)
        places = places_of(Dimensions(config.metrics_dimensions), config.metrics_series_max)
        committer = self._committer(registry, ledger, places)
        self._maintain(registry, database)
        self._month(registry, database, places)
        evaluator = self._evaluator(registry, database, ledger)
        watched += self._notify(registry, database, evaluator, ingest, points)
        evaluator.start()
        enforcement = EnforcementMetrics(registry, lambda: evaluator.names)
        pipeline = Pipeline(
            committer.submit,
            book,
            ingest,
            in_flight_bytes_max=config.in_flight_bytes_max,
            poison_tries_max=config.poison_tries_max,
        )
        lessor = self._lessor(database, book)
        following = asyncio.create_task(_follow(prices, ledger, pipeline, lessor, price_metrics, config.prices_poll_s))
        stack.callback(following.cancel)
        if watched:
            refreshing = asyncio.create_task(_refresh(watched))
            stack.callback(refreshing.cancel)
        ingest.watch(
            in_flight_bytes=lambda: pipeline.in_flight_bytes,
            forgotten_plans=lambda: pipeline.forgotten_plans,
            waiting=lambda: committer.waiting,
        )
        size = config.request_bytes_max
        overviews = Overviews(OverviewReader(database).read)
        pages = admin(
            registry, _ready(ledger, committer), gate, [overviews.route(gate)], scraped=ScrapeMetrics(registry).scraped
        )
        metrics = await self._serve(pages, certificates, "metrics", config.metrics)
        leases = LeaseApi(
            lessor,
            gate,
            read_timeout_s=config.read_timeout_s,
            answered=enforcement.answered,
            decided=enforcement.decided,
        )
        receiver = HttpReceiver(
            pipeline, ingest, gate, request_bytes_max=size, read_timeout_s=config.read_timeout_s
        ).application([leases.route()])
        http = await self._serve(receiver, certificates, "http", config.http)
        grpc_receiver = GrpcReceiver(config.grpc, pipeline, ingest, gate, certificates, request_bytes_max=size)
        stack.push_async_callback(grpc_receiver.stop, config.shutdown_grace_s)
        grpc = await grpc_receiver.start()
        stack.callback(pipeline.close)
        return Addresses(grpc, http, metrics, shown(parse_url(config.ledger_url)))

    def _budgets(self, database: Database, ingest: IngestMetrics) -> "list[_Refreshable]":
        """Take over the budgets that the file declares, if there is one."""
        if not self._config.budgets_file:
            return []
        shelf = BudgetShelf(database)
        file = BudgetFile(
            self._config.budgets_file,
            lambda declared: shelf.sync(declared, self._config.budgets_file),
            failed=lambda: ingest.kept_the_old("budgets"),
        )
        file.take_over()
        return [file]

    def _committer(self, registry: CollectorRegistry, ledger: Ledger, places: Places) -> Committer:
        """Make what commits, and the metrics of spend that each commit moves."""
        config = self._config
        totals, held = ledger.standings.read()
        spend = LedgerMetrics(
            registry,
            totals,
            lambda: ledger.folded,
            groups_folded=lambda: ledger.groups_folded,
            window_forgotten=lambda: ledger.window_forgotten,
            held=held,
            hold=ledger.standings.hold,
            places=places,
            series_max=config.metrics_series_max,
            hold_s=config.metrics_hold_s,
        )
        ledger.hold_by(spend.falls)
        committer = Committer(
            ledger,
            rows_max=config.commit_rows_max,
            on_commit=spend.committed,
            on_doubt=lambda: spend.catch_up(ledger.standings.read()),
            follow=lambda: spend.follow(ledger.standings.read_of_others()),
            follow_s=config.metrics_follow_s,
        )
        self._stack.push_async_callback(asyncio.to_thread, committer.close, config.shutdown_grace_s)
        return committer

    def _maintain(self, registry: CollectorRegistry, database: Database) -> None:
        """Begin the hourly work on the ledger."""
        config, metrics = self._config, MaintenanceMetrics(registry, database.wal_bytes)
        maintenance = Maintenance(
            database, metrics, retention_days=config.retention_days, keep_days=config.budgets_keep_days
        )
        self._stack.push_async_callback(asyncio.to_thread, maintenance.close, config.shutdown_grace_s)
        maintenance.start()

    def _lessor(self, database: Database, book: PriceBook) -> Lessor:
        """Begin to lend parts of budgets, at the prices of a book."""
        lessor = Lessor(database, Lender(LeaseRates(book).of, book.book_id))
        self._stack.push_async_callback(asyncio.to_thread, lessor.close, self._config.shutdown_grace_s)
        return lessor

    def _guards(self, ingest: IngestMetrics) -> "tuple[Certificates | None, Gate, list[_Refreshable]]":
        """Read the certificate and the tokens, if there are any; return what is to be kept fresh."""
        config, watched = self._config, list[_Refreshable]()
        certificates, gate = None, open_gate
        if config.tls_cert_file is not None and config.tls_key_file is not None:
            certificates = Certificates(
                config.tls_cert_file,
                config.tls_key_file,
                config.tls_client_ca_file,
                failed=lambda: ingest.kept_the_old("certificates"),
            )
            watched.append(certificates)
        if config.tokens_file is not None:
            gate = Tokens(config.tokens_file, failed=lambda: ingest.kept_the_old("tokens"))
            watched.append(gate)
        return certificates, gate, watched

    def _month(self, registry: CollectorRegistry, database: Database, places: Places) -> None:
        """Show what the month has cost."""
        month = MonthMetrics(registry, MonthReader(database, places).read, places.dimensions.names)
        self._stack.push_async_callback(asyncio.to_thread, month.close, self._config.shutdown_grace_s)
        month.start()

    def _evaluator(self, registry: CollectorRegistry, database: Database, ledger: Ledger) -> Evaluator:
        """Make what looks at budgets, and the metrics that it feeds."""
        evaluator = Evaluator(database, interval_s=self._config.evaluation_s)
        metrics = BudgetMetrics(
            registry,
            lambda: evaluator.evaluation,
            lambda: evaluator.failures,
            marks=ledger.standings.held().marks,
            hold=ledger.standings.hold,
            hold_s=self._config.metrics_hold_s,
        )
        evaluator.listen(metrics.on_states)
        self._stack.push_async_callback(asyncio.to_thread, evaluator.close, self._config.shutdown_grace_s)
        return evaluator

    def _notify(
        self,
        registry: CollectorRegistry,
        database: Database,
        evaluator: Evaluator,
        ingest: IngestMetrics,
        points: failpoints.Failpoints,
    ) -> "list[_Refreshable]":
        """Tell people what budgets come to, if there is anybody to tell; return what is to be kept fresh."""
        config, metrics = self._config, NotifierMetrics(registry)
        if not config.notify_urls and config.notify_urls_file is None:
            return []
        from spanledger_exporter.alerts.channels import Channels  # Apprise comes with an extra

        channels = Channels(config.notify_urls, config.notify_urls_file, failed=lambda: ingest.kept_the_old("channels"))
        notifier = Notifier(database, channels, rules_of(config), metrics, points=points)
        self._stack.push_async_callback(asyncio.to_thread, notifier.close, config.shutdown_grace_s)
        evaluator.listen(notifier.on_states)
        notifier.start()
        return [channels]

    async def _serve(
        self, application: Starlette, certificates: Certificates | None, flag: str, address: Address
    ) -> Address:
        listener = _listen(flag, address)
        server = WebServer(
            application,
            tls=None if certificates is None else certificates.context(),
            head_timeout_s=self._config.read_timeout_s,
            grace_s=self._config.shutdown_grace_s,
        )
        self._stack.push_async_callback(server.stop)
        try:
            await server.start(listener)
        except RuntimeError as exc:
            raise ConfigError([f"the server on {address} could not be started: {exc}"]) from exc
        return Address(address.host, listener.getsockname()[1])


class _Refreshable(Protocol):
    def refresh(self) -> None: ...


async def _refresh(watched: list[_Refreshable]) -> None:
    while True:
        await asyncio.sleep(_REFRESH_S)
        for each in watched:
            try:
                await asyncio.to_thread(each.refresh)
            except Exception:  # the fence: a file that is odd beyond what was foreseen must not end the watch
                _logger.exception("a changed file could not be read")


async def _follow(
    prices: CurrentPrices, ledger: Ledger, pipeline: Pipeline, lessor: Lessor, metrics: PriceMetrics, poll_s: int
) -> None:
    """Take over each new price book and each change of the user's own prices; what cannot be read changes nothing."""

    def look() -> None:
        book = prices.changed()
        if book is not None:
            try:
                ledger.keep_book(book)
            except UnavailableError:
                prices.again()
                raise
            pipeline.price_with(book)
            lessor.price_with(LeaseRates(book).of, book.book_id)
            metrics.priced_with(book.source, prices.dated_ns / 1e9)
            _logger.info("calls are priced with %s, sha256 %s", book.source, book.book_id)

    while True:
        await asyncio.sleep(poll_s)
        try:
            await asyncio.to_thread(look)
        except SpanledgerError as exc:
            _logger.error("the prices stay as they were: %s", exc)
        except Exception:  # the fence: what is odd beyond what was foreseen must not end the following
            _logger.exception("the prices stay as they were")


def _ready(ledger: Ledger, committer: Committer) -> Callable[[], None]:
    def check() -> None:
        committer.check()
        ledger.ping()

    return check


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
