"""The journal: an append-only record of every run, and what is read back from it."""
