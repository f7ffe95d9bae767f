"""How a ledger stands at one moment, for counters: what each cell adds up to, and how far counters are above that."""

from collections.abc import Mapping
from typing import NamedTuple

from spanledger_exporter.ledger import held_counters
from spanledger_exporter.ledger.cells import Cell
from spanledger_exporter.ledger.database import Database
from spanledger_exporter.ledger.held_counters import Held, Marks
from spanledger_exporter.ledger.rollups import Sums, read_totals
from spanledger_exporter.ledger.state import revision, take_turns


class Standing(NamedTuple):
    """What cells add up to since the ledger began, and how far counters stand above that, at one moment.

    The cells are in the order in which they came to be, emptied ones among them, so that the same have series of their
    own at each start.
    """

    totals: Mapping[Cell, Sums]
    held: Held


class Standings:
    """Reads how a ledger stands, and knows whether others have committed anything since.

    Raises: `UnavailableError` when the database does not answer.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._told_revision = 0

    def read(self, *, marks: bool = True) -> Standing:
        """Return how it stands; without `marks`, of what is held only by how much counters are raised."""
        with self._database.view() as connection:
            told = revision(connection)
            held = held_counters.read(connection) if marks else Held({}, held_counters.read_raised(connection))
            found = Standing(read_totals(connection), held)
        self._told_revision = told
        return found

    def read_of_others(self) -> Standing | None:
        """Return the same without marks if others have committed anything since it was last read, else `None`.

        What a ledger's own `append` and `adjust` returned, its caller knows.
        """
        with self._database.read() as connection:
            if revision(connection) == self._told_revision:
                return None
        return self.read(marks=False)

    def committed(self, number: int) -> None:
        """Know a commit of one's own; where others committed before it, how it stands is still to be read."""
        if number == self._told_revision + 1:
            self._told_revision = number

    def held(self) -> Held:
        """Return how far counters stand above the totals."""
        with self._database.read() as connection:
            return held_counters.read(connection)

    def hold(self, marks: Marks) -> None:
        """Keep how far counters are held, for the next start."""
        with self._database.write() as connection:
            take_turns(connection)
            held_counters.keep_marks(connection, marks)
