"""The dashboards on the first day: no call has come yet, or no exporter is there. Nothing is wrong then, only empty."""

import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

import pytest

from spanledger_exporter.ledger.database import open_database
from tests.dashboards import asking, boards, grafana
from tests.dashboards.grafana import Window
from tests.dashboards.stage import scraping, select
from tests.servers.exporter import Exporter
from tests.servers.process import poll

pytestmark = pytest.mark.xdist_group("dashboards")
HOUR_S = 3600


@contextmanager
def exporters(count: int, folder: Path) -> Generator[list[Exporter]]:
    if not count:
        yield []
        return
    exporter = Exporter(f"sqlite:///{folder / 'ledger.db'}", folder)
    with exporter.server:
        yield [exporter]


@pytest.mark.parametrize("count", [0, 1], ids=["no exporter", "an exporter and no call"])
def test_no_query_fails_and_nothing_is_shown_that_is_no_number(count: int, tmp_path: Path) -> None:
    with exporters(count, tmp_path) as running, scraping(tmp_path, running) as prometheus:
        if running:
            poll(lambda: prometheus.query("count(spanledger_build_info)"), what="the first scrape")
        now_s = time.time()
        for name in boards.names():
            dashboard = boards.load(name)
            for window in (Window(now_s - 60, now_s, 1), Window(now_s - HOUR_S, now_s, 15)):
                marks = list(asking.annotations(prometheus, dashboard, window))
                assert len(marks) == (name != "spanledger-ledger"), "all but the ledger's, which asks no Prometheus"
                answers = [*marks, *asking.answers(prometheus, dashboard, window)]
                assert [each.where for each in answers if not each.finite] == []
                for variable in asking.variables(dashboard):
                    if variable.get("datasource", {}).get("type") == "prometheus":
                        asking.values(prometheus, variable, dashboard, window)


def test_no_query_of_an_empty_ledger_fails(postgresql_url: str) -> None:
    open_database(postgresql_url).close()
    board = boards.load("spanledger-ledger")
    window = Window(0, HOUR_S, 1)
    for panel in boards.panels(board):
        for target in panel["targets"]:
            select(postgresql_url, grafana.sql(target["rawSql"], window, asking.variables(board), asking.ALL))
