"""Fixtures that any test may ask for: real servers, started once a session, a fresh state for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests.servers import otelcol as collector
from tests.servers import postgresql

# How fast examples are made is the machine's business: one that builds a collector meanwhile is no reason to fail.
settings.register_profile("patient", suppress_health_check=[HealthCheck.too_slow], deadline=None)
settings.load_profile("patient")


@pytest.fixture(scope="session")
def postgresql_cluster() -> Iterator[postgresql.Cluster]:
    """A real PostgreSQL cluster of this test session."""
    with postgresql.running() as cluster:
        yield cluster


@pytest.fixture
def postgresql_url(postgresql_cluster: postgresql.Cluster) -> Iterator[str]:
    """SQLAlchemy's URL of an empty PostgreSQL database of this test's own."""
    with postgresql_cluster.database() as url:
        yield url


@pytest.fixture(scope="session")
def otelcol() -> Path:
    """The program of a real OpenTelemetry Collector, built on a machine's first run."""
    return collector.program()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests that need the collector last: on a new machine it is being built while the others run."""
    items.sort(key=lambda item: "otelcol" in getattr(item, "fixturenames", ()))
