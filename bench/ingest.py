"""How many spans a second the exporter commits, on SQLite and on PostgreSQL, with everything on.

A real exporter, `spanledger serve`, is held to one core; a real gRPC client, and PostgreSQL, have the others. Spans are
those of our own instrumentation for a chat, of about 1 kB, of a hundred combinations of service and model. A batch is
answered after its commit, and the client keeps several in flight. Then the ledger is filled up to `--rows` entries and
the same is measured again. In the end the ledger is compared with what was sent: calls, tokens, and each call once.

Machines differ, and a shared one differs from minute to minute. So each figure is the median of several, and between
them a yardstick is measured on the exporter's core: what a bare insert of such rows into SQLite takes, a thousand in a
statement, with nothing decoded, understood, priced or summed.

Units: spans a second, bytes, MiB.
"""

import argparse
import asyncio
import json
import os
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, NamedTuple

ROOT: Final = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))
sys.path.insert(0, str(ROOT / "bench"))

from traffic.spans import Tally, bodies  # noqa: E402 -- the folder of the benchmarks is no package

BATCH, IN_FLIGHT = 512, 8
SMALL_BATCH, SMALL_IN_FLIGHT = 8, 32
MEASURED, MEASURED_SMALL, WARM_UP = 100_000, 20_000, 30_000
REPEATS: Final = 5
ROWS: Final = 10_000_000
TARGETS: Final = {
    "sqlite": {"spans_per_s": 30_000, "spans_per_s_small_requests": 8_000},
    "postgresql": {"spans_per_s": 25_000, "spans_per_s_small_requests": 8_000},
}
AFTER_SHARE_MIN, BYTES_MAX, RSS_MAX_MB = 0.8, 300, 300

# -- the client, in a process of its own -----------------------------------------------------------------------------


async def send(address: str, requests: Iterator[bytes], in_flight: int) -> float:
    """Send all requests, each until it is acknowledged; return the seconds that it took."""
    import grpc

    method = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"
    async with grpc.aio.insecure_channel(address) as channel:
        export = channel.unary_unary(method)

        async def deliver() -> None:
            for body in requests:
                while True:
                    try:
                        await export(body)
                        break
                    except grpc.aio.AioRpcError as error:
                        if error.code() != grpc.StatusCode.UNAVAILABLE:
                            raise
                        await asyncio.sleep(0.05)

        started = time.perf_counter()
        await asyncio.gather(*(deliver() for _ in range(in_flight)))
        return time.perf_counter() - started


def client() -> None:
    """Answer each order on stdin, a JSON line, with what became of it."""
    for line in sys.stdin:
        order = json.loads(line)
        tally = Tally()
        made = bodies(order["first"], order["count"], order["batch"], order["base_ns"], tally)
        ready = iter(list(made)) if order["count"] <= MEASURED else made  # what is measured is not the making
        seconds = asyncio.run(send(order["address"], ready, order["in_flight"]))
        print(json.dumps({"seconds": seconds, **vars(tally)}), flush=True)


# -- the measuring process -------------------------------------------------------------------------------------------


class Rate(NamedTuple):
    """How fast some spans were committed, and the processor's time that the exporter took for one."""

    spans_per_s: float
    cpu_us: float


