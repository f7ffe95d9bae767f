"""Hard budgets: what a process may spend without asking again, granted and settled in the ledger."""
