"""otel-collector.yaml in a real collector: what it starts like, what it loses, and what it lets through."""

import re
import subprocess
import time
import urllib.request
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue, KeyValueList
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status

from spanledger_exporter.dialects import ANSWER_ATTRIBUTES, RESOURCE_ATTRIBUTES, SPAN_ATTRIBUTES
from spanledger_exporter.receiving.tokens import line_of
from spanledger_instrumentation.outer import SCOPE as OURS
from tests.servers.authority import Authority
from tests.servers.exporter import Exporter, entries
from tests.servers.otelcol import CONFIG, Collector
from tests.servers.process import free_port, get, poll, require
from tests.servers.sink import EXPORT, Sink, listening

# The collector's build, on a machine that never built one, takes minutes while other tests take the cores.
pytestmark = pytest.mark.timeout(900)

CONTRACT = CONFIG.parent / "docs" / "span-attributes.md"
CANARY = "xyzzy-canary"
EXPORT_METRICS = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export"
CALL = {
    "gen_ai.provider.name": "openai",
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "gpt-5-mini",
    "gen_ai.response.model": "gpt-5-mini-2025-08-07",
    "gen_ai.usage.input_tokens": 1000,
    "gen_ai.usage.output_tokens": 100,
}
# Where the instrumentations in the field put prompts, outputs, tool arguments and documents (names as they are in their
# releases of 2026), and one that no list of forbidden names could know.
CONTENT_ATTRIBUTES = (
    "gen_ai.input.messages",
    "gen_ai.output.messages",
    "gen_ai.system_instructions",
    "gen_ai.tool.definitions",
    "gen_ai.tool.call.arguments",
    "gen_ai.tool.call.result",
    "gen_ai.prompt",
    "gen_ai.completion",
    "gen_ai.prompt.0.content",
    "gen_ai.completion.0.content",
    "gen_ai.request.stop_sequences",
    "gen_ai.retrieval.query.text",
    "gen_ai.agent.name",
    "gen_ai.agent.description",
    "llm.input_messages.0.message.content",
    "llm.output_messages.0.message.content",
    "llm.prompts",
    "llm.invocation_parameters",
    "input.value",
    "output.value",
    "retrieval.documents.0.document.content",
    "embedding.embeddings.0.embedding.text",
    "traceloop.entity.input",
    "traceloop.entity.output",
    "traceloop.association.properties.question",
    "ai.prompt",
    "ai.prompt.messages",
    "ai.response.text",
    "ai.response.object",
    "ai.response.toolCalls",
    "ai.response.providerMetadata",
    "ai.response.headers.x",
    "llm.openai.messages",
    "llm.input_messages.0.message.contents.0.message_content.text",
    "langfuse.observation.metadata.question",
    "metadata",
    "hidden_params",
    "mlflow.spanOutputs.text",
    "ai.telemetry.metadata.question",
    "request_data",
    "response_data",
    "logfire.msg",
    "all_messages_events",
    "pydantic_ai.all_messages",
    "events",
    "langfuse.observation.input",
    "langfuse.observation.output",
    "langfuse.trace.input",
    "langsmith.metadata.question",
    "mlflow.spanInputs",
    "mlflow.spanOutputs",
    "haystack.component.input",
    "haystack.component.output",
    "spring.ai.chat.client.user.text",
    "sentry.ai.input_messages",
    "http.request.body",
    "url.full",
    "url.query",
    "http.request.header.authorization",
    "db.query.text",
    "exception.message",
    "tomorrows.sdk.what_the_user_said",
)


@pytest.fixture
def collector(otelcol: Path, tmp_path: Path) -> Collector:
    return Collector(otelcol, tmp_path, endpoint=f"127.0.0.1:{free_port()}")


@contextmanager
def sinking(collector: Collector) -> Generator[Sink]:
    """Put a sink where the collector sends to."""
    sink = Sink()
    with listening(sink) as collector.endpoint:
        yield sink


def attributes(values: Mapping[str, str | int]) -> Iterable[KeyValue]:
    for key, value in values.items():
        typed = AnyValue(int_value=value) if isinstance(value, int) else AnyValue(string_value=value)
        yield KeyValue(key=key, value=typed)


