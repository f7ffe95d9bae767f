"""Calls as services report them, dealt to senders that keep their own tally and never give up."""

import random
import threading
import time
from collections.abc import Sequence
from typing import Final, NamedTuple

import grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2_grpc import TraceServiceStub
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span

from spanledger_exporter.ledger.rollups import Sums
from tests.exporter.otlp_requests import CHAT, Value, key_values
from tests.exporter.reported_calls import Truth, cost_pusd, split_pusd

OURS: Final = "spanledger"
THEIRS: Final = "opentelemetry.instrumentation.openai_v2"
FRAMEWORK: Final = "langchain"
_MODEL: Final = {name: CHAT[name] for name in CHAT if "usage" not in name and name != "gen_ai.response.id"}
# A server that comes back is found at once, not after gRPC's usual seconds.
_CHANNEL: Final = (("grpc.initial_reconnect_backoff_ms", 50), ("grpc.min_reconnect_backoff_ms", 50),
                   ("grpc.max_reconnect_backoff_ms", 200))  # fmt: skip
_RETRY_S: Final = 0.05
_DEADLINE_S: Final = 60


class Report(NamedTuple):
    """What one instrumentation reports of one call."""

    scope: str
    span: Span


class Traffic(NamedTuple):
    """The reports of some calls, in the order of the calls, and what the calls add up to."""

    reports: list[Report]
    tally: Sums


def traffic(dice: random.Random, calls: int, *, folded: bool = True) -> Traffic:
    """Make calls that ended within the last hour; of each third call two instrumentations report, if wanted."""
    now_ns = time.time_ns()
    reports: list[Report] = []
    tally = Sums()
    for _ in range(calls):
        input_tokens, output_tokens = dice.randint(1, 10**6), dice.randint(0, 10**5)
        truth = Truth(input_tokens, output_tokens, dice.randint(0, input_tokens))
        end_ns = now_ns - dice.randint(1, 3600 * 10**9)
        reports += _reports(dice, dice.randint(0, 5) if folded else 5, truth, end_ns)
        cost = cost_pusd(truth, truth.cache_read_tokens)
        tally = tally.plus(Sums(1, *truth, 0, 0, cost, *split_pusd(truth, truth.cache_read_tokens)))
    return Traffic(reports, tally)


def _reports(dice: random.Random, kind: int, truth: Truth, end_ns: int) -> list[Report]:
    identity = f"chatcmpl-B7{dice.getrandbits(96):024x}"
    ours = _span(dice, truth, end_ns, cached=True, response_id=identity)
    if kind == 0:  # their instrumentation knows the id, and no cache
        return [Report(OURS, ours), Report(THEIRS, _span(dice, truth, end_ns, cached=False, response_id=identity))]
    if kind == 1:  # a framework's span around ours
        outer = _span(dice, truth, end_ns + 10**6, cached=False)
        ours.trace_id, ours.parent_span_id = outer.trace_id, outer.span_id
        return [Report(OURS, ours), Report(FRAMEWORK, outer)]
    return [Report(OURS, ours)]


def _span(dice: random.Random, truth: Truth, end_ns: int, *, cached: bool, response_id: str | None = None) -> Span:
    attributes: dict[str, Value] = {
        **_MODEL,
        "gen_ai.usage.input_tokens": truth.input_tokens,
        "gen_ai.usage.output_tokens": truth.output_tokens,
    }
    if cached:
        attributes |= {"gen_ai.usage.cache_read.input_tokens": truth.cache_read_tokens}
    if response_id is not None:
        attributes["gen_ai.response.id"] = response_id
    return Span(
        trace_id=dice.randbytes(16), span_id=dice.randbytes(8), name="chat gpt-4o-mini",
        start_time_unix_nano=end_ns - 10**9, end_time_unix_nano=end_ns, attributes=key_values(attributes),
    )  # fmt: skip


