"""An overview <-> JSON: money as exact decimal text in USD, times as RFC 3339 in UTC, what is not known as null.

Keys are the fields' names but for their units: `cost_pusd` is `cost_usd`, `at_s` is `at` (docs/top.md has them all).
"""

from datetime import datetime
from typing import Any, Final, cast

import msgspec

from spanledger_exporter.budgets.periods import utc_text
from spanledger_exporter.errors import RejectedError
from spanledger_exporter.money import pusd_of, usd_text
from spanledger_exporter.top.overview import Overview

Document = dict[str, Any]  # JSON
_PUSD, _USD, _S = "_pusd", "_usd", "_s"
_TIMES: Final = frozenset({"at", "since", "start", "end", "run_out"})


def to_document(overview: Overview) -> Document:
    """Return an overview as JSON."""
    return _written(msgspec.to_builtins(overview))


def from_document(document: object) -> Overview:
    """Return the overview that JSON says; keys that are not known here are passed over.

    Raises: `RejectedError` where it is none.
    """
    try:
        return msgspec.convert(_read(document), Overview)
    except (msgspec.ValidationError, ValueError, OverflowError, RecursionError) as exc:
        raise RejectedError(f"what was answered is no overview: {exc}") from exc


def _written(value: Any) -> Any:
    if isinstance(value, dict):
        return dict(_written_item(name, each) for name, each in cast("Document", value).items())
    return [_written(each) for each in cast("list[Any]", value)] if isinstance(value, list | tuple) else value


def _written_item(name: str, value: Any) -> tuple[str, Any]:
    if name.endswith(_PUSD):
        return name.removesuffix(_PUSD) + _USD, None if value is None else usd_text(value)
    if name.removesuffix(_S) in _TIMES:
        return name.removesuffix(_S), None if value is None else utc_text(value)
    return name, _written(value)


def _read(value: Any) -> Any:
    if isinstance(value, dict):
        return dict(_read_item(str(name), each) for name, each in cast("Document", value).items())
    return [_read(each) for each in cast("list[Any]", value)] if isinstance(value, list) else value


def _read_item(name: str, value: Any) -> tuple[str, Any]:
    if name.endswith(_USD) and (value is None or isinstance(value, str)):
        return name.removesuffix(_USD) + _PUSD, None if value is None else pusd_of(value)
    if name in _TIMES and (value is None or isinstance(value, str)):
        return name + _S, None if value is None else _unix_s(value)
    return name, _read(value)


def _unix_s(text: str) -> int:
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError(f"{text!r:.60} says no time zone")
    return int(moment.timestamp())