def call(number: int, extra: Mapping[str, str | int] | None = None) -> Span:
    """Make the span of an LLM call; its number makes its ids."""
    end_ns = time.time_ns()
    return Span(
        trace_id=number.to_bytes(16),
        span_id=number.to_bytes(8),
        name=f"chat {CANARY}",
        kind=Span.SPAN_KIND_CLIENT,
        start_time_unix_nano=end_ns - 1_000_000_000,
        end_time_unix_nano=end_ns,
        attributes=attributes({**CALL, "gen_ai.response.id": f"chatcmpl-{number:024}", **(extra or {})}),
    )


def request(spans: Iterable[Span], resource: Mapping[str, str | int] | None = None) -> ExportTraceServiceRequest:
    made = ExportTraceServiceRequest()
    group = made.resource_spans.add()
    group.resource.attributes.extend(attributes({"service.name": "shop", **(resource or {})}))
    group.scope_spans.add().spans.extend(spans)
    return made


def send_grpc(address: str, body: ExportTraceServiceRequest) -> None:
    with grpc.insecure_channel(address) as channel:
        channel.unary_unary(EXPORT)(body.SerializeToString(), timeout=30)


def send_http(address: str, body: ExportTraceServiceRequest) -> None:
    headers = {"Content-Type": "application/x-protobuf"}
    post = urllib.request.Request(f"http://{address}/v1/traces", body.SerializeToString(), headers)
    urllib.request.urlopen(post, timeout=30).close()


def test_the_configuration_is_valid_without_any_variable_set(otelcol: Path, tmp_path: Path) -> None:
    subprocess.run([otelcol, "validate", "--config", CONFIG], check=True, env={"HOME": str(tmp_path)})


def test_it_starts_without_a_warning_and_its_metrics_count_what_it_sent(collector: Collector) -> None:
    with sinking(collector) as sink, collector.start() as server:
        send_grpc(collector.grpc, request([call(1), call(2)]))
        poll(sink.spans, what="the spans to arrive")
        sent = re.compile(r"^otelcol_exporter_sent_spans(_total)?\{[^}]*\} 2$", re.MULTILINE)
        poll(lambda: sent.search(collector.metrics()), what="otelcol_exporter_sent_spans 2")
    log = server.log_text()
    assert not re.findall(r"^.*(?:\twarn\t|\terror\t|deprecat).*$", log, re.MULTILINE | re.IGNORECASE)


def test_every_call_is_counted_once_though_the_exporter_is_down_and_the_collector_is_killed(
    collector: Collector, tmp_path: Path
) -> None:
    server = collector.start()
    send_grpc(collector.grpc, request(call(number) for number in range(1, 151)))
    send_http(collector.http, request(call(number) for number in range(151, 301)))
    server.kill()

    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    exporter = Exporter(ledger, tmp_path, grpc=collector.endpoint)
    with exporter.server, collector.start():
        poll(lambda: len(entries(ledger)) >= 300, what="300 entries in the ledger")
    counted = sorted(int(entry["span_id"], 16) for entry in entries(ledger))
    assert counted == list(range(1, 301))
    assert not [path for path in tmp_path.glob("ledger.db*") if CANARY.encode() in path.read_bytes()]


def test_no_content_leaves_the_collector_under_any_name_that_an_instrumentation_gives_it(
    collector: Collector,
) -> None:
    span = call(1, dict.fromkeys(CONTENT_ATTRIBUTES, CANARY))
    span.trace_state = f"vendor={CANARY}"
    span.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message=CANARY))
    nested = AnyValue(kvlist_value=KeyValueList(values=list(attributes({"content": CANARY}))))
    span.attributes.append(KeyValue(key="gen_ai.input.messages.structured", value=nested))
    for name in ("gen_ai.user.message", "exception", CANARY):
        span.events.add(name=name, attributes=attributes({"gen_ai.prompt": CANARY, "exception.message": CANARY}))
    span.links.add(trace_id=bytes(15) + b"1", span_id=bytes(7) + b"1", attributes=attributes({"why": CANARY}))
    body = request([span], {"process.command_args": CANARY, "process.command_line": CANARY})
    scope = body.resource_spans[0].scope_spans[0].scope
    scope.attributes.extend(attributes({"prompt": CANARY}))
    with sinking(collector) as sink, collector.start():
        send_grpc(collector.grpc, body)
        arrived = poll(sink.spans, what="the span to arrive")
    assert CANARY.encode() not in b"".join(sink.bodies)
    assert {pair.key for pair in arrived[0].attributes} == {*CALL, "gen_ai.response.id"}
    assert arrived[0].status.code == Status.STATUS_CODE_ERROR


