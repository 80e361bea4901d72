"""Claims about aegis.core.ring: order, gaps, conflation and their counters."""

import pytest

from aegis.core.ring import ConflationCounts, ConflationSlots, Gap, RingBuffer


def test_items_come_out_in_order() -> None:
    """First in, first out, None when empty."""
    ring = RingBuffer[str](2)
    ring.push("a")
    ring.push("b")

    assert [ring.pop(), ring.pop(), ring.pop()] == ["a", "b", None]


def test_an_overrun_is_told_once_before_the_next_item() -> None:
    """R2: the consumer learns how many it lost and from which one on."""
    ring = RingBuffer[int](3)
    for item in range(8):
        ring.push(item)

    assert (ring.produced, ring.consumed, ring.dropped, ring.pending) == (8, 0, 5, 3)
    assert [Gap(5, 0), 5, 6, 7, None] == [ring.pop() for _ in range(5)]
    assert (ring.produced, ring.consumed, ring.dropped, ring.pending) == (8, 3, 5, 0)


def test_an_item_may_be_overwritten_between_a_gap_and_its_successor() -> None:
    """A second overrun is a second gap, counted from where the first ended."""
    ring = RingBuffer[int](1)
    ring.push(0)
    ring.push(1)
    assert Gap(1, 0) == ring.pop()
    ring.push(2)

    assert [Gap(1, 1), 2] == [ring.pop(), ring.pop()]


def test_the_reader_does_not_touch_the_writers_cursor() -> None:
    """R3: popping, gaps included, leaves produced as it was."""
    ring = RingBuffer[int](2)
    for item in range(5):
        ring.push(item)
    while ring.pop() is not None:
        assert ring.produced == 5


def test_a_ring_without_room_is_refused() -> None:
    """Capacity is at least 1."""
    with pytest.raises(ValueError, match="capacity was 0"):
        RingBuffer[int](0)


def test_the_newest_value_wins_and_the_merged_are_counted() -> None:
    """R4: one delivery per key, in order of first dirtying."""
    slots = ConflationSlots[str, float]()

    assert [
        slots.offer("b", 1.0),
        slots.offer("a", 5.0),
        slots.offer("b", 2.0),
        slots.offer("b", 3.0),
    ] == [True, True, False, False]
    assert slots.drain() == [("b", 3.0, 2), ("a", 5.0, 0)]
    assert slots.drain() == []


def test_an_unchanged_value_is_merged_and_not_delivered_again() -> None:
    """R4: neither when offered to a clean slot nor when a change was taken back."""
    slots = ConflationSlots[str, float]()
    slots.offer("a", 1.0)
    slots.drain()

    assert slots.offer("a", 1.0) is False
    assert slots.offer("a", 2.0) is True
    assert slots.offer("a", 1.0) is False
    assert slots.drain() == []
    slots.offer("a", 4.0)
    assert slots.drain() == [("a", 4.0, 3)]
    assert {"a": ConflationCounts(produced=5, delivered=2, merged=3, rejected=0, pending=0)} == (
        slots.counts()
    )


def test_sameness_can_be_given() -> None:
    """A value may be the same although a field nobody trades on differs."""
    slots = ConflationSlots[str, tuple[float, int]](lambda new, last: new[0] == last[0])
    slots.offer("a", (1.0, 1))
    slots.drain()

    assert slots.offer("a", (1.0, 2)) is False
    assert slots.offer("a", (1.5, 3)) is True


def test_a_rejected_value_is_counted_and_leaves_the_pending_one() -> None:
    """R4, R5: what the firewall refused is part of the sum."""
    slots = ConflationSlots[str, float]()
    slots.offer("a", 1.0)
    slots.reject("a")
    slots.reject("b")

    assert (
        slots.produced,
        slots.delivered,
        slots.merged,
        slots.rejected,
        slots.pending,
    ) == (3, 0, 0, 2, 1)
    assert slots.drain() == [("a", 1.0, 0)]
