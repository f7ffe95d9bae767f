"""What may be spent: budgets, what was counted under them, how they stand and where they are going."""
