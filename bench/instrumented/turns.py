"""A measured process: a line comes in, and what a call, a chunk and another request cost goes out.

Units: microseconds of CPU time.
"""

import gc
import json
import statistics
import sys
import time
from collections.abc import Callable
from typing import Final, NamedTuple

from instrumented.answers import events
from instrumented.subject import CHUNKS_MANY, STAYS, Subject

CHUNKS_FEW: Final = 20
TURNS: Final = 7
PLAIN_CALLS, STREAMS, OTHER_REQUESTS = 8, 1, 60
WARM_UP_CALLS: Final = 1100
"""More than Spanledger lets wait for a collection of the metrics, so that these are paid for in what is measured."""


def cpu_us(work: Callable[[], object], times: int) -> float:
    """The CPU time of one run of the work.

    Units: microseconds.
    """
    start = time.process_time()
    for _ in range(times):
        work()
    return (time.process_time() - start) / times * 1e6


class Measured(NamedTuple):
    """CPU time with and without the instrumentation, and the difference; medians over some turns."""

    with_it: float
    without: float
    added: float


def measured(subject: Subject, measure: Callable[[], float], *, stays: bool) -> Measured:
    """Measure with the instrumentation and without, in turns; one that stays is only measured with itself."""
    turns: list[Measured] = []
    gc.collect()
    gc.disable()  # a collection that falls into one turn by chance would be charged to it
    for _ in range(TURNS):
        with_it = measure()
        without = 0.0 if stays else _without(subject, measure)
        turns.append(Measured(with_it, without, with_it - without))
    gc.enable()
    return Measured._make(statistics.median(values) for values in zip(*turns, strict=True))


def _without(subject: Subject, measure: Callable[[], float]) -> float:
    subject.instrumentor.uninstrument()
    measure()  # what is looked up once after a change is looked up here
    taken = measure()
    subject.instrumentor.instrument()
    measure()
    return taken


def serve(variant: str) -> None:
    """Measure whenever a line comes in, until the input ends."""
    subject = Subject(variant)
    few, many = events(CHUNKS_FEW), events(CHUNKS_MANY)
    cpu_us(subject.plain, WARM_UP_CALLS)
    for work in (subject.other, lambda: subject.stream(many)):
        cpu_us(work, 30)

    def chunk_us() -> float:
        longer = cpu_us(lambda: subject.stream(many), STREAMS) - cpu_us(lambda: subject.stream(few), STREAMS)
        return longer / (CHUNKS_MANY - CHUNKS_FEW)

    measures: dict[str, Callable[[], float]] = {
        "plain": lambda: cpu_us(subject.plain, PLAIN_CALLS),
        "chunk": chunk_us,
        "other": lambda: cpu_us(subject.other, OTHER_REQUESTS),
    }
    for line in sys.stdin:
        if line.strip() == "memory":
            with_it = subject.memory_kib()
            subject.instrumentor.uninstrument()
            print(json.dumps({"memory": with_it - subject.memory_kib()}), flush=True)
            continue
        found = {kind: measured(subject, measure, stays=variant == STAYS) for kind, measure in measures.items()}
        print(json.dumps(found), flush=True)
