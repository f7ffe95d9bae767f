"""Runs inside the user's app: each LLM HTTP call -> one span with its tokens by class (docs/span-attributes.md)."""

from spanledger_instrumentation.attribution import attribute

__all__ = ["__version__", "attribute"]

__version__ = "0.1.0"
