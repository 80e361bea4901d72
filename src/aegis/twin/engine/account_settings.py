"""What an account can be set to: leverage and margin type of a symbol, position mode."""

from aegis.model.money import ZERO
from aegis.twin.engine.api import EnginePosition, Leg, Reason, Refused
from aegis.twin.engine.cross import reckon_liquidation
from aegis.twin.engine.ledger import margin_change
from aegis.twin.engine.order_store import RESTING_STATUSES
from aegis.twin.engine.parts import EngineParts
from aegis.twin.engine.tiers import notional_max


def tell_position(parts: EngineParts, position: EnginePosition, cause: str) -> None:
    """Tell a position that changed without a fill."""
    position.updated_ns = parts.now_ns
    position.seq += 1
    reckon_liquidation(parts, position.symbol)
    parts.touch(position.symbol)
    parts.voice.on_position(position, cause)


class AccountSettings:
    """Sets leverage and margin type, and says whether the position mode may be changed."""

    def __init__(self, parts: EngineParts) -> None:
        self._parts = parts

    def set_leverage(self, symbol: str, leverage: int, leg: Leg | None) -> None:
        """
        Set the leverage of one *leg*, or of all.

        Raises:
            Refused: LEVERAGE_INVALID, LEVERAGE_UNCHANGED, HAS_POSITION, NOTIONAL_ABOVE_MAX,
                LEVERAGE_UNAFFORDABLE.
        """
        parts = self._parts
        parts.market(symbol)
        instrument = parts.ledger.instruments[symbol]
        legs = parts.ledger.legs[symbol]
        chosen = list(legs.values()) if leg is None else [legs[leg]]
        if not 1 <= leverage <= instrument.leverage_max:
            detail = f"leverage was {leverage}, max {instrument.leverage_max}"
            raise Refused(Reason.LEVERAGE_INVALID, detail)
        if all(position.leverage == leverage for position in chosen):
            raise Refused(Reason.LEVERAGE_UNCHANGED, f"leverage {leverage}")
        change = ZERO
        for position in chosen:
            self._check_leverage(position, leverage)
            change += margin_change(position, leverage)
        if change > parts.available() or self._cross_falls_short(chosen, leverage):
            detail = f"{change:f} more, available {parts.available():f}"
            raise Refused(Reason.LEVERAGE_UNAFFORDABLE, detail)
        for position in chosen:
            position.margin = max(ZERO, position.margin + margin_change(position, leverage))
            position.leverage = leverage
            if position.qty or position.leg is (leg or Leg.BOTH):
                tell_position(parts, position, "LEVERAGE")

    def _check_leverage(self, position: EnginePosition, leverage: int) -> None:
        parts = self._parts
        instrument = parts.ledger.instruments[position.symbol]
        lowered = position.qty != 0 and position.isolated and leverage < position.leverage
        if lowered and parts.rules.leverage_cut_refused:
            raise Refused(Reason.HAS_POSITION, f"position was {position.qty}")
        notional = abs(position.qty) * parts.market(position.symbol).mark_price(parts.now_ns)
        most = notional_max(instrument.margin_tiers, leverage)
        if notional > most:
            detail = f"notional was {notional:f}, limit {most:f} at {leverage}x"
            raise Refused(Reason.NOTIONAL_ABOVE_MAX, detail)

    def _cross_falls_short(self, chosen: list[EnginePosition], leverage: int) -> bool:
        """Say whether cross positions would hold more initial margin than there is."""
        more = ZERO
        for one in chosen:
            if one.qty and not one.isolated:
                notional = abs(one.qty) * one.entry_px
                more += notional / leverage - notional / one.leverage
        return more > 0 and more > self._parts.available()

    def set_isolated(self, symbol: str, *, isolated: bool) -> None:
        """Set the margin type or raise Refused(MARGIN_TYPE_UNCHANGED, HAS_POSITION, HAS_ORDERS)."""
        parts = self._parts
        parts.market(symbol)
        legs = parts.ledger.legs[symbol]
        if legs[Leg.BOTH].isolated is isolated:
            raise Refused(Reason.MARGIN_TYPE_UNCHANGED, f"isolated {isolated}")
        for position in legs.values():
            if position.qty:
                raise Refused(Reason.HAS_POSITION, f"position was {position.qty}")
        resting = [o for o in parts.store.open_orders(symbol) if o.status in RESTING_STATUSES]
        if resting:
            raise Refused(Reason.HAS_ORDERS, f"{len(resting)} open orders")
        for position in legs.values():
            position.isolated = isolated
        tell_position(parts, legs[Leg.BOTH], "LEVERAGE")

    def check_flat(self) -> None:
        """Raise Refused(HAS_POSITION, HAS_ORDERS) unless the account has neither."""
        held = self._parts.ledger.held()
        if held:
            raise Refused(Reason.HAS_POSITION, f"{len(held)} positions")
        opened = self._parts.store.open_orders()
        if opened:
            raise Refused(Reason.HAS_ORDERS, f"{len(opened)} open orders")
