"""OTLP/gRPC -> the pipeline: the TraceService's Export method, answered after the commit.

The handler takes raw bytes, so that malformed input is answered here (INVALID_ARGUMENT) and not by gRPC's own INTERNAL.
Who may send is decided before the message is read.
"""

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable
from typing import Any, cast

import grpc
from google.rpc.code_pb2 import OK

from spanledger_exporter.errors import ConfigError, DeniedError, RejectedError, UnavailableError
from spanledger_exporter.metrics.metrics import IngestMetrics
from spanledger_exporter.receiving import answers
from spanledger_exporter.receiving.certificates import Certificates
from spanledger_exporter.receiving.dead_letters import Sender
from spanledger_exporter.receiving.pipeline import Pipeline
from spanledger_exporter.receiving.tokens import Gate
from spanledger_exporter.setting_texts import Address

_logger = logging.getLogger(__name__)
_EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
# An SDK that is pointed at us sends its metrics and logs too, unless told not to, and would complain for ever.
_IGNORED = frozenset(
    {
        "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    }
)
_CODES: dict[int, grpc.StatusCode] = {int(code.value[0]): code for code in grpc.StatusCode}
# A connection that says nothing costs a little memory each; these end it. Senders connect again by themselves.
# Source: grpc/grpc `include/grpc/impl/channel_arg_names.h` and doc/keepalive.md, 2026-11.
_OPTIONS = (
    ("grpc.so_reuseport", 0),  # a second exporter on the same port must fail, not share its calls
    ("grpc.max_concurrent_streams", 100),  # requests at once on one connection
    ("grpc.max_metadata_size", 16 * 1024),
    ("grpc.server_handshake_timeout_ms", 20_000),
    ("grpc.max_connection_idle_ms", 15 * 60_000),
    ("grpc.max_connection_age_ms", 60 * 60_000),  # so that a load balancer's senders spread anew
    ("grpc.max_connection_age_grace_ms", 60_000),
    ("grpc.keepalive_time_ms", 60_000),  # ask a silent connection whether its other end still lives
    ("grpc.keepalive_timeout_ms", 20_000),
    (
        "grpc.http2.min_ping_interval_without_data_ms",
        10_000,
    ),  # senders may ask as often; by default only 5 minutes apart
)

_Context = grpc.aio.ServicerContext[bytes, bytes]
_Export = Callable[[bytes, _Context], Awaitable[bytes]]


class GrpcReceiver(grpc.GenericRpcHandler):
    """The OTLP/gRPC server.

    Units: `request_bytes_max` bytes of one message, before and after decompression; gRPC itself refuses a larger one.
    """

    def __init__(
        self,
        address: Address,
        pipeline: Pipeline,
        metrics: IngestMetrics,
        gate: Gate,
        certificates: Certificates | None,
        *,
        request_bytes_max: int,
    ) -> None:
        self._address = address
        self._pipeline = pipeline
        self._metrics = metrics
        self._gate = gate
        self._certificates = certificates
        self._request_bytes_max = request_bytes_max
        self._server: grpc.aio.Server | None = None

    async def start(self) -> Address:
        """Listen, and return the address with the port that was given.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        options = (("grpc.max_receive_message_length", self._request_bytes_max), *_OPTIONS)
        self._server = grpc.aio.server(handlers=(self,), options=options)
        try:
            port = self._bind(self._server)
        except RuntimeError as exc:
            raise ConfigError([f"cannot listen on {self._address}; --grpc ADDR names another address"]) from exc
        await self._server.start()
        return Address(self._address.host, port)

    def _bind(self, server: grpc.aio.Server) -> int:
        if self._certificates is None:
            return server.add_insecure_port(str(self._address))
        return server.add_secure_port(str(self._address), self._certificates.credentials())

    async def stop(self, grace_s: float) -> None:
        """Take no more requests, and wait for those that were taken."""
        if self._server is not None:
            await self._server.stop(grace_s)

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[Any, Any] | None":
        """Return what handles a call; gRPC asks this before it reads the message."""
        method = handler_call_details.method
        if method != _EXPORT and method not in _IGNORED:
            return None
        metadata = dict(handler_call_details.invocation_metadata or ())
        try:
            caller = self._gate(_text(metadata.get("authorization")), "ingest")
        except DeniedError as exc:
            refuse: Callable[[object, _Context], Awaitable[bytes]] = functools.partial(self._refuse, exc)
            # One that takes a stream is called without a message: what is refused is never read.
            return grpc.stream_unary_rpc_method_handler(cast("Any", refuse))
        export: _Export = functools.partial(self._export, Sender("grpc", caller.tenant))
        # Any: the stub package types handlers of the synchronous server only.
        return grpc.unary_unary_rpc_method_handler(cast("Any", export if method == _EXPORT else self._ignore))

    async def _export(self, sender: Sender, body: bytes, context: _Context) -> bytes:
        try:
            receipt = await asyncio.wrap_future(self._pipeline.accept(body, sender))
        except (RejectedError, UnavailableError) as exc:
            answer = answers.failure(exc)
        except Exception as exc:
            # The fence of Export: an exception that escaped would be UNKNOWN, on which a collector drops the batch
            # for good.
            _logger.exception("a gRPC request of %d bytes failed", len(body))
            answer = answers.failure(exc)
        else:
            answer = answers.success(receipt)
        return self._answered(answer, context)

    async def _refuse(self, error: DeniedError, _messages: object, context: _Context) -> bytes:
        return self._answered(answers.failure(error), context)

    async def _ignore(self, _body: bytes, context: _Context) -> bytes:
        return self._answered(answers.IGNORED, context)

    def _answered(self, answer: answers.Answer, context: _Context) -> bytes:
        self._metrics.answered("grpc", answer.name)
        if answer.code == OK:
            return answer.body
        context.set_code(_CODES[answer.code])
        context.set_details(answer.message)
        context.set_trailing_metadata(_trailers(answer))
        return b""


def _text(value: str | bytes | None) -> str | None:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _trailers(answer: answers.Answer) -> tuple[tuple[str, bytes], ...]:
    """Return the status in full, and RetryInfo a second time: Go reads the one, the Python SDK only the other."""
    trailers = (("grpc-status-details-bin", answer.body),)
    if answer.name != "unavailable":
        return trailers
    return (*trailers, ("google.rpc.retryinfo-bin", answers.retry_info().SerializeToString()))
