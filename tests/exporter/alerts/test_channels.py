"""Channels: real servers for mail and webhooks, and what is told of one that fails, without its secrets."""

import logging
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from apprise.plugins.discord import NotifyDiscord
from apprise.plugins.pagerduty import PAGERDUTY_API_LOOKUP
from apprise.plugins.slack import NotifySlack

from spanledger_exporter.alerts.channels import Channels, masked, open_channels, secrets_of
from spanledger_exporter.alerts.notices import Notice, texts
from spanledger_exporter.alerts.sending import Channel, Mail, send_all
from spanledger_exporter.errors import ConfigError
from tests.exporter.standing import NOW_S, UNUSUAL, budget, state, stored
from tests.servers.mailbox import Mailbox, receiving
from tests.servers.process import free_port
from tests.servers.webhook import Webhook, posted_to

# Apprise loads PGPy where it is there, for signed mails, and that imports a module that Python will drop.
pytestmark = pytest.mark.filterwarnings("ignore:'imghdr' is deprecated:DeprecationWarning")
SECRET = "s3cr3tT0ken"
TEXTS = texts([Notice.of(state(92.42, anomaly=UNUSUAL), 90, NOW_S)], link="https://example.com/{budget}")
MAIL = Mail((1,), TEXTS, grave=False)


def opened(*urls: str) -> list[Channel]:
    return open_channels([(f"channel {number}", url) for number, url in enumerate(urls, 1)])


@pytest.fixture
def mailbox() -> Mailbox:
    return Mailbox()


@pytest.fixture
def smtp_port(mailbox: Mailbox) -> Iterator[int]:
    with receiving(mailbox) as port:
        yield port


@pytest.fixture
def webhook() -> Webhook:
    return Webhook()


@pytest.fixture
def http_port(webhook: Webhook) -> Iterator[int]:
    with posted_to(webhook) as port:
        yield port


def mail_url(port: int, more: str = "") -> str:
    return f"mailto://127.0.0.1:{port}?from=spanledger@example.com&to=ops@example.com{more}"


# -- what arrives ------------------------------------------------------------------------------------------------------


def test_a_mail_comes_as_html_and_as_text(mailbox: Mailbox, smtp_port: int) -> None:
    (channel,) = opened(mail_url(smtp_port))
    assert channel.send(MAIL) is None
    assert mailbox.subjects() == [TEXTS.subject]
    assert mailbox.receivers == [["ops@example.com"]]
    parts = mailbox.parts()
    assert parts["text/html"].splitlines() == TEXTS.html.splitlines()
    lines = [line for line in TEXTS.text.splitlines() if line and not line.startswith("Look closer")]
    assert [line for line in lines if line not in parts["text/plain"].splitlines()] == []
    assert "spanledger budgets show search" in parts["text/plain"]
    assert "https://example.com/search" in parts["text/plain"]


def test_a_mail_may_be_asked_for_as_text_alone(mailbox: Mailbox, smtp_port: int) -> None:
    (channel,) = opened(mail_url(smtp_port, "&format=text"))
    assert channel.send(MAIL) is None
    assert set(mailbox.parts()) == {"text/plain"}
    assert "Spent: 92.42 USD, 92 % of 100 USD" in mailbox.parts()["text/plain"]


def test_a_webhook_gets_plain_text_in_json(webhook: Webhook, http_port: int) -> None:
    (channel,) = opened(f"json://127.0.0.1:{http_port}/hooks/{SECRET}")
    assert channel.send(MAIL._replace(grave=True)) is None
    assert webhook.paths == [f"/hooks/{SECRET}"]
    (document,) = webhook.documents()
    assert (document["title"], document["message"], document["type"]) == (TEXTS.subject, TEXTS.text, "failure")


def test_slack_gets_its_own_markdown(webhook: Webhook, http_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NotifySlack, "webhook_url", f"http://127.0.0.1:{http_port}/services")
    (channel,) = opened(f"slack://T1JJ3T3L2/A1BRTD4JD/{SECRET}")
    assert (channel.name, channel.send(MAIL)) == ("slack://***", None)
    assert webhook.paths == [f"/services/T1JJ3T3L2/A1BRTD4JD/{SECRET}"]
    (document,) = webhook.documents()
    (attachment,) = document["attachments"]
    assert attachment["title"] == TEXTS.subject
    assert "*Spent*: 92.42 USD, 92 % of 100 USD" in attachment["text"]
    assert "**" not in attachment["text"]


