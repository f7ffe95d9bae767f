"""What budgets cost each call that is ingested, with 1 and 1,000 of them, and what their leases do.

    .venv/bin/python bench/budgets.py [--full] [--json] [--part ingest|decisions|overshoot]

It takes two minutes; with `--full`, which adds 100 and 10,000 budgets and plays overshoot with twenty seeds instead of
one, it takes a quarter of an hour. `decisions` and `overshoot` are described in bench/lending/. Of `ingest`:

The same groups of calls, as the committer makes them, are appended to ledgers side by side that differ in their budgets
alone, on SQLite and on PostgreSQL. In the worst case every budget holds every call; in the realistic one each holds the
calls of one service, one in a hundred those of all, and one in a hundred is per model. What a ledger takes longer than
the one without budgets is set against all that ingesting takes: decode, understand, price and append.

Units: microseconds for one call, by the clock on the wall and of the exporter's processor time; medians. `share` is the
part of the throughput that budgets take, by the clock: a quarter as long again is a fifth. Of PostgreSQL the processor
time is the exporter's alone; what the server takes is in the clock's.
"""

import argparse
import json
import logging
import statistics
import sys
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple, Self

ROOT: Final = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "bench"))

import ingest  # noqa: E402 -- the folder of the benchmarks is no package
import stages  # noqa: E402
from lending import decisions, overshoot  # noqa: E402
from traffic.spans import Tally, bodies  # noqa: E402

TARGET_BUDGETS: Final = 1_000
CASES: Final = ("worst", "realistic")
PARTS: Final = ("ingest", "decisions", "overshoot")
COUNTS: Final = (1, TARGET_BUDGETS)
SEEDS: Final = 1
FULL_COUNTS: Final = (1, 100, 1_000, 10_000)
FULL_SEEDS: Final = 20
TARGET_SHARE: Final = 0.2
_PERIODS: Final = ("month", "week", "day", "quarter")


class Contender(NamedTuple):
    """A ledger, and what it is measured as."""

    database: str
    case: str
    budgets: int
    ledger: Any


class _Took(NamedTuple):
    wall: float
    processor: float

    @classmethod
    def now(cls) -> Self:
        return cls(time.perf_counter(), time.process_time())

    def until_now(self, calls: int) -> Self:
        """Return microseconds for one of so many calls."""
        return self._make((now - then) / calls * 1e6 for now, then in zip(self.now(), self, strict=True))

    @classmethod
    def median(cls, several: Sequence[Self]) -> Self:
        return cls._make(statistics.median(values) for values in zip(*several, strict=True))


def documents(case: str, count: int) -> list[dict[str, Any]]:
    """Return budgets as they are declared."""
    made: list[dict[str, Any]] = []
    for number in range(count):
        said: dict[str, Any] = {"name": f"budget-{number}", "limit_usd": 1_000, "period": _PERIODS[number % 4]}
        if case == "realistic" and number % 100 == 1:
            said |= {"per": ["model"]}
        elif case == "realistic" and number % 100:
            said |= {"scope": {"service": f"service-{number}"}}
        made.append(said)
    return made


def measure(rounds: int, databases: Sequence[str], counts: Sequence[int]) -> list[dict[str, Any]]:
    """Return what each number of budgets costs."""
    from spanledger_exporter.dialects import RESOURCE_ATTRIBUTES, understand
    from spanledger_exporter.prices.genai_prices_book import packaged_book
    from spanledger_exporter.prices.pricer import Pricer
    from spanledger_exporter.receiving import otlp

    book = packaged_book()
    price = stages.priced_by(Pricer(book))
    before: list[_Took] = []
    taken: dict[Contender, list[_Took]] = {}
    with ExitStack() as stack:
        contenders = [*_contenders(stack, book, databases, counts)]
        first, base_ns = 0, time.time_ns() - 3600 * 10**9
        count = ingest.BATCH * stages.GROUP
        for number in range(rounds + 1):  # the first warms up
            requests = list(bodies(first, count, ingest.BATCH, base_ns, Tally()))
            first += count
            start = _Took.now()
            batches = [otlp.decode(raw, RESOURCE_ATTRIBUTES).spans for raw in requests]
            records = [record for spans in batches for record in understand(spans).records]
            priced = price(records)
            before.append(start.until_now(count))
            # In turns, and the other way round the next time: whatever else the machine does meets all alike.
            for contender in contenders if number % 2 else reversed(contenders):
                start = _Took.now()
                contender.ledger.append(priced)
                taken.setdefault(contender, []).append(start.until_now(count))
    return _rows(_Took.median(before[1:]), {each: _Took.median(took[1:]) for each, took in taken.items()})


