"""What could not become an entry is kept, bounded, without content, and can be sent through again."""

import json
from collections.abc import Sequence
from concurrent.futures import Future
from contextlib import closing
from typing import Any

import pytest
from prometheus_client import CollectorRegistry
from sqlalchemy import select, text

from spanledger_exporter.cli import main
from spanledger_exporter.dialects import RESOURCE_ATTRIBUTES
from spanledger_exporter.errors import UnavailableError
from spanledger_exporter.ledger.database import Database, open_database
from spanledger_exporter.ledger.ledger import Appended, Ledger
from spanledger_exporter.ledger.schema import entries
from spanledger_exporter.metrics.metrics import IngestMetrics, LedgerMetrics
from spanledger_exporter.prices.price_book import PriceBook
from spanledger_exporter.receiving import dead_letters, otlp
from spanledger_exporter.receiving.committer import Committed, Committer, SetAside
from spanledger_exporter.receiving.dead_letters import DeadLetter, Sender, bounded, insert, malformed, read
from spanledger_exporter.receiving.otlp import Rejected
from spanledger_exporter.receiving.pipeline import Pipeline
from spanledger_exporter.records import PricedRecord
from tests.exporter.calls import priced
from tests.exporter.otlp_requests import CHAT, body, span

SENDER = Sender("grpc", "acme")


def broken_span() -> Any:
    broken = span({**CHAT, "gen_ai.prompt": "a secret"})
    broken.trace_id = b"short"
    return broken


def rows(database: Database) -> list[dict[str, Any]]:
    with database.read() as connection:
        return [dict(row) for row in read(connection)]


def problems(sent: bytes) -> list[Rejected]:
    return otlp.decode(sent, RESOURCE_ATTRIBUTES).problems


def some(number: int) -> DeadLetter:
    return DeadLetter(SENDER, "malformed_span", f"letter {number}", 1, number.to_bytes(32), 10, None)


def test_a_malformed_span_is_kept_in_the_transaction_of_its_batch(
    ledger: Ledger, database: Database, book: PriceBook
) -> None:
    (letter,) = malformed(problems(body(span(), broken_span())), SENDER)
    appended = ledger.append([priced(book)], [letter])
    assert (len(appended.new), appended.letters, appended.letters_dropped) == (1, [letter], 0)
    (row,) = rows(database)
    assert (row["transport"], row["tenant"], row["reason"], row["spans"]) == ("grpc", "acme", "malformed_span", 1)
    assert row["detail"].startswith("trace_id must be 16 bytes")
    assert b"gpt-4o-mini" in row["body"]
    assert b"a secret" not in row["body"]


def test_a_letter_that_cannot_be_written_takes_its_batch_back(
    ledger: Ledger, database: Database, book: PriceBook
) -> None:
    with database.write() as connection:
        connection.execute(text("ALTER TABLE dead_letters RENAME TO gone"))
    with pytest.raises(Exception, match="dead_letters"):
        ledger.append([priced(book)], [some(1)])
    with database.read() as connection:
        assert connection.execute(select(entries)).all() == []


def test_the_same_bytes_again_are_another_attempt(database: Database) -> None:
    for _ in range(3):
        with database.write() as connection:
            insert(connection, [some(1), some(2), some(1)], received_ns=5)
    assert [(row["detail"], row["attempts"]) for row in rows(database)] == [("letter 1", 6), ("letter 2", 3)]


def test_the_oldest_letters_give_way_and_are_counted(database: Database) -> None:
    with database.write() as connection:
        assert insert(connection, [some(number) for number in range(5)], received_ns=5, rows_max=5) == 0
        assert insert(connection, [some(number) for number in range(5, 8)], received_ns=6, rows_max=5) == 3
    assert [row["detail"] for row in rows(database)] == [f"letter {number}" for number in range(3, 8)]


def test_a_text_that_no_database_takes_is_mended(database: Database) -> None:
    with database.write() as connection:
        insert(connection, [some(1)._replace(detail="a\x00b\ud800" + "x" * 10_000)], received_ns=5)
    assert rows(database)[0]["detail"] == "ab?" + "x" * 497


def test_a_request_of_bad_spans_makes_a_bounded_number_of_letters() -> None:
    letters = bounded(some(number) for number in range(1000))
    assert len(letters) == dead_letters.LETTERS_MAX + 1
    assert sum(letter.spans for letter in letters) == 1000
    assert sum(letter.size for letter in letters) == 10_000


