"""Price books of other origins, kept in the ledger, compared, and taken over while the exporter runs."""

import json
import os
import tomllib
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from spanledger_exporter.errors import ConfigError, LedgerError, RejectedError, UnavailableError
from spanledger_exporter.ledger.database import Database
from spanledger_exporter.prices.book_difference import difference
from spanledger_exporter.prices.book_import import book_from
from spanledger_exporter.prices.book_shelf import BookShelf
from spanledger_exporter.prices.current_prices import CurrentPrices
from spanledger_exporter.prices.genai_prices_book import packaged_book_apart
from spanledger_exporter.prices.price_book import PriceBook, Quote

AT = datetime(2026, 11, 27, 12, tzinfo=UTC)


def small(**prices: str) -> dict[str, Any]:
    model = {"id": "one", "match": {"equals": "one"}, "prices": [{"prices": prices}], "variants": []}
    return {"source": "small", "providers": [{"id": "acme", "fallbacks": [], "models": [model]}]}


def written(path: Path, document: Any) -> str:
    path.write_text(json.dumps(document))
    return str(path)


def usd_per_mtok(book: PriceBook, provider: str, model: str, key: str, *context: tuple[str, str]) -> list[Any]:
    found = book.quote(provider, (("request", model),), context, AT)
    assert isinstance(found, Quote), found
    rate = found.rates[key]
    return [rate.base / 10**6, *((start, step / 10**6) for start, step in rate.steps)]


def test_the_packaged_book_is_the_same_from_a_process_of_its_own(book: PriceBook) -> None:
    assert packaged_book_apart().book_id == book.book_id


def test_our_own_book_is_read_back_as_it_was(tmp_path: Path, book: PriceBook) -> None:
    path = tmp_path / "book.json"
    path.write_bytes(book.content)
    assert book_from(str(path)).book_id == book_from("packaged").book_id == book.book_id


def test_genai_prices_published_data_is_read(tmp_path: Path) -> None:
    """Its shape is that of prices/new_data/v2/data.json: what UpdatePrices fetches."""
    raw = [{
        "id": "acme", "name": "Acme", "api_pattern": "https://acme", "models": [
            {"id": "one", "match": {"or": [{"equals": "one"}, {"starts_with": "one-"}]},
             "prices": [{"prices": {"input_mtok": 1}},
                        {"constraint": {"start_date": "2026-01-01"}, "prices": {"input_mtok": 2.5}}],
             "price_variants": [{"when": {"processing": "batch"}, "prices": {"input_mtok": 1.25}}]},
            {"id": "two", "match": {"equals": "two"},
             "prices": {"input_mtok": {"base": 1, "tiers": [{"start": 200000, "price": 2}]}, "output_mtok": 3}},
        ],
    }]  # fmt: skip
    found = book_from(written(tmp_path / "data.json", raw))
    assert usd_per_mtok(found, "acme", "one-2026-01-01", "input_mtok") == [2.5]
    assert usd_per_mtok(found, "acme", "one", "input_mtok", ("processing", "batch")) == [1.25]
    assert usd_per_mtok(found, "acme", "two", "input_mtok") == [1, (200_000, 2)]


LITELLM: dict[str, Any] = {
    "sample_spec": {"input_cost_per_token": 0.0, "litellm_provider": "one of ..."},
    "gemini/gemini-2.5-pro": {
        "litellm_provider": "gemini", "mode": "chat", "input_cost_per_token": 1.25e-06,
        "input_cost_per_token_above_200k_tokens": 2.5e-06, "cache_read_input_token_cost": 1.25e-07,
        "input_cost_per_token_batches": 6.25e-07, "input_cost_per_token_above_200k_tokens_batches": 1.25e-06,
        "input_cost_per_token_flex": 6.25e-07,
        "search_context_cost_per_query": {"low": 0.035, "medium": 0.035, "high": 0.035},
    },
    "claude-haiku-4-5": {
        "litellm_provider": "anthropic", "mode": "chat", "input_cost_per_token": 1e-06, "output_cost_per_token": 5e-06,
        "cache_creation_input_token_cost": 1.25e-06, "cache_creation_input_token_cost_above_1hr": 2e-06,
    },
    "deepseek/deepseek-v4-pro": {
        "litellm_provider": "deepseek", "mode": "chat", "input_cost_per_token": 1.32e-06,
        "off_peak_pricing": {"input_cost_per_token": 6.6e-07, "windows": [
            {"hours_utc": ["00:00-01:00", "10:00-00:00"], "weekdays": [1, 2, 3, 4, 5]},
            {"hours_utc": "00:00-00:00", "weekdays": [6, 7]},
        ]},
    },
    "dashscope/qwen-flash": {"litellm_provider": "dashscope", "mode": "chat", "tiered_pricing": [
        {"input_cost_per_token": 5e-08, "range": [0, 256000.0]},
        {"input_cost_per_token": 2.5e-07, "range": [256000.0, 1000000.0]},
    ]},
    "groq/whisper-large-v3": {"litellm_provider": "groq", "mode": "audio_transcription",
                              "input_cost_per_second": 3.083e-05, "output_cost_per_second": 0.0},
    "bedrock/us-east-1/anthropic.claude-v1": {"litellm_provider": "bedrock", "input_cost_per_token": 8e-06},
    "gpt-99": {"litellm_provider": "openai", "mode": "chat", "input_cost_per_token": 0.0, "output_cost_per_token": 0.0},
}  # fmt: skip


