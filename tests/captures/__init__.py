"""Captures: what real instrumentations sent over OTLP, beside the local provider's own tally of the same calls."""
