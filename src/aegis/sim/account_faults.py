"""Faults by another hand on the account: a person, another bot, or the venue's own force."""

from decimal import Decimal
from typing import Final

from aegis.sim.answers import RIVAL, by_hand, foreign_order, rivals_id, rivals_order
from aegis.sim.ground import Begin, End, Ground, name_of
from aegis.sim.kinds import Fault, Kind
from aegis.twin.engine.api import EngineOrder, EnginePosition, Refused

FOREIGN_PRICE: Final = Decimal("0.8")
LOOK_AGAIN_S: Final = 10.0
"""After a process started whose account a second instance had meanwhile left."""


def _person(ground: Ground, number: int, fault: Fault) -> End:
    """Do at the venue what a person may, or what the venue may force."""
    ground.catch_up()
    try:
        what = _DONE[fault.kind](ground, number, fault)
    except Refused as refused:
        # Anybody's request may be refused: nothing happened then.
        what = f"{fault.target} not done: {refused}"
    if what:
        ground.strike(fault, what)
    return None


def _held(ground: Ground, fault: Fault) -> EnginePosition | None:
    return next((p for p in ground.engine(fault).held() if p.symbol == fault.target), None)


def _order(ground: Ground, number: int, fault: Fault) -> str:
    engine = ground.engine(fault)
    price = Decimal(repr(engine.quote(fault.target).mark)) * FOREIGN_PRICE
    spec = foreign_order(engine.instruments[fault.target], price, number, hedge=engine.hedge_mode)
    _ = engine.place(spec)
    return fault.target


def _close(ground: Ground, number: int, fault: Fault) -> str:
    held = _held(ground, fault)
    if held is None:
        return ""
    _ = ground.engine(fault).place(by_hand(fault.target, held.qty, number, held.leg))
    return fault.target


def _remove_stop(ground: Ground, _number: int, fault: Fault) -> str:
    engine = ground.engine(fault)
    stops = [o for o in engine.open_orders(fault.target) if o.conditional]
    if _held(ground, fault) is None or not stops:
        return ""
    engine.cancel(stops[0])
    return fault.target


def _leverage(ground: Ground, _number: int, fault: Fault) -> str:
    ground.engine(fault).set_leverage(fault.target, int(fault.size))
    return f"{fault.target} {int(fault.size)}x"


def _liquidate(ground: Ground, _number: int, fault: Fault) -> str:
    held = _held(ground, fault)
    if held is None:
        return ""
    qty = held.qty
    ground.desks[name_of(fault)].liquidate(held)
    return f"{fault.target} {qty:+f}"


def _deleverage(ground: Ground, _number: int, fault: Fault) -> str:
    held = _held(ground, fault)
    if held is None:
        return ""
    engine = ground.engine(fault)
    step = engine.instruments[fault.target].qty_step
    part = abs(held.qty) * Decimal(repr(fault.size)) // step * step
    if part <= 0:
        return ""
    engine.deleverage(fault.target, part, held.leg)
    return f"{fault.target} {part:f}"


_DONE: Final = {
    Kind.FOREIGN_ORDER: _order,
    Kind.CLOSED_BY_HAND: _close,
    Kind.STOP_REMOVED: _remove_stop,
    Kind.LEVERAGE_CHANGED: _leverage,
    Kind.LIQUIDATED: _liquidate,
    Kind.DELEVERAGED: _deleverage,
}


def _mode(ground: Ground, _number: int, fault: Fault) -> End:
    """Switch the position mode, which a venue allows only with nothing open, and back again."""
    engine = ground.engine(fault)

    def switch() -> None:
        ground.catch_up()
        try:
            engine.set_hedge_mode(hedge=not engine.hedge_mode)
        except Refused as refused:
            ground.strike(fault, f"not done: {refused}")
        else:
            ground.strike(fault, f"hedge mode {engine.hedge_mode}")

    usual = engine.hedge_mode
    switch()
    return lambda: switch() if engine.hedge_mode is not usual else None


def _rival(ground: Ground, number: int, fault: Fault) -> End:
    """
    Let another Aegis have an order on the account, until a person stops it and resumes entries.

    Its end is not lost with a process: the next one that runs then is resumed a little later.
    """
    ground.catch_up()
    engine = ground.engine(fault)
    if number not in ground.log.rivals:
        price = Decimal(repr(engine.quote(fault.target).mark)) * FOREIGN_PRICE
        instrument = engine.instruments[fault.target]
        spec = rivals_order(instrument, price, number, hedge=engine.hedge_mode)
        try:
            _ = engine.place(spec)
        except Refused as refused:
            ground.strike(fault, f"{fault.target} not done: {refused}")
            return None
        ground.log.rivals[number] = (fault.venue, [ground.clock.now_ns()])
        ground.strike(fault, f"{fault.target} {spec.client_id}")

    def end() -> None:
        ground.catch_up()
        for order in engine.open_orders(fault.target):
            if _is_rivals(order, number):
                engine.cancel(order)
        ground.log.spent.add(number)
        ground.log.rivals[number][1].append(ground.clock.now_ns())
        # A message on its way is heard before the halt is lifted.
        _ = ground.loop.call_later(1.0, resume)

    def resume() -> None:
        # A person who resumes has looked at the account: nobody else is there any more.
        if not any(
            _is_any_rivals(o) for e in ground.twin.engines.values() for o in e.open_orders()
        ):
            ground.resume("the second instance was stopped")

    if ground.now_s() > fault.at_s + fault.for_s:
        _ = ground.loop.call_later(LOOK_AGAIN_S, end)
        return None
    return end


def _is_any_rivals(order: EngineOrder) -> bool:
    return order.spec.client_id.startswith(RIVAL)


def _is_rivals(order: EngineOrder, number: int) -> bool:
    return order.spec.client_id == rivals_id(number)


BEGIN: Final[dict[Kind, Begin]] = {
    **dict.fromkeys(_DONE, _person),
    Kind.MODE_CHANGED: _mode,
    Kind.SECOND_INSTANCE: _rival,
}
