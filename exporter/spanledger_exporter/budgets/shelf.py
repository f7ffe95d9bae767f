"""The ledger's budgets: kept with who changed them, when and how, and counted from the moment that they are there.

A change is counted as a commit, and so every writer learns of it before it commits again. Where another scope, another
period or another price for what has none makes other sums of a budget, it is counted anew from the entries in the same
transaction; a change of its limit, its thresholds or its mode keeps what it has counted.
"""

import logging
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple, cast

from sqlalchemy import Connection, delete, insert, select, update

from spanledger_exporter.budgets.budget import BUDGETS_MAX, Budget, Source, StoredBudget
from spanledger_exporter.budgets.counters import EARLIER_S
from spanledger_exporter.budgets.document import from_json, to_json
from spanledger_exporter.budgets.rebuilding import rebuild
from spanledger_exporter.budgets.recounting import counted_from
from spanledger_exporter.errors import ConfigError, LedgerError
from spanledger_exporter.ledger.budget_schema import budget_changes, budget_counters, budget_days, budgets
from spanledger_exporter.ledger.database import Database
from spanledger_exporter.ledger.state import count_commit, floor_ns, raise_budgets_revision

__all__ = ["BudgetChange", "BudgetShelf", "StoredBudget", "load_budgets"]

_logger = logging.getLogger(__name__)
_NS_PER_S: Final = 10**9
_BY_CHARS_MAX: Final = 200


class BudgetChange(NamedTuple):
    """One change of a budget: null before, it was made; null after, it was removed.

    Units: `made_ns` Unix nanoseconds. `before` and `after` are documents in JSON.
    """

    change_id: int
    name: str
    made_ns: int
    made_by: str
    before: str | None
    after: str | None


def load_budgets(connection: Connection) -> list[StoredBudget]:
    """Return the budgets that a ledger keeps, in the order of their names.

    One that this program cannot read, because a newer one wrote it, is passed over and logged.
    """
    here = budgets.c
    query = select(here.budget_id, here.source, here.document, here.counted_from_s, here.name).order_by(here.name)
    found: list[StoredBudget] = []
    for budget_id, source, document, counted_from_s, name in connection.execute(query):
        try:
            found.append(StoredBudget(budget_id, from_json(document), cast("Source", source), counted_from_s))
        except ConfigError as exc:
            _logger.error("the budget %s cannot be read, and is not counted: %s", name, exc)
    return found


