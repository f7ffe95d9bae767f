"""A gRPC server that keeps what a trace exporter sends, byte for byte."""

from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span

EXPORT = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


class Sink(grpc.GenericRpcHandler):
    """What has arrived so far: each request's raw bytes, and its metadata."""

    def __init__(self) -> None:
        self.bodies: list[bytes] = []
        self.metadata: list[dict[str, str | bytes]] = []

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> "grpc.RpcMethodHandler[bytes, bytes] | None":
        """Route the one method there is."""
        known = handler_call_details.method == EXPORT
        return grpc.unary_unary_rpc_method_handler(self._export) if known else None

    def spans(self) -> list[Span]:
        """Return the spans of all requests."""
        requests = [ExportTraceServiceRequest.FromString(body) for body in self.bodies]
        groups = [group for request in requests for group in request.resource_spans]
        return [span for group in groups for scope in group.scope_spans for span in scope.spans]

    def _export(self, body: bytes, context: grpc.ServicerContext) -> bytes:
        self.metadata.append(dict(context.invocation_metadata()))
        self.bodies.append(body)
        return b""


@contextmanager
def listening(sink: Sink, credentials: grpc.ServerCredentials | None = None) -> Generator[str]:
    """Serve a sink on a free port, with TLS if there are credentials, and yield its address."""
    server = grpc.server(ThreadPoolExecutor(max_workers=4), handlers=[sink])
    port = (
        server.add_secure_port("localhost:0", credentials) if credentials else server.add_insecure_port("127.0.0.1:0")
    )
    server.start()
    try:
        yield f"localhost:{port}" if credentials else f"127.0.0.1:{port}"
    finally:
        server.stop(grace=None).wait()
