"""Messages about budgets: made once, sent once to each channel, tried again, and never lost, on both databases."""

import json
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from spanledger_exporter.alerts import claims
from spanledger_exporter.alerts.notifications import Rules
from spanledger_exporter.alerts.notifier import Notifier
from spanledger_exporter.alerts.outbox import LATE_S, TAKEOVER_S
from spanledger_exporter.alerts.sending import Channel, Mail
from spanledger_exporter.budgets.periods import Bounds
from spanledger_exporter.budgets.states import BudgetState
from spanledger_exporter.ledger.database import Database, open_database
from spanledger_exporter.metrics.metrics import NotifierMetrics
from tests.exporter.standing import DAY_S, MONTH, NOW_NS, USD, budget, keep, state, stored
from tests.servers.process import poll

HOUR_S = 3600
SECOND_NS = 10**9
PER_USER = stored(budget("users", per=("user",)), 2)
NEXT = Bounds(MONTH.end_s, MONTH.end_s + 31 * DAY_S)


class Clock:
    def __init__(self) -> None:
        self.now_ns = NOW_NS

    def __call__(self) -> int:
        return self.now_ns

    def passes(self, seconds: float) -> None:
        self.now_ns += round(seconds * SECOND_NS)


class Receiver:
    """A channel's other end: keeps what it is sent, or says what is wrong."""

    def __init__(self, name: str) -> None:
        self.subjects: list[str] = []
        self.tried = 0
        self.problem: str | None = None
        self.channel = Channel(name, self._send)

    def _send(self, mail: Mail) -> str | None:
        self.tried += 1
        if self.problem is None:
            self.subjects.append(mail.texts.subject.removeprefix("[spanledger] "))
        return self.problem


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def mail() -> Receiver:
    return Receiver("mailto://example.com")


@pytest.fixture
def chat() -> Receiver:
    return Receiver("slack://***")


@pytest.fixture
def registry() -> CollectorRegistry:
    return CollectorRegistry()


@pytest.fixture
def ledger(database: Database) -> Database:
    keep(database, stored(), PER_USER)
    return database


Make = Callable[..., Notifier]


@pytest.fixture
def make(ledger: Database, clock: Clock, mail: Receiver, chat: Receiver, registry: CollectorRegistry) -> Make:
    """Make a replica; `channels` are mail and chat unless it is said."""
    watcher = NotifierMetrics(registry)

    def made(*receivers: Receiver, database: Database = ledger, hours: int = 24, **more: Any) -> Notifier:
        channels = [receiver.channel for receiver in receivers or (mail, chat)]
        return Notifier(database, lambda: channels, Rules(hours * HOUR_S * SECOND_NS), watcher, clock_ns=clock, **more)

    return made


def alerts(database: Database) -> list[dict[str, Any]]:
    with database.read() as connection:
        return claims.read(connection)[::-1]


def states_of(database: Database) -> list[str]:
    return [row["state"] for row in alerts(database)]


def counted(registry: CollectorRegistry) -> dict[str, float | None]:
    name = "spanledger_notifications_total"
    return {
        result: registry.get_sample_value(name, {"result": result}) for result in ("delivered", "failed", "abandoned")
    }


def users(percent: float, *names: str, **changes: Any) -> list[BudgetState]:
    return [state(percent, PER_USER, json.dumps([name]), **changes) for name in names]


# -- once --------------------------------------------------------------------------------------------------------------


def test_as_spending_climbs_each_threshold_is_told_once(make: Make, mail: Receiver, chat: Receiver) -> None:
    notifier = make()
    for percent in (10, 74, 75, 80, 89, 90, 95, 99, 100, 120):
        notifier.run_once([state(percent)])
    assert mail.subjects == [
        f"search: {threshold} % of 100 USD spent (threshold {threshold} %)" for threshold in (75, 90, 100)
    ]
    assert chat.subjects == mail.subjects


def test_a_jump_is_one_message(make: Make, mail: Receiver) -> None:
    notifier = make()
    notifier.run_once([state(70)])
    notifier.run_once([state(95)])
    assert mail.subjects == ["search: 95 % of 100 USD spent (threshold 90 %)"]


