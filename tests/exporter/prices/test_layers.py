"""Negotiated prices over models of one's own over the price book, declared in a file whose problems are all told."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from spanledger_exporter.errors import ConfigError
from spanledger_exporter.money import usd_text
from spanledger_exporter.prices import price_file
from spanledger_exporter.prices.price_book import PriceBook
from spanledger_exporter.prices.pricer import Pricer
from spanledger_exporter.prices.pricing import price
from spanledger_exporter.records import Price, Usage
from tests.exporter.calls import record

FILE = """
[[override]]
name = "acme 2026"
provider = "openai"
model = "gpt-5*"
organization = "org-acme"
from = 2026-01-01
until = 2027-01-01
multiplier = 0.85

[[override]]
name = "committed flash"
provider = "gcp.vertex_ai"
model = "gemini-2.5-flash"
prices = { input_mtok = 0.25, output_mtok = "2.00" }

[[override]]
name = "night batch"
model = "claude-*"
tier = "batch"
hours = "22:00-06:00"
weekdays = ["sat", "sun"]
multiplier = 0.5

[[override]]
name = "unheard of"
model = "house-blend"
project = "kitchen"
prices = { input_mtok = 1 }

[[model]]
name = "llama-70b"
provider = "ollama"
match = ["llama3.3*", "llama-70b"]
prices = { input_mtok = 0.1, output_mtok = 0.4 }
tiers = { batch = { input_mtok = 0.05, output_mtok = 0.2 } }

[[model.change]]
from = 2026-12-01
prices = { input_mtok = 0.2, output_mtok = 0.8 }

[[model]]
name = "gpt-4o-mini"
provider = "openai"
match = ["our-own-mini"]
prices = { input_mtok = 0 }

[[deployment]]
provider = "azure.ai.openai"
name = "my-prod-gpt4o"
model = "gpt-4o"

