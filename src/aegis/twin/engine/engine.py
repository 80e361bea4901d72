"""
The twin's engine: one account on one venue, driven by time and by requests.

Sans I/O and deterministic: no wall clock, ids are counters, latencies are hashed from the seed.
`advance` lets the market happen; requests act at `now_ns`. Orders never move the market and find
a whole book every time. The work is done by execution, trigger_desk and protection_desk.
"""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from functools import partial
from typing import Any

import attrs

from aegis.model.order import OrderType, TriggerBy
from aegis.twin.engine.account_settings import AccountSettings, tell_position
from aegis.twin.engine.api import (
    Bound,
    EngineFaults,
    EngineOrder,
    EngineStatus,
    Leg,
    OrderSpec,
    PartialWish,
    Reason,
    Refused,
    Trail,
    TwinInstrument,
)
from aegis.twin.engine.execution import Execution
from aegis.twin.engine.ledger import Ledger
from aegis.twin.engine.liquidation import LiquidationDesk
from aegis.twin.engine.market import MarketPath, SymbolMarket
from aegis.twin.engine.matching import plan_notional, plan_qty
from aegis.twin.engine.order_checks import (
    check_attached,
    check_client_id,
    check_closing_qty,
    check_conditional,
    check_figures,
    check_leg,
    check_not_reached,
    check_notional,
    check_reduce_only,
    closes_its_leg,
    margin_is_short,
)
from aegis.twin.engine.order_store import OPEN_STATUSES, OrderStore
from aegis.twin.engine.parts import EngineParts, NoFaults
from aegis.twin.engine.protection_desk import ProtectionDesk
from aegis.twin.engine.relatives import finish_parent
from aegis.twin.engine.state import export_parts, restore_parts
from aegis.twin.engine.timeline import EngineTime
from aegis.twin.engine.trailing import start_trail
from aegis.twin.engine.trigger_desk import TriggerDesk
from aegis.twin.engine.venue_rules import VenueRules
from aegis.twin.engine.view import EngineView
from aegis.twin.tape.model import FundingSeries
from aegis.twin.tape.synthetic_book import BookShape

CANCELED_DETAIL = "canceled on request"


@attrs.frozen(slots=True, kw_only=True)
class EngineOptions:
    """
    What an engine may be told about itself.

    *wallet*: USDT at the start. *leverage*: of every symbol at the start, capped by the symbol.
    *quote_interval_ns*: repeat the interpolated quote at its multiples, None: at vertices and
    triggers only. *open_kline_updates*: tell watched timeframes' open bars with every quote.
    *history_max*: closed orders, fills and bookings remembered, each.
    """

    wallet: Decimal = Decimal(10_000)
    leverage: int = 20
    quote_interval_ns: int | None = None
    open_kline_updates: bool = True
    history_max: int = 20_000


def default_shape(instrument: TwinInstrument, seed: int) -> BookShape:
    """Return the synthetic book of an instrument that was given none."""
    return BookShape(
        seed=seed, tick_size=float(instrument.tick_size), qty_step=float(instrument.qty_step)
    )


