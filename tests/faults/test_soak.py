"""A short soak of each kind; `make soak` runs long."""

import random
from pathlib import Path

from tests.faults.soak import Soak

SEED = 20_261_128


def test_killed_at_random_the_ledger_its_sums_and_the_counters_are_what_was_sent(
    ledger_url: str, tmp_path: Path
) -> None:
    soak = Soak(ledger_url, tmp_path, random.Random(SEED))
    soak.round(calls=250, kills=2)
    assert soak.retries > 0


def test_two_exporters_on_one_ledger_count_overlapping_batches_once_though_they_are_killed(
    postgresql_url: str, tmp_path: Path
) -> None:
    soak = Soak(postgresql_url, tmp_path, random.Random(SEED), replicas=2)
    soak.round(calls=300, kills=2)
    assert soak.retries > 0