def request(reports: Sequence[Report]) -> ExportTraceServiceRequest:
    """One request with all of them, in their order, each under its instrumentation."""
    resource = Resource(attributes=key_values({"service.name": "shop", "deployment.environment.name": "test"}))
    scopes = [ScopeSpans(scope=InstrumentationScope(name=scope), spans=[span]) for scope, span in reports]
    return ExportTraceServiceRequest(resource_spans=[ResourceSpans(resource=resource, scope_spans=scopes)])


class Sender(threading.Thread):
    """Sends reports in batches, each until it is acknowledged, as a collector does; some of them again.

    Batches are cut, merged and delivered twice at random; what was not acknowledged is sent again, perhaps in halves.
    """

    def __init__(
        self,
        addresses: Sequence[str],
        reports: Sequence[Report],
        *,
        seed: int = 0,
        batch_min: int = 1,
        batch_max: int = 20,
        again: bool = True,
    ) -> None:
        super().__init__(daemon=True)
        self._addresses = addresses
        self._reports = list(reports)
        self._dice = random.Random(seed)
        self._batch_sizes = (batch_min, batch_max)
        self._again = again
        self.acknowledged: list[Report] = []
        self.delivered: list[list[Report]] = []
        self.retries = 0
        self.answers: set[grpc.StatusCode] = set()
        self.error: Exception | None = None

    def run(self) -> None:
        channels = [grpc.insecure_channel(address, options=_CHANNEL) for address in self._addresses]
        self._exports = [TraceServiceStub(channel).Export for channel in channels]
        try:
            self._send_all()
        except Exception as exc:  # noqa: BLE001 -- told by `finish`
            self.error = exc
        finally:
            for channel in channels:
                channel.close()

    def finish(self, timeout_s: float = 240) -> None:
        """Wait until all is acknowledged."""
        self.join(timeout_s)
        assert not self.is_alive(), f"{len(self.acknowledged)} of {len(self._reports)} reports were acknowledged"
        if self.error is not None:
            raise self.error

    def _send_all(self) -> None:
        waiting = self._reports
        while waiting:
            count = self._dice.randint(*self._batch_sizes)
            batch, waiting = waiting[:count], waiting[count:]
            self._deliver(batch)
            self.acknowledged += batch
            self.delivered.append(batch)
            if self._again:
                self._deliver_again(batch)

    def _deliver_again(self, batch: list[Report]) -> None:
        roll = self._dice.random()
        if roll < 0.15:
            self._deliver(batch)
        elif roll < 0.3:
            self._deliver([*self._dice.choice(self.delivered), *self._dice.choice(self.delivered)])

    def _deliver(self, batch: list[Report]) -> None:
        if self._again and len(batch) > 1 and self._dice.random() < 0.15:
            self._deliver_halves(batch)
            return
        body = request(batch)
        while not self._sent(body):
            self.retries += 1
            time.sleep(_RETRY_S)
            if self._again and len(batch) > 1 and self._dice.random() < 0.1:
                self._deliver_halves(batch)
                return

    def _deliver_halves(self, batch: list[Report]) -> None:
        cut = self._dice.randint(1, len(batch) - 1)
        self._deliver(batch[cut:])
        self._deliver(batch[:cut])

    def _sent(self, body: ExportTraceServiceRequest) -> bool:
        try:
            self._dice.choice(self._exports)(body, timeout=_DEADLINE_S)
        except grpc.RpcError as exc:
            self.answers.add(exc.code())
            if exc.code() is grpc.StatusCode.UNAVAILABLE:
                return False
            raise
        return True


def deal(dice: random.Random, reports: Sequence[Report], hands: int, *, twice: float = 0.1) -> list[list[Report]]:
    """Deal reports to senders, shuffled; some of them to two."""
    shuffled = list(reports)
    dice.shuffle(shuffled)
    dealt: list[list[Report]] = [[] for _ in range(hands)]
    for number, report in enumerate(shuffled):
        dealt[number % hands].append(report)
        if dice.random() < twice:
            dealt[dice.randrange(hands)].append(report)
    return dealt
