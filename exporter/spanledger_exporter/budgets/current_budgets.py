"""The ledger's budgets, as one writer knows them: what its transactions charge.

They are read when others have changed the ledger, within the transaction that comes next: whoever changes a budget
counts what is there, and from the next commit on every writer counts what comes.
"""

from collections.abc import Mapping

from sqlalchemy import Connection

from spanledger_exporter.budgets import counters, spend_counters
from spanledger_exporter.budgets.charges import Charges, Place, Rules, Sum
from spanledger_exporter.budgets.groups import GROUPS_MAX, Groups, into_other
from spanledger_exporter.budgets.shelf import load_budgets
from spanledger_exporter.leases import leases
from spanledger_exporter.leases.leases import CounterKey, Move
from spanledger_exporter.leases.settling import settle
from spanledger_exporter.ledger.held_counters import Marks
from spanledger_exporter.ledger.state import budgets_revision


class CurrentBudgets:
    """The budgets that apply now; `settled` tells it how a transaction ended."""

    def __init__(self, *, groups_max: int = GROUPS_MAX) -> None:
        self._groups = Groups(groups_max=groups_max)
        self._revision: int | None = None
        self.rules: Rules | None = None
        """What applies, `None` where there are no budgets."""
        self.folded = 0
        """How many sums went under `__other__` because the limit of values was reached."""

    def follow(self, connection: Connection) -> None:
        """Learn what others have changed."""
        self._groups.forget_counts()
        revision = budgets_revision(connection)
        if revision == self._revision:
            return
        stored = load_budgets(connection)
        self.rules = Rules(stored) if stored else None
        self._groups.forget()
        self._revision = revision

    def charges(self) -> Charges | None:
        """Return what gathers the charges of one transaction; `None` where there are no budgets."""
        return None if self.rules is None else Charges(self.rules)

    def write(self, connection: Connection, charges: Charges | None) -> Mapping[Place, Sum]:
        """Move the counters by what a transaction charges, and settle the leases of its calls by the same.

        Returns by what they moved, and where.
        """
        if charges is None or self.rules is None:
            return {}
        moves = charges.summed()
        folded = self._groups.without_room(connection, moves, self.rules.budgets)
        if folded:
            self.folded += sum(place[:3] in folded for place in moves)
            moves = into_other(moves, folded, self.rules.budgets)
        moved = charges.under_leases
        settled = settle(connection, moved, self.rules.budgets) if moved else {}
        if settled and connection.dialect.name == "postgresql":
            # All of them in their order, those that are yet to be made among them: who grants leases locks some, too.
            charged = {CounterKey(*place[:3]) for place in moves}
            there = leases.counters(connection, charged, lock=False)
            leases.lock(connection, charged | settled.keys(), charged - there.keys())
        counters.write(connection, moves)
        leases.move(connection, {key: Move(amount) for key, amount in settled.items()})
        return moves

    def falls(self, moves: Mapping[Place, Sum]) -> Marks:
        """Return by how much counters fall that are shown, where budgets moved so."""
        return {} if self.rules is None else spend_counters.falls(moves, self.rules.budgets)

    def settled(self, *, committed: bool) -> None:
        """Remember what the transaction added, or forget it."""
        self._groups.settled(committed=committed)
        if not committed and self.rules is not None:
            self.rules.forget_profiles()
