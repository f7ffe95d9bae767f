"""Ledgers as earlier releases wrote them: several months of calls, with their cells and sums, by their own schema."""

import hashlib
import json
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, create_engine, text

import spanledger_exporter
from spanledger_exporter.ledger.database import parse_url
from spanledger_exporter.prices.price_book import PriceBook
from spanledger_exporter.prices.pricing import price
from spanledger_exporter.records import Price, Profile, Usage, UsageRecord
from tests.exporter.calls import record
from tests.exporter.otlp_requests import END_NS

OTHER = "__other__"
DAY_NS = 86_400 * 10**9
DIMENSIONS = (
    *("service", "environment", "provider", "model", "operation", "outcome"),
    *("usage_status", "price_status", "price_reason"),
)
SUMS = (
    *("calls", "input_tokens", "output_tokens", "cache_read_tokens", "cache_write_tokens", "reasoning_tokens"),
    *("cost_micro_usd", "cost_rest_pusd"),
)
CELLS_MAX = 60
FAILED: Mapping[str, Any] = {"outcome": "error", "usage": Usage(), "usage_status": "none"}


def migrate_to(connection: Connection, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", f"{Path(spanledger_exporter.__file__).parent}/ledger/migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, revision)


def make(url: str, revision: str, book: PriceBook, calls: int, *, latest_ns: int = END_NS) -> None:
    """Make a ledger of an earlier schema, with so many calls of five months.

    One after the second begins as that, and is brought up to its own.
    """
    first = min(revision, "0002")
    engine = create_engine(parse_url(url))
    with engine.begin() as connection:
        migrate_to(connection, first)
        connection.execute(
            text("INSERT INTO price_books (book_id, source, learnt_ns, content) VALUES (:id, :source, 1, :content)"),
            {"id": book.book_id, "source": book.source, "content": zlib.compress(book.content)},
        )
        rows = list(_rows(book, calls, latest_ns, with_other_usage=first == "0002"))
        names = list(rows[0])
        places = ", ".join(f":{name}" for name in names)
        connection.execute(text(f"INSERT INTO entries ({', '.join(names)}) VALUES ({places})"), rows)
        _sum(connection, rows)
        if revision > first:
            migrate_to(connection, revision)
            _digest_profiles(connection)
    engine.dispose()


def _digest_profiles(connection: Connection) -> None:
    """Let calls find the profiles by what they have in common, as the programs of those schemas had written them."""
    rows = connection.execute(text("SELECT * FROM profiles")).mappings().all()
    shared = [list(row.values())[3:-1] for row in rows]  # between the cell and the book
    order = [list(row)[3:-1] for row in rows[:1]]
    assert order == [[*Profile._fields, *_PRICED]]
    for row, values in zip(rows, shared, strict=True):
        values[Profile._fields.index("stream")] = bool(row["stream"])
        digest = hashlib.blake2b(json.dumps([*values, row["price_book_id"]]).encode(), digest_size=16).digest()
        change = text("UPDATE profiles SET digest = :digest WHERE profile_id = :number")
        connection.execute(change, {"digest": digest, "number": row["profile_id"]})


_PRICED = (
    *("usage_status", "ambiguity", "price_status", "price_reason", "price_model", "price_match", "price_context"),
)


