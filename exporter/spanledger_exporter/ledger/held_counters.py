"""How far Prometheus counters stand above the ledger's totals, which corrections lower: kept for the next start.

A counter must not fall where its total does, for Prometheus would take that for a reset, and all of it for new. There
are two ways in which a total falls, and each is kept in its own:

- A call becomes known better, and moves from one cell to another: from a model's name to the model's version, from
  unreported to reported. That happens to calls all the time, so a counter that is left is held at its mark until its
  total has caught up, and in the long run equals it.
- Somebody gives calls another price. That happens once, to many, and a counter that waited for its total to catch up
  might stand still for weeks while money is spent. So it is raised by what was taken away, for good, and goes on.

Units: a counter's whole numbers: pico-USD, tokens, calls. Series are keyed by the metric's name without `_total` and
its labels, each as `name=value`, which tells what was kept under other dimensions.
"""

import json
from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from sqlalchemy import Connection, select

from spanledger_exporter.ledger.insert import insert_or_replace
from spanledger_exporter.ledger.schema import counter_marks

Labels = tuple[str, ...]
Key = tuple[str, Labels]
Marks = Mapping[Key, int]
"""Something about counters: by metric and labels, in the metric's integer unit."""
_RAISED: Final = "raised "
_KEYS_MAX: Final = 500  # in one query


class Held(NamedTuple):
    """What counters are to show at least, and by how much they stand above their totals for good."""

    marks: Marks
    raised: Marks


NOTHING: Final = Held({}, {})


def read(connection: Connection) -> Held:
    """Return what is kept."""
    marks: dict[Key, int] = {}
    raised: dict[Key, int] = {}
    for series, value in connection.execute(select(counter_marks.c.series, counter_marks.c.value)):
        metric, labels = json.loads(series)
        if metric.startswith(_RAISED):
            raised[metric.removeprefix(_RAISED), tuple(labels)] = int(value)
        else:
            marks[metric, tuple(labels)] = int(value)
    return Held(marks, raised)


def keep_marks(connection: Connection, marks: Marks) -> None:
    """Keep how far counters are held; of what several exporters hold, the farthest."""
    told = {_series(key): value for key, value in marks.items()}
    kept = _kept(connection, sorted(told))
    _write(connection, {series: max(value, kept.get(series, value)) for series, value in told.items()})


def keep_raised(connection: Connection, raised: Marks) -> None:
    """Keep that counters are raised by so much more than they were."""
    told = {_series((f"{_RAISED}{name}", labels)): value for (name, labels), value in raised.items()}
    kept = _kept(connection, sorted(told))
    _write(connection, {series: value + kept.get(series, 0) for series, value in told.items()})


def _series(key: Key) -> str:
    return json.dumps(key)


def _kept(connection: Connection, series: Sequence[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for begin in range(0, len(series), _KEYS_MAX):
        some = counter_marks.c.series.in_(series[begin : begin + _KEYS_MAX])
        rows = connection.execute(select(counter_marks.c.series, counter_marks.c.value).where(some))
        found |= {name: int(value) for name, value in rows}
    return found


def _write(connection: Connection, values: Mapping[str, int]) -> None:
    rows = [{"series": series, "value": str(value)} for series, value in sorted(values.items())]
    insert_or_replace(connection, counter_marks, ("series",), rows)
