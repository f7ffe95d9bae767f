"""`GET /v1/overview`: who may ask, what is answered, and that many who ask cost no more than one."""

import asyncio
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from spanledger_exporter.errors import UnavailableError
from spanledger_exporter.ledger.database import open_readonly
from spanledger_exporter.receiving.tokens import line_of
from spanledger_exporter.top.documents import from_document, to_document
from spanledger_exporter.top.overview import WINDOWS, Overview, Window
from spanledger_exporter.top.overview_reader import OverviewReader
from spanledger_exporter.top.overviews import Overviews
from tests.exporter.top.samples import overview
from tests.exporter.top.served import send
from tests.servers.exporter import Exporter


@pytest.fixture
def exporter(sqlite_url: str, tmp_path: Path) -> Iterator[Exporter]:
    tokens = tmp_path / "tokens"
    scopes = {"looker": frozenset({"read"}), "sender": frozenset({"ingest"})}
    tokens.write_text("".join(line_of(name, name, scope, None) + "\n" for name, scope in scopes.items()))
    made = Exporter(sqlite_url, tmp_path, environ={"SPANLEDGER_AUTH_TOKENS_FILE": str(tokens)})
    yield made
    made.server.stop()


def get(exporter: Exporter, query: str = "", token: str | None = "looker") -> tuple[int, bytes]:
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    request = urllib.request.Request(f"http://{exporter.metrics}/v1/overview{query}", headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            assert answer.headers["cache-control"] == "no-store"
            assert answer.headers["content-type"] == "application/json"
            return answer.status, answer.read()
    except urllib.error.HTTPError as exc:
        with exc:
            return exc.code, exc.read()


def test_the_figures_are_those_that_are_read_from_the_ledger(exporter: Exporter) -> None:
    send(exporter, 7, token="sender")
    for window in WINDOWS:
        status, body = get(exporter, f"?window={window}")
        answered = from_document(json.loads(body))
        with closing(open_readonly(exporter.ledger)) as database:
            read = OverviewReader(database).read(window, answered.at_s)
        assert status == 200
        assert answered == read
        assert answered.total.calls == 7
    assert from_document(json.loads(get(exporter)[1])).window == "1h"


def test_a_token_must_be_one_of_ours_and_for_reading(exporter: Exporter) -> None:
    assert get(exporter, token=None)[0] == 401
    assert get(exporter, token="wrong")[0] == 401
    assert get(exporter, token="sender")[0] == 403


def test_another_window_is_refused_with_those_that_there_are(exporter: Exporter) -> None:
    assert get(exporter, "?window=2h") == (400, b"window must be one of 15m, 1h, 24h, month\n")


class Reads:
    """A source of overviews that counts how often it is read, and by how many at the same time."""

    def __init__(self) -> None:
        self.windows: list[Window] = []
        self.at_once = self.most_at_once = 0
        self.lock = threading.Lock()
        self.go = threading.Event()
        self.problem: Exception | None = None

    def __call__(self, window: Window, now_s: int) -> Overview:
        with self.lock:
            self.windows.append(window)
            self.at_once += 1
            self.most_at_once = max(self.most_at_once, self.at_once)
        assert self.go.wait(60)
        with self.lock:
            self.at_once -= 1
        if self.problem is not None:
            raise self.problem
        return overview(window=window, at_s=now_s)


def test_many_who_ask_cost_no_more_than_one() -> None:
    async def ask() -> None:
        reads, now = Reads(), [100.0]
        overviews = Overviews(reads, clock_s=lambda: now[0], now_s=lambda: now[0])
        waiting = [asyncio.create_task(overviews.get("1h")) for _ in range(50)]
        waiting += [asyncio.create_task(overviews.get("24h")) for _ in range(50)]
        await asyncio.sleep(0)
        waiting.pop().cancel()  # who hangs up takes nothing from the others
        for _ in range(3):  # whatever was given to threads has begun when what was given to them later has ended
            await asyncio.to_thread(lambda: None)
        reads.go.set()
        bodies = await asyncio.gather(*waiting)
        assert len(set(bodies)) == 2
        assert sorted(reads.windows) == ["1h", "24h"]
        assert reads.most_at_once == 1
        now[0] += 0.9
        assert await overviews.get("1h") == bodies[0]
        now[0] += 0.2
        assert json.loads(await overviews.get("1h"))["at"] == to_document(overview(at_s=101))["at"]

    asyncio.run(ask())


def test_what_took_long_is_kept_for_nine_times_as_long() -> None:
    async def ask() -> None:
        now = [0.0]

        def read(window: Window, now_s: int) -> Overview:
            now[0] += 3.0
            return overview(window=window, at_s=now_s)

        overviews = Overviews(read, clock_s=lambda: now[0], now_s=lambda: now[0])
        first = await overviews.get("1h")
        now[0] += 26.9
        assert await overviews.get("1h") == first
        now[0] += 0.2
        assert await overviews.get("1h") != first

    asyncio.run(ask())


def test_trouble_is_told_to_all_who_wait_and_not_kept() -> None:
    async def ask() -> None:
        reads = Reads()
        overviews, reads.problem = Overviews(reads, clock_s=lambda: 0.0), UnavailableError("gone")
        waiting = [asyncio.create_task(overviews.get("1h")) for _ in range(3)]
        await asyncio.sleep(0)
        reads.go.set()
        told = await asyncio.gather(*waiting, return_exceptions=True)
        assert [type(each) for each in told] == [UnavailableError] * 3
        reads.problem = None
        assert await overviews.get("1h")

    asyncio.run(ask())
