"""What `bench/budgets.py` measures of leases."""