def test_a_restart_repeats_nothing(make: Make, mail: Receiver, ledger: Database) -> None:
    for _ in range(3):
        make().run_once([state(95)])
    assert len(mail.subjects) == 1
    assert states_of(ledger) == ["delivered"]


def test_what_falls_and_rises_again_is_no_news(make: Make, mail: Receiver, clock: Clock) -> None:
    notifier = make()
    for percent in (92, 88, 93, 60, 91):
        notifier.run_once([state(percent)])
        clock.passes(30 * HOUR_S)
    assert len(mail.subjects) == 1


def test_a_new_period_speaks_again_after_the_interval(make: Make, mail: Receiver, clock: Clock) -> None:
    notifier = make()
    notifier.run_once([state(101)])
    clock.passes(23 * HOUR_S)
    notifier.run_once([state(76, bounds=NEXT)])
    assert len(mail.subjects) == 1
    clock.passes(HOUR_S)
    notifier.run_once([state(77, bounds=NEXT)])
    assert mail.subjects[1:] == ["search: 77 % of 100 USD spent (threshold 75 %)"]


def test_a_raised_limit_speaks_again(make: Make, mail: Receiver) -> None:
    notifier = make()
    notifier.run_once([state(101)])
    notifier.run_once([state(51, stored(budget(limit=200 * USD)))])
    notifier.run_once([state(80, stored(budget(limit=200 * USD)))])
    assert mail.subjects[1:] == ["search: 80 % of 200 USD spent (threshold 75 %)"]


def test_a_budget_that_was_removed_meanwhile_is_not_told_of(make: Make, mail: Receiver, ledger: Database) -> None:
    make().run_once([state(95, stored(budget("gone"), 77))])
    assert mail.subjects == []
    assert alerts(ledger) == []


def test_replicas_that_look_at_once_make_one_message(
    ledger_url: str, ledger: Database, make: Make, registry: CollectorRegistry
) -> None:
    """One of them sees a call more than the other: that must not make it two messages of the same threshold."""
    receivers = [Receiver(f"{number}://") for number in range(4)]
    databases = [open_database(ledger_url) for _ in receivers]
    replicas = [make(each, database=database) for each, database in zip(receivers, databases, strict=True)]
    together = threading.Barrier(len(replicas))

    def look(number: int) -> None:
        together.wait()
        replicas[number].run_once([state(95 + number), *users(95 + number, "anna", "bert")])

    with ThreadPoolExecutor(len(replicas)) as pool:
        list(pool.map(look, range(len(replicas))))
    for database in databases:
        database.close()
    told = Counter(subject.partition(":")[0] for receiver in receivers for subject in receiver.subjects)
    assert told == {"search": 1, "users, user=anna": 1, "users, user=bert": 1}
    assert counted(registry) == {"delivered": 3, "failed": 0, "abandoned": 0}


def test_replicas_that_see_different_thresholds_end_with_the_graver_one(make: Make, mail: Receiver) -> None:
    one, other = make(), make()
    other.run_once([state(91)])
    one.run_once([state(89)])  # what it saw is older
    assert len(mail.subjects) == 1


# -- until it is there -------------------------------------------------------------------------------------------------


def test_a_channel_that_fails_is_tried_again_later_each_time(
    make: Make, mail: Receiver, chat: Receiver, clock: Clock, ledger: Database, registry: CollectorRegistry
) -> None:
    mail.problem = "554 no such mailbox"
    notifier = make()
    notifier.run_once([state(95)])
    (row,) = alerts(ledger)
    assert (row["state"], row["attempts"]) == ("pending", 1)
    assert row["problem"] == "mailto://example.com: 554 no such mailbox"
    assert json.loads(row["channels"]) == {"slack://***": NOW_NS}
    notifier.run_once()
    assert mail.tried == 1
    for tried, pause_s in enumerate([30, 60, 120, 240, 480, 960, 1920, 3600, 3600], 1):
        clock.passes(pause_s - 1)
        notifier.run_once()
        assert mail.tried == tried
        clock.passes(1)
        notifier.run_once()
        assert mail.tried == tried + 1
    mail.problem = None
    clock.passes(HOUR_S)
    make().run_once()  # after a restart
    assert mail.subjects == chat.subjects == ["search: 95 % of 100 USD spent (threshold 90 %)"]
    (row,) = alerts(ledger)
    assert (row["state"], row["attempts"], row["problem"]) == ("delivered", 11, None)
    assert set(json.loads(row["channels"])) == {"mailto://example.com", "slack://***"}
    assert counted(registry) == {"delivered": 2, "failed": 10, "abandoned": 0}


