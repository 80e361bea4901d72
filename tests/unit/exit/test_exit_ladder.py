"""Exit's ladder: parts of a position, each taken once, the stop following the rest (R53)."""

from collections.abc import Callable
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import attrs
import pytest

from aegis.core.errors import Refusal
from aegis.exit.decide import stops_of
from aegis.model.account import ProtectionRole
from aegis.model.events import PositionOpened, ProtectionWanted, SnapshotWanted
from aegis.model.instrument import Venue
from aegis.model.intent import CancelProtection, ClosePosition, TradeIntent
from aegis.model.order import OrderRequest, OrderStatus, OrderType, PositionSide, Purpose
from aegis.model.position import CloseCause
from aegis.settings import AegisConfig

if TYPE_CHECKING:
    from tests.unit.exit.conftest import ExitRig

MakeRig = Callable[..., "ExitRig"]
LONG, SHORT = PositionSide.LONG, PositionSide.SHORT
LADDER = ("0.5:0.25", "1:0.25")


def opened(
    make: MakeRig,
    venue: Venue = Venue.BINANCE,
    side: PositionSide = LONG,
    ladder: tuple[str, ...] = LADDER,
    qty: str = "1",
    **knobs: Any,
) -> "ExitRig":
    """Return a rig with a covered position at 100, 1 R being 2, and its ladder asked for."""
    rig = make(venue, config=AegisConfig(ladder=ladder, **knobs))
    rig.start()
    rig.open(side=side, qty=qty)
    if venue is Venue.BYBIT:
        far = {LONG: ("98", "104"), SHORT: ("102", "96")}[side]
        rig.tell_row(rig.row(str(Decimal(qty) * side.sign), stop=far[0], target=far[1]))
    rig.entry_done()
    return rig


def rungs(rig: "ExitRig") -> list[OrderRequest]:
    """Return every rung order asked for, triggered or at market."""
    return [rig.request(i) for i in rig.orders(Purpose.RUNG)]


def told(requests: list[OrderRequest]) -> list[tuple[str, str]]:
    """Return price and quantity of each, "market" for an order without a trigger."""
    return [
        (str(r.trigger_price.normalize()) if r.trigger_price else "market", str(r.qty))
        for r in requests
    ]


def fill(rig: "ExitRig", intent: TradeIntent, left: str) -> None:
    """Let a rung's order fill at the venue, after which *left* is open."""
    request = rig.request(intent)
    rig.publish(rig.order(request, OrderStatus.FILLED, filled_qty=request.qty))
    rig.resize(left)
    rig.wait(300)
    rig.serve()


@pytest.mark.parametrize("venue", Venue)
@pytest.mark.parametrize(("side", "prices"), [(LONG, ["101", "102"]), (SHORT, ["99", "98"])])
def test_rungs_rest_as_reduce_only_targets_on_the_mark(
    make_exit_rig: MakeRig, venue: Venue, side: PositionSide, prices: list[str]
) -> None:
    """Fractions of the initial quantity at their R, native on both venues (R53)."""
    rig = opened(make_exit_rig, venue, side)
    rig.serve()

    assert [(prices[0], "0.250"), (prices[1], "0.250")] == told(rungs(rig))
    for request in rungs(rig):
        assert OrderType.TAKE_PROFIT_MARKET is request.order_type
        assert request.reduce_only
        assert not request.close_position
        assert side.exit_side is request.side
    assert 2 == len(rig.told(ProtectionWanted)[-1].rungs)


def test_no_rung_before_the_entry_is_complete(make_exit_rig: MakeRig) -> None:
    """The initial quantity is known only then; the stop comes at the first fill."""
    rig = make_exit_rig(config=AegisConfig(ladder=LADDER))
    rig.start()
    rig.open()
    rig.serve()

    assert [] == rungs(rig)


def test_no_rung_before_the_stop(make_exit_rig: MakeRig) -> None:
    """A position that is not covered is asked a stop for, not a profit."""
    rig = opened(make_exit_rig)
    assert [] == rungs(rig)
    rig.accept(rig.orders(Purpose.STOP_FLOOR)[0])

    assert 2 == len(rungs(rig))