def test_litellm_s_prices_are_read_and_its_zeros_are_not_believed(tmp_path: Path) -> None:
    """The entries are LiteLLM 1.110.2's, shortened."""
    found = book_from(written(tmp_path / "prices.json", LITELLM))
    assert usd_per_mtok(found, "gcp.gemini", "gemini-2.5-pro", "input_mtok") == [1.25, (200_000, 2.5)]
    assert usd_per_mtok(found, "gcp.gemini", "gemini-2.5-pro", "input_mtok", ("processing", "batch")) == [
        0.625, (200_000, 1.25)
    ]  # fmt: skip
    flex = found.quote("gcp.gemini", (("request", "gemini-2.5-pro"),), (("service_tier", "flex"),), AT)
    assert not isinstance(flex, Quote), "its price of a long prompt at that tier is not said"
    assert usd_per_mtok(found, "gcp.gemini", "gemini-2.5-pro", "web_searches_kcount") == [35 * 10**3]
    assert usd_per_mtok(found, "anthropic", "claude-haiku-4-5", "cache_write_1h_mtok") == [2]
    assert usd_per_mtok(found, "dashscope", "qwen-flash", "input_mtok") == [0.05, (256_000, 0.25)]
    whisper = found.quote("groq", (("request", "whisper-large-v3"),), (), AT)
    assert isinstance(whisper, Quote)
    assert round(whisper.rates["input_audio_hours"].base * 3_600_000) == 110_988_000_000
    zero = found.quote("openai", (("request", "gpt-99"),), (), AT)
    assert not isinstance(zero, Quote)
    assert zero.reason == "no_price"
    assert {provider for provider, _ in found.models()} == {
        "google",
        "anthropic",
        "deepseek",
        "dashscope",
        "groq",
        "openai",
    }


@pytest.mark.parametrize(
    ("at", "usd"),
    [("2026-11-27T09:59", 1.32), ("2026-11-27T10:00", 0.66), ("2026-11-27T00:59", 0.66), ("2026-11-28T09:59", 0.66)],
)
def test_litellm_s_off_peak_windows_are_kept(tmp_path: Path, at: str, usd: float) -> None:
    found = book_from(written(tmp_path / "prices.json", LITELLM))
    moment = datetime.fromisoformat(at).replace(tzinfo=UTC)
    quote = found.quote("deepseek", (("request", "deepseek-v4-pro"),), (), moment)
    assert isinstance(quote, Quote)
    assert quote.rates["input_mtok"].base == usd * 10**6


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "is no JSON"),
        ("{}", "is neither our price book"),
        ("[1]", "no data of genai-prices"),
        ('{"source": "x", "providers": []}', "it has no models"),
        ('{"source": "x", "providers": [{"id": "a", "fallbacks": [], "models": [{"id": "m"}]}]}', "a/m: KeyError"),
        (json.dumps(small(input_mtok="-1")), "acme/one: a price is below 0"),
        (json.dumps(small(input_mtok="much")), "acme/one: ValueError"),
        ('{"m": {"litellm_provider": "openai", "tiered_pricing": [{"range": 3}]}}', "is no price book: TypeError"),
        ('{"m": {"litellm_provider": "openai", "tiered_pricing": 3}}', "is no price book: TypeError"),
        ("[" * 100_000, "is no JSON"),
    ],
)
def test_what_is_no_price_book_is_refused(tmp_path: Path, content: str, said: str) -> None:
    path = tmp_path / "book.json"
    path.write_text(content)
    with pytest.raises(RejectedError, match=said):
        book_from(str(path))


