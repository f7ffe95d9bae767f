"""Files of budgets: what they declare, what is wrong with them, and what becomes of a file that changes."""

import os
from pathlib import Path

import pytest

from spanledger_exporter.budgets.budget import Budget
from spanledger_exporter.budgets.budget_file import BudgetFile, read
from spanledger_exporter.errors import ConfigError, UnavailableError

FILE = """
[[budget]]
name = "company"
limit_usd = 10_000.50
timezone = "Europe/Berlin"

[[budget]]
name = "search"
limit_tokens = 5_000_000
scope = { team = "search", model = ["gpt-5*", "claude-*"] }
per = ["user"]
period = "range"
since = 2026-11-01
until = 2027-02-01
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "budgets.toml"


def problems(file: Path) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        read(str(file))
    return [each.replace(str(file), "FILE") for each in caught.value.problems]


def test_a_file_declares_budgets(file: Path) -> None:
    file.write_text(FILE)
    company, search = read(str(file))
    assert (company.limit, company.period.timezone) == (10_000_500_000, "Europe/Berlin")
    assert (search.unit, search.limit, search.scope["team"]) == ("tokens", 5_000_000, ("search",))
    file.write_text("budget = []")
    assert read(str(file)) == []


@pytest.mark.parametrize("content", ["", "\n\n", "# to come\n"])
def test_a_file_that_says_nothing_is_taken_for_one_that_was_cut(file: Path, content: str) -> None:
    file.write_text(content)
    assert problems(file) == ["budgets file FILE: declares no budget; where there are to be none, write budget = []"]


def test_every_problem_is_said_with_where_it_is(file: Path) -> None:
    file.write_text(
        'title = "x"\n[[budget]]\nname = "a"\nlimit_usd = -1\nmode = "x"\n[[budget]]\nlimit_calls = 1\n'
        '[[budget]]\nname = "b"\nlimit_calls = 1\n[[budget]]\nname = "b"\nlimit_calls = 2\n'
    )
    assert problems(file) == [
        "FILE: title is unknown; budgets are tables [[budget]]",
        "FILE: [[budget]] 1 (a): limit_usd must be a number of 0 or more, not -1",
        "FILE: [[budget]] 1 (a): mode must be one of soft, hard, not 'x'",
        "FILE: [[budget]] 2: name is missing",
        "FILE: [[budget]] b stands there more than once",
    ]


@pytest.mark.parametrize(
    "content",
    [
        b"budget = 1", b"[budget]\nname='a'", b"budget = [1]", b"[[budget]", b"\xff\xfe", b"a = " + b"9" * 5000,
        b"a = " + b"[" * 5000, b"[[budget]]\nlimit_usd = 1e99999999999999999999\nname = 'a'",
        b"[[budget]]\nname = 'a'\nlimit_usd = 0x" + b"f" * 10_000, b"[[budget]]\n" * 20_001,
    ],
)  # fmt: skip
def test_what_is_no_file_of_budgets_is_refused(file: Path, content: bytes) -> None:
    file.write_bytes(content)
    assert problems(file)
    assert all(len(each) < 500 for each in problems(file))


def test_a_file_that_is_not_there_is_refused(file: Path) -> None:
    assert problems(file) == ["budgets file FILE: No such file or directory"]


class Taken:
    """Who takes over what a file declares."""

    def __init__(self) -> None:
        self.budgets: list[Budget] = []
        self.times = 0
        self.unavailable = False

    def sync(self, budgets: list[Budget]) -> None:
        if self.unavailable:
            raise UnavailableError("the ledger is locked")
        self.budgets = budgets
        self.times += 1


def written(file: Path, content: str, version: int) -> None:
    file.write_text(content)
    os.utime(file, ns=(version, version))


def test_a_change_is_taken_over_once(file: Path) -> None:
    taken = Taken()
    written(file, FILE, 1)
    watched = BudgetFile(str(file), taken.sync)
    watched.take_over()
    watched.refresh()
    assert (len(taken.budgets), taken.times) == (2, 1)
    written(file, FILE.split("\n\n")[0], 2)
    watched.refresh()
    watched.refresh()
    assert (len(taken.budgets), taken.times) == (1, 2)


def test_what_soft_budgets_do_not_heed_is_logged_once_for_each_change(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    taken = Taken()
    written(file, '[[budget]]\nname = "a"\nlimit_usd = 1\non_unreachable = "closed"\n', 1)
    watched = BudgetFile(str(file), taken.sync)
    watched.take_over()
    said = f'{file}: [[budget]] a: on_unreachable = "closed" is for mode = "hard"; a soft budget lets every call pass'
    assert caplog.messages == [said]
    watched.refresh()
    assert len(caplog.messages) == 1
    os.utime(file, ns=(2, 2))
    watched.refresh()
    assert caplog.messages.count(said) == 2


def test_what_cannot_be_used_changes_nothing_and_is_told_once(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    taken, failures = Taken(), list[str]()
    written(file, FILE, 1)
    watched = BudgetFile(str(file), taken.sync, failed=lambda: failures.append("failed"))
    watched.take_over()
    written(file, "[[budget]]", 2)
    watched.refresh()
    watched.refresh()
    assert (len(taken.budgets), failures) == (2, ["failed"])
    assert "name is missing" in caplog.text
    file.unlink()
    watched.refresh()
    assert (len(taken.budgets), failures) == (2, ["failed", "failed"])
    written(file, "budget = []", 3)
    watched.refresh()
    assert (taken.budgets, len(failures)) == ([], 2)


def test_what_the_ledger_cannot_take_now_is_tried_again(file: Path) -> None:
    taken = Taken()
    written(file, "budget = []", 1)
    watched = BudgetFile(str(file), taken.sync)
    watched.take_over()
    written(file, FILE, 2)
    taken.unavailable = True
    watched.refresh()
    assert taken.times == 1
    taken.unavailable = False
    watched.refresh()
    assert (len(taken.budgets), taken.times) == (2, 2)
