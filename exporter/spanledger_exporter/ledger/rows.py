"""PricedRecord <-> its entry: a plain tuple in the order of `ENTRY_COLUMNS`, which both drivers take fastest."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from sqlalchemy import RowMapping

from spanledger_exporter.ledger.schema import ENTRY_COLUMNS, STORED_SPLIT, STORED_USAGE
from spanledger_exporter.ledger.usage_columns import details_of, stored, usage_of
from spanledger_exporter.records import Price, PricedRecord, Profile, Split, Usage, UsageRecord

Row = tuple[Any, ...]
_OWN = tuple(name for name in UsageRecord._fields if name not in {"profile", "usage", "leases", "rate_limits"})
assert ENTRY_COLUMNS[:12] == (
    *("end_ns", "span_id", "trace_id", "start_ns", "received_ns", "parent_span_id", "profile_id"),
    *("response_id", "user_id", "session_id", "request_hash", "time_to_first_chunk_ns"),
), "a row is made by position"
assert UsageRecord._fields[7:14] == ("usage", *ENTRY_COLUMNS[7:12], "provider_cost_pusd")
assert UsageRecord._fields[15] == "leases"
assert UsageRecord._fields[:5] == (*ENTRY_COLUMNS[:4], "parent_span_id")
assert Price._fields[:4] == ("status", "cost_pusd", "reason", "detail")
assert Price._fields[7] == "split"
assert ENTRY_COLUMNS[12:] == (*STORED_USAGE, "details", "cost_pusd", "reports", *STORED_SPLIT)
assert Split._fields == (
    *("cost_input_uncached_pusd", "cost_cache_read_pusd", "cost_cache_write_pusd", "cost_output_pusd"),
    *("cost_other_pusd", "cache_saved_pusd", "cache_write_premium_pusd"),
)
_NO_SPLIT = (None,) * len(STORED_SPLIT)


def row_of(priced: PricedRecord, profile_id: int, received_ns: int, reports: int | None) -> Row:
    """Return the row of an entry; `reports` is how many instrumentations reported it, `None` for one."""
    record, price, _ = priced
    usage = record[7]
    # Put together from slices, by position: every entry is made here. The assertions above hold the positions.
    return (
        *record[:4],
        received_ns,
        record[4],
        profile_id,
        *record[8:13],
        *stored(usage),
        details_of(usage, record[13], price[3], record[15]),
        price[1],
        reports,
        *_stored_split(price[7]),
    )


def _stored_split(split: Split | None) -> tuple[int | None, ...]:
    """Return a split in the order of `STORED_SPLIT`; what is 0 is left out, for an entry has few of them."""
    if split is None:
        return _NO_SPLIT
    _, read, write, output, other, saved, premium = split
    return output, read or None, write or None, other or None, saved or None, premium or None


def said_of(rows: Sequence[Row]) -> dict[str, tuple[Any, ...]]:
    """Return rows by column, without the columns of which none of them has anything.

    Each column takes an insert as long as the next one, and a batch has nothing of several.
    """
    columns = zip(ENTRY_COLUMNS, zip(*rows, strict=True), strict=True)
    return {name: values for name, values in columns if any(values) or values.count(None) < len(values)}


def record_of(row: RowMapping) -> UsageRecord:
    """Return the record that a row of the view `entries` holds; of its leases the view says nothing."""
    profile = Profile(**{name: row[name] for name in Profile._fields})._replace(stream=bool(row["stream"]))
    return UsageRecord(**{name: row[name] for name in _OWN}, profile=profile, usage=usage_of(row))


def price_of(row: RowMapping) -> Price:
    """Return the price that a row of the view `entries` holds."""
    names = ("reason", "detail", "model", "match", "context")
    known = row["cost_input_uncached_pusd"] is not None
    split = Split._make(row[name] for name in Split._fields) if known else None
    return Price(row["price_status"], row["cost_pusd"], **{name: row[f"price_{name}"] for name in names}, split=split)


def document_of(record: UsageRecord) -> str:
    """Return a record as the JSON text of a report.

    Shape: `{"span_id": hex, "end_ns", ..., "profile": {...}, "usage": {only what was reported}}`.
    """
    fields: dict[str, Any] = record._asdict()
    for name in ("span_id", "trace_id", "parent_span_id"):
        fields[name] = None if fields[name] is None else fields[name].hex()
    fields["profile"] = record.profile._asdict()
    fields["usage"] = {name: figure for name, figure in record.usage._asdict().items() if figure is not None}
    del fields["rate_limits"]
    if not record.leases:
        del fields["leases"]
    return json.dumps(fields, separators=(",", ":"))


def record_of_document(text: str) -> UsageRecord:
    """Return the record of a report's JSON text; what an older program did not write is not known."""
    fields: dict[str, Any] = json.loads(text)
    for name in ("span_id", "trace_id", "parent_span_id"):
        fields[name] = None if fields[name] is None else bytes.fromhex(fields[name])
    fields["profile"] = Profile(**_known(fields["profile"], Profile._fields))
    fields["usage"] = Usage(**_known(fields["usage"], Usage._fields))
    fields["leases"] = tuple(fields.get("leases", ()))
    return UsageRecord(**_known(fields, UsageRecord._fields))


def _known(fields: Mapping[str, Any], names: tuple[str, ...]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if name in names}
