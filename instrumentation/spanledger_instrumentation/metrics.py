"""Calls -> the client metrics of the GenAI conventions. The only module that touches OpenTelemetry's metrics.

Each call is recorded once, when it ends, and none of its chunks is. The SDK takes more than ten microseconds for each
measurement of a synchronous instrument, so that a call's eight would cost more than its span. A call is therefore put
in a queue, which is emptied when metrics are collected; counters are summed up here and only observed.

The attributes are those of the conventions, all of small sets: never a user, a session or an id.

Source: repository semantic-conventions-genai, `docs/gen-ai/gen-ai-token-metrics.md` and `client-inference.md`, read
2026-11; the older names as opentelemetry-util-genai 1.3b0 `_instruments.py` has them.
"""

import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Literal

from opentelemetry import metrics
from opentelemetry.metrics import CallbackOptions, Histogram, Meter, MeterProvider, NoOpMeter, Observation

from spanledger_instrumentation import __version__
from spanledger_instrumentation import attributes as names
from spanledger_instrumentation.fence import Fence
from spanledger_instrumentation.outer import SCOPE, family
from spanledger_instrumentation.providers.values import AttributeValue
from spanledger_instrumentation.usage import Usage
from spanledger_instrumentation.used_limits import UsedLimits

__all__ = ["METRICS", "Ended", "Instruments", "Metric", "Metrics"]

