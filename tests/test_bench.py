"""The benchmarks still fit the code that they measure."""

import subprocess
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench"


def test_the_yardstick_writes_rows_as_wide_as_entries() -> None:
    printed = subprocess.run(
        [sys.executable, BENCH / "ingest.py", "--yardstick"], check=True, capture_output=True, text=True
    )
    assert float(printed.stdout) > 0


@pytest.mark.parametrize("file", sorted(BENCH.glob("*.py")), ids=lambda file: file.stem)
def test_a_benchmark_says_how_it_is_run(file: Path) -> None:
    printed = subprocess.run([sys.executable, file, "--help"], check=True, capture_output=True, text=True)
    assert "--json" in printed.stdout
