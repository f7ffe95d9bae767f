"""`spanledger provider`: serve until a signal, then say what was answered."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import threading
from types import FrameType
from typing import Any

from rich.console import Console
from rich.table import Table

from spanledger_demo.provider.faults import FaultPlan
from spanledger_demo.provider.server import running_provider

USAGE = """\
OPENAI_BASE_URL={url}/v1  OPENAI_API_KEY=any
ANTHROPIC_BASE_URL={url}  ANTHROPIC_API_KEY=any
GET  {url}/tally    what was answered, in sums      GET {url}/answers  call by call
POST {url}/control  {{"next_errors": [429], "error_rate": 0.1, "latency_s": 0.5, "event_interval_s": 0.02,
                      "next_cuts": [{{"after_events": 3, "how": "close"}}], "cut_rate": 0.1, "limits_used": 0.95}}
Ctrl-C ends it and prints the tally."""

WIDTH_MIN = 160
COLUMNS = (
    ("calls", "calls"),
    ("errors", "errors"),
    ("interrupted", "cut"),
    ("input_tokens", "input"),
    ("output_tokens", "output"),
    ("cost_usd", "USD"),
)


def run(args: argparse.Namespace) -> int:
    """Serve as the flags say."""
    stop = threading.Event()

    def take(_number: int, _frame: FrameType | None) -> None:
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, take)
    host, port = args.listen
    plan = FaultPlan(
        error_rate=args.error_rate,
        cut_rate=args.cut_rate,
        latency_s=args.latency_s,
        event_interval_s=args.event_interval_s,
    )
    try:
        with running_provider(host=host, port=port, seed=args.seed, plan=plan) as provider:
            sys.stdout.write(f"ready provider={provider.url}\n")
            sys.stdout.flush()
            if not args.json:
                sys.stderr.write(USAGE.format(url=provider.url) + "\n")
            stop.wait()
            tally = provider.tally()
    except OSError as exc:
        why = f"cannot listen on {host}:{port}: {exc.strerror or exc}"
        sys.stderr.write(f"spanledger provider: {why}; --listen ADDR names another address\n")
        return 2
    _print_tally(tally, as_json=args.json)
    return 0


def _print_tally(tally: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        sys.stdout.write(json.dumps(tally) + "\n")
        return
    table = Table(title="Answered", title_justify="left")
    table.add_column("model", no_wrap=True)
    for _, title in COLUMNS:
        table.add_column(title, justify="right", no_wrap=True)
    for line in [*tally["models"], {"model": "all", **tally}]:
        cells = ["unknown" if line[name] is None else str(line[name]) for name, _ in COLUMNS]
        table.add_row(line["model"] or "-", *cells)
    # Wide enough for every figure: a narrow terminal wraps the line, and none is cut off.
    Console(width=max(Console().width, WIDTH_MIN), soft_wrap=True).print(table)
