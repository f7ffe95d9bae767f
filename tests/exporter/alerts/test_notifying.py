"""Real exporters that tell a real mail server and a real webhook what budgets come to: replicas, kills, restarts."""

import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from spanledger_exporter import failpoints
from spanledger_exporter.alerts import claims
from spanledger_exporter.alerts.outbox import TAKEOVER_S
from spanledger_exporter.budgets.budget import Budget
from spanledger_exporter.budgets.shelf import BudgetShelf
from spanledger_exporter.ledger.database import open_database, open_readonly
from spanledger_exporter.ledger.ledger import Ledger
from spanledger_exporter.prices.price_book import PriceBook
from tests.exporter.calls import priced
from tests.servers.exporter import SPANLEDGER, Exporter
from tests.servers.mailbox import Mailbox, receiving
from tests.servers.process import TIMEOUT_S, free_port, get, poll
from tests.servers.webhook import Webhook, posted_to


class Books:
    """A ledger that a test writes calls to, beside the exporters on it."""

    def __init__(self, url: str, book: PriceBook) -> None:
        self.url = url
        self._book = book

    def budget(self, name: str, limit: int, **changes: Any) -> None:
        with closing(open_database(self.url)) as database:
            BudgetShelf(database).set(Budget(name=name, limit=limit, unit="calls", **changes), "a test")

    def calls(self, count: int, **changes: Any) -> None:
        with closing(open_database(self.url)) as database:
            ledger = Ledger(database, cells_max=100)
            ledger.keep_book(self._book)
            now_ns = time.time_ns()
            ledger.append(
                [
                    priced(self._book, start_ns=now_ns - 1000, end_ns=now_ns, response_id=None, **changes)
                    for _ in range(count)
                ]
            )

    def age(self, seconds: int) -> None:
        """Let what is being sent have been taken so long ago."""
        with closing(open_database(self.url)) as database, database.write() as connection:
            connection.execute(text(f"UPDATE budget_alerts SET claimed_ns = claimed_ns - {seconds * 10**9}"))


@pytest.fixture
def books(ledger_url: str, book: PriceBook) -> Books:
    return Books(ledger_url, book)


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def webhook() -> Webhook:
    return Webhook()


@pytest.fixture
def urls(mailbox: Mailbox, webhook: Webhook) -> Iterator[str]:
    with receiving(mailbox) as smtp, posted_to(webhook) as http:
        yield f"mailto://127.0.0.1:{smtp}?from=spanledger@example.com&to=ops@example.com json://127.0.0.1:{http}/s3cret"


def exporter(books: Books, folder: Path, urls: str, more: Mapping[str, str] | None = None) -> Exporter:
    folder.mkdir(exist_ok=True)
    environ = {"SPANLEDGER_NOTIFY_URLS": urls, "SPANLEDGER_BUDGETS_EVALUATION_S": "1"}
    return Exporter(books.url, folder, environ=environ | dict(more or {}))


def titles(webhook: Webhook) -> list[str]:
    return [document["title"].removeprefix("[spanledger] ") for document in webhook.documents()]


def alerts(books: Books) -> list[dict[str, Any]]:
    with closing(open_readonly(books.url)) as database, database.read() as connection:
        return claims.read(connection)


def test_as_spending_climbs_each_channel_gets_one_message_for_each_threshold(
    books: Books, mailbox: Mailbox, webhook: Webhook, urls: str, tmp_path: Path
) -> None:
    books.budget("search", 20)
    running = exporter(books, tmp_path, urls)
    with running.server:
        for calls, seen in ((16, 1), (2, 2), (4, 3)):
            books.calls(calls)
            poll(lambda: len(webhook.bodies) == seen == len(mailbox.mails), what=f"message {seen}")  # noqa: B023
        said = [
            "search: 80 % of 20 calls spent (threshold 75 %)",
            "search: 90 % of 20 calls spent (threshold 90 %)",
            "search: 110 % of 20 calls spent (threshold 100 %)",
        ]
        assert titles(webhook) == said
        assert mailbox.subjects() == [f"[spanledger] {each}" for each in said]
        line = 'spanledger_notifications_total{result="delivered"} 6.0'
        poll(lambda: line in (get(f"http://{running.metrics}/metrics") or ""), what="the count of deliveries")
    assert "s3cret" not in running.server.log_text()
    found = alerts(books)
    assert [(each["threshold"], each["state"], each["attempts"]) for each in found] == [
        (100, "delivered", 1),
        (90, "delivered", 1),
        (75, "delivered", 1),
    ]


