"""The stage of the dashboards, set up once."""

from collections.abc import Iterator

import pytest

from tests.dashboards import stage as stages
from tests.dashboards.stage import Stage
from tests.servers.postgresql import Cluster


@pytest.fixture(scope="package")  # its servers are busy: they end with the last of these tests, not of all
def stage(postgresql_cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Two exporters on one ledger with a month of calls, and a Prometheus that has seen them come."""
    folder = tmp_path_factory.mktemp("stage")
    with postgresql_cluster.database() as url, stages.set_up(postgresql_cluster, url, folder) as made:
        yield made
