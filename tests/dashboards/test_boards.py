"""The shipped dashboards are what the code makes."""

from pathlib import Path

import yaml

from dashboards.boards import __main__ as generator
from tests.dashboards import boards
from tests.servers.prometheus import promtool


def test_the_dashboards_are_what_the_code_makes() -> None:
    made = generator.texts()
    assert set(made) == {file.name for file in boards.FOLDER.iterdir()}
    stale = [name for name, text in made.items() if (boards.FOLDER / name).read_text() != text]
    assert stale == [], "make dashboards"


def test_prometheus_takes_every_expression(tmp_path: Path) -> None:
    asked = [target.query["expr"] for name in boards.names() for target in boards.expressions(boards.load(name))]
    rules = [{"record": f"shown:{number}", "expr": boards.filled_in(expr)} for number, expr in enumerate(asked)]
    file = tmp_path / "rules.yml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboards", "rules": rules}]}))
    assert f"{len(rules)} rules found" in promtool("check", "rules", file)
