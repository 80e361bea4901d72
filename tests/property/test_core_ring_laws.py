"""Laws of the ring and of conflation: what went in is delivered or counted."""

import sys
import threading

from hypothesis import given
from hypothesis import strategies as st

from aegis.core.ring import ConflationSlots, Gap, RingBuffer


@given(st.integers(1, 9), st.lists(st.booleans(), max_size=200))
def test_the_ring_conserves_or_counts(capacity: int, pushes: list[bool]) -> None:
    """R2: produced == consumed + dropped + pending after every step; order is kept."""
    ring = RingBuffer[int](capacity)
    produced = consumed = told = 0
    next_seq = 0
    for is_push in pushes:
        if is_push:
            ring.push(produced)
            produced += 1
        else:
            match ring.pop():
                case Gap(dropped, first_seq):
                    assert dropped > 0
                    assert first_seq == next_seq
                    next_seq += dropped
                    told += dropped
                case None:
                    assert next_seq == produced
                case item:
                    assert item == next_seq
                    next_seq += 1
                    consumed += 1
        assert (ring.produced, ring.consumed) == (produced, consumed)
        assert produced == consumed + ring.dropped + ring.pending
        assert ring.dropped >= told
        assert ring.pending <= capacity


def test_the_ring_holds_between_two_threads() -> None:
    """R3: a reader in another thread loses nothing uncounted and sees no item twice."""
    ring = RingBuffer[int](8)
    total = 20_000
    seen: list[int] = []
    gaps: list[Gap] = []

    def read() -> None:
        while True:
            match ring.pop():
                case None:
                    if done.is_set():
                        return
                case Gap() as gap:
                    gaps.append(gap)
                case item:
                    seen.append(item)

    done = threading.Event()
    interval_s = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        reader = threading.Thread(target=read)
        reader.start()
        for item in range(total):
            ring.push(item)
        done.set()
        reader.join()
        while (left := ring.pop()) is not None:
            if isinstance(left, Gap):
                gaps.append(left)
            else:
                seen.append(left)
    finally:
        sys.setswitchinterval(interval_s)

    lost = [seq for gap in gaps for seq in range(gap.first_seq, gap.first_seq + gap.dropped)]
    assert sorted(seen) == seen
    assert sorted(seen + lost) == list(range(total))
    assert (ring.produced, ring.consumed, ring.dropped) == (total, len(seen), len(lost))


STEPS = st.one_of(
    st.tuples(st.just("offer"), st.sampled_from("abc"), st.integers(0, 3)),
    st.tuples(st.just("reject"), st.sampled_from("abc"), st.just(0)),
    st.tuples(st.just("drain"), st.just(""), st.just(0)),
)


@given(st.lists(STEPS, max_size=150))
def test_conflation_conserves_or_counts(steps: list[tuple[str, str, int]]) -> None:
    """R4: the law holds per key and in sum; what is delivered is newest, new, and once."""
    slots = ConflationSlots[str, int]()
    newest: dict[str, int] = {}
    shown: dict[str, int] = {}
    dirtied: list[str] = []
    merged_told = 0
    for step, key, value in steps:
        if step == "offer":
            was_clean = key not in dirtied
            newly = slots.offer(key, value)
            newest[key] = value
            assert newly == (was_clean and shown.get(key) != value)
            if newly:
                dirtied.append(key)
        elif step == "reject":
            slots.reject(key)
        else:
            drained = slots.drain()
            merged_told += sum(merged for _, _, merged in drained)
            expected = [(key, newest[key]) for key in dirtied if shown.get(key) != newest[key]]
            assert [(key, value) for key, value, _ in drained] == expected
            shown.update(expected)
            dirtied.clear()
        for counts in slots.counts().values():
            assert counts.produced == (
                counts.delivered + counts.merged + counts.rejected + counts.pending
            )
        assert slots.produced == slots.delivered + slots.merged + slots.rejected + slots.pending
        assert slots.merged >= merged_told
    assert slots.produced == sum(step != "drain" for step, _, _ in steps)
    assert slots.rejected == sum(step == "reject" for step, _, _ in steps)
    assert slots.pending == len(dirtied)
