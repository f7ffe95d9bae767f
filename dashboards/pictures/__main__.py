"""`python -m dashboards.pictures`: draw `docs/pictures/*.png` anew, from servers that it starts for that.

Wants Prometheus, PostgreSQL and Chromium. The traffic is that of the dashboards' tests.
"""

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from PIL import Image

from dashboards.pictures.page import WIDTH, Found, Panel, page
from tests.dashboards import asking, boards, grafana
from tests.dashboards import stage as stages
from tests.dashboards.grafana import Window
from tests.dashboards.stage import Stage
from tests.servers import postgresql

FOLDER: Final = Path(__file__).parents[2] / "docs" / "pictures"
_HOUR_S: Final = 3600
_COLORS: Final = 256
_BROWSERS: Final = ("chromium", "chromium-browser", "google-chrome")


class Picture(NamedTuple):
    """Rows of one dashboard, and how long a time they show."""

    board: str
    rows: Sequence[str]
    hours: int


PICTURES: Final = (
    Picture("overview", ("Now", "Spend"), 24),
    Picture("spend", ("All together", "In the time that is shown", "This month"), 7 * 24),
    Picture("budgets", ("Now", "Progress"), 24),
    Picture("providers", ("Now", "Errors"), 24),
    Picture("models", ("All together", "Comparison", "Cache"), 24),
)


def main() -> int:
    """Set the stage, and draw each picture from it."""
    browser = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if browser is None:
        sys.stderr.write(f"pictures are taken with a browser, and there is none of {', '.join(_BROWSERS)}\n")
        return 1
    with (
        tempfile.TemporaryDirectory() as name,
        postgresql.running() as cluster,
        cluster.database() as ledger,
        stages.set_up(cluster, ledger, Path(name)) as stage,
    ):
        for picture in PICTURES:
            draw(picture, stage, browser, Path(name))
    return 0


def draw(picture: Picture, stage: Stage, browser: str, folder: Path) -> None:
    """Ask what the panels ask, and take a picture of the page."""
    dashboard = boards.load(f"spanledger-{picture.board}")
    window = stage.past(picture.hours * _HOUR_S)

    def ask(panel: Panel) -> Found:
        return {query["refId"]: asked(query, window) for query in panel["targets"]}

    def asked(query: dict[str, str], window: Window) -> list[asking.Series]:
        expr = grafana.promql(query["expr"], window, asking.variables(dashboard), asking.ALL)
        return asking.ask(stage.prometheus, expr, window, instant=bool(query.get("instant")))

    html, height = page(dashboard["title"], _panels(dashboard, picture.rows), ask, stage.now_s)
    (folder / "page.html").write_text(html)
    taken = folder / "page.png"
    flags = ("--headless", "--no-sandbox", "--hide-scrollbars", "--disable-gpu", "--force-device-scale-factor=1.25")
    size, profile = f"--window-size={WIDTH},{height}", f"--user-data-dir={folder / 'browser'}"
    command = [browser, *flags, size, profile, f"--screenshot={taken}", (folder / "page.html").as_uri()]
    subprocess.run(command, check=True, capture_output=True)  # noqa: S603 -- our own page
    FOLDER.mkdir(exist_ok=True)
    # The pages have few colours; with each of them in a byte, a picture is a third of its size.
    with Image.open(taken) as image:
        small = image.convert("RGB").quantize(_COLORS, dither=Image.Dither.NONE)
        small.save(FOLDER / f"{picture.board}.png", optimize=True)


def _panels(dashboard: asking.Dashboard, rows: Sequence[str]) -> list[Panel]:
    """Return the panels under some headings, with these, moved up over what is left out."""
    found: list[Panel] = []
    wanted, left_out, at = False, 0, 0
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        if panel["type"] == "row":
            left_out += 0 if wanted or not at else place["y"] - at
            at = place["y"]
            wanted = panel["title"] in rows
        if wanted:
            found.append({**panel, "gridPos": {**place, "y": place["y"] - left_out}})
    return found


if __name__ == "__main__":
    sys.exit(main())