def test_the_list_has_a_place_for_all_that_is_documented_and_for_no_content() -> None:
    """What the real collector shows below, at once and without one."""
    (listed,) = re.findall(r'keep_matching_keys\(span\.attributes, \\"(.*?)\\"\)', CONFIG.read_text(), flags=re.DOTALL)
    pattern = re.compile(re.sub(r"\$\{env:\w+:-(.*?)\}", r"\1", listed.replace("\\\n", "").replace(" ", "")))
    documented = re.findall(r"^\| `([^`]+)` \|", CONTRACT.read_text(), flags=re.MULTILINE)
    assert documented
    assert [name for name in {*documented, *SPAN_ATTRIBUTES} if not pattern.match(name)] == []
    assert [name for name in (*CONTENT_ATTRIBUTES, *ANSWER_ATTRIBUTES) if pattern.match(name)] == []


def test_all_that_the_exporter_reads_and_the_instrumentation_writes_passes_unchanged(collector: Collector) -> None:
    documented = re.findall(r"^\| `([^`]+)`", CONTRACT.read_text(), re.MULTILINE)
    assert "gen_ai.request.model" in documented
    span = call(1, {name: f"value of {name}" for name in {*SPAN_ATTRIBUTES, *documented, "team"}})
    body = request([span], {name: f"value of {name}" for name in RESOURCE_ATTRIBUTES})
    with sinking(collector) as sink, collector.start():
        send_http(collector.http, body)
        poll(sink.spans, what="the span to arrive")
    arrived = ExportTraceServiceRequest.FromString(sink.bodies[0]).resource_spans[0]
    expected = body.resource_spans[0].resource.attributes
    assert {pair.key: pair.value for pair in arrived.resource.attributes} == {pair.key: pair.value for pair in expected}
    received = arrived.scope_spans[0].spans[0]
    assert {pair.key: pair.value for pair in received.attributes} == {pair.key: pair.value for pair in span.attributes}
    for field in ("trace_id", "span_id", "kind", "start_time_unix_nano", "end_time_unix_nano"):
        assert getattr(received, field) == getattr(span, field)


def test_the_names_to_keep_are_the_operators_choice(collector: Collector) -> None:
    body = request([call(1, {"app.tenant": "acme", "app.note": CANARY})])
    with sinking(collector) as sink, collector.start(env={"SPANLEDGER_COLLECTOR_KEEP": "app[.]tenant"}):
        send_grpc(collector.grpc, body)
        arrived = poll(sink.spans, what="the span to arrive")
    assert {pair.key for pair in arrived[0].attributes} - {*CALL, "gen_ai.response.id"} == {"app.tenant"}


def metrics_request(scope: str, metrics: Mapping[str, float]) -> ExportMetricsServiceRequest:
    """Make what a process of the service `shop` sends of some gauges, with content wherever an SDK could put some."""
    made = ExportMetricsServiceRequest()
    group = made.resource_metrics.add()
    resource = {"service.name": "shop", "service.instance.id": "p1", "process.command_line": CANARY}
    group.resource.attributes.extend(attributes(resource))
    scoped = group.scope_metrics.add()
    scoped.scope.name = scope
    for name, value in metrics.items():
        point = scoped.metrics.add(name=name, unit="1").gauge.data_points.add(
            time_unix_nano=time.time_ns(), as_double=value
        )
        if scope != OURS:
            point.attributes.extend(attributes({"question": CANARY}))
    return made


def test_prometheus_is_shown_the_metrics_of_our_instrumentation_and_no_others(collector: Collector) -> None:
    """Nor the exporter's, which a service could otherwise claim to be: alerts about budgets come of them."""
    ours = {"genai_budget_used_ratio": 2.0, "spanledger_wal_bytes": 1e12, "spanledger.rate_limit.used": 0.5}
    theirs = {"gen_ai.client.operation.duration": 1.0, "spanledger.rate_limit.used": 0.9}
    with collector.start():
        for scope, metrics in (("openinference", theirs), (OURS, ours)):
            with grpc.insecure_channel(collector.grpc) as channel:
                body = metrics_request(scope, metrics)
                channel.unary_unary(EXPORT_METRICS)(body.SerializeToString(), timeout=30)
        shown = poll(lambda: get(f"http://{collector.services}/metrics"), what="the metrics of the services")
    series = [line for line in shown.splitlines() if not line.startswith(("#", "target_info"))]
    assert [line.partition("{")[0] for line in series] == ["spanledger_rate_limit_used_ratio"]
    assert re.search(r'instance="p1",job="shop",.*\} 0\.5$', series[0])
    assert CANARY not in shown


