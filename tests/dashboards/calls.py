"""Calls of a month as services make them, in the spans of our own instrumentation: several of whatever panels show.

Teams, models and prices differ; some inputs come from a cache, some calls fail and are made again, some stream. A model
without a price and a stream without usage are among them. The same seed makes the same calls.
"""

import random
from collections.abc import Iterator, Sequence
from typing import Any, Final, NamedTuple

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import InstrumentationScope
from opentelemetry.proto.resource.v1.resource_pb2 import Resource
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from tests.exporter.otlp_requests import key_values

HOUR_S: Final = 3600
DAY_S: Final = 24 * HOUR_S
DAYS: Final = 30
_BATCH: Final = 500


class Habit(NamedTuple):
    """What one service asks of one model, and how often beside the others (`weight`)."""

    service: str
    team: str
    project: str
    provider: str
    model: str
    weight: int
    environment: str = "production"
    operation: str = "chat"
    input_tokens: int = 2_000
    output_tokens: int = 400
    cached: float = 0.0
    written: float = 0.0
    reasoning: float = 0.0
    stream: bool = True
    searches: int = 0
    known: bool = True


HABITS: Final = (
    Habit("shop", "search", "storefront", "openai", "gpt-4o-mini", 30, cached=0.5),
    Habit("shop", "search", "storefront", "openai", "gpt-5", 8, cached=0.6, reasoning=0.5, output_tokens=1_500),
    Habit("shop", "search", "storefront", "openai", "gpt-4o-mini", 4, environment="staging"),
    Habit(
        "assistant", "support", "helpdesk", "anthropic", "claude-sonnet-4-5", 16,
        cached=0.7, written=0.1, input_tokens=9_000,
    ),
    Habit("assistant", "support", "helpdesk", "anthropic", "claude-haiku-4-5", 14, searches=1),
    Habit("assistant", "support", "helpdesk", "openai", "gpt-4.1", 3, known=False),
    Habit(
        "indexer", "data", "catalogue", "openai", "text-embedding-3-small", 10,
        operation="embeddings", output_tokens=0, stream=False,
    ),
    Habit(
        "reports", "finance", "close", "gcp.gemini", "gemini-2.5-pro", 7,
        operation="generate_content", cached=0.3, reasoning=0.6, input_tokens=30_000,
    ),
    Habit("reports", "finance", "close", "mistral_ai", "mistral-large-latest", 4, stream=False),
    Habit("laboratory", "research", "evaluation", "openai", "house-model-1", 4, environment="development"),
)  # fmt: skip
_ERRORS: Final = (("rate_limit_exceeded", 429), ("overloaded_error", 529), ("timeout", None), ("server_error", 500))
_LIMITS: Final = {"requests": 5_000, "tokens": 2_000_000}
_USERS: Final = 40
_REQUESTS: Final = 2_000  # different ones, so that some are made again


class Call(NamedTuple):
    """One call: when it ended, by what habit, and its span."""

    end_ns: int
    habit: Habit
    span: Span


def month(until_s: int, dice: random.Random) -> list[Call]:
    """Make the calls of the thirty days before a time, in the order of their ends; those of late are more."""
    found: list[Call] = []
    for hour in range(DAYS * 24):
        begin_s = until_s - (DAYS * 24 - hour) * HOUR_S
        age_s = until_s - begin_s
        busy = 1.6 if 8 <= begin_s // HOUR_S % 24 < 20 else 0.4
        often = 60 if age_s <= DAY_S else 12 if age_s <= 7 * DAY_S else 5
        # The first hour has a call of every habit, so that of nothing the beginning is missed.
        habits = HABITS if hour == 0 else dice.choices(HABITS, [each.weight for each in HABITS], k=round(often * busy))
        for habit in habits:
            found.extend(calls_of(habit, round((begin_s + dice.random() * HOUR_S) * 1e9), dice))
    return sorted((call for call in found if call.end_ns <= until_s * 10**9), key=lambda call: call.end_ns)


def calls_of(habit: Habit, end_ns: int, dice: random.Random) -> Iterator[Call]:
    """Make a call, and, should it fail, the one before it that failed."""
    if dice.random() < 0.06:
        error, status = dice.choice(_ERRORS)
        yield _call(habit, end_ns - 3 * 10**9, dice, error=error, status=status)
        yield _call(habit, end_ns, dice, attempt=1)
    else:
        yield _call(habit, end_ns, dice)


