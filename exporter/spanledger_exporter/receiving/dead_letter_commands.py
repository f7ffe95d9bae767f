"""`spanledger dead-letters`: look into what could not become an entry, and send it through the pipeline again."""

import argparse
import json
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

from spanledger_exporter.config import Config
from spanledger_exporter.errors import LedgerError

_ACTIONS = ("list", "show", "replay")


def declare(command: argparse.ArgumentParser, config_of: Callable[[argparse.Namespace], Config]) -> None:
    """Say what the command takes, and what it calls."""
    command.add_argument("action", nargs="?", choices=_ACTIONS, default="list", help="what to do (default list)")
    command.add_argument("ids", nargs="*", type=int, metavar="ID", help="numbers of letters, as `list` shows them")
    command.add_argument("--all", action="store_true", help="replay: every letter that was not replayed yet")
    command.add_argument("--dry-run", action="store_true", help="replay: only say what would become of each")
    command.add_argument("--json", action="store_true", help="one JSON object a line")

    def run(arguments: argparse.Namespace) -> int:
        ids: list[int] = arguments.ids
        if arguments.action == "list" and ids:
            command.error("list takes no ID")
        if arguments.action == "show" and not ids:
            command.error("show wants the ID of a letter")
        if arguments.action == "replay" and bool(ids) == arguments.all:
            command.error("replay wants the ID of letters, or --all")
        url = config_of(arguments).ledger_url
        if arguments.action == "replay":
            config = config_of(arguments)
            return _replay(config, ids, dry_run=arguments.dry_run, as_json=arguments.json)
        _list(url, ids if arguments.action == "show" else None, as_json=arguments.json)
        return 0

    command.set_defaults(run=run)


def _list(url: str, ids: list[int] | None, *, as_json: bool) -> None:
    from spanledger_exporter.ledger.database import open_readonly
    from spanledger_exporter.receiving import dead_letters

    with closing(open_readonly(url)) as database, database.read() as connection:
        letters = [dict(row) for row in dead_letters.read(connection, ids)]
    if ids is not None:
        _require(ids, letters)
    for letter in letters:
        shown = _document(letter, whole=ids is not None)
        _print(json.dumps(shown, ensure_ascii=False) if as_json else _shown(shown, whole=ids is not None))
    if not letters and not as_json:
        _print("no dead letters")


def _replay(config: Config, ids: list[int], *, dry_run: bool, as_json: bool) -> int:
    from spanledger_exporter.ledger.database import open_existing
    from spanledger_exporter.ledger.ledger import Ledger
    from spanledger_exporter.prices.book_shelf import BookShelf
    from spanledger_exporter.prices.current_prices import CurrentPrices
    from spanledger_exporter.prices.genai_prices_book import packaged_book
    from spanledger_exporter.receiving import dead_letters
    from spanledger_exporter.receiving.replay import replay

    with closing(open_existing(config.ledger_url)) as database:
        with database.read() as connection:
            letters = [dict(row) for row in dead_letters.read(connection, ids or None, waiting=not ids)]
        _require(ids, letters)
        ledger = Ledger(database, cells_max=config.cells_max)
        book = CurrentPrices(BookShelf(database), config.prices_file, packaged_book).changed()
        assert book is not None, "the first question always has an answer"
        if not dry_run:
            ledger.keep_book(book)
        left = 0
        for result in replay(database, ledger, book, letters, dry_run=dry_run):
            left += not result.kept
            line = f"{result.dead_letter_id}: {result.outcome}"
            _print(json.dumps(result._asdict(), ensure_ascii=False) if as_json else line)
    return 1 if left else 0


def _require(ids: Iterable[int], letters: Iterable[Mapping[str, Any]]) -> None:
    missing = set(ids) - {letter["dead_letter_id"] for letter in letters}
    if missing:
        raise LedgerError(f"there is no dead letter {', '.join(map(str, sorted(missing)))}")


def _document(letter: Mapping[str, Any], *, whole: bool) -> dict[str, Any]:
    """Return a letter as JSON types; the request that was kept only where it is asked for."""
    shown = {name: value for name, value in letter.items() if name != "body"}
    shown["digest"] = letter["digest"].hex()
    for name in ("received", "replayed"):
        shown[name] = _time(shown.pop(f"{name}_ns"))
    shown["kept_bytes"] = len(letter["body"] or b"")
    if whole and letter["body"] is not None:
        from google.protobuf.json_format import MessageToDict
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        shown["body"] = MessageToDict(ExportTraceServiceRequest.FromString(letter["body"]))
    return shown


def _time(time_ns: int | None) -> str | None:
    if time_ns is None:
        return None
    return datetime.fromtimestamp(time_ns // 10**9, tz=UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _shown(letter: Mapping[str, Any], *, whole: bool) -> str:
    line = (
        f"{letter['dead_letter_id']:>5}  {letter['received']}  {letter['reason']:<14}  {letter['transport']:<8}  "
        f"{letter['spans']} span(s), {letter['size']} bytes, tried {letter['attempts']}x"
        f"{', replayed ' + letter['replayed'] if letter['replayed'] else ''}: {letter['detail']}"
    )
    if not whole:
        return line
    kept = json.dumps(letter["body"], indent=2, ensure_ascii=False) if "body" in letter else "nothing of it was kept"
    return f"{line}\nsha256 {letter['digest']}\n{kept}"


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")