def test_what_is_outdated_when_it_could_be_sent_is_not_sent(
    make: Make, mail: Receiver, clock: Clock, ledger: Database
) -> None:
    mail.problem = "gone"
    notifier = make(mail)
    notifier.run_once([state(76)])
    notifier.run_once([state(91)])
    mail.problem = None
    clock.passes(HOUR_S)
    notifier.run_once([state(92)])
    assert mail.subjects == ["search: 91 % of 100 USD spent (threshold 90 %)"]
    assert states_of(ledger) == ["superseded", "delivered"]


def test_a_message_is_given_up_a_day_after_its_period(
    make: Make, mail: Receiver, clock: Clock, ledger: Database, registry: CollectorRegistry
) -> None:
    mail.problem = "gone"
    notifier = make(mail)
    notifier.run_once([state(95)])
    clock.now_ns = (MONTH.end_s + LATE_S) * SECOND_NS - 1
    notifier.run_once()
    assert (mail.tried, states_of(ledger)) == (2, ["pending"])
    clock.passes(HOUR_S)
    notifier.run_once()
    assert (mail.tried, states_of(ledger)) == (2, ["abandoned"])
    assert counted(registry) == {"delivered": 0, "failed": 2, "abandoned": 1}
    assert alerts(ledger)[0]["problem"] == "mailto://example.com: gone"


def test_one_message_that_cannot_be_sent_keeps_no_other_back(make: Make, clock: Clock, ledger: Database) -> None:
    picky = Receiver("picky://")
    send = picky.channel.send
    picky.channel.send = lambda mail: "no" if "search" in mail.texts.subject else send(mail)
    make(picky).run_once([state(95), *users(95, "anna")])
    assert picky.subjects == ["users, user=anna: 95 % of 100 USD spent (threshold 90 %)"]
    assert states_of(ledger) == ["pending", "delivered"]


class Died(BaseException):
    """What is no Exception passes every fence, as a kill does."""


def test_a_message_of_a_replica_that_died_before_sending_is_sent_by_another(
    make: Make, mail: Receiver, clock: Clock, ledger: Database
) -> None:
    def die() -> list[Channel]:
        raise Died

    dying = Notifier(ledger, die, Rules(0), NotifierMetrics(CollectorRegistry()), clock_ns=clock)
    with pytest.raises(Died):
        dying.run_once([state(95)])
    assert states_of(ledger) == ["sending"]
    other = make(mail)
    clock.passes(TAKEOVER_S - 1)
    other.run_once([state(95)])
    assert mail.subjects == []
    clock.passes(1)
    other.run_once([state(95)])
    assert mail.subjects == ["search: 95 % of 100 USD spent (threshold 90 %)"]
    assert states_of(ledger) == ["delivered"]


def test_a_replica_that_was_taken_for_dead_changes_nothing_any_more(
    ledger_url: str, make: Make, mail: Receiver, clock: Clock, ledger: Database
) -> None:
    """It is stopped while it sends; another sends instead, and is the one that says how that went."""
    late = Receiver("mailto://example.com")
    others: list[Notifier] = [make(mail)]

    def send(_mail: Mail) -> str | None:
        clock.passes(TAKEOVER_S)
        others.pop().run_once()
        return "connection reset"

    late.channel.send = send
    with_own = open_database(ledger_url)
    make(late, database=with_own).run_once([state(95)])
    with_own.close()
    (row,) = alerts(ledger)
    assert (row["state"], row["attempts"], row["problem"]) == ("delivered", 2, None)
    assert len(mail.subjects) == 1


