"""`spanledger demo`: provider, exporter and an unchanged service as processes, and the sums of both sides compared."""

from __future__ import annotations

import argparse
import json
import shlex
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, SimpleQueue
from types import FrameType

from rich.console import Console

from spanledger_demo.budgets import pager
from spanledger_demo.processes import Child, DemoError, Processes, wait_until
from spanledger_demo.reconciliation import Metrics, Reconciliation, ledger_side, provider_side, reconcile
from spanledger_demo.stage import SERVICE, Options, Stage, check_needed, set_stage, start_service
from spanledger_demo.view import CallView, control_keys_unseen, print_reconciliation
from spanledger_demo.web import get_json, get_metrics
from spanledger_demo.window import LedgerWindow
from spanledger_exporter.ledger.reader import Reader

REFRESH_S = 0.25
SERVICE_END_DEADLINE_S = 30.0
# What the service has sent is in the ledger by then, unless a collector is still on it.
SETTLE_DEADLINE_S = 5.0
COLLECTOR_SETTLE_DEADLINE_S = 30.0


class Interrupt:
    """Take Ctrl-C and its relatives: the first ends the calls early, the second ends the demo at once."""

    def __init__(self) -> None:
        self._event = threading.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(number, self._take)

    @property
    def came(self) -> bool:
        """Tell whether there was one."""
        return self._event.is_set()

    def wait(self, seconds: float) -> bool:
        """Wait for one, so long at most."""
        return self._event.wait(seconds)

    def _take(self, _number: int, _frame: FrameType | None) -> None:
        if self.came:
            raise KeyboardInterrupt
        self._event.set()


@dataclass(frozen=True, slots=True, kw_only=True)
class Performance:
    """Hold what came of one run."""

    reconciliation: Reconciliation
    problems: tuple[str, ...]
    seconds: float


