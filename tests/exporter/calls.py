"""Calls for tests, priced as the pipeline prices them."""

import secrets
from typing import Any

from spanledger_exporter.prices.price_book import PriceBook
from spanledger_exporter.prices.pricing import price
from spanledger_exporter.records import PricedRecord, Profile, Usage, UsageRecord
from tests.exporter.otlp_requests import END_NS

USAGE = Usage(100, 20, cache_read_tokens=40)
USAGE_PUSD = 60 * 150_000 + 40 * 75_000 + 20 * 600_000


def record(**changes: Any) -> UsageRecord:
    profile = Profile(
        service="shop", environment="test", scope="spanledger", dialect="otel", provider="openai", operation="chat",
        request_model="gpt-4o-mini", response_model="gpt-4o-mini-2024-07-18", server_address="127.0.0.1", stream=False,
        outcome="ok", error_type=None, http_status=200, resend_count=None, finish_reasons="stop", service_tier=None,
        speed=None, inference_geo=None,
    )  # fmt: skip
    made = UsageRecord(
        end_ns=END_NS, span_id=secrets.token_bytes(8), trace_id=secrets.token_bytes(16), start_ns=END_NS - 10**9,
        parent_span_id=None, profile=profile, response_id="chatcmpl-1", time_to_first_chunk_ns=250_000_000,
        usage_status="reported", usage=USAGE,
    )  # fmt: skip
    return changed(made, **changes)


def changed(made: UsageRecord, **changes: Any) -> UsageRecord:
    """Return the record with other values, of its own or of its profile."""
    shared = {name: changes.pop(name) for name in Profile._fields if name in changes}
    return made._replace(profile=made.profile._replace(**shared), **changes)


def priced(book: PriceBook, **changes: Any) -> PricedRecord:
    made = record(**changes)
    return PricedRecord(made, price(made, book), book.book_id)