class Bench:
    """An exporter on its own core, a client on the others, and what was sent so far."""

    def __init__(self, ledger_url: str, folder: Path) -> None:
        first, *others = sorted(os.sched_getaffinity(0))
        self._core = first
        self.yardsticks_us: list[float] = []
        self._sent = Tally()
        self._base_ns = time.time_ns() - 3600 * 10**9
        addresses = [item for flag in ("--grpc", "--http", "--metrics") for item in (flag, "127.0.0.1:0")]
        serve = [sys.executable, "-m", "spanledger_exporter.cli", "serve", "--ledger", ledger_url, *addresses]
        self._log = (folder / "exporter.log").open("w")
        self._exporter = subprocess.Popen([*on({first}), *serve], stdout=subprocess.PIPE, stderr=self._log, text=True)
        assert self._exporter.stdout is not None
        said = self._exporter.stdout.readline()
        if not said.startswith("ready "):
            raise SystemExit(f"the exporter did not start: {(folder / 'exporter.log').read_text()}")
        self.addresses = dict(word.split("=", 1) for word in said.split()[1:])
        self._client = subprocess.Popen(
            [*on(set(others or [first])), sys.executable, __file__, "--client"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def send(self, count: int, *, batch: int = BATCH, in_flight: int = IN_FLIGHT) -> Rate:
        """Send so many spans and wait until all are committed."""
        assert self._client.stdin is not None
        assert self._client.stdout is not None
        order = {
            "address": self.addresses["grpc"], "base_ns": self._base_ns, "first": self._sent.calls, "count": count,
            "batch": batch, "in_flight": in_flight,
        }  # fmt: skip
        before_s = self._cpu_s()
        self._client.stdin.write(json.dumps(order) + "\n")
        self._client.stdin.flush()
        line = self._client.stdout.readline()
        if not line:
            raise SystemExit("the client ended early; what it said stands above")
        answer = json.loads(line)
        for name in vars(self._sent):
            setattr(self._sent, name, getattr(self._sent, name) + answer[name])
        return Rate(count / answer["seconds"], (self._cpu_s() - before_s) / count * 1e6)

    def median(self, count: int, *, batch: int = BATCH, in_flight: int = IN_FLIGHT) -> Rate:
        """Send so many spans several times, and measure the yardstick between."""
        rates: list[Rate] = []
        for _ in range(REPEATS):
            rates.append(self.send(count, batch=batch, in_flight=in_flight))
            self.yardsticks_us.append(self._yardstick_us())
        return Rate._make(statistics.median(values) for values in zip(*rates, strict=True))

    def _yardstick_us(self) -> float:
        ran = subprocess.run(
            [*on({self._core}), sys.executable, __file__, "--yardstick"], capture_output=True, check=True
        )
        return float(ran.stdout)

    def rss_mb(self) -> float:
        """The most memory that the exporter ever held."""
        status = Path(f"/proc/{self._exporter.pid}/status").read_text()
        return next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmHWM:")) / 1024

    def stop(self) -> Tally:
        """End both; return what was sent."""
        self._client.communicate()
        self._exporter.terminate()
        self._exporter.communicate()
        self._log.close()
        return self._sent

    def _cpu_s(self) -> float:
        fields = Path(f"/proc/{self._exporter.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def yardstick_us() -> float:
    """Return the processor time of a bare insert of one row of an entry, in microseconds."""
    from spanledger_exporter.ledger.schema import ENTRY_COLUMNS

    rows, width = 1024, len(ENTRY_COLUMNS)
    names = ", ".join(ENTRY_COLUMNS)
    places = ",".join([f"({','.join('?' * width)})"] * rows)
    taken: list[float] = []
    with tempfile.TemporaryDirectory(prefix="spanledger-bench-") as folder:
        database = sqlite3.connect(f"{folder}/bare.db", isolation_level=None)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.execute(
            f"CREATE TABLE bare (entry_id INTEGER PRIMARY KEY, {names}, UNIQUE (end_ns, span_id, trace_id))"
        )
        for number in range(20):
            values = [value for row in range(rows) for value in _entry(time.time_ns() + row, number)]
            start = time.process_time()
            database.execute("BEGIN IMMEDIATE")
            database.execute(f"INSERT INTO bare ({names}) VALUES {places} ON CONFLICT DO NOTHING", values)
            database.execute("COMMIT")
            taken.append((time.process_time() - start) / rows * 1e6)
        database.close()
    return statistics.median(taken)


def on(cores: set[int]) -> list[str]:
    """Return the words that hold a command to some cores, with all the threads that it will have."""
    return ["taskset", "--cpu-list", ",".join(map(str, sorted(cores)))]


def _entry(end_ns: int, profile_id: int) -> list[Any]:
    """Return the values of an entry as the spans of the benchmark make it, in the order of its columns."""
    from spanledger_exporter.ledger.schema import ENTRY_COLUMNS

    known: dict[str, Any] = {
        **dict.fromkeys(("end_ns", "start_ns", "received_ns"), end_ns),
        **{name: os.urandom(8) for name in ("span_id", "parent_span_id")},
        "trace_id": os.urandom(16),
        "profile_id": profile_id,
        "response_id": f"chatcmpl-{end_ns:029d}",
        "request_hash": f"{end_ns:032x}",
        "input_tokens": 12_345,
        "output_tokens": 2_345,
        "cache_read_tokens": 9_876,
        "reasoning_tokens": 1_234,
        "cost_pusd": 24_000_000,
        "cost_output_pusd": 16_000_000,
        "cost_cache_read_pusd": 2_000_000,
        "cache_saved_pusd": 2_000_000,
    }
    return [known.get(name) for name in ENTRY_COLUMNS]


def measure(name: str, ledger_url: str, rows: int, folder: Path, say: Any) -> dict[str, Any]:
    """Measure on one database."""
    bench = Bench(ledger_url, folder)
    bench.send(WARM_UP)
    whole = bench.median(MEASURED)
    say(f"{name}: {whole.spans_per_s:,.0f} spans/s, {whole.cpu_us:.1f} us of the exporter's core for one")
    small = bench.median(MEASURED_SMALL, batch=SMALL_BATCH, in_flight=SMALL_IN_FLIGHT)
    say(f"{name}: {small.spans_per_s:,.0f} spans/s in requests of {SMALL_BATCH}")
    filled = WARM_UP + REPEATS * (MEASURED + MEASURED_SMALL)
    while filled < rows:
        step = min(500_000, rows - filled)
        bench.send(step)
        filled += step
        say(f"{name}: filled up to {filled:,} entries")
    after = bench.median(MEASURED)
    rss_mb = bench.rss_mb()
    sent = bench.stop()
    kept = ledger_tally(ledger_url)
    return {
        "spans_per_s": round(whole.spans_per_s),
        "spans_per_s_small_requests": round(small.spans_per_s),
        "spans_per_s_after_10m": round(after.spans_per_s),
        "bytes_per_entry": round(kept["bytes"] / kept["entries"], 1),
        "rss_mb": round(rss_mb, 1),
        "lost": sent.calls - kept["distinct"],
        "doubled": kept["entries"] - kept["distinct"],
        "cpu_us_per_span": round(whole.cpu_us, 2),
        "bare_insert_us": round(statistics.median(bench.yardsticks_us), 2),
        "rows_before_the_second_measurement": max(filled, rows),
        "tokens_differ": [sent.input_tokens, sent.output_tokens] != kept["tokens"],
        "rollups_differ": kept["rolled_up"] != [kept["entries"], *kept["tokens"]],
    }


def ledger_tally(ledger_url: str) -> dict[str, Any]:
    """Count a ledger's entries by plain SQL, and measure what they take on disk."""
    from sqlalchemy import create_engine, text

    engine = create_engine(ledger_url)
    with engine.connect() as connection:

        def row(query: str) -> list[int]:
            return [int(value) for value in connection.execute(text(query)).one()]

        entries, *tokens = row("SELECT count(*), sum(input_tokens), sum(output_tokens) FROM ledger_entries")
        (distinct,) = row("SELECT count(*) FROM (SELECT DISTINCT trace_id, span_id FROM ledger_entries) AS d")
        rolled_up = row("SELECT sum(calls), sum(input_tokens), sum(output_tokens) FROM rollup_hours")
        if engine.dialect.name == "sqlite":
            size = connection.execute(text("PRAGMA page_count")).scalar_one() * (
                connection.execute(text("PRAGMA page_size")).scalar_one()
            )
        else:
            (size,) = row(
                "SELECT sum(pg_total_relation_size(inhrelid)) FROM pg_inherits "
                "WHERE inhparent = 'ledger_entries'::regclass"
            )
    engine.dispose()
    return {"entries": entries, "tokens": tokens, "distinct": distinct, "rolled_up": rolled_up, "bytes": size}


def missed(found: dict[str, Any]) -> list[str]:
    """Name the targets that were not met."""
    failures: list[str] = []
    for name, targets in TARGETS.items():
        if name not in found:
            continue
        got = found[name]
        failures += [
            f"{name}: {key} is {got[key]:,}, not {least:,}" for key, least in targets.items() if got[key] < least
        ]
        if got["spans_per_s_after_10m"] < AFTER_SHARE_MIN * got["spans_per_s"]:
            failures.append(f"{name}: {got['spans_per_s_after_10m']:,} spans/s in a large ledger, not 80 %")
        if name == "sqlite" and got["bytes_per_entry"] > BYTES_MAX:
            failures.append(f"{name}: an entry takes {got['bytes_per_entry']} bytes, not {BYTES_MAX}")
        if got["rss_mb"] > RSS_MAX_MB:
            failures.append(f"{name}: the exporter held {got['rss_mb']} MiB, not {RSS_MAX_MB}")
        wrong = [key for key in ("lost", "doubled", "tokens_differ", "rollups_differ") if got[key]]
        failures += [f"{name}: {key} is {got[key]}" for key in wrong]
    return failures


def main(argv: Sequence[str] | None = None) -> int:
    """Print the figures; fail where a target is missed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout")
    parser.add_argument(
        "--rows", type=int, default=ROWS, help=f"entries before the second measurement (default {ROWS:,})"
    )
    parser.add_argument("--on", choices=TARGETS, help="one database only")
    parser.add_argument("--client", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--yardstick", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(argv)
    if options.client:
        client()
        return 0
    if options.yardstick:
        print(yardstick_us())
        return 0
    from tests.servers import postgresql

    def say(text: str) -> None:
        if not options.json:
            print(text, file=sys.stderr, flush=True)

    found: dict[str, Any] = {}
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="spanledger-bench-")))
        if options.on != "postgresql":
            found["sqlite"] = measure("sqlite", f"sqlite:///{folder / 'ledger.db'}", options.rows, folder, say)
        if options.on != "sqlite":
            cluster = stack.enter_context(postgresql.running(fsync=True))
            url = stack.enter_context(cluster.database())
            found["postgresql"] = measure("postgresql", url, options.rows, folder, say)
    print(json.dumps(found) if options.json else json.dumps(found, indent=2))
    failures = missed(found)
    for failure in failures:
        print(f"target missed: {failure}", file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