def run(args: argparse.Namespace) -> int:
    """Run the demo as the flags say; 0 where all is equal, 1 where something differs, 2 where it could not run."""
    console = Console(stderr=args.json, quiet=args.json and not sys.stderr.isatty())
    interrupt = Interrupt()
    try:
        check_needed()
        with pager() as (url, pages):
            options = _options(args, url)
            performance = _play(options, console, interrupt, pages)
    except DemoError as exc:
        sys.stderr.write(f"spanledger demo: {exc}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("spanledger demo: ended at once; nothing was reconciled.\n")
        return 130
    _report(options, performance, console, as_json=args.json)
    return 0 if performance.reconciliation.match and not performance.problems else 1


def _options(args: argparse.Namespace, pager_url: str) -> Options:
    folder = Path(args.folder or tempfile.mkdtemp(prefix="spanledger-demo-")).absolute()
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise DemoError(f"the folder {folder} cannot be made: {exc.strerror}; --folder DIR names another") from exc
    return Options(
        seconds=args.seconds,
        calls_per_s=args.calls_per_s,
        error_rate=args.error_rate,
        cut_rate=args.cut_rate,
        provider_address=args.provider_listen,
        ledger=args.ledger or f"sqlite:///{folder / 'ledger.db'}",
        collector=args.collector,
        folder=folder,
        budget_usd=args.budget_usd,
        budget_reviews=args.budget_reviews,
        pager_url=pager_url,
    )


def _play(options: Options, console: Console, interrupt: Interrupt, pages: SimpleQueue[str]) -> Performance:
    """Start everything, look on while the service works, and compare both sides when all is written."""
    with Processes(options.folder) as processes:
        with console.status("Starting the provider and the exporter ..."):
            stage = set_stage(processes, options)
        _introduce(stage, options, console)
        with Reader(stage.ledger) as reader:
            window = LedgerWindow(reader, service=SERVICE)
            return _perform(processes, stage, options, window, console, interrupt, pages)


def _perform(
    processes: Processes,
    stage: Stage,
    options: Options,
    window: LedgerWindow,
    console: Console,
    interrupt: Interrupt,
    pages: SimpleQueue[str],
) -> Performance:
    started_s = time.monotonic()
    before = get_metrics(stage.metrics_url)
    service = start_service(processes, stage, options)
    with control_keys_unseen(), CallView(console) as view:
        _look_on(service, stage, interrupt, lambda: view.show(window.new(), _waiting(pages)))
        statuses = {service: _end_service(processes, service, interrupt)}
        _settle(stage, window, before, view)
        view.show((), _waiting(pages))
    after = get_metrics(stage.metrics_url)
    tally, answers = get_json(f"{stage.provider_url}/tally"), get_json(f"{stage.provider_url}/answers")
    # Whatever is still under way is written before these two have ended, and counts.
    for child in (stage.collector, stage.exporter):
        if child is not None:
            statuses[child] = processes.stop(child)
    grown = Metrics(calls=after.calls - before.calls, cost_usd=after.cost_usd - before.cost_usd)
    return Performance(
        reconciliation=reconcile(provider_side(tally, answers), ledger_side(window.all()), grown),
        problems=tuple(
            f"The {child.name} ended with status {status}:\n{child.complaint()}"
            for child, status in statuses.items()
            if status
        ),
        seconds=time.monotonic() - started_s,
    )


def _waiting(pages: SimpleQueue[str]) -> Iterator[str]:
    while True:
        try:
            yield pages.get_nowait()
        except Empty:
            return


def _look_on(service: Child, stage: Stage, interrupt: Interrupt, refresh: Callable[[], None]) -> None:
    while service.running and not interrupt.wait(REFRESH_S):
        for child in stage.children:
            if not child.running:
                raise DemoError(f"The {child.name} ended in the middle:\n{child.complaint()}")
        refresh()


def _end_service(processes: Processes, service: Child, interrupt: Interrupt) -> int:
    """Wait for the service; its SDK sends what it still holds while it ends."""
    if interrupt.came and service.running:
        status = processes.stop(service)
        return 0 if status == -signal.SIGTERM else status  # it was asked to end before it had begun
    return processes.wait(service, SERVICE_END_DEADLINE_S)


def _settle(stage: Stage, window: LedgerWindow, before: Metrics, view: CallView) -> None:
    """Wait until ledger and metrics have as many calls as the provider; a difference shows after the deadline."""

    def settled() -> bool:
        view.show(window.new())
        calls = get_json(f"{stage.provider_url}/tally")["calls"]
        return window.answered >= calls and get_metrics(stage.metrics_url).calls - before.calls >= window.seen

    wait_until(settled, COLLECTOR_SETTLE_DEADLINE_S if stage.collector else SETTLE_DEADLINE_S)


def _introduce(stage: Stage, options: Options, console: Console) -> None:
    path = "service -> collector -> exporter" if stage.collector else "service -> exporter"
    lines = (
        "[bold]Spanledger demo[/]: a support desk calls OpenAI and Anthropic by their real SDKs.",
        "A provider on this machine plays both and keeps its own books; nothing is spent.",
        f"  provider  {stage.provider_url}/tally",
        "  service   opentelemetry-instrument python -m spanledger_demo.service",
        f"  spans     {path}, OTLP/gRPC to {stage.otlp}",
        f"  exporter  {stage.metrics_url}",
        f"  ledger    {stage.ledger}",
        f"  budgets   {options.budget_usd:g} USD a day warns, {options.budget_reviews} calls of the best model refuses",
        f"It calls for {options.seconds:g} seconds; Ctrl-C ends it early.",
        "",
    )
    console.print("\n".join(lines), highlight=False, soft_wrap=True)


def _report(options: Options, performance: Performance, console: Console, *, as_json: bool) -> None:
    result = performance.reconciliation
    print_reconciliation(console, result)
    console.print(
        f"Look on:  {shlex.join([_command(), 'report', '--ledger', options.ledger])}\n"
        f"          {shlex.join([_command(), 'budgets', '--ledger', options.ledger])}\n"
        f"          {shlex.join([_command(), 'top', '--ledger', options.ledger])}\n"
        f"Logs and ledger are kept in {options.folder}",
        highlight=False,
        soft_wrap=True,
    )
    if as_json:
        extra = {
            "problems": performance.problems,
            "seconds": round(performance.seconds, 3),
            "collector": options.collector,
            "ledger": options.ledger,
            "folder": str(options.folder),
        }
        sys.stdout.write(json.dumps({**result.as_dict(), **extra}) + "\n")
    if not result.match:
        sys.stderr.write(f"spanledger demo: DIFFERENCE, {len(result.differences)} in all: {result.differences[0]}\n")
    for problem in performance.problems:
        sys.stderr.write(f"spanledger demo: {problem}\n")


def _command() -> str:
    """Name the command line so that it works where the demo was started, also in an environment that is not active."""
    return "spanledger" if shutil.which("spanledger") else str(Path(sys.executable).with_name("spanledger"))
