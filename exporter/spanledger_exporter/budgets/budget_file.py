"""A TOML file of budgets -> the budgets that it declares, or every problem at once.

Shape: docs/budgets.md; each budget is a table `[[budget]]`.
"""

import logging
import tomllib
from collections import Counter
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any, cast

from spanledger_exporter.budgets.budget import BUDGETS_MAX, Budget, unheeded
from spanledger_exporter.budgets.document import from_document
from spanledger_exporter.errors import ConfigError, SpanledgerError

_logger = logging.getLogger(__name__)


def read(path: str) -> list[Budget]:
    """Return the budgets that a file declares: none where it says `budget = []`.

    A file that says nothing is taken for one that is being written, or that a full disk has cut: it would remove every
    budget, with what it holds for services.

    Raises:
        ConfigError: with every problem of the file.
    """
    try:
        document = tomllib.loads(Path(path).read_text(encoding="utf-8"), parse_float=Decimal)
    except OSError as exc:
        raise ConfigError([f"budgets file {path}: {exc.strerror}"]) from exc
    except (ValueError, RecursionError, ArithmeticError) as exc:  # not TOML, not UTF-8, or numbers without end
        raise ConfigError([f"budgets file {path}: not TOML: {exc}"]) from exc
    return _budgets(path, document)


def _budgets(path: str, document: dict[str, Any]) -> list[Budget]:
    if not document:
        raise ConfigError([f"budgets file {path}: declares no budget; where there are to be none, write budget = []"])
    tables = document.pop("budget", [])  # what a document holds is not known before it was looked at
    problems = [f"{path}: {key[:63]} is unknown; budgets are tables [[budget]]" for key in document]
    if not isinstance(tables, list) or not all(isinstance(each, dict) for each in cast("list[Any]", tables)):
        raise ConfigError([*problems, f"{path}: budget must be tables, [[budget]]"])
    if len(cast("list[Any]", tables)) > BUDGETS_MAX:
        raise ConfigError([*problems, f"{path}: more than {BUDGETS_MAX} budgets"])
    found: list[Budget] = []
    for number, table in enumerate(cast("list[dict[str, Any]]", tables), 1):
        try:
            found.append(from_document(table))
        except ConfigError as exc:
            problems += [f"{_where(path, number, table)}: {problem}" for problem in exc.problems]
    names = Counter(budget.name for budget in found)
    problems += [f"{path}: [[budget]] {name} stands there more than once" for name in names if names[name] > 1]
    if problems:
        raise ConfigError(problems)
    return found


def _where(path: str, number: int, table: dict[str, Any]) -> str:
    name = table.get("name")
    return f"{path}: [[budget]] {number}" + (f" ({name[:63]})" if isinstance(name, str) else "")


class BudgetFile:
    """A file of budgets that may change while the exporter runs; `sync` takes over what it declares.

    What cannot be used changes nothing, which is logged, and `failed` is called; so is what cannot be taken over now,
    and that is tried again with the next look. What a budget says and never heeds is logged, too.
    """

    def __init__(
        self, path: str, sync: Callable[[list[Budget]], object], *, failed: Callable[[], None] = lambda: None
    ) -> None:
        self._path = path
        self._sync = sync
        self._failed = failed
        self._seen: tuple[int, int, int] | None = None

    def take_over(self) -> None:
        """Read the file and take over what it declares.

        Raises:
            ConfigError: it cannot be used.
            UnavailableError: the ledger does not answer.
        """
        seen = self._version()
        self._take_over()
        self._seen = seen

    def refresh(self) -> None:
        """Take over what the file declares if it has changed."""
        seen = self._version()
        if seen == self._seen:
            return
        try:
            self._take_over()
        except ConfigError as exc:
            _logger.error("%s; the budgets stay as they were", exc)
            self._failed()
        except SpanledgerError as exc:
            _logger.error("the budgets of %s are taken over later: %s", self._path, exc)
            return
        else:
            _logger.info("the budgets are now those of %s", self._path)
        self._seen = seen

    def _take_over(self) -> None:
        budgets = read(self._path)
        self._sync(budgets)
        for budget in budgets:
            for text in unheeded(budget):
                _logger.warning("%s: [[budget]] %s: %s", self._path, budget.name, text)

    def _version(self) -> tuple[int, int, int] | None:
        try:
            state = Path(self._path).stat()
        except OSError:
            return None
        return state.st_ino, state.st_mtime_ns, state.st_size