class Committing:
    """A pipeline over a real ledger, and what its metrics say."""

    def __init__(self, ledger: Ledger, book: PriceBook, *, tries_max: int) -> None:
        self.registry = CollectorRegistry()
        spend = LedgerMetrics(self.registry, {}, lambda: 0)
        self.committer = Committer(ledger, rows_max=100, on_commit=spend.committed)
        self.pipeline = Pipeline(
            self.submit, book, IngestMetrics(self.registry), in_flight_bytes_max=10**9, poison_tries_max=tries_max
        )
        self.unknown_book = False

    def submit(
        self, records: Sequence[PricedRecord], letters: Sequence[DeadLetter], set_aside: SetAside | None
    ) -> Future[Committed]:
        """Submit; what is asked for as poison names a price book that the ledger does not keep, a defect of ours."""
        sick = [
            each._replace(book_id="unknown") if each.record.profile.service_tier == "poison" else each
            for each in records
        ]
        return self.committer.submit(sick, letters, set_aside)


@pytest.fixture
def committing(ledger: Ledger, book: PriceBook) -> Committing:
    return Committing(ledger, book, tries_max=3)


POISON = {**CHAT, "openai.response.service_tier": "poison", "gen_ai.prompt": "a secret"}


def test_poison_is_set_aside_after_some_tries_and_its_neighbours_are_kept(
    committing: Committing, database: Database
) -> None:
    sent = body(*(span() for _ in range(5)), span(POISON), *(span() for _ in range(5)), span(POISON))
    for _ in range(2):
        with pytest.raises(UnavailableError, match=r"try \d: KeyError"):
            committing.pipeline.accept(sent, SENDER).result(timeout=60)
    assert rows(database) == []
    receipt = committing.pipeline.accept(sent, SENDER).result(timeout=60)
    committing.committer.close(60)
    assert (receipt.accepted, receipt.duplicates, receipt.rejected) == (10, 0, 2)
    assert [(row["reason"], row["detail"], row["attempts"]) for row in rows(database)] == [
        ("poison", "KeyError", 3)
    ] * 2
    assert all(b"a secret" not in row["body"] for row in rows(database))
    assert committing.registry.get_sample_value("spanledger_dead_letters_total", {"reason": "poison"}) == 2
    assert committing.pipeline.in_flight_bytes == 0


def test_trouble_that_may_pass_is_never_taken_for_poison(committing: Committing, database: Database) -> None:
    with database.write() as connection:
        connection.execute(text("ALTER TABLE ledger_state RENAME TO gone"))
    sent = body(span())
    for _ in range(5):
        with pytest.raises(UnavailableError):
            committing.pipeline.accept(sent, SENDER).result(timeout=60)
    with database.write() as connection:
        connection.execute(text("ALTER TABLE gone RENAME TO ledger_state"))
    assert committing.pipeline.accept(sent, SENDER).result(timeout=60).accepted == 1
    committing.committer.close(60)
    assert rows(database) == []


def test_a_span_that_a_stage_cannot_take_is_set_aside_after_some_tries(
    committing: Committing, database: Database, book: PriceBook
) -> None:
    """A price book that breaks for one call stands for any mistake of ours in a pure stage."""
    breaking = Pipeline(
        committing.committer.submit,
        _Breaking(book),
        IngestMetrics(CollectorRegistry()),
        in_flight_bytes_max=10**9,
        poison_tries_max=2,
    )
    sent = body(span(), span({**CHAT, "gen_ai.response.model": "breaks"}), span())
    with pytest.raises(UnavailableError, match="try 1: ZeroDivisionError"):
        breaking.accept(sent)
    receipt = breaking.accept(sent).result(timeout=60)
    committing.committer.close(60)
    assert (receipt.accepted, receipt.rejected) == (2, 1)
    assert [(row["reason"], row["detail"]) for row in rows(database)] == [("poison", "ZeroDivisionError")]


class _Breaking:
    """A price book that fails whenever it is asked about the model `breaks`."""

    def __init__(self, book: PriceBook) -> None:
        self._book = book

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._book, name)

        def asked(*words: Any, **more: Any) -> Any:
            if "breaks" in repr((words, more)):
                raise ZeroDivisionError
            return found(*words, **more)

        return asked if callable(found) else found


def test_what_the_ledger_refuses_is_set_aside_and_the_rest_is_kept(committing: Committing, database: Database) -> None:
    """A span of before 2020 was made by a clock that is wrong."""
    receipt = committing.pipeline.accept(body(span(), span(end_ns=10**18)), SENDER).result(timeout=60)
    committing.committer.close(60)
    assert (receipt.accepted, receipt.duplicates, receipt.rejected) == (1, 0, 1)
    assert "before 2020" in receipt.message
    (row,) = rows(database)
    assert (row["reason"], row["transport"], row["attempts"]) == ("too_old", "grpc", 1)
    assert row["body"]


