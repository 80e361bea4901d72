"""Claims about aegis.core.latch: it holds till a named person resets it."""

import pytest

from aegis.core.latch import REASONS_MAX, HaltLatch, HaltReason


def test_the_first_reason_and_all_others_are_kept_in_order() -> None:
    """A repeated reason keeps the time it came up first."""
    latch = HaltLatch()
    view = latch.view()
    assert (view.halted, view.reasons) == (False, ())

    latch.set("drawdown was 5.1 %, limit 5", at_ns=10)
    latch.set("feed stale", at_ns=20)
    latch.set("drawdown was 5.1 %, limit 5", at_ns=30)

    assert view.halted
    assert view.reasons == ("drawdown was 5.1 %, limit 5", "feed stale")
    assert (HaltReason("drawdown was 5.1 %, limit 5", 10), HaltReason("feed stale", 20)) == (
        view.history
    )


@pytest.mark.parametrize("operator", ["", "  \n"])
def test_reset_needs_a_name(operator: str) -> None:
    """R73: nothing but a named operator lifts a halt."""
    latch = HaltLatch()
    latch.set("kill switch", at_ns=1)

    with pytest.raises(ValueError, match="named person"):
        latch.reset(operator)
    assert latch.view().halted


def test_reset_lifts_the_halt_and_returns_what_it_was_for() -> None:
    """R73: the operator sees what was lifted."""
    latch = HaltLatch()
    latch.set("kill switch", at_ns=1)

    assert (HaltReason("kill switch", 1),) == latch.reset("ada")
    assert not latch.view().halted


def test_a_halt_says_why() -> None:
    """An empty reason is refused."""
    with pytest.raises(ValueError, match="must say why"):
        HaltLatch().set(" ", at_ns=1)


def test_reasons_are_bounded_and_the_first_ones_stay() -> None:
    """Reasons that never repeat cannot fill the memory."""
    latch = HaltLatch()
    for number in range(REASONS_MAX + 5):
        latch.set(f"reason {number}", at_ns=number)
    view = latch.view()

    assert (len(view.reasons), view.reasons[0], view.omitted) == (REASONS_MAX, "reason 0", 5)


def test_the_view_cannot_set_anything() -> None:
    """Whoever holds a view reads only."""
    view = HaltLatch().view()

    with pytest.raises(AttributeError):
        view.halted = True  # type: ignore[misc]
