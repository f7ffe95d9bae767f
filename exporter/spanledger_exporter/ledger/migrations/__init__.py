"""The ledger's schema, version by version: numbered, append-only, run at start by whatever writes a ledger."""
