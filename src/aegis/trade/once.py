"""Whether an id was seen before, with a bounded memory."""

from typing import Final, Generic, TypeVar

K = TypeVar("K")

IDS_KEPT: Final = 10_000
"""So many ids are remembered, so that a repeated one changes nothing."""


class Once(Generic[K]):
    """Tell the first time of an id from the others; the oldest ids are forgotten."""

    def __init__(self) -> None:
        self._seen: dict[K, None] = {}

    def has(self, key: K) -> bool:
        """Return whether *key* was seen; nothing is remembered."""
        return key in self._seen

    def is_new(self, key: K) -> bool:
        """Return whether *key* is seen for the first time, and remember it."""
        if key in self._seen:
            return False
        self._seen[key] = None
        if len(self._seen) > IDS_KEPT:
            del self._seen[next(iter(self._seen))]
        return True