def bodies(calls: Sequence[Call]) -> Iterator[bytes]:
    """Put calls into OTLP requests, each service's and environment's under a resource of its own."""
    for first in range(0, len(calls), _BATCH):
        groups: dict[tuple[str, str], list[Span]] = {}
        for call in calls[first : first + _BATCH]:
            groups.setdefault((call.habit.service, call.habit.environment), []).append(call.span)
        yield ExportTraceServiceRequest(
            resource_spans=[_resource(*source, spans) for source, spans in groups.items()]
        ).SerializeToString()


def _resource(service: str, environment: str, spans: Sequence[Span]) -> ResourceSpans:
    said = {"service.name": service, "deployment.environment.name": environment}
    scope = ScopeSpans(scope=InstrumentationScope(name="spanledger"), spans=spans)
    return ResourceSpans(resource=Resource(attributes=key_values(said)), scope_spans=[scope])


def _call(
    habit: Habit, end_ns: int, dice: random.Random, *, error: str = "", status: int | None = 200, attempt: int = 0
) -> Call:
    unique = dice.randbytes(24)
    seconds = dice.lognormvariate(0.4, 0.5) * (0.2 if habit.operation == "embeddings" else 1)
    said: dict[str, Any] = {
        "gen_ai.operation.name": habit.operation,
        "gen_ai.provider.name": habit.provider,
        "gen_ai.request.model": habit.model,
        "server.address": f"{habit.provider}.example",
        "spanledger.team": habit.team,
        "spanledger.project": habit.project,
        "spanledger.feature": habit.operation,
        "spanledger.request.hash": f"{dice.randrange(_REQUESTS):032x}",
        "user.id": f"user-{dice.randrange(_USERS)}",
        "session.id": f"session-{dice.randrange(_USERS * 10)}",
    }
    if attempt:
        said["http.request.resend_count"] = attempt
    if status is not None:
        said["http.response.status_code"] = status
    said |= _limits(end_ns, dice)
    if error:
        said |= {"error.type": error, "spanledger.usage.status": "none"}
    else:
        said |= _answer(habit, unique, dice)
        if habit.stream:
            said["gen_ai.request.stream"] = True
            said["gen_ai.response.time_to_first_chunk"] = seconds * 0.3
    made = Span(
        trace_id=unique[:16],
        span_id=unique[16:],
        name=f"{habit.operation} {habit.model}",
        kind=Span.SpanKind.SPAN_KIND_CLIENT,
        start_time_unix_nano=end_ns - round(seconds * 1e9),
        end_time_unix_nano=end_ns,
        attributes=key_values(said),
        status=Status(code=Status.STATUS_CODE_ERROR) if error else None,
    )
    return Call(end_ns, habit, made)


def _answer(habit: Habit, unique: bytes, dice: random.Random) -> dict[str, Any]:
    said: dict[str, Any] = {"gen_ai.response.model": habit.model, "gen_ai.response.id": f"answer-{unique.hex()}"}
    if not habit.known:
        estimate = {"input": habit.input_tokens, "output": habit.output_tokens}
        said |= {f"spanledger.estimate.{kind}_tokens": tokens for kind, tokens in estimate.items()}
        return said | {"spanledger.usage.status": "unreported"}
    size = dice.lognormvariate(0, 0.5)
    input_tokens, output_tokens = round(habit.input_tokens * size), round(habit.output_tokens * size)
    said |= {
        "gen_ai.response.finish_reasons": ("stop",),
        "gen_ai.usage.input_tokens": input_tokens,
        "gen_ai.usage.output_tokens": output_tokens,
        "spanledger.usage.status": "reported",
    }
    parts = {
        "gen_ai.usage.cache_read.input_tokens": habit.cached * input_tokens * dice.choice((0, 1, 1)),
        "gen_ai.usage.cache_write.input_tokens": habit.written * input_tokens,
        "gen_ai.usage.reasoning.output_tokens": habit.reasoning * output_tokens,
        "spanledger.usage.web_search_requests": habit.searches,
    }
    return said | {name: round(tokens) for name, tokens in parts.items() if tokens}


def _limits(end_ns: int, dice: random.Random) -> dict[str, Any]:
    said: dict[str, Any] = {}
    for kind, limit in _LIMITS.items():
        said[f"spanledger.rate_limit.{kind}.limit"] = limit
        said[f"spanledger.rate_limit.{kind}.remaining"] = round(limit * dice.uniform(0.3, 0.9))
        said[f"spanledger.rate_limit.{kind}.reset_at"] = end_ns / 1e9 + 60
    return said
