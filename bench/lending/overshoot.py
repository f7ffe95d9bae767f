"""How far above a hard budget 8 processes with 16 calls at a time get, by what goes wrong.

The runs are those of tests/exporter/budgets/test_overshoot.py: the exporter's own code on a made-up clock, and a bill
beside it. `bound` is what docs/leases.md promises.

Units: shares of the limit; the worst of all seeds and periods, and the median of what is left unused.
"""

import statistics
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

LIMIT: Final = 3_000_000
_ALLOWANCE: Final = 100_000
_LOWERED: Final = 1_000_000


def measure(seeds: Sequence[int]) -> list[dict[str, Any]]:
    """Return a row for each kind of trouble."""
    from tests.exporter.budgets.simulation import Trouble

    gone = {"outage": (200, 900), "allowance": _ALLOWANCE, "crashes": 1}
    troubles = {
        "none": Trouble(),
        "a process is killed": Trouble(crashes=1),
        "requests and spans are lost, late and doubled": Trouble(lost=0.05, unanswered=0.05, doubled=0.1, repeated=0.2),
        "clocks are off by two minutes": Trouble(skew_s=120),
        "the exporter is restarted": Trouble(restarts=2),
        "all of that": Trouble(lost=0.05, unanswered=0.05, doubled=0.1, repeated=0.2, crashes=3, freezes=1, restarts=2,
                               skew_s=120),
        "the exporter is gone, closed": Trouble(on_unreachable="closed", **gone),
        "the exporter is gone, safe": Trouble(on_unreachable="safe", **gone),
        "the exporter is gone, open": Trouble(on_unreachable="open", **gone),
        "the limit is lowered to a third": Trouble(lowered=(150, _LOWERED)),
    }  # fmt: skip
    return [_row(name, trouble, [_run(trouble, seed) for seed in seeds]) for name, trouble in troubles.items()]


def _run(trouble: Any, seed: int) -> Any:
    from spanledger_exporter.ledger.database import open_database
    from spanledger_exporter.prices.genai_prices_book import packaged_book
    from tests.exporter.budgets.simulation import Run

    memory = Path("/dev/shm")  # where thousands of commits wait for no disk, if there is such a folder
    with (
        TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder,
        closing(open_database(f"sqlite:///{folder}/ledger.db")) as database,
    ):
        run = Run(database, packaged_book(), trouble, seed, limit=LIMIT)
        run.run()
        return run


def _row(name: str, trouble: Any, runs: Sequence[Any]) -> dict[str, Any]:
    worst = max(run.found.worst for run in runs)
    return {
        "trouble": name,
        "worst": round(worst / LIMIT, 4),
        "bound": round(max(_bound(trouble, run) for run in runs) / LIMIT, 4),
        "held": all(run.found.worst <= _bound(trouble, run) for run in runs),
        "unused": round(statistics.median(1 - run.found.worst / LIMIT for run in runs), 4),
        "requests_per_call": round(sum(run.found.requests for run in runs) / sum(run.found.calls for run in runs), 2),
    }


def _bound(trouble: Any, run: Any) -> int:
    if trouble.lowered is not None:
        return max(_LOWERED, run.found.spent_when_lowered + run.found.leased_when_lowered)
    if trouble.outage is None or trouble.on_unreachable == "closed":
        return LIMIT
    return LIMIT + (len(run.processes) * _ALLOWANCE if trouble.on_unreachable == "safe" else run.found.passed_open)
