"""Usage <-> the columns of an entry that hold it.

The classes that most calls have are columns; the others, of which a call has a few at most, share one text in JSON, so
that an entry does not grow by a column, and by a parameter of its insert, for each (docs/decisions/0012).
"""

import json

from sqlalchemy import RowMapping

from spanledger_exporter.records import Usage
from spanledger_exporter.schema import USAGE_COLUMNS

OTHER_CLASSES = tuple(name for name in Usage._fields if name not in USAGE_COLUMNS)
_FIRST_OTHER = len(USAGE_COLUMNS)
assert Usage._fields[:_FIRST_OTHER] == USAGE_COLUMNS, "columns in the order of the classes, the others after them"
_NONE_OF_THEM = (None,) * len(OTHER_CLASSES)


def columns_of(usage: Usage) -> dict[str, int | str | None]:
    """Return the values of an entry's usage columns.

    Shape: `other_usage` is `{"input_text_tokens":12,"pages":3}`, only what was reported, or `None`.
    """
    row: dict[str, int | str | None] = dict(zip(USAGE_COLUMNS, usage, strict=False))
    others = usage[_FIRST_OTHER:]
    row["other_usage"] = None if others == _NONE_OF_THEM else _text(others)
    return row


def _text(others: tuple[int | None, ...]) -> str:
    found = {name: figure for name, figure in zip(OTHER_CLASSES, others, strict=True) if figure is not None}
    return json.dumps(found, separators=(",", ":"))


def usage_of(row: RowMapping) -> Usage:
    """Return the usage that an entry's columns hold."""
    others = others_of(row)
    return Usage(*(row[name] for name in USAGE_COLUMNS), *(others.get(name) for name in OTHER_CLASSES))


def others_of(row: RowMapping) -> dict[str, int]:
    """Return the classes without a column that an entry has."""
    return {} if row["other_usage"] is None else json.loads(row["other_usage"])
