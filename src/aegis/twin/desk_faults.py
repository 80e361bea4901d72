"""
Faults of the venue's own decisions, below both channels: stops it does not take, orders it matches
late. Requests by REST and by socket meet them alike.
"""

import asyncio
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Final

import attrs

from aegis.model.order import OrderType, TriggerBy
from aegis.twin.engine.api import (
    EngineOrder,
    EnginePosition,
    EngineStatus,
    Leg,
    OrderSpec,
    Reason,
    Refused,
    Trail,
)
from aegis.twin.engine.engine import TwinEngine
from aegis.twin.engine.order_checks import closes_its_leg
from aegis.twin.engine.order_store import OPEN_STATUSES

Place = Callable[[OrderSpec], EngineOrder]


class DeskFaults:
    """What one engine is made to do wrong; each method begins a fault."""

    def __init__(
        self,
        engine: TwinEngine,
        loop: asyncio.AbstractEventLoop,
        catch_up: Callable[[], None],
    ) -> None:
        """*catch_up* brings the engine to now, before something is done to it by itself."""
        self.engine: Final = engine
        self._loop = loop
        self._catch_up = catch_up

    def leave_attached_away(self) -> None:
        """Take entries without the stop and target they carry."""
        place = self.engine.place

        def placing(spec: OrderSpec) -> EngineOrder:
            return place(attrs.evolve(spec, attached_stop=None, attached_target=None))

        self.engine.place = placing  # type: ignore[method-assign]  # the fault

    def refuse_stops(
        self, *, times: int | None = None, reason: Reason = Reason.CONDITIONAL_LIMIT
    ) -> list[str]:
        """
        Take no stop, *times* long, None: ever; those that come with an entry are left away.

        Return the list of what is refused, which grows.
        """
        refused: list[str] = []

        def strikes(what: str) -> bool:
            if times is not None and len(refused) >= times:
                return False
            refused.append(what)
            return True

        def placing(place: Place, spec: OrderSpec) -> EngineOrder:
            if strikes(spec.client_id):
                raise Refused(reason, "by a fault")
            return place(spec)

        self._on_stops(placing, strikes, reason)
        return refused

    def forget_stops(self, *, times: int | None = None) -> list[str]:
        """Say yes to stops and keep none, *times* long; return the list of them, which grows."""
        forgotten: list[str] = []

        def is_over() -> bool:
            return times is not None and len(forgotten) >= times

        def placing(place: Place, spec: OrderSpec) -> EngineOrder:
            if is_over():
                return place(spec)
            forgotten.append(spec.client_id)
            listeners = self.engine.parts.voice.listeners
            heard, listeners[:] = list(listeners), []
            try:
                order = place(spec)
                self.engine.cancel(order)
            finally:
                listeners[:] = heard
            # The answer still says that it works.
            return attrs.evolve(order, status=EngineStatus.UNTRIGGERED)

        def swallows(symbol: str) -> bool:
            if is_over():
                return False
            forgotten.append(symbol)
            return True

        self._on_stops(placing, swallows, None)
        return forgotten

    def _on_stops(
        self,
        on_order: Callable[[Place, OrderSpec], EngineOrder],
        strikes: Callable[[str], bool],
        reason: Reason | None,
    ) -> None:
        self.leave_attached_away()
        place, protect = self.engine.place, self.engine.set_position_protection

        def placing(spec: OrderSpec) -> EngineOrder:
            is_stop = spec.order_type is OrderType.STOP_MARKET
            return on_order(place, spec) if is_stop else place(spec)

        def protecting(
            symbol: str,
            *,
            stop: Decimal | None,
            target: Decimal | None,
            stop_by: TriggerBy,
            target_by: TriggerBy,
            leg: Leg = Leg.BOTH,
            trail: Trail | None = None,
        ) -> None:
            if stop and strikes(symbol):
                if reason is None:
                    return
                raise Refused(reason, "by a fault")
            protect(
                symbol,
                stop=stop,
                target=target,
                stop_by=stop_by,
                target_by=target_by,
                leg=leg,
                trail=trail,
            )

        self.engine.place = placing  # type: ignore[method-assign]  # the fault
        self.engine.set_position_protection = protecting  # type: ignore[method-assign]  # the fault

    def match_late(
        self,
        parts: Sequence[tuple[float, str]],
        *,
        times: int | None = None,
        on_late: Callable[[EngineOrder], None] = lambda _: None,
    ) -> list[EngineOrder]:
        """
        Accept orders that open as NEW and match them later, *times* long, None: ever.

        *parts*: loop seconds after acceptance and the share of the quantity that is filled by then;
        the last share is 1. Return the list of the orders this happened to, which grows; *on_late*
        hears each.
        """
        late: list[EngineOrder] = []
        engine = self.engine
        place = engine.place

        def placing(spec: OrderSpec) -> EngineOrder:
            exits = spec.reduce_only or spec.close_position or closes_its_leg(spec)
            is_over = times is not None and len(late) >= times
            if exits or is_over or spec.trigger_price is not None or spec.limit_price is not None:
                return place(spec)
            order = engine.parts.create(spec, EngineStatus.NEW)
            late.append(order)
            on_late(order)
            for delay_s, share in parts:
                _ = self._loop.call_later(delay_s, self._match, order, Decimal(share))
            return order

        engine.place = placing  # type: ignore[method-assign]  # the fault
        return late

    def _match(self, order: EngineOrder, share: Decimal) -> None:
        engine, whole = self.engine, order.spec
        if order.status not in OPEN_STATUSES:
            return
        assert whole.qty is not None
        step = engine.instruments[whole.symbol].qty_step
        aim = whole.qty * share // step * step
        self._catch_up()
        before = engine.parts.position_of(whole).qty
        execution = engine._execution
        for qty, price in execution.plan(whole, aim - order.filled_qty):
            execution._fill(order, qty, price, maker=False)
        execution.settle(order, before)
        engine.time.refresh()

    def drop(self, late: Sequence[EngineOrder]) -> None:
        """Let the venue give up what is left of orders that it did not match."""
        for order in late:
            if order.status in OPEN_STATUSES:
                self.engine._execution.remove(order, self.engine.parts.dropped(), "given up")
        self.engine.time.refresh()

    def liquidate(self, position: EnginePosition) -> None:
        """Let the venue close a position by force, whatever its margin: its orders go first."""
        desk = self.engine._liquidation
        desk._drop_orders(position.symbol, position.leg)
        desk._close(position)
        self.engine.time.refresh()

    def stand_aside(self) -> None:
        """End every fault of placing and protecting: the engine decides again."""
        for method in ("place", "set_position_protection"):
            vars(self.engine).pop(method, None)
