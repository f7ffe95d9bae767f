"""Two real exporters on one PostgreSQL: what is true of both is not summed, and what each counts alone is."""

import secrets
import time
import urllib.request
from collections.abc import Generator
from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.exporter.otlp_requests import CHAT, CHAT_PUSD, body, span
from tests.exporter.test_commands import run
from tests.servers.exporter import Exporter
from tests.servers.process import get, poll

SETTINGS = {"SPANLEDGER_METRICS_FOLLOW_S": "1", "SPANLEDGER_METRICS_NEW_SERIES_HOLD_S": "0"}


@pytest.fixture
def replicas(postgresql_url: str, tmp_path: Path) -> Generator[list[Exporter]]:
    made: list[Exporter] = []
    try:
        for name in ("one", "other"):
            (tmp_path / name).mkdir()
            made.append(Exporter(postgresql_url, tmp_path / name, environ=SETTINGS))
        yield made
    finally:
        for exporter in made:
            exporter.server.stop()


def send(exporter: Exporter, calls: int) -> None:
    now_ns = time.time_ns()
    spans = [
        span({**CHAT, "gen_ai.response.id": f"chatcmpl-{secrets.token_hex(8)}"}, end_ns=now_ns) for _ in range(calls)
    ]
    headers = {"content-type": "application/x-protobuf"}
    sent = urllib.request.Request(f"http://{exporter.http}/v1/traces", body(*spans), headers)
    urllib.request.urlopen(sent).close()


def summed(exporter: Exporter, name: str) -> float:
    families = text_string_to_metric_families(get(f"http://{exporter.metrics}/metrics") or "")
    return sum(sample.value for family in families for sample in family.samples if sample.name == name)


def test_both_show_the_whole_ledger_and_each_its_own_work(replicas: list[Exporter]) -> None:
    one, other = replicas
    send(one, 3)
    send(other, 5)
    send(one, 2)
    for exporter in replicas:
        poll(lambda each=exporter: summed(each, "genai_calls_total") == 10, what="the calls of both")
        assert summed(exporter, "genai_cost_usd_total") == pytest.approx(10 * CHAT_PUSD / 1e12, rel=1e-12)
    assert sorted(summed(each, "genai_call_duration_seconds_count") for each in replicas) == [5, 5]
    assert sum(summed(each, "spanledger_commit_duration_seconds_count") for each in replicas) == 3


def test_what_a_replica_shows_is_the_same_after_a_restart(
    replicas: list[Exporter], postgresql_url: str, tmp_path: Path
) -> None:
    one, other = replicas
    send(one, 3)
    send(other, 5)
    one.server.kill()
    send(other, 1)
    (tmp_path / "again").mkdir()
    again = Exporter(postgresql_url, tmp_path / "again", environ=SETTINGS)
    with again.server:
        assert summed(again, "genai_calls_total") == 9
        poll(lambda: summed(other, "genai_calls_total") == 9, what="the calls of both")


def test_a_lower_price_lowers_no_counter_and_hides_nothing_that_comes_after(
    replicas: list[Exporter], postgresql_url: str, tmp_path: Path
) -> None:
    """A second exporter's counter is where the first one's is, before and after, and both go on at once."""
    one, other = replicas
    send(one, 10)
    before = 10 * CHAT_PUSD / 1e12
    for exporter in replicas:
        poll(lambda each=exporter: cost_of(each) == pytest.approx(before, rel=1e-12), what="the cost of all calls")
    prices = tmp_path / "prices.toml"
    prices.write_text('[[override]]\nname = "tenth"\nmodel = "gpt-4o-mini"\nmultiplier = 0.1\n')
    again = ("reprice", "--ledger", postgresql_url, "--all", "--reason", "a discount")
    assert run(*again, environ={"SPANLEDGER_PRICES_FILE": str(prices)}).returncode == 0
    for exporter in replicas:
        above = poll(lambda each=exporter: summed(each, "spanledger_above_ledger"), what="what was taken away")
        assert above > 0
        assert cost_of(exporter) == pytest.approx(before, rel=1e-12)
    send(other, 1)
    for exporter in replicas:
        poll(lambda each=exporter: cost_of(each) > before * 1.05, what="the call that came after")
        assert cost_of(exporter) == pytest.approx(before + CHAT_PUSD / 1e12, rel=1e-12)


def cost_of(exporter: Exporter) -> float:
    return summed(exporter, "genai_cost_usd_total")