class TwinEngine(EngineView):
    """
    One account on one venue over several symbols; fulfils `engine_api.Engine`.

    One-way or hedge mode; isolated margin by default, cross on one balance (`cross`).
    """

    def __init__(
        self,
        *,
        rules: VenueRules,
        instruments: Mapping[str, TwinInstrument],
        paths: Mapping[str, MarketPath],
        start_ns: int,
        seed: int,
        funding: Mapping[str, FundingSeries] | None = None,
        books: Mapping[str, BookShape] | None = None,
        faults: EngineFaults | None = None,
        options: EngineOptions | None = None,
    ) -> None:
        self.options = options if options is not None else EngineOptions()
        instruments = dict(instruments)
        markets = {
            symbol: SymbolMarket(
                instrument=instrument,
                path=paths[symbol],
                shape=(books or {}).get(symbol, default_shape(instrument, seed)),
                funding=(funding or {}).get(symbol),
            )
            for symbol, instrument in instruments.items()
        }
        history_max = self.options.history_max
        parts = EngineParts(
            rules=rules,
            seed=seed,
            markets=markets,
            store=OrderStore(history_max),
            ledger=Ledger(instruments, self.options.wallet, self.options.leverage, history_max),
            faults=faults if faults is not None else NoFaults(),
            now_ns=start_ns,
        )
        super().__init__(parts)
        self._protection = ProtectionDesk(parts)
        self._execution = Execution(parts, self._protection)
        self._triggers = TriggerDesk(parts, self._execution, self._protection)
        self._liquidation = LiquidationDesk(parts, self._execution, self._protection)
        self._account = AccountSettings(parts)
        self.time = EngineTime(
            parts,
            self._execution,
            self._triggers,
            self._liquidation,
            quote_interval_ns=self.options.quote_interval_ns,
            open_kline_updates=self.options.open_kline_updates,
        )

    def next_event_ns(self) -> int | None:
        """Return when something happens next by itself, None when the tapes have ended."""
        return self.time.next_event_ns()

    def advance(self, to_ns: int) -> None:
        """Let everything up to *to_ns* happen, in order of time; no-op when in the past."""
        self.time.advance(to_ns)

    def set_quote_interval(self, interval_ns: int | None) -> None:
        """Repeat quotes at the multiples of *interval_ns* from now on; None: not at all."""
        self.time.set_quote_interval(interval_ns)

    def watch(self, symbol: str, timeframe_ns: int) -> None:
        """Ask for on_kline of a timeframe from now on; a second call changes nothing."""
        self.parts.market(symbol)
        self.time.watch(symbol, timeframe_ns)

    def unwatch(self, symbol: str, timeframe_ns: int) -> None:
        """Stop on_kline of a timeframe."""
        self.parts.market(symbol)
        self.time.unwatch(symbol, timeframe_ns)

    @property
    def watched_timeframes(self) -> tuple[tuple[str, int], ...]:
        """Return (symbol, timeframe_ns) of every bar followed."""
        return self.time.watched()

    def export_state(self) -> dict[str, Any]:
        """Return the account as JSON-able data: wallet, positions, orders, the last of the rest."""
        return {**export_parts(self.parts), "hedge_mode": self.hedge_mode}

    def restore_state(self, state: dict[str, Any]) -> None:
        """
        Take over a saved account, into an engine that has had no order yet.

        Time moves to the saved one if that is later. Listeners then hear every open order and
        every position that is not flat. Raises ValueError for another venue's or market's state.
        """
        parts = self.parts
        restore_parts(parts, state)
        self.hedge_mode = bool(state.get("hedge_mode", False))
        self.time.restart()
        for order in parts.store.open_orders():
            parts.voice.on_order(order)
        for position in parts.ledger.held():
            parts.voice.on_position(position, "ORDER")

    def place(self, spec: OrderSpec) -> EngineOrder:
        """Accept an order (MARKET and crossing LIMIT match at once) or raise Refused."""
        parts = self.parts
        market = parts.market(spec.symbol)
        check_leg(spec, hedge_mode=self.hedge_mode)
        closing = closes_its_leg(spec) and not spec.reduce_only and not spec.close_position
        if closing:
            spec = attrs.evolve(spec, reduce_only=True)
        if spec.trail is not None and spec.trail.activate is not None:
            spec = attrs.evolve(spec, trigger_price=spec.trail.activate)
        check_figures(spec, market.instrument, market.last_price(parts.now_ns))
        check_client_id(parts, spec)
        if spec.trigger_price is not None:
            check_conditional(parts, spec)
            waits = spec.trail is None or spec.trail.activate is not None
            prepare = None if waits else partial(start_trail, parts)
            order = parts.create(spec, EngineStatus.UNTRIGGERED, prepare=prepare)
        else:
            if closing:
                check_closing_qty(parts, spec)
            order = self._place_ordinary(spec)
        self.time.refresh()
        return order

    def _place_ordinary(self, spec: OrderSpec) -> EngineOrder:
        parts = self.parts
        check_attached(parts, spec)
        if spec.reduce_only or spec.close_position:
            check_reduce_only(parts, spec)
            trimmed = self._execution.trimmed(spec)
            assert trimmed is not None
            spec = trimmed
        assert spec.qty is not None
        plan = self._execution.plan(spec, spec.qty)
        if spec.order_type is OrderType.MARKET and not plan and parts.rules.empty_book_refused:
            raise Refused(Reason.NO_LIQUIDITY, f"no depth for {spec.side.value} {spec.qty}")
        if not spec.reduce_only:
            self._check_margin(spec, plan)
        before = parts.position_of(spec).qty
        order = parts.create(spec, EngineStatus.NEW)
        self._execution.take(order)
        self._execution.settle(order, before)
        return order

    def _check_margin(self, spec: OrderSpec, plan: Sequence[tuple[Decimal, Decimal]]) -> None:
        assert spec.qty is not None
        qty, notional = plan_qty(plan), plan_notional(plan)
        if spec.limit_price is not None:
            qty, notional = spec.qty, spec.qty * spec.limit_price
        if qty:
            check_notional(self.parts, spec, spec.qty, notional / qty)
        if qty and margin_is_short(self.parts, spec, qty, notional):
            detail = f"notional was {notional:f}, available {self.available():f}"
            raise Refused(Reason.MARGIN_SHORT, detail)

    def cancel(self, order: EngineOrder) -> None:
        """Cancel a resting order, or raise Refused(ORDER_NOT_FOUND, ORDER_TRIGGERING)."""
        self._check_resting(order)
        self._execution.remove(order, EngineStatus.CANCELED, CANCELED_DETAIL)
        if order.bound is not Bound.NONE:
            tell_position(self.parts, self.parts.position_of(order.spec), "PROTECTION")
        finish_parent(self.parts, order)
        self.time.refresh()

    def _check_resting(self, order: EngineOrder) -> None:
        if order.status in {EngineStatus.TRIGGERING, EngineStatus.TRIGGERED}:
            raise Refused(Reason.ORDER_TRIGGERING, f"order {order.order_id}")
        if order.status not in OPEN_STATUSES:
            detail = f"order {order.order_id} was {order.status.value}"
            raise Refused(Reason.ORDER_NOT_FOUND, detail)

    def amend(
        self,
        order: EngineOrder,
        *,
        qty: Decimal | None,
        limit_price: Decimal | None,
        trigger_price: Decimal | None,
        attached_stop: Decimal | None = None,
        attached_target: Decimal | None = None,
    ) -> None:
        """
        Change a resting order in place, or raise Refused.

        A LIMIT amended to no more than what it filled is canceled; one that now crosses takes.
        """
        self._check_resting(order)
        if order.bound in {Bound.STOP, Bound.TARGET}:
            self._amend_bound(order, trigger_price)
            return
        old = order.spec
        new = attrs.evolve(
            old,
            qty=old.qty if qty is None else qty,
            limit_price=old.limit_price if limit_price is None else limit_price,
            trigger_price=old.trigger_price if trigger_price is None else trigger_price,
            attached_stop=old.attached_stop if attached_stop is None else attached_stop or None,
            attached_target=(
                old.attached_target if attached_target is None else attached_target or None
            ),
        )
        if new == old:
            raise Refused(Reason.NOT_MODIFIED, f"order {order.order_id}")
        market = self.parts.market(new.symbol)
        check_figures(new, market.instrument, market.last_price(self.now_ns))
        if attached_stop is not None or attached_target is not None:
            check_attached(self.parts, new)
        if order.status is EngineStatus.UNTRIGGERED:
            if new.trigger_price != old.trigger_price:
                check_not_reached(self.parts, new)
            order.spec = new
            self.parts.move(order, order.status)
        else:
            self._amend_limit(order, new)
        self.time.refresh()

    def _amend_bound(self, order: EngineOrder, trigger_price: Decimal | None) -> None:
        is_stop = order.bound is Bound.STOP
        self.set_position_protection(
            order.spec.symbol,
            stop=trigger_price if is_stop else None,
            target=None if is_stop else trigger_price,
            stop_by=order.spec.trigger_by,
            target_by=order.spec.trigger_by,
            leg=order.spec.leg,
        )

    def _amend_limit(self, order: EngineOrder, new: OrderSpec) -> None:
        parts = self.parts
        old = order.spec
        assert new.qty is not None
        assert old.qty is not None
        assert new.limit_price is not None
        if new.qty <= order.filled_qty:
            self._execution.remove(order, EngineStatus.CANCELED, "amended to what it filled")
            return
        more = new.qty - old.qty
        short = more > 0 and margin_is_short(parts, new, more, more * new.limit_price)
        if short and not new.reduce_only:
            raise Refused(Reason.MARGIN_SHORT, f"{more} more at {new.limit_price}")
        before = parts.position_of(new).qty
        order.spec = new
        parts.move(order, order.status)
        self._execution.take(order)
        self._execution.settle(order, before)
        finish_parent(parts, order)

    def set_position_protection(
        self,
        symbol: str,
        *,
        stop: Decimal | None,
        target: Decimal | None,
        stop_by: TriggerBy,
        target_by: TriggerBy,
        leg: Leg = Leg.BOTH,
        trail: Trail | None = None,
    ) -> None:
        """Set, move or remove (0) the position-bound stop and target; None leaves one as it is."""
        self._protection.set(
            symbol,
            stop=stop,
            target=target,
            stop_by=stop_by,
            target_by=target_by,
            leg=leg,
            trail=trail,
        )
        self.time.refresh()

    def add_partial_protection(self, wish: PartialWish) -> None:
        """Add a partial stop, target or both as a pair, or raise Refused."""
        self._protection.add_partial(wish)
        self.time.refresh()

    def deleverage(self, symbol: str, qty: Decimal, leg: Leg = Leg.BOTH) -> None:
        """Let the venue close *qty* of a position by ADL; the twin never does so by itself."""
        self.parts.market(symbol)
        self._liquidation.deleverage(symbol, leg, qty)
        self.time.refresh()

    def set_leverage(self, symbol: str, leverage: int, *, leg: Leg | None = None) -> None:
        """Set leverage of one leg or of all, or raise Refused, see `AccountSettings`."""
        self._account.set_leverage(symbol, leverage, leg)
        self.time.refresh()

    def set_isolated(self, symbol: str, *, isolated: bool) -> None:
        """Set the margin type or raise Refused(MARGIN_TYPE_UNCHANGED, HAS_POSITION, HAS_ORDERS)."""
        self._account.set_isolated(symbol, isolated=isolated)
        self.time.refresh()

    def set_hedge_mode(self, *, hedge: bool) -> None:
        """Set the position mode, or raise Refused(MODE_UNCHANGED, HAS_POSITION, HAS_ORDERS)."""
        if hedge is self.hedge_mode:
            raise Refused(Reason.MODE_UNCHANGED, f"hedge mode {hedge}")
        self._account.check_flat()
        self.hedge_mode = hedge