def uncommented(config: str, name: str) -> str:
    """Take the comment signs off the blocks `# [name] ... # [end]`, as the configuration tells its reader to."""
    blocks = re.compile(rf"^ *# \[{name}\][^\n]*\n(.*?)^ *# \[end\]\n", re.MULTILINE | re.DOTALL)
    config, count = blocks.subn(lambda block: re.sub(r"^( *)# ", r"\1", block[1], flags=re.MULTILINE), config)
    assert count, f"otel-collector.yaml has no block [{name}]"
    return config


def test_a_token_is_sent_as_the_comments_show(collector: Collector, tmp_path: Path) -> None:
    config = tmp_path / "token.yaml"
    config.write_text(uncommented(CONFIG.read_text(), "token"))
    with sinking(collector) as sink, collector.start(config=config, env={"SPANLEDGER_TOKEN": "s3cret"}):
        send_grpc(collector.grpc, request([call(1)]))
        poll(sink.spans, what="the span to arrive")
    assert sink.metadata[0]["authorization"] == "Bearer s3cret"


def test_tls_with_a_token_file_works_as_the_comments_show(collector: Collector, tmp_path: Path) -> None:
    config = tmp_path / "tls.yaml"
    text = uncommented(CONFIG.read_text(), "tls").replace("tls: {insecure: true}", "")
    config.write_text(text.replace("health_check]", "health_check, bearertokenauth/spanledger]"))
    (tmp_path / "token").write_text("s3cret")
    key, certificate = self_signed(tmp_path)
    env = {
        "SPANLEDGER_TOKEN_FILE": str(tmp_path / "token"),
        "SPANLEDGER_CA_FILE": str(certificate),
    }
    sink = Sink()
    credentials = grpc.ssl_server_credentials([(key.read_bytes(), certificate.read_bytes())])
    with listening(sink, credentials) as collector.endpoint, collector.start(config=config, env=env):
        send_grpc(collector.grpc, request([call(1)]))
        poll(sink.spans, what="the span to arrive")
    assert sink.metadata[0]["authorization"] == "Bearer s3cret"


def test_the_exporter_takes_it_over_tls_with_a_token_that_is_rotated(collector: Collector, tmp_path: Path) -> None:
    """As the docs have it: the collector's token file changes first, then the exporter forgets the old token."""
    config = tmp_path / "tls.yaml"
    text = uncommented(CONFIG.read_text(), "tls").replace("tls: {insecure: true}", "")
    config.write_text(text.replace("health_check]", "health_check, bearertokenauth/spanledger]"))
    authority, token, tokens = Authority(tmp_path), tmp_path / "token", tmp_path / "tokens"
    identity = authority.issue()
    lines = {name: line_of(name, "collector", frozenset({"ingest"}), None) + "\n" for name in ("old", "new")}
    token.write_text("old")
    tokens.write_text(lines["old"] + lines["new"])
    environ = {
        "SPANLEDGER_RECEIVER_TLS_CERT_FILE": str(identity.certificate),
        "SPANLEDGER_RECEIVER_TLS_KEY_FILE": str(identity.key),
        "SPANLEDGER_AUTH_TOKENS_FILE": str(tokens),
    }
    ledger = f"sqlite:///{tmp_path / 'ledger.db'}"
    exporter = Exporter(ledger, tmp_path, grpc=collector.endpoint, environ=environ)
    env = {"SPANLEDGER_TOKEN_FILE": str(token), "SPANLEDGER_CA_FILE": str(authority.certificate)}
    with exporter.server, collector.start(config=config, env=env) as server:
        send_grpc(collector.grpc, request([call(1)]))
        poll(lambda: len(entries(ledger)) == 1, what="the first call")
        token.write_text("new")
        poll(lambda: server.log_text().count("refresh token") > 1, what="the new token to be read")
        tokens.write_text(lines["new"])
        poll(lambda: "read again" in exporter.server.log_text(), what="the old token to be forgotten")
        send_grpc(collector.grpc, request([call(2)]))
        poll(lambda: len(entries(ledger)) == 2, what="the second call")


def self_signed(folder: Path) -> tuple[Path, Path]:
    """Make a key, and a certificate for localhost that is its own authority."""
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost", "-days", "2"]
    curve = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    openssl = require("openssl", package="openssl")
    subprocess.run(
        [openssl, "req", "-x509", *curve, *subject, "-keyout", key, "-out", certificate],
        check=True,
        capture_output=True,
    )
    return key, certificate