def _contenders(stack: ExitStack, book: Any, databases: Sequence[str], counts: Sequence[int]) -> list[Contender]:
    from spanledger_exporter.budgets.document import from_document
    from spanledger_exporter.budgets.shelf import BudgetShelf
    from spanledger_exporter.dialects import rank
    from spanledger_exporter.ledger.database import open_database
    from spanledger_exporter.ledger.ledger import Ledger

    made: list[Contender] = []
    for case, budgets in [("none", 0), *((case, count) for case in CASES for count in counts)]:
        for name, url in stages.urls(databases, stack).items():
            database = open_database(url)
            ledger = Ledger(database, cells_max=10_000, rank=rank)
            ledger.keep_book(book)
            stack.callback(ledger.close)
            BudgetShelf(database).sync([from_document(each) for each in documents(case, budgets)], "bench")
            made.append(Contender(name, case, budgets, ledger))
    return made


def _rows(before: _Took, taken: dict[Contender, _Took]) -> list[dict[str, Any]]:
    without = {each.database: took for each, took in taken.items() if not each.budgets}
    rows: list[dict[str, Any]] = []
    for each, took in sorted(taken.items(), key=lambda pair: pair[0][:3]):
        row: dict[str, Any] = {"database": each.database, "case": each.case, "budgets": each.budgets}
        for name, first, plain, now in zip(_Took._fields, before, without[each.database], took, strict=True):
            more = now - plain
            row |= {f"ingest_{name}_us": round(first + now, 2), f"budgets_{name}_us": round(more, 2)}
            row |= {f"share_{name}": round(max(more, 0) / (first + now), 4)}
        rows.append(row)
    return rows


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures; 1 where the target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--on", choices=ingest.TARGETS, help="one database only")
    parser.add_argument("--full", action="store_true", help="all numbers of budgets, and many seeds")
    parser.add_argument("--counts", type=int, nargs="+", help="how many budgets")
    parser.add_argument("--part", choices=PARTS, help="one part only")
    parser.add_argument("--seconds", type=float, default=5.0, help="of decisions, for each row")
    parser.add_argument("--seeds", type=int, help="runs of each row of overshoot")
    options = parser.parse_args(argv)
    logging.disable(logging.INFO)
    databases = [options.on] if options.on else list(ingest.TARGETS)
    parts = [options.part] if options.part else list(PARTS)
    found: dict[str, Any] = {}
    met = True
    if "ingest" in parts:
        counts = options.counts or (FULL_COUNTS if options.full else COUNTS)
        rows = found["ingest"] = measure(options.rounds, databases, counts)
        found["target_share"] = TARGET_SHARE
        met = not any(row["budgets"] == TARGET_BUDGETS and row["share_wall"] >= TARGET_SHARE for row in rows)
    if "decisions" in parts:
        found["decisions"] = decisions.measure(options.seconds, databases)
    if "overshoot" in parts:
        seeds = options.seeds or (FULL_SEEDS if options.full else SEEDS)
        rows = found["overshoot"] = overshoot.measure(range(seeds))
        met = met and all(row["held"] for row in rows)
    print(json.dumps({**found, "met": met})) if options.json else _print(found)
    return 0 if met else 1


def _print(found: dict[str, Any]) -> None:
    if "ingest" in found:
        _print_ingest(found["ingest"])
    for part in ("decisions", "overshoot"):
        rows: list[dict[str, Any]] = found.get(part, [])
        if rows:
            widths = [max(len(name), *(len(str(row[name])) for row in rows)) + 2 for name in rows[0]]
            print("".join(f"{name:>{width}}" for name, width in zip(rows[0], widths, strict=True)))
            for row in rows:
                print("".join(f"{value!s:>{width}}" for value, width in zip(row.values(), widths, strict=True)))


def _print_ingest(rows: Sequence[dict[str, Any]]) -> None:
    missed = any(row["budgets"] == TARGET_BUDGETS and row["share_wall"] >= TARGET_SHARE for row in rows)
    columns = [f"{measure}_{kind}" for kind in _Took._fields for measure in ("ingest", "budgets", "share")]
    print(f"{'database':<12}{'case':<11}{'budgets':>7}" + "".join(f"{name:>18}" for name in columns))
    for row in rows:
        figures = [row[name] if name.startswith("share") else row[f"{name}_us"] for name in columns]
        said = [f"{figure:>18.1%}" if name.startswith("share") else f"{figure:>15.2f} us"
                for name, figure in zip(columns, figures, strict=True)]  # fmt: skip
        print(f"{row['database']:<12}{row['case']:<11}{row['budgets']:>7,}" + "".join(said))
    print(f"target: {TARGET_BUDGETS:,} budgets take less than {TARGET_SHARE:.0%}: {'missed' if missed else 'met'}")


if __name__ == "__main__":
    sys.exit(main())
