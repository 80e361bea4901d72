"""
Playing a recorded raw feed on Binance's face: frames in their time, and the REST book they make.

Frames go out byte for byte. The book is brought up to date only when somebody asks for it.
"""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from aegis.twin.tape.raw_feed import DEPTH, DepthSnapshot, DepthUpdate, RawFeed

_decode_diff: Final = msgspec.json.Decoder(DepthUpdate).decode


class RecordedFrames:
    """
    The position in one recording, for one face.

    *heard* and *unheard* count the frames that were due by kind: sent to somebody, or to nobody.
    """

    def __init__(self, feed: RawFeed, start_ns: int) -> None:
        self._feed: Final = feed
        self._next = bisect_right(feed.times_ns, start_ns)
        self._booked = 0
        self._book: _Book | None = None
        self.skipped: Final = self._next
        """Frames before the start."""
        self.heard: Final[dict[str, int]] = {}
        self.unheard: Final[dict[str, int]] = {}

    @property
    def pending(self) -> int:
        """Return how many frames are still to come."""
        return len(self._feed.times_ns) - self._next

    def next_event_ns(self) -> int | None:
        """Return when the next frame is due, None when all were."""
        times = self._feed.times_ns
        return times[self._next] if self._next < len(times) else None

    def due(self, now_ns: int) -> Sequence[tuple[str, bytes]]:
        """Move on to *now_ns* and return (kind, message) of every frame in between."""
        times, first = self._feed.times_ns, self._next
        stop, count = first, len(times)
        while stop < count and times[stop] <= now_ns:
            stop += 1
        if stop == first:
            return ()
        self._next = stop
        kinds, payloads = self._feed.kinds, self._feed.payloads
        return list(zip(kinds[first:stop], payloads[first:stop], strict=True))

    def note(self, kind: str, *, heard: bool) -> None:
        """Count a frame that was due."""
        counts = self.heard if heard else self.unheard
        counts[kind] = counts.get(kind, 0) + 1

    def lines(self) -> list[str]:
        """Say where the frames went, one sentence a kind."""
        told = [
            f"recorded {kind}: {self.heard.get(kind, 0)} sent, "
            f"{self.unheard.get(kind, 0)} while nobody had subscribed"
            for kind in dict.fromkeys((*self.heard, *self.unheard))
        ]
        if self.skipped or self.pending:
            told.append(f"recorded: {self.skipped} before the start, {self.pending} not reached")
        return told

    def depth(self, limit: int) -> DepthSnapshot | None:
        """
        Return the best *limit* levels of each side as they stand, None without a snapshot.

        The recorded snapshot plus every diff played so far; before its own moment the snapshot is
        ahead of the stream, which is also how the venue answers.
        """
        feed = self._feed
        if feed.snapshot is None:
            return None
        book = self._book
        if book is None:
            book = self._book = _Book(feed.snapshot)
        for index in range(self._booked, self._next):
            if feed.kinds[index] == DEPTH:
                book.apply(feed.payloads[index])
        self._booked = self._next
        return book.best(limit)


class _Book:
    """The recorded book; keys are numbers, values the venue's own digits."""

    def __init__(self, snapshot: DepthSnapshot) -> None:
        self._last_id = snapshot.last_update_id
        self._event_ms = snapshot.event_ms
        self._transaction_ms = snapshot.transaction_ms
        self._bids = _levels({}, snapshot.bids)
        self._asks = _levels({}, snapshot.asks)

    def apply(self, payload: bytes) -> None:
        try:
            diff = _decode_diff(payload)
            if diff.last_id < self._last_id:
                return
            _levels(self._bids, diff.bids)
            _levels(self._asks, diff.asks)
        except (msgspec.DecodeError, ValueError):
            # Counted when the recording was loaded; the client's own book sees the gap.
            return
        self._last_id = diff.last_id
        self._event_ms, self._transaction_ms = diff.event_ms, diff.transaction_ms

    def best(self, limit: int) -> DepthSnapshot:
        bids = sorted(self._bids, reverse=True)[:limit]
        asks = sorted(self._asks)[:limit]
        return DepthSnapshot(
            last_update_id=self._last_id,
            bids=[self._bids[price] for price in bids],
            asks=[self._asks[price] for price in asks],
            event_ms=self._event_ms,
            transaction_ms=self._transaction_ms,
        )


def _levels(
    side: dict[float, tuple[str, str]], changes: Iterable[tuple[str, str]]
) -> dict[float, tuple[str, str]]:
    for price, qty in changes:
        if float(qty) == 0.0:
            side.pop(float(price), None)
        else:
            side[float(price)] = (price, qty)
    return side
