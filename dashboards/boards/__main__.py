"""`python -m dashboards.boards`: write `dashboards/grafana/*.json`; `--check` says whether that would change any."""

import sys
from pathlib import Path

from dashboards.boards import budgets, exporter, ledger, models, overview, providers, quality, spend
from dashboards.boards.boards import Board, texts_of

FOLDER = Path(__file__).parents[1] / "grafana"


def boards() -> list[Board]:
    """Return all dashboards."""
    return [module.board() for module in (overview, spend, budgets, providers, models, quality, exporter, ledger)]


def texts() -> dict[str, str]:
    """Return the text of each file."""
    return {f"{uid}.json": text for uid, text in texts_of(boards()).items()}


def main() -> int:
    """Write what has changed, and take away what is no dashboard any more."""
    made = texts()
    there = {file.name: file.read_text() for file in FOLDER.glob("*.json")}
    if "--check" in sys.argv[1:]:
        return int(made != there)
    for name in there.keys() - made.keys():
        (FOLDER / name).unlink()
    for name, text in made.items():
        if there.get(name) != text:
            (FOLDER / name).write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