def test_a_channel_that_is_new_gets_what_still_waits(
    make: Make, mail: Receiver, chat: Receiver, clock: Clock, ledger: Database
) -> None:
    mail.problem = "gone"
    make(mail).run_once([state(95)])
    clock.passes(HOUR_S)
    make(chat).run_once()
    assert (len(chat.subjects), states_of(ledger)) == (1, ["delivered"])


# -- many groups -------------------------------------------------------------------------------------------------------


def test_each_group_has_its_own_messages(make: Make, mail: Receiver) -> None:
    notifier = make(mail)
    notifier.run_once([*users(95, "anna"), *users(20, "bert")])
    notifier.run_once([*users(95, "anna"), *users(80, "bert")])
    assert mail.subjects == [
        "users, user=anna: 95 % of 100 USD spent (threshold 90 %)",
        "users, user=bert: 80 % of 100 USD spent (threshold 75 %)",
    ]


def test_many_groups_at_once_are_one_message(make: Make, mail: Receiver, ledger: Database) -> None:
    make(mail).run_once(users(95, *(f"u{number}" for number in range(700))))
    assert mail.subjects == ["users: 700 groups reached a threshold"]
    assert set(states_of(ledger)) == {"delivered"}


def test_groups_that_come_one_after_the_other_are_gathered_once_there_were_many(
    make: Make, mail: Receiver, clock: Clock
) -> None:
    notifier = make(mail)
    for number in range(200):
        notifier.run_once([*users(95, f"u{number}"), state(76 if number < 100 else 91)])
        clock.passes(60)
    alone = [subject for subject in mail.subjects if subject.startswith("users, ")]
    together = [subject for subject in mail.subjects if subject.startswith("users: ")]
    assert len(alone) == 10
    assert together == ["users: 60 groups reached a threshold"] * 3
    assert len([subject for subject in mail.subjects if subject.startswith("search")]) == 2  # is not gathered


def test_what_is_known_to_be_told_is_not_asked_of_the_ledger_again(make: Make, clock: Clock, ledger: Database) -> None:
    notifier = make()
    over = [*users(95, "anna", "bert"), state(95)]
    notifier.run_once(over)
    with ledger.write() as connection:
        connection.execute(claims.budget_alerts.delete())
    notifier.run_once(over)  # had it asked, it would have made them again
    assert alerts(ledger) == []


# -- the thread --------------------------------------------------------------------------------------------------------


@pytest.fixture
def running(make: Make, mail: Receiver) -> Iterator[Notifier]:
    notifier = make(mail, poll_s=0.01)
    notifier.start()
    yield notifier
    notifier.close(30)


def test_whoever_evaluates_does_not_wait(running: Notifier, mail: Receiver) -> None:
    running.on_states([state(95)])
    poll(lambda: mail.subjects, what="the message")
    running.close(30)
    assert not any(thread.name == "spanledger-notifier" for thread in threading.enumerate())


def test_the_thread_outlives_trouble_of_the_database(
    running: Notifier, ledger: Database, mail: Receiver, registry: CollectorRegistry
) -> None:
    with ledger.write() as connection:
        connection.exec_driver_sql("ALTER TABLE budget_alerts RENAME TO away")
    running.on_states([state(95)])
    poll(lambda: counted(registry)["failed"], what="a failure")
    with ledger.write() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO budget_alerts")
    poll(lambda: running.on_states([state(95)]) or mail.subjects, what="the message")


def test_what_is_old_is_forgotten(make: Make, clock: Clock, ledger: Database) -> None:
    make().run_once([state(95), state(95, stored(budget("y"), 2), bounds=Bounds(MONTH.start_s, MONTH.end_s + DAY_S))])
    clock.now_ns = (MONTH.end_s + claims.KEPT_S + 1) * SECOND_NS
    make().run_once()
    assert [row["budget_name"] for row in alerts(ledger)] == ["y"]
