"""The shipped dashboards are what the code makes."""

import pytest

from dashboards.boards import __main__ as generator
from tests.dashboards import boards


def test_the_dashboards_are_what_the_code_makes() -> None:
    made = generator.texts()
    assert set(made) == {file.name for file in boards.FOLDER.iterdir()}
    stale = [name for name, text in made.items() if (boards.FOLDER / name).read_text() != text]
    assert stale == [], "make dashboards"


@pytest.mark.parametrize("name", boards.names())
def test_every_expression_is_promql(name: str) -> None:
    found = [boards.parsed(target.query["expr"]) for target in boards.expressions(boards.load(name))]
    assert found or name == "spanledger-ledger"
