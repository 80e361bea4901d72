"""The diff stream of a made-up book: what changed since the last frame, numbered for resyncing."""

from collections.abc import Sequence

import orjson

Side = dict[str, str]
"""Quantity by price, as they are written."""


class DiffBook:
    """
    What one diff stream has told.

    Update ids are market milliseconds, as those of the REST book are: a snapshot taken between two
    frames lies within the second one's U..u, as the venue's rule for local books asks for
    (venues.md 2.6).
    """

    def __init__(self, now_ms: int) -> None:
        self._last_id = now_ms
        self._bids: Side = {}
        self._asks: Side = {}

    def note_snapshot(self, bids: Sequence[Sequence[str]], asks: Sequence[Sequence[str]]) -> None:
        """Have the next frame speak of every level told, or in the book somebody was given now."""
        # Told levels too: one that is not in that book would else be thought to be known.
        self._bids = dict.fromkeys([*self._bids, *(level[0] for level in bids)], "")
        self._asks = dict.fromkeys([*self._asks, *(level[0] for level in asks)], "")

    def frame(self, symbol: str, now_ms: int, bids: Side, asks: Side) -> bytes | None:
        """Return the frame that leads to the book of now, None when nothing changed."""
        bid_changes, ask_changes = _changes(self._bids, bids), _changes(self._asks, asks)
        self._bids, self._asks = bids, asks
        if not bid_changes and not ask_changes:
            return None
        previous, self._last_id = self._last_id, now_ms
        return orjson.dumps(
            {
                "e": "depthUpdate",
                "E": now_ms,
                "T": now_ms,
                "s": symbol,
                "ps": symbol,
                "st": 1,
                "U": previous + 1,
                "u": now_ms,
                "pu": previous,
                "b": bid_changes,
                "a": ask_changes,
            }
        )


def _changes(told: Side, now: Side) -> list[tuple[str, str]]:
    changes = [(price, qty) for price, qty in now.items() if told.get(price) != qty]
    changes.extend((price, "0") for price in told if price not in now)
    return changes
