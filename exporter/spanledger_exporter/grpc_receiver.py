"""OTLP/gRPC -> the pipeline: the TraceService's Export method, answered after the commit.

The handler takes raw bytes, so that malformed input is answered here (INVALID_ARGUMENT) and not by gRPC's own INTERNAL.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, cast

import grpc
from google.rpc.code_pb2 import OK

from spanledger_exporter import answers
from spanledger_exporter.config import Address
from spanledger_exporter.errors import ConfigError, RejectedError, UnavailableError
from spanledger_exporter.metrics import IngestMetrics
from spanledger_exporter.pipeline import Pipeline

_logger = logging.getLogger(__name__)
_SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"
# An SDK that is pointed at us sends its metrics and logs too, unless told not to, and would complain for ever.
_IGNORED_SERVICES = (
    "opentelemetry.proto.collector.metrics.v1.MetricsService",
    "opentelemetry.proto.collector.logs.v1.LogsService",
)
_CODES: dict[int, grpc.StatusCode] = {int(code.value[0]): code for code in grpc.StatusCode}

_Context = grpc.aio.ServicerContext[bytes, bytes]


class GrpcReceiver:
    """The OTLP/gRPC server.

    Units: `request_bytes_max` bytes of one message, before and after decompression; gRPC itself refuses a larger one.
    """

    def __init__(self, address: Address, pipeline: Pipeline, metrics: IngestMetrics, *, request_bytes_max: int) -> None:
        self._address = address
        self._pipeline = pipeline
        self._metrics = metrics
        self._request_bytes_max = request_bytes_max
        self._server: grpc.aio.Server | None = None

    async def start(self) -> Address:
        """Listen, and return the address with the port that was given.

        Raises:
            ConfigError: the address cannot be listened on.
        """
        options = (
            ("grpc.max_receive_message_length", self._request_bytes_max),
            ("grpc.so_reuseport", 0),  # a second exporter on the same port must fail, not share its calls
        )
        self._server = grpc.aio.server(options=options)
        export: Callable[[bytes, _Context], Awaitable[bytes]] = self._export
        # Any: the stub package types handlers of the synchronous server only.
        handlers: dict[str, Any] = {"Export": grpc.unary_unary_rpc_method_handler(cast("Any", export))}
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
        ignore: Callable[[bytes, _Context], Awaitable[bytes]] = self._ignore
        for service in _IGNORED_SERVICES:
            handlers = {"Export": grpc.unary_unary_rpc_method_handler(cast("Any", ignore))}
            self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
        try:
            port = self._server.add_insecure_port(str(self._address))
        except RuntimeError as exc:
            raise ConfigError([f"cannot listen on {self._address}; --grpc ADDR names another address"]) from exc
        await self._server.start()
        return Address(self._address.host, port)

    async def stop(self, grace_s: float) -> None:
        """Take no more requests, and wait for those that were taken."""
        if self._server is not None:
            await self._server.stop(grace_s)

    async def _export(self, body: bytes, context: _Context) -> bytes:
        try:
            receipt = await asyncio.wrap_future(self._pipeline.accept(body))
        except (RejectedError, UnavailableError) as exc:
            answer = answers.failure(exc)
        except Exception as exc:
            # The fence of Export: an exception that escaped would be UNKNOWN, on which a collector drops the batch
            # for good.
            _logger.exception("a gRPC request of %d bytes failed", len(body))
            answer = answers.failure(exc)
        else:
            answer = answers.success(receipt)
        self._metrics.answered("grpc", answer.name)
        if answer.code != OK:
            context.set_code(_CODES[answer.code])
            context.set_details(answer.message)
            context.set_trailing_metadata(_trailers(answer))
            return b""
        return answer.body

    async def _ignore(self, _body: bytes, _context: _Context) -> bytes:
        self._metrics.answered("grpc", "ignored")
        return b""  # an empty response of either service: all is well


def _trailers(answer: answers.Answer) -> tuple[tuple[str, bytes], ...]:
    """Return the status in full, and RetryInfo a second time: Go reads the one, the Python SDK only the other."""
    trailers = (("grpc-status-details-bin", answer.body),)
    if answer.name != "unavailable":
        return trailers
    return (*trailers, ("google.rpc.retryinfo-bin", answers.retry_info().SerializeToString()))
