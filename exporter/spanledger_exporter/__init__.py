"""The exporter: OTLP spans in, one exactly priced and durable ledger entry per LLM call out."""

__version__ = "0.1.0"