def test_discord_gets_markdown(webhook: Webhook, http_port: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(NotifyDiscord, "notify_url", f"http://127.0.0.1:{http_port}/webhooks")
    (channel,) = opened(f"discord://123456789012345678/{SECRET}")
    assert (channel.name, channel.send(MAIL)) == ("discord://***", None)
    assert webhook.paths[0].startswith(f"/webhooks/123456789012345678/{SECRET}")
    assert "**Spent**: 92.42 USD, 92 % of 100 USD" in str(webhook.documents())


def test_a_pager_gets_one_line_and_how_grave_it_is(
    webhook: Webhook, http_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(PAGERDUTY_API_LOOKUP, "us", f"http://127.0.0.1:{http_port}/v2/enqueue")
    channels = opened(*[f"pagerduty://{SECRET}@apikeyapikey"] * 2)  # one alone would make a pause between the two
    assert channels[0].send(MAIL) is None
    assert channels[1].send(MAIL._replace(grave=True)) is None
    first, second = (document["payload"] for document in webhook.documents())
    assert first["summary"] == "search: 92 % of 100 USD spent (threshold 90 %) https://example.com/search"
    assert (first["severity"], second["severity"]) == ("warning", "critical")


def test_what_is_too_long_for_a_channel_is_told_in_one_line(
    webhook: Webhook, http_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Discord takes 2,000 characters."""
    monkeypatch.setattr(NotifyDiscord, "notify_url", f"http://127.0.0.1:{http_port}/webhooks")
    of = stored(budget(per=("user",)))
    groups = [Notice.of(state(92, of, f'["{number}{"x" * 300}"]'), 90, NOW_S) for number in range(20)]
    (channel,) = opened(f"discord://123456789012345678/{SECRET}")
    assert channel.send(MAIL._replace(texts=texts(groups))) is None
    (document,) = webhook.documents()
    assert document["content"] == "search: 20 groups reached a threshold"


def test_no_picture_is_fetched_from_elsewhere(webhook: Webhook, http_port: int) -> None:
    (channel,) = opened(f"mmost://127.0.0.1:{http_port}/{SECRET}")
    assert channel.send(MAIL) is None
    assert "github" not in webhook.bodies[0].decode()


# -- what goes wrong ---------------------------------------------------------------------------------------------------


class Listener(logging.Handler):
    """Hears what any handler of the root logger does, but for the test's own mail server and for urllib3's debugging.

    pytest's own listens at loggers that pass nothing on, too.
    """

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self.text = ""

    def emit(self, record: logging.LogRecord) -> None:
        if not record.name.startswith(("mail.", "urllib3")):
            self.text += f"{record.name}: {record.getMessage()}\n"


@pytest.fixture
def heard() -> Iterator[Callable[[], str]]:
    root, listener = logging.getLogger(), Listener()
    before = root.level
    root.setLevel(logging.DEBUG)
    root.addHandler(listener)
    yield lambda: listener.text
    root.removeHandler(listener)
    root.setLevel(before)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("json://user:{secret}@127.0.0.1:{port}/{secret}", "Connection refused"),
        ("mailto://user:{secret}@127.0.0.1:{port}?from=a@example.com&to=b@example.com", "Connection refused"),
        ("mmost://127.0.0.1:{port}/{secret}", "Connection refused"),
        ("jsons://nowhere.invalid/{secret}", "nowhere.invalid"),
    ],
)
def test_a_server_that_is_gone_is_a_problem_without_secrets(url: str, said: str, heard: Callable[[], str]) -> None:
    (channel,) = opened(url.format(secret=SECRET, port=free_port()))
    problem = channel.send(MAIL)
    assert problem is not None
    assert said in problem
    for text in (problem, channel.name, heard()):
        assert SECRET not in text


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
def test_an_answer_that_refuses_is_a_problem(webhook: Webhook, http_port: int, status: int) -> None:
    webhook.status = status
    (channel,) = opened(f"json://127.0.0.1:{http_port}/{SECRET}")
    assert str(status) in (channel.send(MAIL) or "")
    assert webhook.bodies == []


def test_a_mail_that_is_refused_is_a_problem(mailbox: Mailbox, smtp_port: int, heard: Callable[[], str]) -> None:
    mailbox.refusal = "554 no such mailbox, ops@example.com"
    (channel,) = opened(mail_url(smtp_port))
    problem = channel.send(MAIL) or ""
    assert "554" in problem
    assert "ops@" not in problem + heard()


def test_a_server_that_says_nothing_is_given_up(webhook: Webhook, http_port: int) -> None:
    webhook.open.clear()
    (channel,) = opened(f"json://127.0.0.1:{http_port}/{SECRET}?rto=0.2")
    assert "timed out" in (channel.send(MAIL) or "")


# -- sending to several ------------------------------------------------------------------------------------------------


def test_one_that_fails_keeps_no_other_from_getting_it(webhook: Webhook, http_port: int) -> None:
    channels = opened(f"json://127.0.0.1:{free_port()}", f"json://127.0.0.1:{http_port}")
    results = dict(send_all(channels, MAIL, 30))
    assert results[f"json://127.0.0.1:{http_port}"] is None
    assert len([problem for problem in results.values() if problem]) == 1
    assert len(webhook.bodies) == 1


class Slow:
    """A channel's way to send that takes until it is let go."""

    def __init__(self, problem: str | None = None) -> None:
        self.sent = 0
        self.let_go = threading.Event()
        self.gone = threading.Event()
        self.problem = problem

    def __call__(self, mail: Mail) -> str | None:
        self.sent += 1
        self.let_go.wait()
        self.gone.set()
        return self.problem


def ended(slow: Slow, channel: Channel) -> None:
    slow.let_go.set()
    assert slow.gone.wait(30)
    for thread in threading.enumerate():
        if thread.name == f"spanledger-{channel.name}":
            thread.join()


def test_a_slow_channel_is_not_waited_for_nor_asked_twice_at_once() -> None:
    slow = Slow()
    channel = Channel("slow://", slow)
    assert dict(send_all([channel], MAIL, 0)) == {"slow://": "no answer within 0 s"}
    assert dict(send_all([channel], MAIL, 30)) == {"slow://": "the attempt before has not ended yet"}
    ended(slow, channel)
    assert slow.sent == 1


def test_what_was_sent_late_is_not_sent_again() -> None:
    slow = Slow()
    channel = Channel("slow://", slow)
    list(send_all([channel], MAIL, 0))
    ended(slow, channel)
    assert dict(send_all([channel], MAIL, 30)) == {"slow://": None}
    assert slow.sent == 1
    assert dict(send_all([channel], MAIL._replace(ids=(2,)), 30)) == {"slow://": None}
    assert slow.sent == 2


def test_what_failed_late_is_sent_again() -> None:
    slow = Slow("no")
    channel = Channel("slow://", slow)
    list(send_all([channel], MAIL, 0))
    ended(slow, channel)
    assert dict(send_all([channel], MAIL, 30)) == {"slow://": "no"}
    assert slow.sent == 2


# -- URLs --------------------------------------------------------------------------------------------------------------


def test_every_url_that_is_no_channel_is_a_problem_and_none_is_shown() -> None:
    with pytest.raises(ConfigError) as raised:
        opened(
            f"nosuch://{SECRET}",
            "json://127.0.0.1",
            f"slack://{SECRET}",
            SECRET,
            f"mailto://{SECRET}",
            f"pagerduty://{SECRET}",
            f"mailto://127.0.0.1?from=a@example.com&to={SECRET}@example.com,b@example.com",
        )
    assert len(raised.value.problems) == 6
    assert SECRET not in str(raised.value)
    assert raised.value.problems[0].startswith("channel 1: nosuch://***: ")
    assert "write a URL for each" in raised.value.problems[-1]


def test_channels_of_the_same_name_are_told_apart() -> None:
    names = [channel.name for channel in opened("json://127.0.0.1/a", "json://127.0.0.1/b", "jsons://127.0.0.1/c")]
    assert names == ["json://127.0.0.1", "json://127.0.0.1 2", "jsons://127.0.0.1"]


def test_an_address_as_a_service_shows_it_will_do() -> None:
    (channel,) = opened(f"https://hooks.slack.com/services/T1JJ3T3L2/A1BRTD4JD/{SECRET}")
    assert channel.name == "slack://***"


def test_secrets_are_found_wherever_they_stand_in_a_url() -> None:
    url = "jsons://us%40er:pa%3Ass@host.example.com:8080/path/tok3n?x=val%20ue&format=text&+X-Key=k3y"
    found = secrets_of(url)
    for secret in ("us%40er", "us@er", "pa%3Ass", "pa:ss", "path", "tok3n", "val ue", "k3y"):
        assert secret in found
    assert masked("pa:ss and\n tok3n  text with url: /a/b (c)", found) == "*** and *** text with url: *** (c)"


# -- a file of URLs ----------------------------------------------------------------------------------------------------


def test_a_file_is_read_again_when_it_changes(tmp_path: Path) -> None:
    file, refused = tmp_path / "channels", list[int]()
    file.write_text("# ours\n\njson://127.0.0.1/a\n")
    channels = Channels(["mailto://user@example.com"], file, failed=lambda: refused.append(1))
    assert [channel.name for channel in channels()] == ["mailto://example.com:25", "json://127.0.0.1"]
    file.write_text("xml://127.0.0.1/b\n")
    channels.refresh()
    assert [channel.name for channel in channels()] == ["mailto://example.com:25", "xml://127.0.0.1"]
    file.write_text(f"nosuch://{SECRET}\n")
    channels.refresh()
    assert [channel.name for channel in channels()] == ["mailto://example.com:25", "xml://127.0.0.1"]
    assert refused == [1]


@pytest.mark.parametrize(
    ("content", "said"),
    [(None, "No such file"), (b"# none\n", "names no channel"), (b"\xff", "not UTF-8"), (b"\nx://y", "line 2: x://")],
)
def test_a_file_that_cannot_be_used_ends_the_start(tmp_path: Path, content: bytes | None, said: str) -> None:
    file = tmp_path / "channels"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match=said):
        Channels([], file)
