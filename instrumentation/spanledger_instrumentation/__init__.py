"""Runs inside the user's app: each LLM HTTP call -> one span with its tokens by class (docs/span-attributes.md)."""

__all__ = ["__version__"]

__version__ = "0.1.0"