def test_what_the_ledger_refuses_beside_poison_is_set_aside_too(committing: Committing, database: Database) -> None:
    sent = body(span(), span(end_ns=10**18), span(POISON))
    for _ in range(2):
        with pytest.raises(UnavailableError, match=r"try \d: KeyError"):
            committing.pipeline.accept(sent, SENDER).result(timeout=60)
    receipt = committing.pipeline.accept(sent, SENDER).result(timeout=60)
    committing.committer.close(60)
    assert (receipt.accepted, receipt.duplicates, receipt.rejected) == (1, 0, 2)
    assert sorted(row["reason"] for row in rows(database)) == ["poison", "too_old"]
    assert committing.pipeline.in_flight_bytes == 0


# -- the commands -----------------------------------------------------------------------------------------------------


@pytest.fixture
def kept(ledger_url: str, book: PriceBook) -> str:
    """The URL of a ledger with three letters: one that can be replayed, one that cannot, one without a body."""
    (good,) = malformed(problems(body(broken_span())), SENDER)
    (bad,) = malformed(problems(body(broken_span())), SENDER)
    good = good._replace(reason="poison", body=body(span()), digest=b"g" * 32)
    with closing(open_database(ledger_url)) as database:
        ledger = Ledger(database, cells_max=10)
        for letter in (good, bad, some(3)):
            ledger.append([], [letter])
    return ledger_url


def test_letters_are_listed_and_shown_with_what_was_kept(kept: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dead-letters", "--ledger", kept]) == 0
    assert capsys.readouterr().out.count("\n") == 3
    assert main(["dead-letters", "list", "--json", "--ledger", kept]) == 0
    listed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(each["dead_letter_id"], each["reason"]) for each in listed] == [
        (1, "poison"), (2, "malformed_span"), (3, "malformed_span"),
    ]  # fmt: skip
    assert main(["dead-letters", "show", "1", "--json", "--ledger", kept]) == 0
    (shown,) = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert shown["body"]["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["attributes"]
    assert main(["dead-letters", "show", "3", "--ledger", kept]) == 0
    assert "nothing of it was kept" in capsys.readouterr().out
    assert main(["dead-letters", "show", "99", "--ledger", kept]) == 2


def test_a_replay_makes_entries_once_and_marks_the_letters(kept: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["dead-letters", "replay", "--all", "--dry-run", "--ledger", kept]) == 1
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "1: would become an entry, unless it is one already"
    assert said[1].startswith("2: still no entry: trace_id must be 16 bytes")
    assert said[2] == "3: nothing of it was kept"
    assert entry_count(kept) == 0
    assert main(["dead-letters", "replay", "--all", "--ledger", kept]) == 1
    assert capsys.readouterr().out.splitlines()[0] == "1: an entry now"
    assert main(["dead-letters", "replay", "1", "--ledger", kept]) == 0
    assert capsys.readouterr().out == "1: was an entry already\n"
    assert entry_count(kept) == 1
    main(["dead-letters", "replay", "--all", "--ledger", kept])
    assert not capsys.readouterr().out.startswith("1:")


def test_a_dry_replay_refuses_the_times_that_a_replay_refuses(
    ledger_url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (old,) = malformed(problems(body(broken_span())), SENDER)
    with closing(open_database(ledger_url)) as database:
        Ledger(database, cells_max=10).append([], [old._replace(reason="too_old", body=body(span(end_ns=10**18)))])
    for words in (["--dry-run"], []):
        assert main(["dead-letters", "replay", "--all", *words, "--ledger", ledger_url]) == 1
        assert capsys.readouterr().out == "1: still no entry: the span ends before 2020, by a clock that is wrong\n"


def entry_count(url: str) -> int:
    with closing(open_database(url)) as database, database.read() as connection:
        return len(connection.execute(select(entries)).all())


@pytest.mark.parametrize("words", [["list", "1"], ["show"], ["replay"], ["replay", "1", "--all"], ["show", "x"]])
def test_a_command_that_makes_no_sense_is_refused(words: list[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["dead-letters", *words])
    assert raised.value.code == 2


def test_a_ledger_that_is_not_there_is_not_made(tmp_path: Any) -> None:
    assert main(["dead-letters", "replay", "--all", "--ledger", f"sqlite:///{tmp_path}/none.db"]) == 2
    assert list(tmp_path.iterdir()) == []


def test_the_metrics_count_what_was_dropped(ledger_url: str) -> None:
    registry = CollectorRegistry()
    metrics = LedgerMetrics(registry, {}, lambda: 0)
    metrics.committed(Appended((), (), {}, {}, letters=[some(1), some(2)], letters_dropped=7), 0.1)
    assert registry.get_sample_value("spanledger_dead_letters_total", {"reason": "malformed_span"}) == 2
    assert registry.get_sample_value("spanledger_dead_letters_dropped_total") == 7
