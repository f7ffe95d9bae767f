"""From bytes to entries: each stage once, nothing acknowledged that is not on disk, bounded in between."""

import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Future

import pytest
from prometheus_client import CollectorRegistry

from spanledger_exporter.errors import RejectedError, UnavailableError
from spanledger_exporter.metrics.metrics import IngestMetrics
from spanledger_exporter.prices.price_book import PriceBook
from spanledger_exporter.receiving.committer import Committed, SetAside
from spanledger_exporter.receiving.dead_letters import DeadLetter, Sender
from spanledger_exporter.receiving.pipeline import Pipeline
from spanledger_exporter.receiving.plausibility import Refused
from spanledger_exporter.records import PricedRecord, Receipt
from tests.exporter.otlp_requests import CHAT, CHAT_PUSD, Value, body, span


class Held:
    """A ledger that commits when it is told to."""

    def __init__(self) -> None:
        self.waiting: list[tuple[Sequence[PricedRecord], Future[Committed]]] = []
        self.letters: list[DeadLetter] = []

    def submit(
        self, records: Sequence[PricedRecord], letters: Sequence[DeadLetter], set_aside: SetAside | None
    ) -> Future[Committed]:
        done: Future[Committed] = Future()
        self.waiting.append((records, done))
        self.letters += letters
        return done

    def commit(self) -> None:
        for records, done in self.waiting:
            done.set_result(Committed(len(records)))
        self.waiting.clear()


@pytest.fixture
def held() -> Held:
    return Held()


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def pipeline(held: Held, registry: CollectorRegistry, book: PriceBook) -> Pipeline:
    return Pipeline(held.submit, book, IngestMetrics(registry), in_flight_bytes_max=2000)


def test_a_receipt_waits_for_the_commit(pipeline: Pipeline, held: Held) -> None:
    receipt = pipeline.accept(
        body(span(), span({"http.method": "GET"}), span({**CHAT, "gen_ai.operation.name": "invoke_agent"}))
    )
    assert not receipt.done()
    (priced,) = held.waiting[0][0]
    assert priced.price.cost_pusd == CHAT_PUSD
    held.commit()
    assert receipt.result() == Receipt(accepted=1, duplicates=0, ignored=2, rejected=0, message="")


def test_the_tenant_of_a_call_is_that_of_its_sender(pipeline: Pipeline, held: Held) -> None:
    sent = body(span({**CHAT, "tenant": "other", "spanledger.tenant": "other"}))
    for tenant in ("acme", None):
        pipeline.accept(sent, Sender("grpc", tenant))
        assert held.waiting[-1][0][0].record.profile.tenant == tenant


def test_bad_spans_are_named_and_the_good_ones_kept(pipeline: Pipeline, held: Held) -> None:
    broken = [span() for _ in range(5)]
    for each in broken:
        each.trace_id = b""
    receipt = pipeline.accept(body(span(), *broken))
    held.commit()
    found = receipt.result()
    assert (found.accepted, found.rejected) == (1, 5)
    assert found.message.startswith("trace_id must be 16 bytes")
    assert found.message.endswith("and 2 more")


LIMITED: Mapping[str, Value] = {**CHAT, "spanledger.rate_limit.tokens.limit": 100}
REMAINING = "spanledger.rate_limit.tokens.remaining"


def remaining(registry: CollectorRegistry) -> float | None:
    labels = {"service": "shop", "provider": "openai", "model": "gpt-4o-mini-2024-07-18", "kind": "tokens"}
    return registry.get_sample_value("genai_rate_limit_remaining", labels)


def test_what_answers_told_of_rate_limits_is_shown_once_it_is_committed(
    pipeline: Pipeline, held: Held, registry: CollectorRegistry
) -> None:
    now_ns = time.time_ns()
    pipeline.accept(
        body(*(span({**LIMITED, REMAINING: left}, end_ns=now_ns - left * 10**9) for left in (3, 1, 2)), span())
    )
    assert remaining(registry) is None
    held.commit()
    assert remaining(registry) == 1


def test_the_limits_of_a_call_that_another_report_stands_for_are_shown_and_those_of_a_refused_one_are_not(
    pipeline: Pipeline, held: Held, registry: CollectorRegistry
) -> None:
    now_ns = time.time_ns()
    pipeline.accept(body(*(span({**LIMITED, REMAINING: left}, end_ns=now_ns - left * 10**9) for left in (1, 2))))
    ((records, done),) = held.waiting
    refused = Refused(next(each for each in records if each.record.end_ns == now_ns - 10**9), "too_old", "for a test")
    done.set_result(Committed(0, folded=1, refused=[refused]))
    held.waiting = held.waiting[1:]
    held.commit()
    assert remaining(registry) == 2


def test_more_than_fits_is_told_to_retry_until_there_is_room(pipeline: Pipeline, held: Held) -> None:
    large = body(span(), span(), span())
    pipeline.accept(large)
    with pytest.raises(UnavailableError, match="waiting to be committed"):
        pipeline.accept(body(span(), span(), span()))
    held.commit()
    assert pipeline.in_flight_bytes == 0
    pipeline.accept(large)


def test_one_request_larger_than_the_limit_is_still_taken_alone(pipeline: Pipeline, held: Held) -> None:
    receipt = pipeline.accept(body(*(span() for _ in range(20))))
    held.commit()
    assert receipt.result().accepted == 20


def test_malformed_bytes_leave_nothing_in_flight(pipeline: Pipeline) -> None:
    with pytest.raises(RejectedError):
        pipeline.accept(b"garbage")
    assert pipeline.in_flight_bytes == 0


def test_a_failed_commit_is_the_receipt_s_error(pipeline: Pipeline, held: Held) -> None:
    receipt = pipeline.accept(body(span()))
    held.waiting[0][1].set_exception(UnavailableError("disk full"))
    with pytest.raises(UnavailableError, match="disk full"):
        receipt.result()
    assert pipeline.in_flight_bytes == 0


def test_a_closing_pipeline_takes_nothing_more(pipeline: Pipeline) -> None:
    pipeline.close()
    with pytest.raises(UnavailableError, match="shutting down"):
        pipeline.accept(body(span()))


def test_what_became_of_each_span_is_counted(pipeline: Pipeline, held: Held, registry: CollectorRegistry) -> None:
    broken = span()
    broken.span_id = b""
    pipeline.accept(body(span(), span({"x": 1}), broken, span({**CHAT, "gen_ai.usage.input_tokens": -5})))
    held.commit()
    counted = {
        result: registry.get_sample_value("spanledger_spans_total", {"result": result})
        for result in ("accepted", "duplicate", "ignored", "rejected")
    }
    assert counted == {"accepted": 2, "duplicate": 0, "ignored": 1, "rejected": 1}
    assert registry.get_sample_value("spanledger_refused_figures_total", {"reason": "negative"}) == 1
