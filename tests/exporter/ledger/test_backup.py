"""Backups that are made while calls are written: what was acknowledged before is in them, the rest is sent again."""

import subprocess
import threading
from collections.abc import Callable, Iterator
from hashlib import blake2b
from pathlib import Path

import pytest

from spanledger_exporter.errors import LedgerError
from spanledger_exporter.ledger.backup import back_up
from spanledger_exporter.ledger.checking import check
from spanledger_exporter.ledger.database import open_database, open_readonly, parse_url, sqlite_path
from spanledger_exporter.prices.price_book import PriceBook
from spanledger_exporter.records import PricedRecord
from tests.exporter.calls import priced
from tests.exporter.ledgers import NOW_NS, count, damage, total, writer
from tests.exporter.otlp_requests import END_NS
from tests.servers import postgresql
from tests.servers.process import require

BATCHES, CALLS_A_BATCH = 60, 50


class Writing(threading.Thread):
    """Appends batches, one after the other, to a ledger; some calls are reported twice."""

    def __init__(self, url: str, book: PriceBook) -> None:
        super().__init__(daemon=True)
        self.batches = [list(_batch(book, number)) for number in range(BATCHES)]
        self.written = 0
        self.half = threading.Event()
        self._url = url
        self._book = book

    def run(self) -> None:
        database = open_database(self._url)
        ledger = writer(database, self._book)
        for batch in self.batches:
            ledger.append(batch)
            self.written += 1
            if self.written == BATCHES // 2:
                self.half.set()
        database.close()


def response_id(call: int) -> str:
    """Return an id as servers make them: a counted one would join nothing."""
    return f"chatcmpl-{blake2b(call.to_bytes(4), digest_size=12).hexdigest()}"


def _batch(book: PriceBook, number: int) -> Iterator[PricedRecord]:
    for place in range(CALLS_A_BATCH):
        call = number * CALLS_A_BATCH + place
        yield priced(book, end_ns=END_NS + call, response_id=response_id(call))
        if place % 10 == 0:
            yield priced(book, end_ns=END_NS + call, response_id=response_id(call), scope="another")


def backed_up_while_writing(url: str, book: PriceBook, copy: Callable[[], str]) -> None:
    """Copy in the middle of the writing; what is in the copy is whole, and nothing is counted twice in it later."""
    writing = Writing(url, book)
    writing.start()
    assert writing.half.wait(120)
    acknowledged = writing.written
    restored = copy()
    writing.join(120)
    assert writing.written == BATCHES
    readonly = open_readonly(restored)
    assert check(readonly, NOW_NS) == []
    there = count(readonly, "entries")
    readonly.close()
    assert acknowledged * CALLS_A_BATCH <= there <= BATCHES * CALLS_A_BATCH
    database = open_database(restored)
    ledger = writer(database, book)
    for batch in writing.batches[acknowledged - 5 :]:  # senders do not know how far the backup reaches
        ledger.append(batch)
    assert (count(database, "entries"), total(ledger).calls) == (BATCHES * CALLS_A_BATCH,) * 2
    assert check(database, NOW_NS) == []
    database.close()


def test_a_sqlite_ledger_is_copied_while_it_is_written(sqlite_url: str, tmp_path: Path, book: PriceBook) -> None:
    target = tmp_path / "backup" / "ledger.db"
    target.parent.mkdir()

    def copy() -> str:
        assert back_up(sqlite_url, target) == target.stat().st_size
        assert [each.name for each in target.parent.iterdir()] == ["ledger.db"]  # one file is all of it
        return f"sqlite:///{target}"

    backed_up_while_writing(sqlite_url, book, copy)


def test_a_postgresql_ledger_is_dumped_while_it_is_written(
    postgresql_cluster: postgresql.Cluster, postgresql_url: str, tmp_path: Path, book: PriceBook
) -> None:
    dump = tmp_path / "ledger.dump"

    with postgresql_cluster.database() as url:

        def copy() -> str:
            program("pg_dump", postgresql_url, "--format=custom", f"--file={dump}")
            program("pg_restore", url, "--exit-on-error", "--no-owner", str(dump))
            return url

        backed_up_while_writing(postgresql_url, book, copy)


def program(name: str, url: str, *arguments: str) -> None:
    parsed = parse_url(url)
    database = [f"--host={parsed.host}", f"--port={parsed.port}", f"--username={parsed.username}"]
    path = require(name, folders=postgresql.DEBIAN, package="postgresql")
    subprocess.run([path, *database, f"--dbname={parsed.database}", *arguments], check=True, timeout=120)


def test_a_file_that_is_there_is_never_overwritten(sqlite_url: str, tmp_path: Path) -> None:
    open_database(sqlite_url).close()
    ledger = sqlite_path(parse_url(sqlite_url))
    before = ledger.read_bytes()
    with pytest.raises(LedgerError, match="is there already"):
        back_up(sqlite_url, ledger)
    assert ledger.read_bytes() == before


def test_a_backup_that_fails_leaves_no_file(sqlite_url: str, tmp_path: Path) -> None:
    open_database(sqlite_url).close()
    with pytest.raises(LedgerError, match="cannot be copied"):
        back_up(sqlite_url, tmp_path / "nowhere" / "ledger.db")
    assert not (tmp_path / "nowhere").exists()


def test_a_damaged_ledger_is_not_taken_for_a_backup(sqlite_url: str, tmp_path: Path, book: PriceBook) -> None:
    database = open_database(sqlite_url)
    writer(database, book).append([priced(book, end_ns=END_NS + number) for number in range(300)])
    database.close()
    damage(sqlite_url)
    with pytest.raises(LedgerError, match="damaged"):
        back_up(sqlite_url, tmp_path / "copy.db")
    assert not list(tmp_path.glob("copy.db*"))


def test_a_ledger_on_postgresql_is_left_to_its_own_means(postgresql_url: str, tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="pg_dump"):
        back_up(postgresql_url, tmp_path / "copy.db")
