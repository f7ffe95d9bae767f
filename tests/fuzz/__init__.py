"""Coverage-guided fuzzing of whatever reads bytes that a provider, or an app, may send: `python -m tests.fuzz`."""
