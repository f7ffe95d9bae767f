"""Killed at the worst instants: what was acknowledged is there, and what is sent again is there once."""

import asyncio
import random
import signal
import time
from pathlib import Path

import pytest

from spanledger_exporter import config, failpoints
from spanledger_exporter.app import App
from spanledger_exporter.errors import ConfigError, UnavailableError
from spanledger_exporter.failpoints import AFTER_COMMIT, POINTS
from spanledger_exporter.settings import SETTINGS
from tests.faults.books import assert_balanced
from tests.faults.traffic import Sender, traffic
from tests.servers.exporter import Exporter, entries
from tests.servers.process import TIMEOUT_S, free_port

CALLS = 90


def test_killed_at_each_point_and_restarted_the_ledger_is_what_was_sent(ledger_url: str, tmp_path: Path) -> None:
    dice = random.Random(5)
    sent = traffic(dice, CALLS)
    address = f"127.0.0.1:{free_port()}"
    # Of two reports one is the first of its call, so that each batch makes an entry.
    sender = Sender([address], sent.reports, batch_min=2, batch_max=6, again=False)
    for life, point in enumerate(POINTS):
        exporter = start(ledger_url, tmp_path / point, address, f"{point}=kill:3")
        if life == 0:
            sender.start()
        assert exporter.server.process.wait(TIMEOUT_S) == -signal.SIGKILL
        acknowledged = {report.span.span_id.hex() for report in list(sender.acknowledged)}
        there = {entry["span_id"] for entry in entries(ledger_url)}
        # An entry has the span of its first report, so others of the acknowledged are in it.
        assert (there <= acknowledged) == (point != AFTER_COMMIT)
    last = start(ledger_url, tmp_path / "last", address, "before_commit=raise:1,after_commit=raise:2")
    with last.server:
        sender.finish()
        assert_balanced(ledger_url, sent.tally, last)
    assert sender.retries >= len(POINTS) + 2


def start(ledger_url: str, folder: Path, address: str, points: str) -> Exporter:
    folder.mkdir()
    return Exporter(ledger_url, folder, grpc=address, environ={failpoints.VARIABLE: points})


@pytest.mark.parametrize(
    "text", ["before_lunch=kill", "before_insert", "before_insert=kill:0", "after_commit=sleep", "before_insert=kill;"]
)
def test_what_is_no_point_or_action_is_refused_at_the_start(
    monkeypatch: pytest.MonkeyPatch, sqlite_url: str, text: str
) -> None:
    monkeypatch.setenv(failpoints.VARIABLE, text)
    flags = {"--grpc": "127.0.0.1:0", "--http": "127.0.0.1:0", "--metrics": "127.0.0.1:0", "--ledger": sqlite_url}
    settings = {setting.field: flags[setting.flag] for setting in SETTINGS if setting.flag in flags}
    with pytest.raises(ConfigError, match=r"points are before_insert, before_commit, .*after_sending, actions kill"):
        asyncio.run(App(config.load(environ={}, flags=settings)).start())


def test_a_point_acts_at_the_time_that_it_is_told_and_no_other() -> None:
    points = failpoints.parse("before_insert=raise:2, after_commit=sleep:0.05")
    points.reach("before_insert")
    with pytest.raises(UnavailableError, match="before_insert"):
        points.reach("before_insert")
    points.reach("before_insert")
    points.reach("before_commit")
    began_s = time.monotonic()
    points.reach("after_commit")
    assert time.monotonic() - began_s >= 0.05