PENDING_MAX: Final = 1000
"""Calls between two collections that wait; of more, the first ones are recorded by the app's thread."""
_AT_ONCE: Final = 8
"""So many of them together, in less than half a millisecond: one by one each takes twice as long, since the SDK's code
would have to come into the processor's caches each time."""
SERIES_MAX: Final = 2000
"""Sets of attributes of one counter, as many as the SDK keeps; what has another one is counted as overflow."""
SECONDS: Final = (0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92)
TOKENS: Final = tuple(4**power for power in range(14))
_MODALITY: Final = "gen_ai.token.modality"
_TYPE: Final = "gen_ai.token.type"
_REQUEST: Final = (
    names.OPERATION_NAME,
    names.PROVIDER_NAME,
    names.REQUEST_MODEL,
    names.SERVER_ADDRESS,
    names.SERVER_PORT,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """Describe one metric."""

    name: str
    kind: Literal["counter", "histogram", "gauge"]
    unit: Literal["s", "{token}", "1"]
    description: str
    old: bool = False
    """Whether it is only there for those who ask for the older names."""


_INFERENCE: Final = "gen_ai.client.inference."
_EMBEDDINGS: Final = "gen_ai.client.embeddings."
_OPERATION_DURATION: Final = "gen_ai.client.operation.duration"
_OLD_USAGE: Final = "gen_ai.client.token.usage"
_LIMITS: Final = "spanledger.rate_limit.used"
METRICS: Final = (
    Metric(name=_INFERENCE + "duration", kind="histogram", unit="s", description="Time from request to end of answer"),
    Metric(
        name=_INFERENCE + "time_to_first_chunk",
        kind="histogram",
        unit="s",
        description="Time from request to the first chunk of a stream",
    ),
    *(
        Metric(name=f"{_INFERENCE}usage.{kind}", kind="counter", unit="{token}", description=description)
        for kind, description in (
            ("input_tokens", "Input tokens, cached ones included"),
            ("output_tokens", "Output tokens, reasoning included"),
            ("cache_read.input_tokens", "Input tokens read from the provider's cache"),
            ("cache_write.input_tokens", "Input tokens written to the provider's cache"),
            ("reasoning.output_tokens", "Output tokens that are reasoning"),
        )
    ),
    Metric(
        name=_INFERENCE + "operation.input_tokens",
        kind="histogram",
        unit="{token}",
        description="Input tokens of a call",
    ),
    Metric(
        name=_INFERENCE + "operation.output_tokens",
        kind="histogram",
        unit="{token}",
        description="Output tokens of a call",
    ),
    Metric(name=_EMBEDDINGS + "duration", kind="histogram", unit="s", description="Time from request to end of answer"),
    Metric(
        name=_EMBEDDINGS + "operation.input_tokens",
        kind="histogram",
        unit="{token}",
        description="Input tokens of a call",
    ),
    Metric(name=_OPERATION_DURATION, kind="histogram", unit="s", description="Time from request to end of answer"),
    Metric(name=_OLD_USAGE, kind="histogram", unit="{token}", description="Tokens of a call", old=True),
    Metric(name=_LIMITS, kind="gauge", unit="1", description="Part of a provider's rate limit that is in use"),
)
"""All that there is, in the order of docs/metrics-instrumentation.md."""

_Record = Callable[[float, Mapping[str, AttributeValue]], None]
_Series = tuple[tuple[str, AttributeValue], ...]
_COLLECT: Final = Fence("collect")
_OVERFLOW: Final[_Series] = (("otel.metric.overflow", True),)
_COUNTERS: Final = (
    (
        _INFERENCE + "usage.input_tokens",
        "input_tokens",
        (("text", "text_input_tokens"), ("audio", "audio_input_tokens"), ("image", "image_input_tokens")),
    ),
    (
        _INFERENCE + "usage.output_tokens",
        "output_tokens",
        (("text", "text_output_tokens"), ("audio", "audio_output_tokens"), ("image", "image_output_tokens")),
    ),
    (
        _INFERENCE + "usage.cache_read.input_tokens",
        "cache_read_input_tokens",
        (
            ("text", "text_cache_read_input_tokens"),
            ("audio", "audio_cache_read_input_tokens"),
            ("image", "image_cache_read_input_tokens"),
        ),
    ),
    (_INFERENCE + "usage.cache_write.input_tokens", "cache_write_input_tokens", ()),
    (_INFERENCE + "usage.reasoning.output_tokens", "reasoning_output_tokens", ()),
)
"""Counter, the total that it counts, and the total's parts by the conventions' names of modalities.

What is in none of the parts is of an `unknown` modality.
"""
_NOTHING: Final = Usage(input_tokens=0, output_tokens=0)


@dataclass(slots=True, kw_only=True)
class Ended:
    """Say what is measured of a call that has ended."""

    request: Mapping[str, AttributeValue]
    """The attributes that its span started with."""
    response_model: str | None
    usage: Usage | None
    duration_s: float
    first_chunk_s: float | None
    error_type: str | None
    head: Mapping[str, AttributeValue] = field(default_factory=dict[str, AttributeValue])
    """What the head of the answer says, as attributes of its span: rate limits are measured of it."""

    def attributes(self) -> dict[str, AttributeValue]:
        """Give the attributes of its measurements."""
        found = {name: self.request[name] for name in _REQUEST if name in self.request}
        if self.response_model is not None:
            found[names.RESPONSE_MODEL] = self.response_model
        if self.error_type is not None:
            found[names.ERROR_TYPE] = self.error_type
        return found


class Instruments:
    """The instruments of one meter."""

    __slots__ = ("__weakref__", "_limits", "_lock", "_observed", "_old", "_pending", "_record", "_sums")

    def __init__(self, meter: Meter, *, old_names: bool) -> None:
        self._old = old_names
        self._record: dict[str, _Record] = {}
        self._sums: dict[str, dict[_Series, int]] = {}
        self._limits = UsedLimits()
        self._observed: list[object] = []  # not every meter keeps what it has made
        self.forget()
        for each in METRICS:
            if each.kind == "counter":
                self._sums[each.name] = {}
                observe = [partial(self._observe, each.name)]
                made = meter.create_observable_counter(each.name, observe, each.unit, each.description)
                self._observed.append(made)
            elif each.kind == "gauge":
                observed = meter.create_observable_gauge(each.name, [self._observe_limits], each.unit, each.description)
                self._observed.append(observed)
            elif old_names or not each.old:
                self._record[each.name] = _histogram(meter, each).record

    def forget(self) -> None:
        """Begin anew, in a fork: what has been measured is its parent's."""
        self._lock = threading.Lock()
        self._pending: deque[Ended] = deque()
        self._limits.clear()
        for sums in self._sums.values():
            sums.clear()

    def add(self, ended: Ended) -> None:
        """Measure a call that has ended, at the next collection."""
        self._pending.append(ended)
        if len(self._pending) > PENDING_MAX:
            self._drain(_AT_ONCE)

    def _observe(self, name: str, _: CallbackOptions) -> Iterable[Observation]:
        with _COLLECT:
            self._drain(len(self._pending))
        with self._lock:
            found = list(self._sums[name].items())
        return [Observation(total, dict(series)) for series, total in found]

    def _observe_limits(self, _: CallbackOptions) -> Iterable[Observation]:
        with _COLLECT:
            self._drain(len(self._pending))
        with self._lock:
            found = list(self._limits.used(time.time()))
        return [Observation(used, attributes) for used, attributes in found]

    def _drain(self, count: int) -> None:
        # No more than wait at first: with calls that keep ending, a collection must end all the same.
        for _ in range(count):
            try:
                ended = self._pending.popleft()
            except IndexError:  # another reader collects, too
                return
            self._measure(ended)
            if ended.head:
                with self._lock:
                    self._limits.take(ended.request, ended.head, time.time())

    def _measure(self, ended: Ended) -> None:
        attributes, usage = ended.attributes(), ended.usage
        kind = family(ended.request.get(names.OPERATION_NAME))
        if kind == "chat":
            self._inference(attributes, ended)
        elif kind == "embeddings":
            self._record[_EMBEDDINGS + "duration"](ended.duration_s, attributes)
            if usage is not None and usage.input_tokens is not None:
                self._record[_EMBEDDINGS + "operation.input_tokens"](usage.input_tokens, attributes)
        if self._old or kind not in ("chat", "embeddings"):
            self._record[_OPERATION_DURATION](ended.duration_s, attributes)
        if self._old and usage is not None:
            for token_type, tokens in (("input", usage.input_tokens), ("output", usage.output_tokens)):
                if tokens is not None:
                    self._record[_OLD_USAGE](tokens, {**attributes, _TYPE: token_type})

    def _inference(self, attributes: dict[str, AttributeValue], ended: Ended) -> None:
        record, usage = self._record, ended.usage
        record[_INFERENCE + "duration"](ended.duration_s, attributes)
        if ended.first_chunk_s is not None:
            record[_INFERENCE + "time_to_first_chunk"](ended.first_chunk_s, attributes)
        if usage is not None:
            if usage.input_tokens is not None:
                record[_INFERENCE + "operation.input_tokens"](usage.input_tokens, attributes)
            if usage.output_tokens is not None:
                record[_INFERENCE + "operation.output_tokens"](usage.output_tokens, attributes)
        elif ended.error_type is not None:
            usage = _NOTHING  # so the conventions want it: a failure counts 0 tokens
        if usage is not None:
            self._count(tuple(attributes.items()), usage)

    def _count(self, attributes: _Series, usage: Usage) -> None:
        with self._lock:
            for name, total, parts in _COUNTERS:
                if getattr(usage, total) is None:
                    continue
                sums = self._sums[name]
                for modality, tokens in _by_modality(usage, total, parts):
                    series = (*attributes, (_MODALITY, modality))
                    before = sums.get(series)  # looked up once, since to hash a series takes long
                    if before is None and len(sums) >= SERIES_MAX:
                        series = _OVERFLOW
                        before = sums.get(series)
                    sums[series] = tokens if before is None else before + tokens


class Metrics:
    """Find the instruments, once somebody has set up a meter provider."""

    __slots__ = ("_given", "_known", "_old_names")

    def __init__(self, meter_provider: MeterProvider | None = None, *, old_names: bool = False) -> None:
        self._given = meter_provider
        self._old_names = old_names
        self._known: tuple[MeterProvider | None, Instruments | None] = (None, None)

    def instruments(self) -> Instruments | None:
        """Give the instruments; `None`: nobody reads metrics."""
        provider = self._given or metrics.get_meter_provider()
        known, instruments = self._known  # read and written as one: other threads begin calls meanwhile
        if provider is not known:
            instruments = None
            with _MAKE:  # should it fail, there are no metrics, but spans all the same
                instruments = _made(provider, old_names=self._old_names)
            self._known = (provider, instruments)
        return instruments


_MAKE: Final = Fence("make")
_MADE: Final[list[tuple[weakref.ref[MeterProvider], Instruments]]] = []
"""A provider keeps the first instrument of a name, and so its callbacks: there is one of ours for each provider.

No dictionary, since not every provider can be hashed.
"""
_making = threading.Lock()


def _made(provider: MeterProvider, *, old_names: bool) -> Instruments | None:
    # The API's own providers are silent; when the SDK is set up, its provider takes their place.
    if type(provider).__module__.startswith("opentelemetry.metrics"):
        return None
    with _making:
        _MADE[:] = [(reference, made) for reference, made in _MADE if reference() is not None]
        for reference, made in _MADE:
            if reference() is provider:
                return made
        meter = provider.get_meter(SCOPE, __version__)
        if isinstance(meter, NoOpMeter):
            return None
        made = Instruments(meter, old_names=old_names)
        _MADE.append((weakref.ref(provider), made))
        return made


def _histogram(meter: Meter, metric: Metric) -> Histogram:
    buckets = SECONDS if metric.unit == "s" else TOKENS
    try:
        return meter.create_histogram(
            metric.name, metric.unit, metric.description, explicit_bucket_boundaries_advisory=buckets
        )
    except TypeError:  # Logfire's meter takes no advice, and has buckets of its own
        return meter.create_histogram(metric.name, metric.unit, metric.description)


def _by_modality(usage: Usage, total: str, parts: tuple[tuple[str, str], ...]) -> Iterator[tuple[str, int]]:
    """Split a total; one of 0 is a part, too."""
    rest: int | None = getattr(usage, total)
    if rest is None:
        return
    if not rest:
        yield "unknown", 0
    for modality, part in parts:
        tokens: int | None = getattr(usage, part)
        if tokens and tokens <= rest:
            yield modality, tokens
            rest -= tokens
    if rest:
        yield "unknown", rest


def _after_fork() -> None:
    global _making  # noqa: PLW0603 - the parent may have held it
    _making = threading.Lock()
    for _, instruments in _MADE:
        instruments.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