@pytest.mark.parametrize("venue", Venue)
def test_each_rung_fires_once_and_the_stop_follows(make_exit_rig: MakeRig, venue: Venue) -> None:
    """After a rung the rest keeps its stop, and that rung never comes again (R53, R48)."""
    rig = opened(make_exit_rig, venue, break_even_r=0.25)
    rig.serve()
    rig.mark("100.6")
    rig.serve()
    first, second = rig.orders(Purpose.RUNG)
    fill(rig, first, "0.75")
    rig.mark("101.1")
    rig.serve()
    if venue is Venue.BINANCE:
        ((guarded, resting),) = rig.actor.guarded()
        assert [None, Decimal("0.75")] == [s.qty for s in stops_of(guarded.position, resting)]
    fill(rig, second, "0.5")
    rig.mark("103")
    rig.serve()
    rig.wait(30_000)
    rig.serve()

    assert 2 == len(rungs(rig))
    assert [] == rig.of(ClosePosition)


def test_filled_report_before_its_fill_does_not_fire_the_rung_again(
    make_exit_rig: MakeRig,
) -> None:
    """FILLED, and the executions late: the rung is spent, whatever the quantity says (R53)."""
    rig = opened(make_exit_rig)
    rig.serve()
    request = rungs(rig)[0]
    rig.publish(rig.order(request, OrderStatus.FILLED, filled_qty=request.qty))
    rig.mark("101.5")
    rig.wait(5000)
    rig.serve()

    assert 2 == len(rungs(rig))


def test_rung_missing_from_a_snapshot_is_not_placed_again(make_exit_rig: MakeRig) -> None:
    """Gone without a word it may have filled: once is once (R53)."""
    rig = opened(make_exit_rig)
    rig.serve()
    rig.wait(6000)
    kept = [
        rig.order(rig.request(i)).report
        for i in rig.intents
        if not isinstance(i.command, CancelProtection)
        and rig.request(i).purpose is not Purpose.RUNG
    ]
    rig.snapshot((rig.row("1"),), tuple(kept))
    rig.mark("101.5")
    rig.serve()

    assert 2 == len(rungs(rig))


def test_rung_a_person_canceled_comes_back(make_exit_rig: MakeRig) -> None:
    """The venue's word that it ended unfilled brings it back."""
    rig = opened(make_exit_rig)
    rig.serve()
    rig.publish(rig.order(rungs(rig)[0], OrderStatus.CANCELED))
    rig.wait(1000)
    rig.serve()

    assert [("101", "0.250"), ("102", "0.250"), ("101", "0.250")] == told(rungs(rig))


def test_rung_whose_price_was_passed_is_taken_at_market_once(make_exit_rig: MakeRig) -> None:
    """Too late to rest there: its quantity goes at market, called HARVEST (R47, R53)."""
    rig = opened(make_exit_rig)
    rig.mark("101.3")
    rig.serve()
    rig.mark("101.4")
    rig.wait(5000)

    assert [("market", "0.250"), ("102", "0.250")] == told(rungs(rig))
    assert [CloseCause.HARVEST] == [c.cause for _, c in rig.of(ClosePosition)]


def test_rung_refused_as_passed_is_taken_at_market(make_exit_rig: MakeRig) -> None:
    """The venue knows the mark better: would trigger at once means now (R47)."""
    rig = opened(make_exit_rig)
    for intent in rig.unanswered():
        if rig.request(intent).purpose is not Purpose.RUNG:
            rig.accept(intent)
    first, second = rig.orders(Purpose.RUNG)
    rig.accept(second)
    rig.complete(first, Refusal.WOULD_TRIGGER)
    rig.wait(1000)

    assert [("101", "0.250"), ("102", "0.250"), ("market", "0.250")] == told(rungs(rig))


def test_fractions_of_one_leave_nothing(make_exit_rig: MakeRig) -> None:
    """Rounded to the step, the last rung takes what is left (R53)."""
    rig = opened(make_exit_rig, ladder=("0.5:0.33", "1:0.33", "1.5:0.34"), qty="0.007")
    rig.serve()

    assert ["0.002", "0.002", "0.003"] == [str(r.qty) for r in rungs(rig)]


