"""How far Prometheus counters stand above the ledger's totals, which corrections lower: kept for the next start.

A counter must not fall where its total does, for Prometheus would take that for a reset, and all of it for new. There
are two ways in which a total falls, and each is kept in its own:

- A call becomes known better, and moves from one cell to another: from a model's name to the model's version, from
  unreported to reported. That happens to calls all the time, so a counter that is left is held at its mark until its
  total has caught up, and in the long run equals it. Marks are of the labels that an exporter shows.
- Somebody gives calls another price. That happens once, to many, and a counter that waited for its total to catch up
  might stand still for weeks while money is spent. So it is raised by what was taken away, for good, and goes on. That
  is kept by all labels that there could be, so that each exporter sums it up by those that it shows.

Units: a counter's whole numbers: pico-USD, tokens, calls. Series are keyed by the metric's name without `_total` and
its labels, each as `name=value`; those of budgets by the values of `budget` and `group`, in micro-USD.
"""

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection, or_, select

from spanledger_exporter.ledger.insert import insert_or_replace
from spanledger_exporter.ledger.schema import counter_marks

Labels = tuple[str, ...]
Key = tuple[str, Labels]
Marks = Mapping[Key, int]
"""Something about counters: by metric and labels, in the metric's integer unit."""
_RAISED: Final = "raised "
_KEYS_MAX: Final = 500  # in one query
_KEY_CHARACTERS_MAX: Final = 1000
"""Longer keys are kept beside their digest: PostgreSQL has no index of texts beyond 2,704 bytes."""


class Held(NamedTuple):
    """What counters are to show at least, and by how much they stand above their totals for good."""

    marks: Marks
    raised: Marks


NOTHING: Final = Held({}, {})


def read(connection: Connection) -> Held:
    """Return what is kept."""
    found: dict[Key, int] = {}
    for series, value in connection.execute(select(counter_marks.c.series, counter_marks.c.value)):
        key, number = _read(series, value)
        found[key] = number
    raised = {key: value for key, value in found.items() if _is_raised(key[0])}
    return Held({key: value for key, value in found.items() if key not in raised}, _unprefixed(raised.items()))


def read_raised(connection: Connection) -> Marks:
    """Return by how much counters are raised: few, where the marks may be many."""
    series = counter_marks.c.series
    ours = or_(series.startswith(f'["{_RAISED}'), series.startswith(_RAISED))
    rows = connection.execute(select(series, counter_marks.c.value).where(ours))
    return _unprefixed(_read(series, value) for series, value in rows)


def keep_marks(connection: Connection, marks: Marks) -> None:
    """Keep how far counters are held; of what several exporters hold, the farthest."""
    _write(connection, marks, max)


def keep_raised(connection: Connection, raised: Marks) -> None:
    """Keep that counters are raised by so much more than they were."""
    _write(connection, {(f"{_RAISED}{name}", labels): value for (name, labels), value in raised.items()}, int.__add__)


def raise_marks(connection: Connection, raised: Marks) -> None:
    """Move marks up by so much: those of budgets are differences themselves."""
    _write(connection, raised, int.__add__)


def _unprefixed(rows: Iterable[tuple[Key, int]]) -> Marks:
    return {(name.removeprefix(_RAISED), labels): value for (name, labels), value in rows}


def _is_raised(name: str) -> bool:
    return name.startswith(_RAISED)


def _series(key: Key) -> str:
    """Return what a row is found by."""
    text = json.dumps(key)
    if len(text) <= _KEY_CHARACTERS_MAX:
        return text
    return f"{_RAISED if _is_raised(key[0]) else ''}sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _value(key: Key, series: str, value: int) -> str:
    """Return what a row says: the number, and the key where it is not what the row is found by."""
    return str(value) if series.startswith("[") else json.dumps([value, key])


def _read(series: str, value: str) -> tuple[Key, int]:
    number, (name, labels) = (int(value), json.loads(series)) if series.startswith("[") else json.loads(value)
    return (name, tuple(labels)), number


def _write(connection: Connection, values: Marks, joined: Callable[[int, int], int]) -> None:
    if not values:
        return
    by_series = {_series(key): key for key in values}
    kept = dict(_kept(connection, sorted(by_series)))
    rows = [
        {"series": series, "value": _value(key, series, joined(values[key], kept[key]) if key in kept else values[key])}
        for series, key in sorted(by_series.items())
    ]
    insert_or_replace(connection, counter_marks, ("series",), rows)


def _kept(connection: Connection, series: Sequence[str]) -> Iterator[tuple[Key, int]]:
    for begin in range(0, len(series), _KEYS_MAX):
        some = counter_marks.c.series.in_(series[begin : begin + _KEYS_MAX])
        rows = connection.execute(select(counter_marks.c.series, counter_marks.c.value).where(some))
        yield from (_read(name, value) for name, value in rows)