@pytest.fixture
def url() -> Iterator[str]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/book.json" else 404)
            self.end_headers()
            self.wfile.write(json.dumps(small(input_mtok="1")).encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 -- http.server's
            return

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_book_is_fetched(url: str) -> None:
    assert book_from(f"{url}/book.json").source == "small"
    with pytest.raises(UnavailableError, match="404"):
        book_from(f"{url}/other.json")


def test_only_files_and_http_are_read(tmp_path: Path) -> None:
    for origin, said in (("ftp://example/x", "neither a file nor"), (str(tmp_path / "missing"), "No such file")):
        with pytest.raises(RejectedError, match=said):
            book_from(origin)


def test_the_difference_names_what_is_new_gone_and_dearer() -> None:
    before, after = small(input_mtok="1", output_mtok="2"), small(input_mtok="1.5")
    after["providers"][0]["models"].append({**after["providers"][0]["models"][0], "id": "two"})
    found = difference(PriceBook(before), PriceBook(after))
    assert (found.added, found.removed, found.lost) == (["acme/two"], [], ["acme/one output_mtok"])
    assert [tuple(change) for change in found.changed] == [
        ("acme/one", "input_mtok", "1", "1.5"),
        ("acme/one", "output_mtok", "2", None),
    ]
    assert difference(PriceBook(after), PriceBook(before)).lost == ["acme/two"]
    assert difference(PriceBook(before), PriceBook(before)) == ([], [], [])


def test_the_book_that_was_activated_last_prices_calls(database: Database) -> None:
    times = iter(range(1, 9))
    shelf = BookShelf(database, clock_ns=lambda: next(times))
    assert shelf.active() is None
    one, two = PriceBook(small(input_mtok="1")), PriceBook(small(input_mtok="2"))
    for each in (one, two, one):
        shelf.activate(each)
    assert shelf.active_id() == one.book_id
    assert [(kept.book_id, kept.learnt_ns, kept.active) for kept in shelf.books()] == [
        (two.book_id, 2, False), (one.book_id, 1, True)
    ]  # fmt: skip
    assert shelf.book(two.book_id[:8]).book_id == two.book_id
    for prefix in ("", "0" * 64):
        with pytest.raises(LedgerError, match="no price book"):
            shelf.book(prefix)


def test_a_price_list_is_of_when_it_was_published_or_else_learnt_of(database: Database, tmp_path: Path) -> None:
    file = tmp_path / "prices.toml"
    file.write_text("")
    shelf = BookShelf(database, clock_ns=lambda: 7)
    packaged = PriceBook({**small(input_mtok="1"), "source": "unheard of 0.0.1"})
    prices = CurrentPrices(shelf, str(file), lambda: packaged, clock_ns=lambda: 5)
    prices.changed()
    assert prices.dated_ns == 5
    shelf.activate(PriceBook(small(input_mtok="2")))
    file.write_text('[[override]]\nname = "x"\nmultiplier = 0.5\n')  # one's own prices make it no newer
    prices.changed()
    assert prices.dated_ns == 7


def test_the_packaged_price_list_is_of_when_its_release_was_published(database: Database, book: PriceBook) -> None:
    locked = tomllib.loads((Path(__file__).parents[3] / "uv.lock").read_text())["package"]
    (package,) = (each for each in locked if each["name"] == "genai-prices")
    published = datetime.fromisoformat(str(package["sdist"]["upload-time"]))
    prices = CurrentPrices(BookShelf(database), "", lambda: book)
    prices.changed()
    assert prices.dated_ns == int(published.timestamp()) * 10**9


def test_without_a_file_the_folder_of_the_exporter_is_none(
    database: Database, book: PriceBook, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A ledger beside it changes that folder all the time, and each change would read all prices again."""
    monkeypatch.chdir(tmp_path)
    prices = CurrentPrices(BookShelf(database), "", lambda: book)
    assert prices.changed() is not None
    (tmp_path / "ledger.db").touch()
    os.utime(tmp_path, ns=(1, 1))
    assert prices.changed() is None


def test_a_new_book_and_a_changed_file_are_noticed_and_a_broken_one_changes_nothing(
    database: Database, tmp_path: Path
) -> None:
    file = tmp_path / "prices.toml"
    file.write_text("")
    packaged = PriceBook(small(input_mtok="1"))
    shelf = BookShelf(database)
    prices = CurrentPrices(shelf, str(file), lambda: packaged)
    assert (found := prices.changed()) is not None
    assert found.book_id == packaged.book_id
    assert prices.changed() is None
    file.write_text("[[override]]")
    with pytest.raises(ConfigError, match="name is missing"):
        prices.changed()
    assert prices.changed() is None
    file.write_text('[[override]]\nname = "x"\nmultiplier = 0.5\n')
    assert (found := prices.changed()) is not None
    assert found.layers.overrides[0].name == "x"
    prices.again()
    assert prices.changed() is not None
    shelf.activate(PriceBook(small(input_mtok="2")))
    assert (found := prices.changed()) is not None
    assert usd_per_mtok(found, "acme", "one", "input_mtok") == [1]
