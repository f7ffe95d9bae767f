"""The numbers that all writers of a ledger share: commits, what retention has deleted, changes of budgets.

Whoever writes counts its commit first: on PostgreSQL that makes the writers take turns, and a writer that finds more
commits than its own knows that it has to look at what others did. SQLite has one writer at a time anyway.
"""

from sqlalchemy import Connection, select, update

from spanledger_exporter.ledger.schema import ledger_state

_NAME = ledger_state.c.name
_VALUE = ledger_state.c.value


def count_commit(connection: Connection) -> int:
    """Count this transaction among the commits, which makes other writers wait for it; return its number."""
    # Each commit begins with this one, so it is no statement that SQLAlchemy would have to put together.
    count = "UPDATE ledger_state SET value = value + 1 WHERE name = 'revision' RETURNING value"
    return connection.exec_driver_sql(count).scalar_one()


def take_turns(connection: Connection) -> None:
    """Make other writers wait for this transaction, without counting it."""
    connection.exec_driver_sql("UPDATE ledger_state SET value = value WHERE name = 'revision'")


def revision(connection: Connection) -> int:
    """Return how many transactions have counted themselves."""
    return connection.execute(select(_VALUE).where(_NAME == "revision")).scalar_one()


def floor_ns(connection: Connection) -> int:
    """Return the time before which nothing is accepted any more, because retention has deleted it."""
    return connection.execute(select(_VALUE).where(_NAME == "floor_ns")).scalar_one()


def raise_floor(connection: Connection, to_ns: int) -> int:
    """Move the floor up, never down; return where it is now."""
    connection.execute(update(ledger_state).where(_NAME == "floor_ns", to_ns > _VALUE).values(value=to_ns))
    return floor_ns(connection)


def budgets_revision(connection: Connection) -> int:
    """Return how often a budget was changed."""
    return connection.execute(select(_VALUE).where(_NAME == "budgets_revision")).scalar_one()


def raise_budgets_revision(connection: Connection) -> None:
    """Let every writer know, with its next commit, that a budget was changed."""
    connection.execute(update(ledger_state).where(_NAME == "budgets_revision").values(value=_VALUE + 1))
