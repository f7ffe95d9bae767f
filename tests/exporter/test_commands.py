"""The command line as a person types it: what it prints, what it refuses, and with which status."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from spanledger_exporter.ledger.database import open_database
from spanledger_exporter.ledger.ledger import Ledger
from spanledger_exporter.prices.price_book import PriceBook
from spanledger_exporter.records import Usage
from tests.exporter.calls import priced
from tests.exporter.otlp_requests import END_NS
from tests.servers.exporter import SPANLEDGER, Exporter
from tests.servers.process import poll

DAY_NS = 86_400 * 10**9


def run(*arguments: str, environ: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SPANLEDGER, *arguments],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, **(environ or {})},
    )


def ran(*arguments: str) -> str:
    done = run(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.fixture
def filled(ledger_url: str, book: PriceBook) -> str:
    """A ledger of seven calls, on SQLite and on PostgreSQL."""
    database = open_database(ledger_url)
    ledger = Ledger(database, cells_max=100)
    ledger.keep_book(book)
    failed: dict[str, Any] = {
        "outcome": "error",
        "error_type": "rate_limit_exceeded",
        "usage": Usage(),
        "usage_status": "none",
    }
    ledger.append(
        [
            priced(book, response_id="chatcmpl-first"),
            priced(book, end_ns=END_NS + DAY_NS),
            priced(book, end_ns=END_NS + 2, service="search", span_id=bytes.fromhex("00000000000000aa")),
            priced(book, end_ns=END_NS + 3, response_model=None, request_model="mystery"),
            priced(book, end_ns=END_NS + 4, **failed),
            priced(book, end_ns=END_NS + 5, usage=Usage(), usage_status="unreported"),
            priced(
                book, end_ns=END_NS + 6, provider="anthropic", request_model=None, response_model="claude-haiku-4-5"
            ),
        ]
    )
    database.close()
    return ledger_url


def test_entries_prints_every_stored_field(filled: str) -> None:
    lines = [json.loads(line) for line in ran("entries", "--ledger", filled, "--json").splitlines()]
    assert len(lines) == 7
    assert [line["end"] for line in lines] == sorted((line["end"] for line in lines), reverse=True)
    from spanledger_exporter.ledger.schema import entries

    times = {"start_ns", "end_ns", "received_ns"}
    stored = {name.removesuffix("_ns") if name in times else name for name in (column.name for column in entries.c)}
    money = {f"{name.removesuffix('_pusd')}_usd" for name in stored if name.endswith("_pusd")}
    assert set(lines[0]) == stored | money


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        (["--service", "search"], 1),
        (["--model", "mystery"], 1),
        (["--model", "gpt-4o-mini"], 0),
        (["--model", "gpt-4o-mini*"], 5),
        (["--service", "sh*", "--outcome", "ok"], 5),
        (["--service", "%"], 0),
        (["--outcome", "error"], 1),
        (["--provider", "anthropic", "--outcome", "ok"], 1),
        (["--since", "2026-11-19"], 1),
        (["--until", "2026-11-18T11:06:41Z"], 6),
        (["--since", "2026-11-18T11:06:40Z", "--until", "2026-11-18T11:06:40Z"], 0),
        (["--limit", "2"], 2),
        (["--since", "0001-01-01", "--until", "9999-12-31"], 7),
        (["--since", "2026-11-18T11:06:40.000000Z", "--until", "2026-11-18T11:06:40.000001Z"], 6),
    ],
)
def test_entries_can_be_filtered(filled: str, filters: list[str], count: int) -> None:
    assert len(ran("entries", "--ledger", filled, "--json", *filters).splitlines()) == count


def test_entries_table_shows_whole_figures_and_says_what_is_unknown(filled: str) -> None:
    table = ran("entries", "--ledger", filled)
    assert "0.000024" in table
    assert "? unknown_model" in table
    assert "rate_limit_exceeded" in table
    assert ran("entries", "--ledger", filled, "--service", "nobody") == "no entries\n"


def test_report_sums_exactly(filled: str) -> None:
    report = json.loads(ran("report", "--ledger", filled, "--by", "service,day", "--json"))
    rows = {(row["service"], row["day"]): row for row in report["rows"]}
    assert rows["shop", "2026-11-19"]["cost_usd"] == rows["search", "2026-11-18"]["cost_usd"] == "0.000024"
    shop = rows["shop", "2026-11-18"]
    assert (shop["calls"], shop["errors"], shop["unpriced_calls"], shop["unreported_calls"]) == (5, 1, 2, 1)
    assert report["total"]["calls"] == 7
    assert report["total"]["input_tokens"] == 500
    by_model = {row["model"]: row for row in json.loads(ran("report", "--ledger", filled, "--json"))["rows"]}
    assert (by_model["mystery"]["cost_usd"], by_model["mystery"]["input_tokens"]) == (None, 100)
    table = ran("report", "--ledger", filled)
    assert re.search(r"mystery .* unknown +1 +0$", table, re.MULTILINE)
    assert re.search(r"total .* ≥ 0\.[0-9]+ +2 +1$", table, re.MULTILINE)
    assert table.splitlines()[0].split()[:3] == ["model", "calls", "errors"]
    assert table.splitlines()[-1].startswith("total")


def test_a_report_tells_errors_and_attempts_apart(filled: str) -> None:
    report = json.loads(ran("report", "--ledger", filled, "--by", "error_type,attempt", "--json"))
    assert {(row["error_type"], row["attempt"]): row["calls"] for row in report["rows"]} == {
        (None, "first"): 6,
        ("rate_limit_exceeded", "first"): 1,
    }
    table = ran("report", "--ledger", filled, "--by", "error_type")
    assert re.search(r"^- +6 ", table, re.MULTILINE)  # no error, where an unknown model would be a question mark


def test_reports_and_entries_agree(filled: str) -> None:
    entries = [json.loads(line) for line in ran("entries", "--ledger", filled, "--json").splitlines()]
    total = json.loads(ran("report", "--ledger", filled, "--json"))["total"]
    for name in ("input_tokens", "output_tokens", "cache_read_tokens"):
        assert total[name] == sum(entry[name] or 0 for entry in entries)


@pytest.mark.parametrize("name", ["00000000000000aa", "chatcmpl-first"])
def test_explain_names_every_factor_and_its_source(filled: str, book: PriceBook, name: str) -> None:
    explained = json.loads(ran("explain", name, "--ledger", filled, "--json"))
    factors = {line["unit"]: (line["quantity"], line["usd_per_unit"], line["usd"]) for line in explained["lines"]}
    assert factors == {
        "input_tokens": (60, "0.00000015", "0.000009"),
        "cache_read_tokens": (40, "0.000000075", "0.000003"),
        "output_tokens": (20, "0.0000006", "0.000012"),
    }
    assert explained["price_book"] == {"id": book.book_id, "source": book.source}
    assert explained["agrees"]
    text = ran("explain", str(explained["entry"]["entry_id"]), "--ledger", filled)
    assert "cost 0.000024 USD (priced)" in text
    assert book.book_id in text


def test_explain_shows_what_else_was_reported_and_the_provider_s_own_cost(ledger_url: str, book: PriceBook) -> None:
    database = open_database(ledger_url)
    ledger = Ledger(database, cells_max=100)
    ledger.keep_book(book)
    names = {"provider": "mistral_ai", "operation": "ocr", "request_model": "mistral-ocr-2505", "response_model": None}
    ledger.append([priced(book, **names, usage=Usage(pages=3), provider_cost_pusd=3_500_000_000)])
    database.close()
    text = ran("explain", "1", "--ledger", ledger_url)
    assert "cost 0.003 USD (priced)" in text
    assert "the provider itself says 0.0035 USD" in text
    assert "also reported: pages 3" in text
    explained = json.loads(ran("explain", "1", "--ledger", ledger_url, "--json"))
    assert explained["lines"] == [
        {"unit": "pages", "quantity": 3, "price_key": "input_document_kpages", "usd_per_unit": "0.001", "usd": "0.003"}
    ]
    assert explained["price"]["provider_cost_usd"] == "0.0035"


def test_explain_says_why_a_call_is_free(ledger_url: str, book: PriceBook) -> None:
    database = open_database(ledger_url)
    ledger = Ledger(database, cells_max=100)
    ledger.keep_book(book)
    ledger.append([priced(book, operation="moderation", usage=Usage(), usage_status="none")])
    database.close()
    assert "cost 0 USD (free: openai bills nothing for moderation)" in ran("explain", "1", "--ledger", ledger_url)


def test_explain_says_why_there_is_no_price(filled: str) -> None:
    (entry,) = (
        json.loads(line) for line in ran("entries", "--ledger", filled, "--json", "--model", "mystery").splitlines()
    )
    assert "the price book knows no model 'mystery' of openai" in ran(
        "explain", str(entry["entry_id"]), "--ledger", filled
    )


def test_explain_refuses_what_is_no_entry_or_several(filled: str) -> None:
    for name, said in (("999", "no entry '999'"), ("chatcmpl-1", "names several entries")):
        done = run("explain", name, "--ledger", filled)
        assert (done.returncode, done.stdout) == (2, "")
        assert said in done.stderr


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["report", "--by", "colour"], "unknown: colour; known are service"),
        (["entries", "--since", "yesterday-ish"], "is no time; write 2026-11-22"),
        (["entries", "--since", "999999w"], "is before the calendar begins"),
        (["entries", "--limit", "0"], "write a whole number from 1"),
        (["serve", "--grpc", "nowhere"], "--grpc: 'nowhere' is no address"),
        (["serve", "--ledger", "mysql://u@h/d"], "names 'mysql'"),
        (["report", "--ledger", "sqlite:////nowhere/x.db"], "there is no ledger at /nowhere/x.db"),
        (["serve", "--config", "/nowhere.toml"], "configuration file /nowhere.toml: No such file"),
        ([], "COMMAND"),
    ],
)
def test_what_is_wrong_is_said_with_what_is_allowed_and_status_2(arguments: list[str], said: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_all_configuration_problems_come_at_once() -> None:
    done = run("serve", "--grpc", "x", "--http", "y", environ={"SPANLEDGER_LOG_LEVEL": "loud"})
    assert done.returncode == 2
    assert len([line for line in done.stderr.splitlines() if line.startswith("spanledger: ")]) == 3


def test_serve_needs_no_configuration_and_says_where_the_ledger_is(tmp_path: Path) -> None:
    """Only the ports are given, so that tests can run beside each other."""
    environ = {"HOME": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data")}
    ports = [part for flag in ("--grpc", "--http", "--metrics") for part in (flag, "127.0.0.1:0")]
    process = subprocess.Popen(
        [SPANLEDGER, "serve", *ports], stdout=subprocess.PIPE, text=True, env={**os.environ, **environ}
    )
    assert process.stdout is not None
    with process, process.stdout:
        ready = process.stdout.readline()
        process.terminate()
        assert process.wait(timeout=60) == 0
    assert f"ledger=sqlite:///{tmp_path}/data/spanledger/ledger.db" in ready
    assert (tmp_path / "data/spanledger/ledger.db").exists()


def test_tail_prints_calls_as_they_arrive(sqlite_url: str, book: PriceBook, tmp_path: Path) -> None:
    database = open_database(sqlite_url)
    ledger = Ledger(database, cells_max=100)
    ledger.keep_book(book)
    ledger.append([priced(book, response_id="old")])
    printed = tmp_path / "printed"
    with printed.open("w") as out:
        tail = subprocess.Popen([SPANLEDGER, "tail", "--ledger", sqlite_url, "--json"], stdout=out)
        number = 0

        def new_calls_are_shown() -> bool:
            nonlocal number
            number += 1
            ledger.append([priced(book, response_id=f"new-{number}")])
            return len(printed.read_text().splitlines()) >= 2

        poll(new_calls_are_shown, what="two calls in the output of tail")
        tail.terminate()
        tail.wait(timeout=60)
    database.close()
    shown = [json.loads(line)["response_id"] for line in printed.read_text().splitlines()]
    assert "old" not in shown
    assert shown == sorted(set(shown), key=lambda name: int(name.removeprefix("new-")))


def test_a_reader_that_goes_away_is_no_error(filled: str) -> None:
    done = subprocess.run(
        f"'{SPANLEDGER}' entries --ledger '{filled}' --json | head -n 1",
        shell=True,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    assert len(done.stdout.splitlines()) == 1


def test_the_ledger_is_read_while_the_exporter_runs(sqlite_url: str, tmp_path: Path) -> None:
    exporter = Exporter(sqlite_url, tmp_path)
    try:
        assert ran("entries", "--ledger", sqlite_url) == "no entries\n"
    finally:
        exporter.server.stop()


def test_without_the_exporter_s_packages_the_command_says_what_to_install() -> None:
    hidden = "import sys; sys.modules['sqlalchemy'] = None"
    code = f"{hidden}; from spanledger_exporter.cli import main; sys.exit(main(['report']))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert "pip install 'spanledger[exporter]'" in done.stderr
    assert "Traceback" not in done.stderr


# -- the ledger's own commands -------------------------------------------------------------------------------


def test_a_ledger_is_checked_and_repaired(filled: str) -> None:
    assert ran("ledger", "check", "--ledger", filled) == "nothing is wrong\n"
    assert ran("ledger", "check", "--ledger", filled, "--json") == ""
    database = open_database(filled)
    with database.write() as connection:
        for table in ("rollup_hours", "rollup_totals"):
            connection.execute(text(f"UPDATE {table} SET calls = calls + 1 WHERE cell_id = 1"))
    database.close()
    wrong = run("ledger", "check", "--ledger", filled, "--json")
    assert wrong.returncode == 1
    findings = [json.loads(line) for line in wrong.stdout.splitlines()]
    assert {finding["kind"] for finding in findings} == {"sums_of_an_hour", "sums_in_all"}
    repaired = run("ledger", "check", "--ledger", filled, "--repair")
    assert (repaired.returncode, len(repaired.stdout.splitlines())) == (0, len(findings))
    assert f"{len(findings)} sums were made those of the entries" in repaired.stderr
    assert ran("ledger", "check", "--ledger", filled) == "nothing is wrong\n"


def test_expired_entries_are_counted_and_then_deleted(filled: str) -> None:
    day = f"{datetime.fromtimestamp((END_NS + DAY_NS) // 10**9, tz=UTC):%Y-%m-%d}"
    would = ran("ledger", "expire", "--before", day, "--dry-run", "--ledger", filled)
    assert would.startswith("6 entries, 0 reports and 0 adjustments would be deleted")
    assert would.endswith(f"what ends before {day}T00:00:00Z would be refused\n")
    assert len(ran("entries", "--ledger", filled, "--json").splitlines()) == 7
    report = ran("report", "--ledger", filled, "--json")
    done = ran("ledger", "expire", "--before", day, "--ledger", filled)
    assert done.startswith("6 entries, 0 reports and 0 adjustments were deleted")
    assert done.endswith(f"what ends before {day}T00:00:00Z is refused\n")
    assert len(ran("entries", "--ledger", filled, "--json").splitlines()) == 1
    assert ran("report", "--ledger", filled, "--json") == report


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["ledger", "expire"], "entries are kept for ever: set ledger.retention_days, or say --before TIME"),
        (["ledger", "expire", "--before", "2999-01-01"], "--before lies in the future"),
        (["ledger", "backup", "/nowhere/ledger.db"], ""),
        (["ledger", "grant", "nobody-here"], ""),
    ],
)
def test_what_cannot_be_done_to_a_ledger_is_said(filled: str, arguments: list[str], said: str) -> None:
    done = run(*arguments, "--ledger", filled)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert done.stderr.startswith("spanledger: ")


def test_a_missing_ledger_is_not_made_by_looking_after_it(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/nope.db"
    for arguments in (["check"], ["check", "--repair"], ["expire", "--before", "7d"], ["backup", "x"], ["grant", "x"]):
        assert run("ledger", *arguments, "--ledger", url).returncode == 2
    assert list(tmp_path.iterdir()) == []


def test_a_backup_can_be_read(filled: str, tmp_path: Path) -> None:
    if not filled.startswith("sqlite"):
        assert "pg_dump" in run("ledger", "backup", str(tmp_path / "copy.db"), "--ledger", filled).stderr
        return
    assert ran("ledger", "backup", str(tmp_path / "copy.db"), "--ledger", filled).endswith(" bytes\n")
    copy = f"sqlite:///{tmp_path}/copy.db"
    assert ran("report", "--ledger", copy, "--json") == ran("report", "--ledger", filled, "--json")
    assert ran("ledger", "check", "--ledger", copy) == "nothing is wrong\n"
