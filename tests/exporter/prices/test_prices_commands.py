"""`spanledger prices` as a person types it, and an exporter that takes a new price book over while it runs."""

import json
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from spanledger_exporter.prices.price_book import PriceBook
from tests.exporter import otlp_requests
from tests.exporter.test_commands import ran, run
from tests.servers.exporter import Exporter, entries
from tests.servers.process import poll


def other_list(book: PriceBook, *, usd: str) -> dict[str, Any]:
    """Return the book with another price of GPT-4o mini."""
    document = json.loads(book.content)
    document["source"] = "another list"
    openai = next(provider for provider in document["providers"] if provider["id"] == "openai")
    model = next(model for model in openai["models"] if model["id"] == "gpt-4o-mini")
    model["prices"][0]["prices"]["input_mtok"] = usd
    return document


@pytest.fixture
def cheaper(tmp_path: Path, book: PriceBook) -> str:
    path = tmp_path / "cheaper.json"
    path.write_text(json.dumps(other_list(book, usd="0.1")))
    return str(path)


def test_prices_are_listed_and_shown(sqlite_url: str, book: PriceBook) -> None:
    listed = run("prices", "list", "--ledger", sqlite_url, "--provider", "gcp.*", "--json")
    assert (listed.returncode, "the packaged price book is taken" in listed.stderr) == (0, True)
    assert json.loads(listed.stdout)["models"] == []
    google = json.loads(run("prices", "list", "--ledger", sqlite_url, "--provider", "google", "--json").stdout)
    assert google["price_book"]["id"] == book.book_id
    assert {model["provider"] for model in google["models"]} == {"google"}
    assert "gemini-2.5-pro" in run("prices", "list", "--ledger", sqlite_url, "--provider", "google").stdout
    asked = ("prices", "show", "deepseek-v4-pro", "--provider", "deepseek", "--ledger", sqlite_url, "--json", "--at")
    peak = json.loads(run(*asked, "2026-11-27T02:00Z").stdout)
    assert (peak["model"], peak["rates"]["input_mtok"]["usd_per_unit"]) == ("deepseek/deepseek-v4-pro", "0.00000132")
    assert (peak["from"], peak["until"]) == ("2026-11-27T01:00:00Z", "2026-11-27T04:00:00Z")
    unknown = run("prices", "show", "gpt-99", "--provider", "openai", "--ledger", sqlite_url)
    assert (unknown.returncode, "no price: unknown_model" in unknown.stdout) == (1, True)
    nobodys = run("prices", "show", "gpt-5-mini", "--ledger", sqlite_url)
    assert (nobodys.returncode, "such as openai/gpt-5-mini" in nobodys.stderr) == (1, True)
    batch = run("prices", "show", "anthropic/claude-haiku-4-5", "--tier", "batch", "--ledger", sqlite_url)
    assert "tier processing=batch" in batch.stdout


def test_a_list_is_imported_compared_and_taken_back(ledger_url: str, cheaper: str, book: PriceBook) -> None:
    dry = json.loads(ran("prices", "import", cheaper, "--ledger", ledger_url, "--dry-run", "--json"))
    assert [change["after"] for change in dry["difference"]["changed"]] == ["0.1"]
    assert ran("prices", "books", "--ledger", ledger_url, "--json") == ""
    ran("prices", "import", cheaper, "--ledger", ledger_url)
    ran("prices", "update", "--from", "packaged", "--ledger", ledger_url)
    books = [json.loads(line) for line in ran("prices", "books", "--ledger", ledger_url, "--json").splitlines()]
    assert [(each["source"], each["active"]) for each in books] == [(book.source, True), ("another list", False)]
    assert "another list" in ran("prices", "books", "--ledger", ledger_url)
    compared = ran("prices", "diff", books[1]["book_id"][:8], "active", "--ledger", ledger_url)
    assert "openai/gpt-4o-mini" in compared
    assert ran("prices", "diff", cheaper, cheaper) == "no difference\n"


def test_a_list_that_loses_prices_is_refused_unless_that_is_wanted(
    sqlite_url: str, tmp_path: Path, book: PriceBook
) -> None:
    document = other_list(book, usd="0.15")
    document["providers"] = [provider for provider in document["providers"] if provider["id"] != "anthropic"]
    path = tmp_path / "smaller.json"
    path.write_text(json.dumps(document))
    refused = run("prices", "import", str(path), "--ledger", sqlite_url)
    assert (refused.returncode, "nothing was changed" in refused.stderr) == (1, True)
    assert ran("prices", "books", "--ledger", sqlite_url, "--json") == ""
    ran("prices", "import", str(path), "--ledger", sqlite_url, "--allow-shrink")
    assert run("prices", "show", "claude-haiku-4-5", "--provider", "anthropic", "--ledger", sqlite_url).returncode == 1


def test_a_running_exporter_takes_over_a_new_list_and_a_changed_file(
    sqlite_url: str, tmp_path: Path, cheaper: str, book: PriceBook
) -> None:
    """And keeps what it has while the file is broken."""
    prices = tmp_path / "prices.toml"
    prices.write_text("")
    environ = {"SPANLEDGER_PRICES_FILE": str(prices), "SPANLEDGER_PRICES_POLL_S": "1"}
    exporter = Exporter(sqlite_url, tmp_path, environ=environ)

    def cost_of_a_new_call() -> tuple[int, str]:
        body = otlp_requests.body(otlp_requests.span(otlp_requests.CHAT | {"gen_ai.response.id": ""}))
        headers = {"content-type": "application/x-protobuf"}
        sent = urllib.request.Request(f"http://{exporter.http}/v1/traces", body, headers)
        with urllib.request.urlopen(sent, timeout=60):
            newest = max(entries(sqlite_url), key=lambda entry: entry["entry_id"])
        return newest["cost_pusd"], newest["price_match"]

    def costs(pusd: int, match: str) -> None:
        poll(lambda: cost_of_a_new_call() == (pusd, match), what=f"a call that costs {pusd}")

    try:
        costs(otlp_requests.CHAT_PUSD, "response:rule")
        ran("prices", "import", cheaper, "--ledger", sqlite_url)
        costs(otlp_requests.CHAT_PUSD - 60 * 50_000, "response:rule")
        prices.write_text("[[override]]\nname = 3\n")
        poll(lambda: "the prices stay as they were" in exporter.server.log_text(), what="a word about the broken file")
        costs(otlp_requests.CHAT_PUSD - 60 * 50_000, "response:rule")
        prices.write_text('[[override]]\nname = "half"\nmultiplier = 0.5\n')
        costs((otlp_requests.CHAT_PUSD - 60 * 50_000) // 2, "override:half,response:rule")
    finally:
        exporter.server.stop()
