"""A person's close goes the way of every other exit (R63)."""

from collections.abc import Callable
from typing import TYPE_CHECKING

from aegis.model.events import CloseRequested
from aegis.model.instrument import InstrumentId, Venue
from aegis.model.intent import ClosePosition
from aegis.model.order import Purpose
from aegis.model.position import CloseCause

if TYPE_CHECKING:
    from tests.unit.exit.conftest import ExitRig

MakeRig = Callable[..., "ExitRig"]


def asked(instrument: InstrumentId, *, force: bool = False) -> CloseRequested:
    """Return what an operator asks."""
    return CloseRequested(
        ts_event=1, ts_recv=1, instrument_id=instrument, operator="ann", reason="news", force=force
    )


def test_a_request_closes_reduce_only_with_its_cause_and_its_reason(make_exit_rig: MakeRig) -> None:
    """MANUAL, reduce-only, and who asked why is in the intent (R63, R78, R79)."""
    rig = make_exit_rig()
    rig.open()
    rig.accept_all()
    rig.publish(asked(rig.instrument))
    ((intent, command),) = rig.of(ClosePosition)

    assert command.cause is CloseCause.MANUAL
    assert command.request.reduce_only
    assert command.request.purpose is Purpose.CLOSE_MANUAL
    assert intent.reason == "MANUAL: ann: news"


def test_force_skips_that_a_close_is_under_way_and_nothing_else(make_exit_rig: MakeRig) -> None:
    """A second request is no news; forced, another reduce-only order leaves (R59, R63)."""
    rig = make_exit_rig()
    rig.open()
    rig.accept_all()
    rig.publish(asked(rig.instrument))
    rig.publish(asked(rig.instrument))
    assert len(rig.of(ClosePosition)) == 1
    rig.publish(asked(rig.instrument, force=True))

    closes = [command.request for _, command in rig.of(ClosePosition)]
    assert len(closes) == 2
    assert all(request.reduce_only for request in closes)
    assert closes[0].client_order_id != closes[1].client_order_id


def test_a_request_for_what_is_not_open_does_nothing(make_exit_rig: MakeRig) -> None:
    """No position, no order: a close can never open one (R59)."""
    rig = make_exit_rig()
    rig.open()
    rig.accept_all()
    rig.publish(asked(InstrumentId(symbol="XRPUSDT", venue=Venue.BYBIT), force=True))

    assert rig.of(ClosePosition) == []