[[deployment]]
provider = "aws.bedrock"
name = "abc123xyz"
model = "us.anthropic.claude-haiku-4-5-20251001-v1:0"
"""


@pytest.fixture(scope="module")
def layered(book: PriceBook, tmp_path_factory: pytest.TempPathFactory) -> PriceBook:
    path = tmp_path_factory.mktemp("prices") / "prices.toml"
    path.write_text(FILE)
    return book.with_layers(price_file.read(str(path)))


def priced(book: PriceBook, provider: str, model: str, *, at: str = "2026-11-28T23:00", **changes: Any) -> Price:
    moment = datetime.fromisoformat(at).replace(tzinfo=UTC)
    said = {"provider": provider, "request_model": model, "response_model": None, "usage": Usage(10**6, 0)}
    made = record(**(said | changes), end_ns=int(moment.timestamp()) * 10**9)
    found = price(made, book)
    assert Pricer(book).price(made) == found
    return found


def usd(found: Price) -> str | None:
    return None if found.cost_pusd is None else usd_text(found.cost_pusd)


@pytest.mark.parametrize(
    ("provider", "model", "changes", "expected", "match"),
    [
        ("openai", "gpt-5", {"organization": "org-acme"}, "1.0625", "override:acme 2026,request:exact"),
        ("openai", "gpt-5", {"organization": "org-acme", "service_tier": "flex"}, "0.53125",
         "override:acme 2026,request:exact"),
        ("openai", "gpt-5", {"organization": "org-other"}, "1.25", "request:exact"),
        ("openai", "gpt-5", {}, "1.25", "request:exact"),
        ("openai", "gpt-4o", {"organization": "org-acme"}, "2.5", "request:exact"),
        ("openai", "gpt-5", {"organization": "org-acme", "at": "2027-01-01T00:00"}, "1.25", "request:exact"),
        ("azure.ai.openai", "gpt-5", {"organization": "org-acme"}, "1.25", "request:exact"),
        ("gcp.gemini", "gemini-2.5-flash", {}, "0.25", "override:committed flash,request:exact"),
        ("gcp.gemini", "models/gemini-2.5-flash", {"usage": Usage(10**6, 0, cache_read_tokens=10**6)}, "0.03",
         "override:committed flash,request:exact"),
        ("gcp.gemini", "gemini-2.5-flash", {"service_tier": "batch"}, "0.15", "request:exact"),
        ("anthropic", "claude-haiku-4-5", {"service_tier": "batch"}, "0.25", "override:night batch,request:exact"),
        ("anthropic", "claude-haiku-4-5", {"service_tier": "batch", "at": "2026-11-27T23:00"}, "0.5", "request:exact"),
        ("anthropic", "claude-haiku-4-5", {}, "1", "request:exact"),
        ("openai", "house-blend", {"project": "kitchen"}, "1", "override:unheard of"),
        ("openai", "house-blend", {"project": "cellar"}, None, None),
        ("unheard-of", "house-blend", {"project": "kitchen"}, "1", "override:unheard of"),
        ("ollama", "llama3.3:70b", {}, "0.1", "custom:llama-70b"),
        ("ollama", "llama3.3:70b", {"service_tier": "batch"}, "0.05", "custom:llama-70b"),
        ("ollama", "llama-70b", {"at": "2026-12-01T00:00"}, "0.2", "custom:llama-70b"),
        ("ollama", "llama3.2", {}, None, None),
        ("openai", "our-own-mini", {}, "0", "custom:gpt-4o-mini"),
        ("openai", "gpt-4o-mini", {}, "0.15", "request:exact"),
        ("openai", "our-own-mini", {"response_model": "gpt-4o-mini-2024-07-18"}, "0", "custom:gpt-4o-mini"),
        ("azure.ai.openai", "my-prod-gpt4o", {}, "2.5", "deployment:exact"),
        ("azure.ai.openai", "something", {"deployment": "My-Prod-GPT4o"}, "2.5", "deployment:exact"),
        ("azure.ai.openai", "my-prod-gpt4o", {"response_model": "gpt-4o-mini-2024-07-18"}, "0.15", "response:rule"),
        ("aws.bedrock", "arn:aws:bedrock:us-east-1:1:application-inference-profile/abc123xyz", {}, "1.1",
         "deployment:rule"),
    ],
)  # fmt: skip
def test_the_highest_layer_that_says_something_decides(
    layered: PriceBook, provider: str, model: str, changes: dict[str, Any], expected: str | None, match: str | None
) -> None:
    found = priced(layered, provider, model, **changes)
    assert (usd(found), found.match) == (expected, match)


def test_a_model_of_one_s_own_at_no_price_is_free(layered: PriceBook) -> None:
    assert priced(layered, "openai", "our-own-mini").status == "free"


def test_a_cache_that_costs_more_to_read_and_less_to_write_neither_saves_nor_adds(book: PriceBook) -> None:
    rates = {"input_mtok": "2", "output_mtok": "5", "cache_read_mtok": "3", "cache_write_mtok": "1"}
    odd = {"name": "odd", "provider": "openai", "match": ["odd"], "prices": [{"prices": rates}], "variants": []}
    usage = Usage(10, 1, cache_read_tokens=4, cache_write_tokens=5)
    found = priced(book.with_layers({"models": [odd]}), "openai", "odd", usage=usage)
    assert found.split == tuple(count * 10**6 for count in (2, 12, 5, 5, 0, 0, 0))


def test_the_book_s_id_covers_its_layers_and_no_layers_leave_it_as_it_was(book: PriceBook, layered: PriceBook) -> None:
    assert layered.book_id != book.book_id
    assert book.with_layers({}).book_id == layered.with_layers({}).book_id == book.book_id
    assert len(list(layered.models())) == len(list(book.models())) + 2


def test_prices_in_a_file_are_exact(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text('[[override]]\nname = "x"\nprices = { input_mtok = 0.100000000000000005, output_mtok = 1e-3 }\n')
    (override,) = price_file.read(str(path))["overrides"]
    assert override["prices"] == {"input_mtok": "0.100000000000000005", "output_mtok": "0.001"}


def test_every_problem_of_a_file_is_told_at_once(tmp_path: Path) -> None:
    path = tmp_path / "prices.toml"
    path.write_text(
        """
surprise = 1
[[override]]
provider = 3
multiplier = -1
from = "2026-01-01"
hours = "25:00-26:00"
weekdays = ["someday", ["sat"]]
colour = "blue"
[[override]]
name = "twice"
[[override]]
name = "twice"
multiplier = true
until = 2026-01-01
from = 2026-01-02
[[model]]
name = "m"
match = "m*"
prices = { input_tokens = 1, output_mtok = { base = 1, tiers = 5 }, input_mtok = { base = 1, tiers = [[3, 1], [2, 1]]} }
change = [{ prices = {} }]
tiers = 3
[[deployment]]
name = "d"
"""
    )
    with pytest.raises(ConfigError) as caught:
        price_file.read(str(path))
    said = "\n".join(caught.value.problems)
    for part in (
        "surprise is not one of", "name is missing", "provider must be a text", "multiplier must be a number of 0",
        "from must be a date", "hours must be such as", "weekdays must be a list", "unknown key colour",
        "give either multiplier or prices", "twice stands there more than once", "not True",
        "until must be later than from", "[[model]] 1 (m): provider is missing", "match must be a list",
        "unknown price key input_tokens", "output_mtok must be such as", "must be whole and ascend",
        "change: say when it holds", "change.prices must be a table", "tiers must be a table", "model is missing",
    ):  # fmt: skip
        assert part in said, part


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (None, "No such file"),
        ("= 1", "not TOML"),
        (b"\xff", "not TOML"),
        (f"a = 1{'0' * 5000}", "not TOML"),
        (f"a = {'[' * 5000}", "not TOML"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, content: Any, said: str) -> None:
    path = tmp_path / "prices.toml"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ConfigError, match=said):
        price_file.read(str(path))