class BudgetShelf:
    """Keeps the budgets of one ledger.

    Raises: `UnavailableError` when the database does not answer; nothing was changed then.
    """

    def __init__(self, database: Database, clock_ns: Callable[[], int] = time.time_ns) -> None:
        self._database = database
        self._clock_ns = clock_ns

    def all(self) -> list[StoredBudget]:
        """Return every budget, in the order of their names."""
        with self._database.read() as connection:
            return load_budgets(connection)

    def get(self, name: str) -> StoredBudget | None:
        """Return a budget; `None` where there is none of this name."""
        return next((each for each in self.all() if each.budget.name == name), None)

    def changes(self, name: str | None = None) -> list[BudgetChange]:
        """Return what was changed, the latest first: of one budget, or of all."""
        query = select(budget_changes).order_by(budget_changes.c.change_id.desc())
        if name is not None:
            query = query.where(budget_changes.c.name == name)
        with self._database.read() as connection:
            return [BudgetChange(*row) for row in connection.execute(query)]

    def set(self, budget: Budget, by: str) -> bool:
        """Make a budget, or give the one of this name what is said now; return whether that changed anything.

        Raises:
            ConfigError: the file declares it.
        """
        with self._database.write() as connection:
            count_commit(connection)
            there = _by_name(connection)
            _require_own(there, budget.name)
            if budget.name not in there and len(there) >= BUDGETS_MAX:
                raise ConfigError([f"there are {BUDGETS_MAX} budgets already; remove some"])
            return self._change(connection, there, [budget], [], "command", by)

    def remove(self, name: str, by: str) -> None:
        """Remove a budget with all that it has counted.

        Raises:
            ConfigError: the file declares it.
            LedgerError: there is none of this name.
        """
        with self._database.write() as connection:
            count_commit(connection)
            there = _by_name(connection)
            if name not in there:
                raise LedgerError(f"there is no budget {name!r}; there are {', '.join(sorted(there)) or 'none'}")
            _require_own(there, name)
            self._change(connection, there, [], [name], "command", by)

    def sync(self, declared: Sequence[Budget], by: str) -> bool:
        """Make the budgets of the file those that it declares; return whether that changed anything.

        One that was set by command and has the name of one that the file declares is the file's from then on.
        """
        with self._database.read() as connection:
            if not _differ(_by_name(connection), declared):
                return False
        with self._database.write() as connection:
            count_commit(connection)
            there = _by_name(connection)
            names = {budget.name for budget in declared}
            gone = [name for name, kept in there.items() if kept.source == "file" and name not in names]
            return self._change(connection, there, declared, gone, "file", by)

    def _change(
        self,
        connection: Connection,
        there: "dict[str, _Kept]",
        given: Iterable[Budget],
        gone: Iterable[str],
        source: Source,
        by: str,
    ) -> bool:
        now_ns = self._clock_ns()
        floor = floor_ns(connection)
        changes: list[dict[str, Any]] = []
        anew: list[StoredBudget] = []
        for name in gone:
            _delete(connection, there[name].budget_id)
            changes.append({"name": name, "before": there[name].document, "after": None})
        for budget in given:
            kept = there.get(budget.name)
            document = to_json(budget)
            if kept is not None and (kept.document, kept.source) == (document, source):
                continue
            since_s = counted_from(budget.period, now_ns // _NS_PER_S, floor, rollover=budget.rollover)
            row = {"name": budget.name, "source": source, "document": document, "changed_ns": now_ns}
            stored = _store(connection, kept, row, budget, since_s)
            if stored is not None:
                anew.append(stored)
            changes.append({"name": budget.name, "before": None if kept is None else kept.document, "after": document})
        if not changes:
            return False
        rebuild(connection, anew, floor)
        who = {"made_ns": now_ns, "made_by": by[:_BY_CHARS_MAX].replace("\x00", "")}
        connection.execute(insert(budget_changes), [who | change for change in changes])
        raise_budgets_revision(connection)
        return True


class _Kept(NamedTuple):
    budget_id: int
    source: str
    document: str
    counted_from_s: int


def _by_name(connection: Connection) -> dict[str, _Kept]:
    here = budgets.c
    query = select(here.name, here.budget_id, here.source, here.document, here.counted_from_s)
    return {name: _Kept(*row) for name, *row in connection.execute(query)}


def _require_own(there: dict[str, _Kept], name: str) -> None:
    if name in there and there[name].source == "file":
        raise ConfigError([f"the budget {name} is declared in the file that budgets.file names: change it there"])


def _differ(there: dict[str, _Kept], declared: Sequence[Budget]) -> bool:
    of_file = {name: kept.document for name, kept in there.items() if kept.source == "file"}
    return of_file != {budget.name: to_json(budget) for budget in declared}


def _store(
    connection: Connection, kept: _Kept | None, row: dict[str, Any], budget: Budget, since_s: int
) -> StoredBudget | None:
    """Write a budget's row; return the budget if it has to be counted anew.

    One that holds other calls, or holds them over other periods, is another budget from then on: what was granted of
    the old one and is still under way belongs to no counter of the new one.
    """
    before = None if kept is None else _readable(kept.document)
    if kept is not None and before is not None and _places(before) == _places(budget):
        # Another rollover may ask for one more period.
        same = _sums(before) == _sums(budget) and since_s >= kept.counted_from_s
        if since_s < kept.counted_from_s:  # days that went before come again
            _forget_earlier(connection, kept.budget_id)
        since_s = min(since_s, kept.counted_from_s)
        values = {**row, "counted_from_s": since_s}
        connection.execute(update(budgets).where(budgets.c.budget_id == kept.budget_id).values(values))
        return None if same else StoredBudget(kept.budget_id, budget, row["source"], since_s)
    if kept is not None:
        _delete(connection, kept.budget_id)
    made = insert(budgets).values({**row, "counted_from_s": since_s}).returning(budgets.c.budget_id)
    return StoredBudget(connection.execute(made).scalar_one(), budget, row["source"], since_s)


def _readable(document: str) -> Budget | None:
    try:
        return from_json(document)
    except ConfigError:
        return None


def _places(budget: Budget) -> tuple[object, ...]:
    """Return what decides where calls count, and in which unit leases of it are."""
    return dict(budget.scope), budget.per, budget.period, budget.unit


def _sums(budget: Budget) -> tuple[object, ...]:
    """Return what decides how much they count."""
    if budget.on_unpriced != "rate":
        return ()
    return budget.input_rate_pusd, budget.output_rate_pusd


def _forget_earlier(connection: Connection, budget_id: int) -> None:
    here = budget_days.c
    connection.execute(delete(budget_days).where(here.budget_id == budget_id, here.day_s == EARLIER_S))


def _delete(connection: Connection, budget_id: int) -> None:
    for table in (budgets, budget_counters, budget_days):
        connection.execute(delete(table).where(table.c.budget_id == budget_id))
