"""Usage and what else is rare of an entry <-> the columns that hold it.

The five classes that nearly every call has are columns. All else of which a call has a little at most shares one text
in JSON, `details`: each column is a parameter of every insert, half a microsecond of it (docs/decisions/0012). The view
`entries` takes the text apart again.
"""

import json
from functools import lru_cache
from typing import Any

from sqlalchemy import RowMapping

from spanledger_exporter.ledger.schema import STORED_USAGE, USAGE_COLUMNS
from spanledger_exporter.records import Usage

OTHER_CLASSES = tuple(name for name in Usage._fields if name not in USAGE_COLUMNS)
_REASONING = Usage._fields.index("reasoning_tokens")
_NAMED = tuple(name for name in USAGE_COLUMNS if name not in STORED_USAGE)
assert Usage._fields == (*USAGE_COLUMNS, *OTHER_CLASSES), "columns in the order of the classes, the others after them"
assert (*USAGE_COLUMNS[:4], USAGE_COLUMNS[_REASONING]) == STORED_USAGE
_WRITES = slice(4, _REASONING)
_AFTER = slice(_REASONING + 1, None)
_NO_WRITES, _NOTHING_AFTER = (None,) * (_REASONING - 4), (None,) * (len(Usage._fields) - _REASONING - 1)
_MEMORY_MAX = 4096


def stored(usage: Usage) -> tuple[int | None, ...]:
    """Return the classes that have a column, in the order of `STORED_USAGE`."""
    return (*usage[:4], usage[_REASONING])


def details_of(
    usage: Usage, provider_cost_pusd: int | None, price_detail: str | None, leases: tuple[str, ...] = ()
) -> str | None:
    """Return as one text what has no column.

    Shape: `{"usage": {"web_search_requests": 2}, "other_usage": {"pages": 3}, "provider_cost_pusd": 5, "price_detail":
    "...", "leases": ["..."]}`, only what there is; `None` for nothing.
    """
    writes, after = usage[_WRITES], usage[_AFTER]
    if provider_cost_pusd is None and price_detail is None and not leases:
        if writes == _NO_WRITES and after == _NOTHING_AFTER:
            return None
        return _remembered(writes, after)  # few differ: what most providers always report there is zero
    return _text(writes, after, provider_cost_pusd, price_detail, leases)


def _text(
    writes: tuple[int | None, ...],
    after: tuple[int | None, ...],
    provider_cost_pusd: int | None = None,
    price_detail: str | None = None,
    leases: tuple[str, ...] = (),
) -> str:
    named = len(_NAMED) - len(writes)
    parts: dict[str, Any] = {
        "usage": _reported(_NAMED, (*writes, *after[:named])),
        "other_usage": _reported(OTHER_CLASSES, after[named:]),
        "provider_cost_pusd": provider_cost_pusd,
        "price_detail": price_detail,
        "leases": leases or None,
    }
    return json.dumps({name: part for name, part in parts.items() if part is not None}, separators=(",", ":"))


_remembered = lru_cache(maxsize=_MEMORY_MAX)(_text)


def _reported(names: tuple[str, ...], figures: tuple[int | None, ...]) -> dict[str, int] | None:
    return {name: figure for name, figure in zip(names, figures, strict=True) if figure is not None} or None


def leases_of(details: str | None) -> tuple[str, ...]:
    """Return the leases that an entry's call was made under."""
    return () if details is None else tuple(json.loads(details).get("leases", ()))


def usage_of(row: RowMapping) -> Usage:
    """Return the usage that a row of the view `entries` holds."""
    others = others_of(row)
    return Usage(*(row[name] for name in USAGE_COLUMNS), *(others.get(name) for name in OTHER_CLASSES))


def others_of(row: RowMapping) -> dict[str, int]:
    """Return the classes without a column of the view that an entry has."""
    return {} if row["other_usage"] is None else json.loads(row["other_usage"])
