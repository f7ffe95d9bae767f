"""The wire formats: one pure module each, and the table of hosts and paths that says which request speaks which."""