def test_two_replicas_and_restarts_send_once(books: Books, webhook: Webhook, urls: str, tmp_path: Path) -> None:
    """Each budget crosses while both look; then both are started again, and everything is still crossed."""
    names = [f"b{number}" for number in range(4)]
    for name in names:
        books.budget(name, 10)
    for life in range(2):
        with ExitStack() as stack:
            replicas = [exporter(books, tmp_path / f"{life}{which}", urls.split()[1]) for which in "ab"]
            for replica in replicas:
                stack.enter_context(replica.server)
            if not life:
                books.calls(8)
            poll(lambda: len(webhook.bodies) >= len(names), what="the messages")
            seen = [evaluations(replica) for replica in replicas]
            poll(
                lambda: all(now > then + 1 for now, then in zip(map(evaluations, replicas), seen, strict=True)),  # noqa: B023
                what="each replica to look twice more",
            )
    assert Counter(titles(webhook)) == {f"{name}: 80 % of 10 calls spent (threshold 75 %)": 1 for name in names}


def evaluations(replica: Exporter) -> float:
    """When a replica looked last."""
    exposed = poll(lambda: get(f"http://{replica.metrics}/metrics"), what="the metrics")
    name = "spanledger_budget_last_evaluation_timestamp_seconds"
    return next(float(line.split()[1]) for line in exposed.splitlines() if line.startswith(f"{name} "))


@pytest.mark.parametrize(("point", "copies"), [("before_sending", 1), ("after_sending", 2)])
def test_killed_while_sending_no_message_is_lost(
    books: Books, webhook: Webhook, tmp_path: Path, point: str, copies: int
) -> None:
    """A channel has it twice only if the exporter died before it could write down that it had it."""
    books.budget("search", 10)
    with posted_to(webhook) as port:
        url = f"json://127.0.0.1:{port}/s3cret"
        dying = exporter(books, tmp_path / "dying", url, {failpoints.VARIABLE: f"{point}=kill"})
        books.calls(8)  # only now: it may look, and die, before it has said that it is ready
        assert dying.server.process.wait(TIMEOUT_S) == -signal.SIGKILL
        assert [each["state"] for each in alerts(books)] == ["sending"]
        assert len(webhook.bodies) == copies - 1
        books.age(TAKEOVER_S)
        running = exporter(books, tmp_path / "next", url)
        with running.server:
            poll(lambda: [each["state"] for each in alerts(books)] == ["delivered"], what="the delivery")
    assert titles(webhook) == ["search: 80 % of 10 calls spent (threshold 75 %)"] * copies
    assert alerts(books)[0]["attempts"] == 2


def test_a_mail_server_that_is_gone_gets_the_message_when_it_is_back(
    books: Books, mailbox: Mailbox, tmp_path: Path
) -> None:
    port = free_port()
    url = f"mailto://127.0.0.1:{port}?from=spanledger@example.com&to=ops@example.com"
    books.budget("search", 10)
    books.calls(8)
    running = exporter(books, tmp_path, url)
    with running.server:
        (waiting,) = poll(lambda: [each for each in alerts(books) if each["attempts"]], what="an attempt")
        assert waiting["state"] == "pending" or waiting["problem"] is None
        problem = poll(lambda: alerts(books)[0]["problem"], what="the problem")
        assert problem.startswith(f"mailto://127.0.0.1:{port}: ")
        assert "Connection refused" in problem
        with receiving(mailbox, port):
            books.age(60)
            poll(lambda: mailbox.mails, what="the mail")
            poll(lambda: alerts(books)[0]["state"] == "delivered", what="the delivery")
    assert mailbox.subjects() == ["[spanledger] search: 80 % of 10 calls spent (threshold 75 %)"]


@pytest.mark.parametrize(
    ("urls", "said"),
    [
        (
            "nosuch://s3cret xml://127.0.0.1 slack://s3cret",
            ["notify.urls, channel 1: nosuch://***", "channel 3: slack"],
        ),
        ("s3cret", ["SPANLEDGER_NOTIFY_URLS: channel 1 is no URL"]),
    ],
)
def test_what_is_no_channel_ends_the_start_and_all_of_it_is_told(
    tmp_path: Path, sqlite_url: str, urls: str, said: Sequence[str]
) -> None:
    words = [SPANLEDGER, "serve", "--ledger", sqlite_url, "--grpc", ":0", "--http", ":0", "--metrics", ":0"]
    done = subprocess.run(
        words, env={"SPANLEDGER_NOTIFY_URLS": urls}, capture_output=True, text=True, check=False, timeout=TIMEOUT_S
    )
    assert done.returncode == 2
    for part in said:
        assert part in done.stderr
    assert "s3cret" not in done.stderr
