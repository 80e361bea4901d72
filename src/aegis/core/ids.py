"""Identifiers that are the same in every run of the same input: counters, never chance."""


class IdSource:
    """Number things of one kind from 1: sig-000001, sig-000002, and so on."""

    def __init__(self, prefix: str) -> None:
        if not prefix:
            raise ValueError("prefix was empty, an id must say what it is of")
        self._prefix = prefix
        self._count = 0

    def next(self) -> str:
        """Return the next id; past 999999 the number grows wider and stays unique."""
        self._count += 1
        return f"{self._prefix}-{self._count:06d}"

    @property
    def count(self) -> int:
        """Return how many ids were given out."""
        return self._count
