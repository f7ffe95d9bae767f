"""`spanledger alerts` as a person types it: what was sent, what would be, and whether channels work."""

import json
import os
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry

from spanledger_exporter.alerts.notifications import Rules
from spanledger_exporter.alerts.notifier import Notifier
from spanledger_exporter.alerts.sending import Channel
from spanledger_exporter.budgets.budget import Budget
from spanledger_exporter.budgets.shelf import BudgetShelf
from spanledger_exporter.budgets.states import read_states
from spanledger_exporter.ledger.database import open_database
from spanledger_exporter.ledger.ledger import Ledger
from spanledger_exporter.metrics.metrics import NotifierMetrics
from spanledger_exporter.prices.price_book import PriceBook
from tests.exporter.calls import priced
from tests.servers.exporter import SPANLEDGER
from tests.servers.mailbox import Mailbox, receiving
from tests.servers.process import free_port
from tests.servers.webhook import Webhook, posted_to

HOUR_NS = 3600 * 10**9


def alerts(*words: str, urls: str = "", **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [SPANLEDGER, "alerts", *words],
        env={**os.environ, "SPANLEDGER_NOTIFY_URLS": urls, **environ},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def lines(*words: str, urls: str = "", **environ: str) -> list[str]:
    done = alerts(*words, urls=urls, **environ)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.splitlines()


@pytest.fixture
def filled(ledger_url: str, book: PriceBook) -> str:
    """Four calls of ten of each of three budgets, of which the notifier told one, and could not tell another all."""
    with closing(open_database(ledger_url)) as database:
        shelf = BudgetShelf(database)
        for name, limit, per in (("told", 4, ()), ("users", 5, ("user",)), ("fresh", 4, ()), ("calm", 100, ())):
            shelf.set(Budget(name=name, limit=limit, unit="calls", per=per), "a test")
        ledger = Ledger(database, cells_max=100)
        ledger.keep_book(book)
        now_ns = time.time_ns()
        times = {"start_ns": now_ns - 1000, "end_ns": now_ns}
        ledger.append([priced(book, response_id=None, user_id="an\x1b[31mna", **times) for _ in range(4)])
        channels = [Channel("mail://", lambda mail: "no" if "users" in mail.texts.subject else None)]
        channels.append(Channel("chat://", lambda _mail: None))
        notifier = Notifier(database, lambda: channels, Rules(24 * HOUR_NS), NotifierMetrics(CollectorRegistry()))
        with database.read() as connection:
            states = read_states(connection, [each for each in shelf.all() if each.budget.name != "fresh"], now_ns)
        notifier.run_once(states)
    return ledger_url


def test_what_was_sent_and_what_waits_is_listed_the_newest_first(filled: str) -> None:
    found = {line.split()[2]: line for line in lines("--ledger", filled)[1:]}
    assert set(found) == {"told", "users"}
    assert "delivered" in found["told"]
    assert "mail://, chat://" in found["told"]
    assert "pending" in found["users"]
    assert "mail://: no" in found["users"]
    assert "\x1b" not in "".join(found.values())
    assert len(lines("--ledger", filled, "--limit", "1")) == 2


def test_json_has_every_figure(filled: str) -> None:
    documents = [json.loads(line) for line in lines("--json", "--ledger", filled)]
    told = next(document for document in documents if document["budget"] == "told")
    assert (told["threshold"], told["limit"], told["state"], told["problem"]) == (100, "4 calls", "delivered", None)
    assert (told["notice"]["spent"], told["notice"]["limit"], told["group"]) == (4, 4, "")
    assert set(told["channels"]) == {"mail://", "chat://"}
    users = next(document for document in documents if document["budget"] == "users")
    assert users["group"] == "user=an\x1b[31mna"
    assert set(users["channels"]) == {"chat://"}


def test_a_dry_run_says_what_would_be_sent_and_why_the_rest_is_not(filled: str) -> None:
    dry = ("--dry-run", "--ledger", filled)
    found = {line.partition(":")[0].split(" ")[0]: line for line in lines(*dry, urls="json://127.0.0.1/s3cret")}
    assert found["fresh"] == (
        "fresh: 100 % of 4 calls spent; would be sent to json://127.0.0.1: the threshold of 100 % is crossed"
    )
    assert "there was one in this period" in found["told"]
    assert "there was one in this period" in found["users"]
    assert found["calm"] == "calm: 4 % of 100 calls spent; no message: below 75 %"
    assert "no channel is configured" in "".join(lines(*dry))
    assert "notify.budgets names others" in "".join(lines(*dry, SPANLEDGER_NOTIFY_BUDGETS="told"))
    documents = [json.loads(line) for line in lines(*dry, "--json", urls="json://127.0.0.1/s3cret")]
    assert {document["budget"]: document["answer"] for document in documents} == {
        "calm": "below",
        "fresh": "due",
        "told": "told",
        "users": "told",
    }
    assert len(lines("--ledger", filled)) == 3  # nothing was made by it


def test_of_a_budget_without_thresholds_a_dry_run_says_that_it_has_none(ledger_url: str, book: PriceBook) -> None:
    with closing(open_database(ledger_url)) as database:
        BudgetShelf(database).set(Budget(name="quiet", limit=1, unit="calls", thresholds=()), "a test")
        ledger = Ledger(database, cells_max=100)
        ledger.keep_book(book)
        ledger.append([priced(book, end_ns=time.time_ns())])
    (said,) = lines("--dry-run", "--ledger", ledger_url)
    assert said == "quiet: 100 % of 1 calls spent; no message: it has no thresholds"


def test_an_empty_ledger_says_so(ledger_url: str) -> None:
    open_database(ledger_url).close()
    assert lines("--ledger", ledger_url) == ["no messages about budgets"]
    assert lines("--dry-run", "--ledger", ledger_url) == ["no budgets"]
    assert lines("--json", "--ledger", ledger_url) == []


def test_a_test_message_goes_to_each_channel_and_says_which_has_it(tmp_path: Path) -> None:
    mailbox, webhook = Mailbox(), Webhook()
    with receiving(mailbox) as smtp, posted_to(webhook) as http:
        mail = f"mailto://127.0.0.1:{smtp}?from=a@example.com&to=b@example.com"
        file = tmp_path / "channels"
        file.write_text(f"{mail}\n")
        said = lines("test", urls=f"json://127.0.0.1:{http}/s3cret", SPANLEDGER_NOTIFY_URLS_FILE=str(file))
        assert sorted(said) == [f"json://127.0.0.1:{http}: delivered", f"mailto://127.0.0.1:{smtp}: delivered"]
        assert (mailbox.subjects(), len(webhook.bodies)) == (["[spanledger] test message"], 1)
        gone = free_port()
        done = alerts("test", "--json", "--url", f"json://127.0.0.1:{http}", "--url", f"json://127.0.0.1:{gone}/s3cret")
    assert done.returncode == 1
    results = {document["channel"]: document for document in map(json.loads, done.stdout.splitlines())}
    assert results[f"json://127.0.0.1:{http}"]["delivered"]
    assert "Connection refused" in results[f"json://127.0.0.1:{gone}"]["problem"]
    assert "s3cret" not in done.stdout + done.stderr
    assert len(webhook.bodies) == 2


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("test",), "no channel is configured"),
        (("test", "--url", "nosuch://s3cret"), "--url, channel 1: nosuch://***"),
        (("test", "--dry-run"), "test takes neither"),
        (("--url", "json://127.0.0.1"), "only test takes --url"),
        (("--limit", "0"), "is no number of messages"),
        (("list", "--ledger", "sqlite:////nowhere/ledger.db"), "there is no ledger"),
    ],
)
def test_what_cannot_be_done_is_said(words: tuple[str, ...], said: str) -> None:
    done = alerts(*words)
    assert done.returncode == 2
    assert said in done.stderr
    assert "s3cret" not in done.stderr


def test_without_apprise_the_extra_is_named() -> None:
    code = (
        "import sys; sys.modules['apprise'] = None; from spanledger_exporter.cli import main; "
        "sys.exit(main(['alerts', 'test', '--url', 'json://127.0.0.1']))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert "pip install 'spanledger[notify]'" in done.stderr