def _rows(book: PriceBook, calls: int, latest_ns: int, *, with_other_usage: bool) -> Iterator[dict[str, Any]]:
    random = Random(5)
    for number in range(calls):
        made = _record(random, latest_ns - number * 150 * DAY_NS // calls, with_other_usage=with_other_usage)
        row = _row(made, price(made, book), with_other_usage=with_other_usage)
        # Ids of their own, and the same at each call of this.
        yield row | {"span_id": number.to_bytes(8, "big"), "trace_id": (number // 3).to_bytes(16, "big")}


def _record(random: Random, end_ns: int, *, with_other_usage: bool) -> UsageRecord:
    usage = Usage(random.randrange(5000), random.randrange(3000), cache_read_tokens=random.choice([None, 0, 40, 9000]))
    if with_other_usage and random.random() < 0.2:
        usage = usage._replace(pages=3, input_text_tokens=7)
    kinds: Sequence[Mapping[str, Any]] = (
        {},
        {"service": None, "environment": None, "parent_span_id": b"p" * 8, "time_to_first_chunk_ns": None},
        {"service": f"service-{random.randrange(30)}", "stream": True},
        {"response_model": None, "request_model": "mystery-" + "名" * random.choice([1, 90])},
        {"usage": Usage(), "usage_status": "unreported", "response_id": None, "http_status": None},
        FAILED | {"error_type": "rate_limit_exceeded", "provider": "mistral_ai"},
        {"provider": "anthropic", "request_model": None, "response_model": "claude-haiku-4-5", "resend_count": 2},
        # Of several types and attempts, which those releases summed together.
        FAILED
        | {"error_type": random.choice(["server_error", "overloaded"]), "resend_count": random.choice([None, 1])},
        {"usage": Usage(40 * 10**12 + 1, 0)},  # 6 million USD: a few of them are beyond 64 bits of pico-USD
    )
    return record(**({"end_ns": end_ns, "start_ns": end_ns - 10**9, "usage": usage} | random.choice(kinds)))


def _row(made: UsageRecord, paid: Price, *, with_other_usage: bool) -> dict[str, Any]:
    shared = made.profile._asdict()
    row = {name: shared[name] for name in (
        "service", "environment", "scope", "dialect", "provider", "operation", "request_model", "response_model",
        "server_address", "stream", "outcome", "error_type", "http_status", "resend_count", "finish_reasons",
        "service_tier", "speed", "inference_geo")}  # fmt: skip
    row |= {name: getattr(made, name) for name in (
        "end_ns", "start_ns", "parent_span_id", "response_id", "time_to_first_chunk_ns", "usage_status")}  # fmt: skip
    row |= dict(list(made.usage._asdict().items())[:13])
    row |= {
        f"price_{name}": getattr(paid, name) for name in ("status", "reason", "detail", "model", "match", "context")
    }
    row |= {"cost_pusd": paid.cost_pusd, "price_book_id": 1, "received_ns": made.end_ns + 1}
    if with_other_usage:
        others = {name: figure for name, figure in list(made.usage._asdict().items())[13:] if figure is not None}
        row |= {"other_usage": json.dumps(others, separators=(",", ":")) if others else None}
        row |= {"provider_cost_pusd": 77 if made.usage.output_tokens == 0 else None}
    return row


def _sum(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write the cells and the hours, as those releases did: beyond the limit a new cell is folded."""
    numbers: dict[tuple[str, ...], int] = {}
    hours: dict[tuple[int, int], list[int]] = {}
    for row in rows:
        model = row["response_model"] or row["request_model"]
        texts = {**row, "model": model}
        cell = {name: _label(texts[name]) for name in DIMENSIONS}
        if tuple(cell.values()) not in numbers and len(numbers) >= CELLS_MAX:
            cell |= dict.fromkeys(("service", "environment", "provider", "model"), OTHER)
        number = numbers.setdefault(tuple(cell.values()), len(numbers) + 1)
        sums = hours.setdefault((row["end_ns"] // (3600 * 10**9) * 3600, number), [0] * len(SUMS))
        input_, output = row["input_tokens"] or 0, row["output_tokens"] or 0
        read = min(row["cache_read_tokens"] or 0, input_)
        added = (1, input_, output, read, 0, 0, *divmod(row["cost_pusd"] or 0, 10**6))
        for place, figure in enumerate(added):
            sums[place] += figure
    columns, places = ", ".join(DIMENSIONS), ", ".join(f":{name}" for name in DIMENSIONS)
    connection.execute(
        text(f"INSERT INTO cells ({columns}) VALUES ({places})"),
        [dict(zip(DIMENSIONS, cell, strict=True)) for cell in numbers],
    )
    columns, places = ", ".join(SUMS), ", ".join(f":{name}" for name in SUMS)
    keyed = ((dict(zip(("hour_s", "cell_id"), key, strict=True)), sums) for key, sums in hours.items())
    connection.execute(
        text(f"INSERT INTO rollup_hours (hour_s, cell_id, {columns}) VALUES (:hour_s, :cell_id, {places})"),
        [key | dict(zip(SUMS, sums, strict=True)) for key, sums in keyed],
    )


def _label(said: str | None) -> str:
    return (said or "").encode()[:200].decode(errors="ignore")