def test_rung_below_the_least_quantity_goes_with_the_next(make_exit_rig: MakeRig) -> None:
    """What the venue would refuse is not asked for (R53)."""
    rig = opened(make_exit_rig, ladder=("0.5:0.25", "1:0.25"), qty="0.003")
    rig.serve()

    assert [("102", "0.001")] == told(rungs(rig))


@pytest.mark.parametrize("venue", Venue)
@pytest.mark.parametrize(
    ("open_qty", "expected"),
    [
        ("1", [("101", "0.250"), ("102", "0.250")]),
        ("0.75", [("102", "0.250")]),
        ("0.6", [("102", "0.100")]),
        ("0.5", []),
    ],
)
def test_restart_knows_by_the_closed_quantity_which_rungs_fired(
    make_exit_rig: MakeRig, venue: Venue, open_qty: str, expected: list[tuple[str, str]]
) -> None:
    """Nothing that was taken before the kill is taken again (R53)."""
    rig = make_exit_rig(venue, config=AegisConfig(ladder=LADDER))
    row = rig.row(open_qty, stop="98", target="104") if venue is Venue.BYBIT else rig.row(open_qty)
    orders = (
        rig.resting("ab12-1-5-SF1", "98"),
        rig.resting("ab12-1-5-TP1", "104", role=ProtectionRole.TARGET),
    )
    rig.start((row,), orders if venue is Venue.BINANCE else ())
    rig.open(qty=open_qty, qty_opened="1", restored=True)
    rig.serve()

    assert expected == told(rungs(rig))
    assert rig.told(PositionOpened)[0].position.restored


def test_rungs_found_after_a_restart_stay(make_exit_rig: MakeRig) -> None:
    """What rests already is not placed twice, nor canceled."""
    rig = make_exit_rig(config=AegisConfig(ladder=LADDER))
    target = ProtectionRole.TARGET
    rig.start(
        (rig.row("1"),),
        (
            rig.resting("ab12-1-5-SF1", "98"),
            rig.resting("ab12-1-5-TP1", "104", role=target),
            rig.resting("ab12-1-5-RG1", "101", qty="0.25", role=target),
            rig.resting("ab12-1-5-RG2", "102", qty="0.25", role=target),
        ),
    )
    rig.open(restored=True)
    rig.wait(5000)

    assert [] == rig.intents


def test_part_closed_by_somebody_else_shrinks_the_ladder(make_exit_rig: MakeRig) -> None:
    """The nearest rungs count as taken; what rests too large is replaced (R53)."""
    rig = opened(make_exit_rig)
    rig.serve()
    rig.resize("0.6")
    rig.serve()
    rig.wait(1000)
    rig.serve()

    assert ("102", "0.100") == told(rungs(rig))[-1]
    assert 2 == len(rig.of(CancelProtection))


def test_stuck_rung_is_asked_about_and_closes_nothing(make_exit_rig: MakeRig) -> None:
    """A rung TRIGGERING for 2 s: the venue is asked; the position has its stop."""
    rig = opened(make_exit_rig)
    rig.serve()
    rig.publish(rig.order(rungs(rig)[0], OrderStatus.TRIGGERING))
    rig.wait(2500)

    assert ["is TRIGGERING for" in e.reason for e in rig.told(SnapshotWanted)] == [True]
    assert [] == rig.of(ClosePosition)


def test_rungs_are_left_alone_while_the_position_closes(make_exit_rig: MakeRig) -> None:
    """Flat first, then protection goes (R59, R62)."""
    rig = opened(make_exit_rig)
    rig.serve()
    rig.call(
        lambda: rig.actor.close(rig.instrument, CloseCause.MANUAL, Purpose.CLOSE_MANUAL, "asked")
    )
    rig.resize("0.5")
    assert [] == rig.of(CancelProtection)
    rig.closed(CloseCause.MANUAL)
    rig.tell_row(attrs.evolve(rig.row("0")))
    rig.wait(2000)

    canceled = {c.client_order_id for _, c in rig.of(CancelProtection)}
    assert {r.client_order_id for r in rungs(rig)} <= canceled
