"""Which orders and instruments a Bybit request speaks of."""

from aegis.twin.bybit.json import SETTLE_COIN, Ids
from aegis.twin.bybit.params import Params
from aegis.twin.bybit.refusal import param_error, refusal_of
from aegis.twin.engine.api import Engine, EngineOrder, Reason, Refused, TwinInstrument


class OrderScope:
    """Finds what symbol, baseCoin, settleCoin, orderId and orderLinkId name."""

    def __init__(self, engine: Engine, ids: Ids) -> None:
        self._engine = engine
        self._ids = ids

    def instrument(self, params: Params) -> TwinInstrument:
        """Return the instrument of the request's symbol, or refuse."""
        instrument = self._engine.instruments.get(params.required("symbol"))
        if instrument is None:
            raise refusal_of(Refused(Reason.UNKNOWN_SYMBOL))
        return instrument

    def named(self, params: Params) -> list[EngineOrder]:
        """Return the order with that orderId or orderLinkId; orderId wins."""
        order_id = params.get("orderId")
        if order_id:
            number = self._ids.order_number(order_id)
            order = self._engine.find(order_id=number) if number is not None else None
        else:
            order = self._engine.find(client_id=params.text("orderLinkId"))
        return [] if order is None else [order]

    def symbol(self, params: Params) -> str | None:
        """Return the symbol asked for; refuses a request without symbol, base or settle coin."""
        symbol = params.get("symbol")
        if symbol:
            if symbol not in self._engine.instruments:
                raise refusal_of(Refused(Reason.UNKNOWN_SYMBOL))
            return symbol
        if not params.get("baseCoin") and not params.get("settleCoin"):
            raise param_error(
                "Missing some parameters that must be filled in, symbol, baseCoin or settleCoin"
            )
        return None

    def includes(self, order: EngineOrder, params: Params) -> bool:
        """Say whether *order* is within symbol > baseCoin > settleCoin (venues.md 3.6)."""
        symbol = params.get("symbol")
        if symbol:
            return order.spec.symbol == symbol
        base = params.get("baseCoin")
        if base:
            return self._engine.instruments[order.spec.symbol].base == base
        return params.text("settleCoin", SETTLE_COIN) == SETTLE_COIN
