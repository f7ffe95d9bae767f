"""What the benchmarks send."""
