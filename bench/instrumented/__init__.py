"""What `bench/overhead.py` measures, and how a measured process does it."""
