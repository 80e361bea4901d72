"""
Between the sockets and the bus: a ring that counts what it overwrites, and slots that conflate.

Both obey a conservation law that can be checked at any moment: nothing that entered is missing
without a count that says so.
"""

import operator
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

import attrs

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@attrs.frozen
class Gap:
    """*dropped* items, the first of them with number *first_seq*, were overwritten unread."""

    dropped: int
    first_seq: int


class RingBuffer(Generic[T]):
    """
    Hold the last *capacity* items between one producer and one consumer.

    Each item is numbered from 0. When the ring is full the oldest item is overwritten, and the
    reader finds out by comparing numbers: the writer owns _write_seq, the reader _read_seq, and
    neither ever writes the other's (R3). Always produced == consumed + dropped + pending (R2).
    """

    def __init__(self, capacity: int) -> None:
        if capacity < 1:
            raise ValueError(f"capacity was {capacity}, must be at least 1")
        self.capacity = capacity
        # Number and item sit in one tuple, so that a reader can never see one without the other.
        self._slots: list[tuple[int, T] | None] = [None] * capacity
        self._write_seq = 0
        self._read_seq = 0
        self._consumed = 0
        self._dropped = 0

    def push(self, item: T) -> None:
        """Append *item*, overwriting the oldest when full; never waits. None is no item."""
        assert item is not None, "None means an empty ring"
        seq = self._write_seq
        self._slots[seq % self.capacity] = (seq, item)
        self._write_seq = seq + 1

    def pop(self) -> T | Gap | None:
        """
        Return the oldest unread item, None when there is none.

        After an overrun a Gap comes first, once, and the next call returns the item behind it.
        """
        seq = self._read_seq
        written = self._write_seq
        if seq == written:
            return None
        slot = self._slots[seq % self.capacity]
        assert slot is not None, f"slot of {seq} was empty below {written}"
        found_seq, item = slot
        if found_seq != seq:
            # The slot may be newer than the cursor read above: trust the later of the two.
            oldest = max(written, found_seq + 1) - self.capacity
            self._read_seq = oldest
            self._dropped += oldest - seq
            return Gap(dropped=oldest - seq, first_seq=seq)
        self._read_seq = seq + 1
        self._consumed += 1
        return item

    @property
    def produced(self) -> int:
        """Return how many items were pushed."""
        return self._write_seq

    @property
    def consumed(self) -> int:
        """Return how many items were popped, gaps not counted."""
        return self._consumed

    @property
    def dropped(self) -> int:
        """Return how many items were overwritten unread, told by a Gap or not yet."""
        return self._dropped + max(0, self._write_seq - self._read_seq - self.capacity)

    @property
    def pending(self) -> int:
        """Return how many items can still be popped."""
        return min(self._write_seq - self._read_seq, self.capacity)


@attrs.frozen(kw_only=True)
class ConflationCounts:
    """Where the offered values went: produced == delivered + merged + rejected + pending."""

    produced: int
    delivered: int
    merged: int
    rejected: int
    pending: int


class _Slot(Generic[K, V]):
    __slots__ = (
        "delivered",
        "is_dirty",
        "key",
        "last",
        "merged",
        "merged_since",
        "newest",
        "produced",
        "rejected",
    )

    def __init__(self, key: K) -> None:
        self.key = key
        self.is_dirty = False
        self.newest: V
        self.last: V  # meaningful once delivered > 0
        self.merged_since = 0
        self.produced = 0
        self.delivered = 0
        self.merged = 0
        self.rejected = 0


class ConflationSlots(Generic[K, V]):
    """
    Keep the newest value per key until it is drained, and count what was merged away (R4).

    A value equal to the one last delivered under its key is merged and not delivered again.
    Always, per key and in sum: produced == delivered + merged + rejected + pending.
    """

    def __init__(self, same: Callable[[V, V], bool] = operator.eq) -> None:
        """
        Make empty slots.

        same: called with (new, last delivered); says whether delivering the new one is pointless.
        """
        self._same = same
        self._slots: dict[K, _Slot[K, V]] = {}
        self._dirty: list[_Slot[K, V]] = []

    def offer(self, key: K, value: V) -> bool:
        """Take *value* as the newest of *key*; True when the slot had nothing to drain before."""
        slot = self._slots.get(key)
        if slot is None:
            slot = self._slots[key] = _Slot(key)
        slot.produced += 1
        if slot.is_dirty:
            slot.newest = value
            slot.merged += 1
            slot.merged_since += 1
            return False
        if slot.delivered and self._same(value, slot.last):
            slot.merged += 1
            slot.merged_since += 1
            return False
        slot.newest = value
        slot.is_dirty = True
        self._dirty.append(slot)
        return True

    def reject(self, key: K) -> None:
        """Count a value of *key* that was refused before it got here; what is pending stays."""
        slot = self._slots.get(key)
        if slot is None:
            slot = self._slots[key] = _Slot(key)
        slot.produced += 1
        slot.rejected += 1

    def drain(self) -> list[tuple[K, V, int]]:
        """
        Return (key, newest value, values merged since the last delivery), first dirtied first.

        A key whose newest value turned back to the last delivered one is left out and merged.
        """
        dirty, self._dirty = self._dirty, []
        drained: list[tuple[K, V, int]] = []
        same = self._same
        for slot in dirty:
            slot.is_dirty = False
            newest = slot.newest
            if slot.delivered and slot.merged_since and same(newest, slot.last):
                slot.merged += 1
                slot.merged_since += 1
                continue
            drained.append((slot.key, newest, slot.merged_since))
            slot.last = newest
            slot.delivered += 1
            slot.merged_since = 0
        return drained

    @property
    def produced(self) -> int:
        """Return how many values were offered or rejected."""
        return sum(slot.produced for slot in self._slots.values())

    @property
    def delivered(self) -> int:
        """Return how many values were drained."""
        return sum(slot.delivered for slot in self._slots.values())

    @property
    def merged(self) -> int:
        """Return how many values a newer or an equal one stood in for."""
        return sum(slot.merged for slot in self._slots.values())

    @property
    def rejected(self) -> int:
        """Return how many values were refused."""
        return sum(slot.rejected for slot in self._slots.values())

    @property
    def pending(self) -> int:
        """Return how many values wait for the next drain."""
        return len(self._dirty)

    def counts(self) -> dict[K, ConflationCounts]:
        """Return the counters per key, in order of first appearance."""
        return {
            key: ConflationCounts(
                produced=slot.produced,
                delivered=slot.delivered,
                merged=slot.merged,
                rejected=slot.rejected,
                pending=int(slot.is_dirty),
            )
            for key, slot in self._slots.items()
        }
